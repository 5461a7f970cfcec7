//! The page of a run while it goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use thalweg::event::{Control, Event, Observer};
use thalweg::report::page::Page;
use thalweg::report::{CURVES, History};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::answer::{Answer, Route, Site};
use super::now::Now;

/// The least time from one state of the run to the next that is told.
const PACE: Duration = Duration::from_secs(1);
/// So much longer than it takes to put a state into words is the time to the next: a hundredth of one core is spent on it.
const REST: u32 = 100;
/// The time after which a client that was told nothing gets a sign of life.
const SILENCE: Duration = Duration::from_secs(15);

const ROUTES: [Route; 4] =
    [("/", Method::GET), ("/events", Method::GET), ("/stop", Method::POST), ("/checkpoint", Method::POST)];

/// A run that is watched in browsers. The run's thread leaves here what happens; the server's takes it from here, and only while
/// somebody looks.
#[derive(Default)]
pub struct Live {
    state: Mutex<State>,
    told: Mutex<Told>,
    is_stop_asked: AtomicBool,
    is_checkpoint_asked: AtomicBool,
    /// Wakes whoever waits for the next state, since it is the last.
    over: Notify,
}

#[derive(Default)]
struct State {
    history: History,
    now: Now,
    /// What became of the run, when it is over.
    end: Option<Value>,
    /// The number of changes so far.
    changes: u64,
}

/// A state of the run in words.
#[derive(Clone, Default)]
struct Told {
    text: Bytes,
    changes: u64,
    is_last: bool,
    /// When it was made, and for how long it is new enough.
    made: Option<Instant>,
    lasts: Duration,
}

impl Live {
    /// The observer that leaves here what happens in the run.
    pub fn observer(self: &Arc<Self>) -> Watch {
        Watch(Arc::clone(self))
    }

    /// Tells what became of the run: `text` in a sentence, and the rows of the last table with the header first. It is the last
    /// that is told.
    pub fn end(&self, text: &str, table: &[Vec<String>]) {
        let mut state = self.state();
        state.end = Some(json!({ "text": text, "table": table }));
        state.changes += 1;
        drop(state);
        self.over.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of the run in words, which are found anew if they are old.
    fn told(&self) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.made.is_some_and(|made| made.elapsed() < told.lasts);
        let began = Instant::now();
        let state = self.state();
        if told.changes == state.changes && told.made.is_some() || is_new && state.end.is_none() {
            return told.clone();
        }
        // The run waits for a copy, not for the words.
        let (history, now, end, changes) = (state.history.clone(), state.now.clone(), state.end.clone(), state.changes);
        drop(state);
        let is_last = end.is_some();
        let json = json!({
            "now": now.to_json(),
            "asked": self.is_stop_asked.load(Ordering::Relaxed),
            "end": end,
            "history": history.to_json(),
        });
        let text = format!("event: state\ndata: {json}\n\n").into();
        *told = Told { text, changes, is_last, made: Some(Instant::now()), lasts: PACE.max(REST * began.elapsed()) };
        told.clone()
    }

    /// Tells a client of the run, as long as both last.
    async fn tell(self: Arc<Self>, client: mpsc::Sender<Bytes>) {
        let (mut told_last, mut spoke) = (None, Instant::now());
        loop {
            let over = self.over.notified();
            let told = self.told();
            let is_news = told_last != Some(told.changes);
            if is_news || spoke.elapsed() >= SILENCE {
                let text = if is_news { told.text } else { Bytes::from_static(b": nothing new\n\n") };
                if client.send(text).await.is_err() {
                    return;
                }
                (told_last, spoke) = (Some(told.changes), Instant::now());
            }
            if told.is_last || client.is_closed() {
                return;
            }
            let _ = timeout(told.lasts.max(PACE), over).await;
        }
    }
}

impl Site for Live {
    fn routes(&self) -> &'static [Route] {
        &ROUTES
    }

    fn answer(self: Arc<Self>, path: &str, _: &str) -> Answer {
        match path {
            "/" => Answer::Html(Page::new("A run").script(CURVES).script(include_str!("live.js")).html()),
            "/events" => {
                // One state waits for the client; of those that come before it has taken that, it gets the last.
                let (client, events) = mpsc::channel(1);
                tokio::spawn(self.tell(client));
                Answer::Events(events)
            }
            "/stop" => self.ask(&self.is_stop_asked, "the run ends after the steps under way"),
            _ => self.ask(&self.is_checkpoint_asked, "a checkpoint is written after the steps under way"),
        }
    }
}

impl Live {
    fn ask(&self, what: &AtomicBool, text: &str) -> Answer {
        let mut state = self.state();
        if state.end.is_some() {
            return Answer::Text(StatusCode::CONFLICT, "the run is over".into());
        }
        what.store(true, Ordering::Relaxed);
        state.changes += 1;
        Answer::Text(StatusCode::ACCEPTED, text.into())
    }
}

/// The observer of a run that is watched in browsers, which may ask it to end or to take a checkpoint.
pub struct Watch(Arc<Live>);

impl Observer for Watch {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        let live = &self.0;
        let mut state = live.state();
        state.history.on(event)?;
        state.now.on(event)?;
        state.changes += 1;
        drop(state);
        if live.is_stop_asked.load(Ordering::Relaxed) {
            return Ok(Control::Stop);
        }
        let is_step = matches!(event, Event::Step(_));
        let is_asked = is_step && live.is_checkpoint_asked.swap(false, Ordering::Relaxed);
        Ok(if is_asked { Control::Save } else { Control::Continue })
    }
}
