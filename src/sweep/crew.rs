//! The members of one kind, trained side by side on one engine.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
use std::time::Duration;

use super::folder::member_dir;
use super::kind::{Kind, Task};
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::event::{Control, Ended, Event, Observer};
use crate::gpu::Measuring;
use crate::population::{Place, Population};
use crate::run::{self, Config, Loaded, Prepared, is_interrupted, read_config};

/// The longest that nobody is asked whether the sweep goes on.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a member tells of itself.
enum Message {
    /// An epoch is over.
    Epoch,
    /// Its training is over, or left after the epochs that were asked for; its place is free.
    Over { member: u64, result: Result<Ended>, place: Place },
}

/// How members are trained.
pub(super) struct Crew<'a> {
    /// The folder of the sweep.
    pub dir: &'a Path,
    /// The most members side by side.
    pub most: usize,
    /// The epochs after which a member is left.
    pub until: u64,
    pub loaded: &'a Loaded,
    pub measuring: Measuring,
}

/// What happens while members are trained.
pub(super) enum Told<'a> {
    /// They begin: so many at once, on this device.
    Began { members: usize, at_once: usize, device: &'a str },
    /// A member has trained another epoch.
    Epoch,
    /// A member's training is over, by its number, or is left where it was to be.
    Over(u64),
    /// Nothing for a while.
    Waiting,
}

impl Crew<'_> {
    /// Trains the members of one kind. Returns whether they were interrupted.
    ///
    /// # Errors
    /// What a member met but that it diverged; what `told` meets. The others are left with a checkpoint then.
    pub fn train(&self, kind: &Kind, told: &mut dyn FnMut(Told) -> Result<Control>) -> Result<bool> {
        let (population, device, at_once) = self.open(kind)?;
        told(Told::Began { members: kind.tasks.len(), at_once, device: &device })?;
        let is_left = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            let (send, receive) = channel();
            // All places are taken before anybody begins, so that they begin together.
            let places: Vec<Place> = std::iter::from_fn(|| population.enter()).collect();
            let mut tasks = kind.tasks.iter();
            let mut at_work = 0;
            for (place, task) in places.into_iter().zip(tasks.by_ref()) {
                self.begin(scope, task, place, &send, &is_left);
                at_work += 1;
            }
            let result = self.watch(at_work, &receive, told, &is_left, |place| {
                let task = tasks.next()?;
                self.begin(scope, task, place, &send, &is_left);
                Some(())
            });
            // Whatever ended it, nobody goes on by himself.
            is_left.store(true, Ordering::SeqCst);
            result
        });
        result.map(|()| self.is_unfinished(kind))
    }

    /// Whether some members have not come as far as they were to.
    fn is_unfinished(&self, kind: &Kind) -> bool {
        kind.tasks.iter().any(|task| !self.is_done(task.member.number).unwrap_or(false))
    }

    /// Whether a member has come as far as it was to, or to its end.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn is_done(&self, member: u64) -> Result<bool> {
        let dir = member_dir(self.dir, member);
        Ok(run::has_ended(&dir) || run::epochs(&dir)?.iter().any(|epoch| epoch.epoch + 1 >= self.until))
    }

    /// Hears the members until all are over; `next` gives a free place to the next of them, if there is one.
    fn watch(
        &self,
        mut at_work: usize,
        receive: &Receiver<Message>,
        told: &mut dyn FnMut(Told) -> Result<Control>,
        is_left: &AtomicBool,
        mut next: impl FnMut(Place) -> Option<()>,
    ) -> Result<()> {
        let mut failed = None;
        while at_work > 0 {
            let answer = match receive.recv_timeout(PATIENCE) {
                Ok(Message::Epoch) => told(Told::Epoch),
                Ok(Message::Over { member, result, place }) => {
                    let answer = match result {
                        Ok(_) | Err(Error::Diverged { .. }) => told(Told::Over(member)),
                        Err(error) => Err(error),
                    };
                    let goes_on = answer.is_ok() && !is_left.load(Ordering::SeqCst);
                    if !goes_on || next(place).is_none() {
                        at_work -= 1;
                    }
                    answer
                }
                Err(RecvTimeoutError::Timeout) => told(Told::Waiting),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match answer {
                Ok(control) if control >= Control::Stop => is_left.store(true, Ordering::SeqCst),
                Ok(_) => {}
                Err(error) => {
                    is_left.store(true, Ordering::SeqCst);
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// An engine for as many of the members as memory holds, its name, and their number.
    fn open(&self, kind: &Kind) -> Result<(Population, String, usize)> {
        let mut most = kind.setups.len().min(self.most);
        let config = self.with_forms(&kind.tasks)?;
        loop {
            let setup = Population::setup(kind.setups[..most].to_vec())?;
            match config.engine(setup, self.measuring) {
                Ok((engine, _)) => {
                    let device = engine.describe();
                    return Ok((Population::new(engine)?, device, most));
                }
                Err(Error::DeviceMemory { .. }) if most > 1 => most = most.div_ceil(2),
                Err(error) => return Err(error),
            }
        }
    }

    /// The configuration of the first member, with the forms of products that any of them was trained with before.
    fn with_forms(&self, tasks: &[Task]) -> Result<Config> {
        let mut config = tasks[0].config.clone();
        let begun = tasks.iter().find_map(|task| read_config(&member_dir(self.dir, task.member.number)).ok());
        if let Some(table) = begun {
            config.forms = Config::resolve(table, Vec::new(), Vec::new())?.forms;
        }
        Ok(config)
    }

    /// Trains a member in a thread of its own.
    fn begin<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        task: &'s Task,
        place: Place,
        send: &Sender<Message>,
        is_left: &'s AtomicBool,
    ) {
        let (member, send) = (task.member.number, send.clone());
        scope.spawn(move || {
            let watch = Watch { until: self.until, send: send.clone(), is_left };
            let result = self.train_member(task, &place, watch);
            // Who waits for it is gone only if the whole sweep is.
            let _ = send.send(Message::Over { member, result, place });
        });
    }

    fn train_member(&self, task: &Task, place: &Place, mut watch: Watch) -> Result<Ended> {
        let dir = member_dir(self.dir, task.member.number);
        let folder = if is_interrupted(&dir) { run::Place::Resume(dir) } else { run::Place::Replace(dir) };
        let seat = |setup: Setup| Ok(Box::new(place.seat(setup)?) as Box<dyn Engine>);
        let prepared = Prepared::open_shared(task.config.clone(), folder, self.loaded, seat)?;
        Ok(prepared.train(&mut [&mut watch])?.ended)
    }
}

/// The observer that leaves a member where it is to be left.
struct Watch<'a> {
    until: u64,
    send: Sender<Message>,
    is_left: &'a AtomicBool,
}

impl Observer for Watch<'_> {
    fn on(&mut self, event: &Event) -> Result<Control> {
        let mut is_there = self.is_left.load(Ordering::SeqCst);
        if let Event::Epoch(epoch) = event {
            let _ = self.send.send(Message::Epoch);
            is_there |= epoch.epoch + 1 >= self.until;
        }
        Ok(if is_there { Control::Interrupt } else { Control::Continue })
    }
}
