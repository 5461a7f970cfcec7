//! A server on the loopback interface, for the browsers of this machine.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answer::{Answer, Deadline, Sent, Site};
use super::guard::Guard;

/// The most connections at once; further ones are closed.
const MOST_CONNECTIONS: usize = 64;
/// The time that a client has for the head of its request, and the most bytes of it.
const HEAD_TIME: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 1 << 14;
/// The time that clients have to take what was sent before the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that has its port, and answers nobody yet.
pub struct Server {
    listeners: Vec<std::net::TcpListener>,
    port: u16,
    guard: Guard,
}

impl Server {
    /// Takes a port of the loopback interface; 0 stands for any free one.
    ///
    /// # Errors
    /// The port is taken.
    pub fn bind(port: u16) -> io::Result<Self> {
        let first = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = first.local_addr()?.port();
        // Some machines have no IPv6, and the address that is printed does without.
        let second = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        let listeners: Vec<_> = [Some(first), second].into_iter().flatten().collect();
        listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        Ok(Self { listeners, port, guard: Guard::new()? })
    }

    /// The address of the page, with the token.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.port, self.guard.token())
    }

    /// Begins to answer, in a thread of its own.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(self, site: Arc<dyn Site>) -> io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let leave = Arc::new(Notify::new());
        let left = Arc::clone(&leave);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let served = Arc::new(Served { site, guard: self.guard, places, busy: Arc::new(()) });
        let serve = move || {
            runtime.block_on(async {
                for listener in self.listeners {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        tokio::spawn(accept(listener, Arc::clone(&served)));
                    }
                }
                left.notified().await;
                let _ = timeout(FAREWELL, served.idle()).await;
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("server".into()).spawn(serve)?;
        Ok(Running { leave, thread })
    }
}

/// A server that answers.
pub struct Running {
    leave: Arc<Notify>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends the server when the answers under way are with their clients, or after two seconds.
    pub fn end(self) {
        self.leave.notify_one();
        self.wait();
    }

    /// Waits for the end, which only [`end`](Self::end) or that of the process brings.
    pub fn wait(self) {
        let _ = self.thread.join();
    }
}

/// What all connections share.
struct Served {
    site: Arc<dyn Site>,
    guard: Guard,
    places: Arc<Semaphore>,
    /// Held by every connection that has asked something.
    busy: Arc<()>,
}

impl Served {
    /// Waits until no answer is under way.
    async fn idle(&self) {
        while Arc::strong_count(&self.busy) > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, _) = request.into_parts();
        if let Some(reason) = self.guard.refusal(&head) {
            return Answer::Text(StatusCode::FORBIDDEN, reason.into());
        }
        let (path, query) = (head.uri.path().to_string(), head.uri.query().unwrap_or_default().to_string());
        let Some((_, method)) = self.site.routes().iter().find(|(place, _)| *place == path) else {
            return Answer::Text(StatusCode::NOT_FOUND, "nothing is here".into());
        };
        if *method != head.method && !(*method == Method::GET && head.method == Method::HEAD) {
            return Answer::Text(StatusCode::METHOD_NOT_ALLOWED, format!("expected {method}, found {}", head.method));
        }
        let site = Arc::clone(&self.site);
        let answer = spawn_blocking(move || site.answer(&path, &query)).await;
        answer.unwrap_or_else(|_| Answer::Text(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed".into()))
    }

    async fn respond(&self, request: Request<Incoming>, deadline: Deadline) -> Response<Sent> {
        let path = request.uri().path().to_string();
        let mut response = self.answer(request).await.send(deadline.clone());
        deadline.prolong();
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = self.site.routes().iter().find(|(place, _)| *place == path);
            let allowed = if allowed.is_some_and(|(_, method)| *method == Method::GET) { "GET, HEAD" } else { "POST" };
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
        }
        response
    }
}

async fn accept(listener: TcpListener, served: Arc<Served>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // As when the process has too many files open.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&served.places).try_acquire_owned() else { continue };
        let served = Arc::clone(&served);
        tokio::spawn(async move {
            converse(stream, served).await;
            drop(place);
        });
    }
}

/// Answers the one request of a connection. A client that neither asks nor takes what it is sent is left.
async fn converse(stream: TcpStream, served: Arc<Served>) {
    let deadline = Deadline::new();
    let busy = std::sync::OnceLock::new();
    let service = service_fn(|request| {
        busy.get_or_init(|| Arc::clone(&served.busy));
        let answer = served.respond(request, deadline.clone());
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    let mut exchange = pin!(http.serve_connection(TokioIo::new(stream), service));
    while timeout_at(deadline.get(), &mut exchange).await.is_err() && Instant::now() < deadline.get() {}
}
