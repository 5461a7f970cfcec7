//! `thalweg train --tui`: a run on the whole screen of the terminal.
//!
//! The thread that trains tells [`State`] of every event, in some ten nanoseconds; a thread of its own draws from it a few times
//! a second and reads keys.

mod averages;
mod charts;
mod draw;
mod facts;
mod jobs;
mod modes;
mod plot;
mod pulse;
pub mod screen;
mod state;
mod ticks;
mod view;

use std::io::{IsTerminal, Result, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event as Input, KeyEventKind};
use thalweg::event::{Control, Event, Observer};
use thalweg::report::History;
use thalweg::run::Prepared;

use super::output;
use draw::Moment;
use facts::Facts;
use jobs::Jobs;
use pulse::Pulse;
use screen::Screen;
use state::State;
use view::{View, Wish};

/// Five frames a second are enough for the eye, and cost a run nothing that can be measured.
const REFRESH: Duration = Duration::from_millis(200);
/// How long keys are waited for at a time.
const PATIENCE: Duration = Duration::from_millis(50);

/// The observer that shows a run on the whole screen. Dropping it gives the screen back, and prints what was held back.
pub struct Dashboard {
    state: Arc<Mutex<State>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dashboard {
    /// Takes the screen for a run, whose folder may be known, and whose `history` may have begun.
    ///
    /// # Errors
    /// There is no terminal for it: the reason, in words.
    pub fn open(prepared: &mut Prepared, folder: Option<&Path>, history: History) -> std::result::Result<Self, String> {
        if !stdout().is_terminal() {
            return Err("standard output is no terminal".into());
        }
        if std::env::var("TERM").is_ok_and(|term| term == "dumb") {
            return Err("the terminal is dumb (TERM)".into());
        }
        let facts = Facts::of(prepared, folder);
        let state = Arc::new(Mutex::new(State::new(history)));
        let is_over = Arc::new(AtomicBool::new(false));
        let told = |error: std::io::Error| error.to_string();
        let jobs = Jobs::watch().map_err(told)?;
        let screen = Screen::open().map_err(told)?;
        let (view, pulse) = (View::new(&facts), Pulse::default());
        let face = Face { screen, jobs, facts, view, pulse, state: Arc::clone(&state), held: 0 };
        let ends = Arc::clone(&is_over);
        let thread =
            std::thread::Builder::new().name("dashboard".into()).spawn(move || face.run(&ends)).map_err(told)?;
        output::hold();
        Ok(Self { state, is_over, thread: Some(thread) })
    }
}

impl Observer for Dashboard {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        lock(&self.state).on(event)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
        output::release();
    }
}

/// The state, whatever became of a thread that had it: a run goes on without its picture.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that draws.
struct Face {
    screen: Screen,
    jobs: Jobs,
    facts: Facts,
    view: View,
    pulse: Pulse,
    state: Arc<Mutex<State>>,
    /// The number of lines held back that have become news.
    held: usize,
}

impl Face {
    /// Draws and reads keys until the run is over, or the terminal is gone.
    fn run(mut self, is_over: &AtomicBool) {
        let mut drawn: Option<Instant> = None;
        while !is_over.load(Ordering::Relaxed) && !screen::is_over() {
            match self.turn(&mut drawn) {
                Ok(()) => {}
                Err(_) => break,
            }
        }
    }

    /// Draws if it is time, and waits a little for a key.
    fn turn(&mut self, drawn: &mut Option<Instant>) -> Result<()> {
        self.jobs.follow(&self.screen);
        if !screen::is_taken() {
            if !modes::is_in_front()? {
                std::thread::sleep(PATIENCE);
                return Ok(());
            }
            self.screen.take()?;
            *drawn = None;
        }
        if drawn.is_none_or(|drawn| drawn.elapsed() >= REFRESH) {
            *drawn = Some(Instant::now());
            self.draw()?;
        }
        if event::poll(PATIENCE)? {
            match event::read()? {
                Input::Key(key) if key.kind == KeyEventKind::Press => {
                    let wish = self.view.press(key);
                    self.grant(wish)?;
                    *drawn = None;
                }
                Input::Resize(..) => *drawn = None,
                _ => {}
            }
        }
        Ok(())
    }

    fn grant(&mut self, wish: Wish) -> Result<()> {
        match wish {
            Wish::None => {}
            Wish::Stop => self.ask(Control::Stop, "ending"),
            Wish::Save => self.ask(Control::Save, "checkpoint asked for"),
            Wish::Interrupt => {
                lock(&self.state).tell("interrupt", "leaving, with a checkpoint".into());
                jobs::interrupt();
            }
            Wish::Suspend => self.jobs.stop_all(&self.screen),
            Wish::Redraw => self.screen.take()?,
        }
        Ok(())
    }

    fn ask(&self, control: Control, text: &str) {
        let mut state = lock(&self.state);
        state.asked = state.asked.max(control);
        state.tell("asked", text.into());
    }

    fn draw(&mut self) -> Result<()> {
        let moment = self.moment();
        let (facts, view) = (&self.facts, &self.view);
        self.screen.draw(|frame| draw::draw(frame, facts, view, &moment))
    }

    /// Takes from the state what a frame shows.
    fn moment(&mut self) -> Moment {
        let width = self.screen.width();
        let mut state = lock(&self.state);
        for line in output::held(self.held).unwrap_or_default() {
            self.held += 1;
            state.tell("said", line);
        }
        let (history, step) = (&state.history, state.history.steps_told());
        self.pulse.beat(Instant::now(), step, state.samples);
        let passed = if state.samples > 0 { state.began.elapsed().as_secs_f64() } else { 0.0 };
        let (done, steps) = (step.saturating_sub(state.first_step), history.total_steps());
        let last = |name: &str| history.curve(name)?.last().map(|point| point.mean);
        let charts = (0..draw::charts_of(width, &self.view)).map(|i| self.view.chart(i));
        Moment {
            step,
            steps,
            epoch: (state.epoch + 1).min(state.epochs),
            epochs: state.epochs,
            passed,
            left: (done > 0).then(|| passed / done as f64 * steps.saturating_sub(step) as f64),
            loss: last("loss"),
            lr: last("lr"),
            momentum: last("momentum"),
            samples_per_second: self.pulse.samples_per_second(),
            averages: averages::lines(&self.facts, history, usize::from(width).saturating_sub(draw::NEWS)),
            news: state.news.iter().rev().map(state::News::line).collect(),
            charts: charts.map(|chart| charts::panels(chart, &self.facts, history, &self.pulse)).collect(),
        }
    }
}
