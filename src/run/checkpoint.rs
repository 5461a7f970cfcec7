//! Everything that a run needs to go on as if it had not been interrupted.

use std::collections::HashMap;
use std::path::Path;

use ::safetensors::tensor::{SafeTensors, TensorView};

use crate::data::Dataset;
use crate::engine::{Engine, LossScale, Slot};
use crate::error::{Error, Result};
use crate::export::safetensors::{encode, values, write_whole};
use crate::progress::Progress;

/// The name of the checkpoint in the run's folder.
pub(super) const FILE: &str = "checkpoint.safetensors";
/// The key of the progress in the file's metadata.
const PROGRESS: &str = "progress";
/// The key of the loss scales.
const LOSS_SCALES: &str = "loss_scales";
/// The key of the shape of the data.
const DATA: &str = "data";

/// A checkpoint of a run: the engine's vectors (weights, optimizer state, averages and snapshots of every replica), its
/// loss scales, and the trainer's progress.
///
/// Orders, dropout and augmentation are functions of the step, so that nothing else is needed.
pub struct Checkpoint {
    /// The progress of the run: how far it had come. It knows no best evaluation where its weights were not kept but now are.
    pub progress: Progress,
    vectors: Vec<(Slot, usize, Vec<f64>)>,
    loss_scales: Vec<LossScale>,
}

impl Checkpoint {
    /// Writes the checkpoint of the run in `dir`, what `engine` holds, in `last` the weights of the last step, and `progress`; the file appears whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written, or the device is lost.
    pub fn write(dir: &Path, engine: &mut dyn Engine, last: Slot, progress: &Progress) -> Result<()> {
        let path = dir.join(FILE);
        let bad = |error: String| Error::weights(&path, error);
        let mut vectors = Vec::new();
        for (slot, r) in places(engine) {
            let values = engine.download(if slot == Slot::Live { last } else { slot }, r)?;
            vectors.push((name(slot, r), vec![values.len()], encode(&values, engine.setup().precision)));
        }
        let views = vectors
            .iter()
            .map(|(name, shape, (dtype, bytes))| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<std::result::Result<Vec<_>, ::safetensors::SafeTensorError>>()
            .map_err(|error| bad(error.to_string()))?;
        let progress = serde_json::to_string(progress).map_err(|error| bad(error.to_string()))?;
        let scales = serde_json::to_string(&engine.loss_scales()?).map_err(|error| bad(error.to_string()))?;
        let data = shape(&engine.setup().dataset);
        let entries = [(PROGRESS, progress), (LOSS_SCALES, scales), (DATA, data)];
        let metadata = HashMap::from(entries.map(|(key, value)| (key.to_string(), value)));
        let bytes = ::safetensors::serialize(views, Some(metadata)).map_err(|error| bad(error.to_string()))?;
        write_whole(&path, bytes)
    }

    /// Reads the checkpoint of the run in `dir`, for `engine`; one for evaluation alone takes the weights and averages.
    ///
    /// # Errors
    /// No such file, one that was written for another setup, or for data of another shape.
    pub fn read(dir: &Path, engine: &dyn Engine) -> Result<Self> {
        let (path, setup) = (dir.join(FILE), engine.setup());
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let found = "expected the checkpoint of a run (train.checkpoint_every), found none; its config.toml begins it anew";
                return Err(Error::weights(&path, found));
            }
            bytes => bytes.map_err(Error::io(&path))?,
        };
        let bad = |found: String| Error::weights(&path, format!("expected a checkpoint of this run, found {found}"));
        let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(error.to_string()))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| bad(error.to_string()))?;
        let entry = |key: &str| metadata.metadata().as_ref().and_then(|m| m.get(key));
        let progress = entry(PROGRESS).ok_or_else(|| bad("none of its progress".into()))?;
        let mut progress: Progress = serde_json::from_str(progress).map_err(|error| bad(error.to_string()))?;
        if progress.watch.metric.is_none() {
            // In an older checkpoint the best was what patience waited for.
            progress.watch.reference = progress.watch.best.map(|(best, _)| best);
        }
        let own = shape(&setup.dataset);
        if let Some(data) = entry(DATA).filter(|data| !setup.evaluation_only && **data != own) {
            return Err(Error::data(&setup.dataset.name, format!("expected {data}, as the run has, found {own}")));
        }
        let scales = entry(LOSS_SCALES).map_or("[]", String::as_str);
        let loss_scales: Vec<LossScale> = serde_json::from_str(scales).map_err(|error| bad(error.to_string()))?;
        let expected = if setup.is_mixed() { setup.replicas } else { 0 };
        if loss_scales.len() != expected && !setup.evaluation_only {
            return Err(bad(format!("{} loss scales, not {expected}", loss_scales.len())));
        }
        let mut vectors = Vec::new();
        for (slot, r) in places(engine) {
            let name = name(slot, r);
            let view = match file.tensor(&name) {
                Err(_) if slot == Slot::Best => {
                    progress.watch = progress.watch.without_best(progress.epoch);
                    continue;
                }
                view => view.map_err(|_| bad(format!("no vector {name:?}")))?,
            };
            let len = engine.layout().len;
            let values = values(&view).filter(|values| values.len() == len);
            let found = || format!("vector {name:?} of {:?} values, not {len}", view.shape());
            vectors.push((slot, r, values.ok_or_else(|| bad(found()))?));
        }
        Ok(Self { progress, vectors, loss_scales })
    }

    /// Puts the vectors and the loss scales where they were.
    ///
    /// # Errors
    /// The device is lost.
    pub fn restore(&self, engine: &mut dyn Engine) -> Result<()> {
        if !engine.setup().evaluation_only {
            engine.set_loss_scales(&self.loss_scales)?;
        }
        self.vectors.iter().try_for_each(|(slot, r, values)| engine.upload(*slot, *r, values))
    }
}

/// The shape of the data, on which steps and weights depend: `60000 training samples of 1x28x28, 10 outputs`.
fn shape(dataset: &Dataset) -> String {
    let ([channels, height, width], samples) = (dataset.shape, dataset.train.len());
    format!("{samples} training samples of {channels}x{height}x{width}, {} outputs", dataset.outputs)
}

/// Every slot of every replica.
fn places(engine: &dyn Engine) -> Vec<(Slot, usize)> {
    let replicas = engine.setup().replicas;
    engine.slots().into_iter().flat_map(|slot| (0..replicas).map(move |r| (slot, r))).collect()
}

fn name(slot: Slot, replica: usize) -> String {
    format!("{}/{replica}", slot.name())
}
