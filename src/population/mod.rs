//! A population: many runs that share one engine, each of which has a replica of it to itself.
//!
//! A run is a [`Trainer`](crate::train::Trainer) around a [`Seat`], which is an engine of one replica to it, in a thread of its
//! own. Whatever many of them ask for at once, steps and evaluations, the engine carries out for all in the same dispatches: whoever asks
//! last does it for the others, who wait. So no run knows of the others, and each has the bits that it has by itself.

mod seat;
mod state;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::engine::{Engine, Evaluation, LossScale, Setup, Slot, Step, StepMetrics};
use crate::error::{Error, Result};

pub use seat::Seat;
use state::{Answer, Asked, State};

/// A population of runs on one engine.
///
/// ```
/// use std::sync::Arc;
/// use thalweg::data::{Dataset, Samples};
/// use thalweg::engine::Setup;
/// use thalweg::gpu::Options;
/// use thalweg::model::{Init, Mlp};
/// use thalweg::optimizer::Optimizer;
/// use thalweg::plan::Plan;
/// use thalweg::population::{Place, Population};
/// use thalweg::train::Trainer;
/// # let samples = Samples::labelled(vec![0.0, 1.0, 2.0, 3.0], vec![0, 0, 1, 1]);
/// # let dataset = Arc::new(Dataset::new("four", [1, 1, 1], samples, None).unwrap());
/// let base = Setup { batch: 2, ..Setup::new(Mlp::new(1, 2).hidden([8]), dataset) };
/// let setups = [0.01, 0.1].map(|lr| Setup { optimizer: Optimizer::adamw(lr), ..base.clone() });
/// let (engine, _) = thalweg::device::Device::Cpu.open(Population::setup(setups.to_vec())?, Options::default())?;
/// let population = Population::new(engine)?;
/// // All places are taken before the first run begins, so that they begin together.
/// let places = setups.map(|setup| (population.enter().unwrap(), setup));
/// let losses = std::thread::scope(|scope| {
///     let run = |(place, setup): (Place, Setup)| {
///         let mut trainer = Trainer::new(Box::new(place.seat(setup)?), Plan::default())?;
///         trainer.init(Init::default())?;
///         let mut loss = f64::NAN;
///         while let Some(epoch) = trainer.epoch()? {
///             loss = epoch.train[0].loss;
///         }
///         Ok::<f64, thalweg::Error>(loss)
///     };
///     let threads = places.map(|of_run| scope.spawn(move || run(of_run)));
///     threads.map(|thread| thread.join().unwrap().unwrap())
/// });
/// assert!(losses[1] < losses[0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone)]
pub struct Population {
    shared: Arc<Shared>,
}

/// What the runs of a population share.
struct Shared {
    state: Mutex<State>,
    /// Tells of answers.
    answered: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a population: one of its replicas, for one run after the other. The others wait for whoever has a place, until it
/// is dropped.
pub struct Place {
    shared: Arc<Shared>,
    /// The number of the place, which its replica changes.
    number: usize,
}

impl Population {
    /// The setup of an engine for runs with these setups, each of one replica.
    ///
    /// # Errors
    /// No setups, or such as do not go together ([`Setup::difference`]).
    pub fn setup(setups: Vec<Setup>) -> Result<Setup> {
        let Some(first) = setups.first() else {
            return Err(Error::config("population", "expected at least one setup, found none"));
        };
        let setup = Setup { replicas: setups.len(), own: setups.clone(), ..first.clone() };
        setup.check_own(f64::INFINITY)?;
        Ok(setup)
    }

    /// A population on an engine, which was built for the setup of [`setup`](Self::setup); as many runs as it has replicas are
    /// trained at once.
    ///
    /// # Errors
    /// An engine whose replicas have no setups of their own.
    pub fn new(engine: Box<dyn Engine>) -> Result<Self> {
        if engine.setup().own.is_empty() {
            let found =
                "expected an engine whose replicas have setups of their own (Population::setup), found one without";
            return Err(Error::config("engine", found));
        }
        Ok(Self { shared: Arc::new(Shared { state: Mutex::new(State::new(engine)), answered: Condvar::new() }) })
    }

    /// Takes a free place; none if there is none.
    pub fn enter(&self) -> Option<Place> {
        let number = self.shared.state().enter()?;
        Some(Place { shared: self.shared.clone(), number })
    }
}

impl Place {
    /// The engine of a run with `setup` in this place, with all vectors 0; that of the run before it is gone.
    ///
    /// # Errors
    /// A setup that does not go with those of the others; the device is lost.
    pub fn seat(&self, setup: Setup) -> Result<Seat> {
        let mut state = self.shared.state();
        let setup = state.begin(self.number, setup)?;
        let layout = state.engine.layout().clone();
        drop(state);
        Ok(Seat::new(self.shared.clone(), self.number, setup, layout))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.state().leave(self.number);
        self.shared.answered.notify_all();
    }
}

impl Shared {
    /// Asks for what is done for many at once, and waits for it.
    fn ask(&self, number: usize, asked: Asked) -> Result<Answer> {
        let mut state = self.state();
        state.ask(number, asked);
        self.answered.notify_all();
        loop {
            if let Some(answer) = state.answer(number) {
                return answer;
            }
            state = self.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
