//! Several of a run's weights on one engine.

use std::sync::Arc;

use super::{Config, Trained};
use crate::average::Average;
use crate::data::{Augment, Part};
use crate::engine::{Engine, Precision, Setup, Slot};
use crate::error::{Error, Result};
use crate::gpu::Measuring;
use crate::model::Norm;
use crate::optimizer::Optimizer;

/// The samples that pass through the network at once: enough for products of matrices, and little memory.
const ROWS: usize = 512;

/// An engine on which several of a run's weights stand side by side, each as the live weights of a replica, and whose training part
/// is a sample of one of the run's parts, all of which count alike: for derivatives of the loss that an evaluation has.
pub struct SideBySide {
    /// The engine, in the run's precision; of a run in mixed precision in f32.
    pub engine: Box<dyn Engine>,
    /// The reason why the engine is where it is, in words.
    pub reason: String,
    /// The configuration of the run.
    pub config: Config,
    /// The places of the samples in the run's part, ascending.
    pub places: Vec<u32>,
}

impl SideBySide {
    /// Opens an engine for the weights of these names (see [`Trained::values`]) of one replica of a run, and for at most
    /// `samples` of a part, drawn with `seed`.
    ///
    /// # Errors
    /// Weights, a replica or a part that the run has not; a name that is there twice; too little memory.
    pub fn open(
        mut trained: Trained,
        weights: &[String],
        replica: usize,
        (part, samples, seed): (Part, usize, u64),
        measuring: Measuring,
    ) -> Result<Self> {
        let replicas = trained.setup().replicas;
        if replica >= replicas {
            return Err(Error::config("--replica", format!("expected one below {replicas}, found {replica}")));
        }
        if let Some((_, name)) = weights.iter().enumerate().find(|(i, name)| weights[..*i].contains(name)) {
            return Err(Error::config("--weights", format!("expected each name once, found {name:?} twice")));
        }
        let values = weights.iter().map(|name| trained.values(name, replica)).collect::<Result<Vec<_>>>()?;
        let (mut config, setup) = trained.into_setup();
        if config.train.precision == Precision::Mixed {
            config.train.precision = Precision::F32;
        }
        let places = setup.dataset.draw(part, Some(samples), seed)?;
        if setup.model.norm == Norm::Batch && places.len() < 2 {
            let found = "expected at least 2 under batch normalisation (model.norm), found 1";
            return Err(Error::config("--samples", found));
        }
        let dataset = setup.dataset.only(part, &places)?;
        let setup = Setup {
            replicas: weights.len(),
            precision: config.train.precision,
            batch: places.len().min(ROWS),
            optimizer: Optimizer::sgd(1.0),
            average: Average::default(),
            augment: Augment::default(),
            class_weights: Vec::new(),
            clip_norm: None,
            evaluation_only: false,
            dataset: Arc::new(dataset),
            ..setup
        };
        let (mut engine, reason) = config.engine(setup, measuring)?;
        values.iter().enumerate().try_for_each(|(r, values)| engine.upload(Slot::Live, r, values))?;
        Ok(Self { engine, reason, config, places })
    }
}
