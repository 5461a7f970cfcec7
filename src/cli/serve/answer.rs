//! What a server answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// What a client gets at once; it is asked to take it before it gets more.
const PIECE: usize = 1 << 16;

/// A page may run what stands in it, ask its own server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer: no other page reads, frames or embeds it, and nothing keeps it or tells its address.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A place to ask at: a path, and the method with which one asks there; where one may GET one may ask for the HEAD.
pub type Route = (&'static str, Method);

/// What a server serves.
pub trait Site: Send + Sync + 'static {
    /// The places to ask at.
    fn routes(&self) -> &'static [Route];

    /// The answer at a path of the routes. It may take its time, and is called within the server's runtime.
    fn answer(self: Arc<Self>, path: &str, query: &str) -> Answer;
}

/// An answer.
pub enum Answer {
    /// A page.
    Html(String),
    /// A short text: that something is done, or why not.
    Text(StatusCode, String),
    /// Events, for as long as there are any.
    Events(Receiver<Bytes>),
}

impl Answer {
    /// The answer as it is sent; each piece that is taken prolongs the deadline.
    pub fn send(self, deadline: Deadline) -> Response<Sent> {
        let (status, kind, content) = match self {
            Self::Html(page) => (StatusCode::OK, "text/html; charset=utf-8", Content::Whole(page.into())),
            Self::Text(status, text) => (status, "text/plain; charset=utf-8", Content::Whole((text + "\n").into())),
            Self::Events(events) => (StatusCode::OK, "text/event-stream", Content::Events(events)),
        };
        let mut response = Response::new(Sent { content, deadline });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The moment at which a connection is given up, unless its client does its part before.
#[derive(Clone)]
pub struct Deadline(Arc<Mutex<Instant>>);

/// The time that a client has to ask, and to take each piece of its answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Deadline {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + PATIENCE)))
    }

    pub fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn prolong(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + PATIENCE;
    }
}

enum Content {
    Whole(Bytes),
    Events(Receiver<Bytes>),
}

/// The body of an answer, which a client gets as fast as it takes it.
pub struct Sent {
    content: Content,
    deadline: Deadline,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.deadline.prolong();
        let piece = match &mut self.content {
            Content::Whole(rest) if rest.is_empty() => Poll::Ready(None),
            Content::Whole(rest) => Poll::Ready(Some(rest.split_to(PIECE.min(rest.len())))),
            Content::Events(events) => events.poll_recv(cx),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(rest) => SizeHint::with_exact(rest.len() as u64),
            Content::Events(_) => SizeHint::default(),
        }
    }
}
