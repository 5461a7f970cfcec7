//! Weights that a run left, for another run or for an evaluation.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::config::ModelConfig;
use super::folder::weight_file;
use crate::engine::{Engine, Slot, initialize};
use crate::error::{Error, Result};
use crate::export::safetensors;
use crate::model::Norm;

/// Gives the engine the first weights that `model` asks for: those of a file or of another run, or drawn ones. Returns what the
/// user should know of them.
///
/// # Errors
/// No such weights, or weights that do not fit the model.
pub fn first_weights(engine: &mut dyn Engine, model: &ModelConfig) -> Result<Vec<String>> {
    match (&model.init_from, &model.init_map) {
        (Some(path), map) => start_from(engine, path, map.as_deref()),
        (None, Some(_)) => {
            let text = "expected model.init_from beside it, whose layers it names, found none";
            Err(Error::config("model.init_map", text))
        }
        (None, None) => initialize(engine, model.init).map(|()| Vec::new()),
    }
}

/// Gives every replica the weights of a file, or those that a run left in its folder: of a run of several replicas, each its
/// own. `map` is that of [`read_mapped`](safetensors::read_mapped), and so is what the user should know.
///
/// # Errors
/// No such weights, or weights that do not fit the model.
fn start_from(engine: &mut dyn Engine, path: &Path, map: Option<&str>) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let (replicas, precision) = (engine.setup().replicas, engine.setup().precision);
    let alone = if path.is_dir() { weight_file(path, Slot::Live, 0, 1) } else { path.to_path_buf() };
    for r in 0..replicas {
        let file = if alone.exists() || !path.is_dir() { alone.clone() } else { weight_file(path, Slot::Live, r, 2) };
        if !file.exists() && path.is_dir() {
            let found = format!(
                "expected the folder of a run with weights for replica {r}, found none; one that was interrupted goes on with \
                 --resume"
            );
            return Err(Error::weights(path, found));
        }
        let (weights, said) = safetensors::read_mapped(&file, engine.layout(), precision, map)?;
        engine.upload(Slot::Live, r, &weights)?;
        notes = said;
    }
    Ok(notes)
}

/// Gives the engine the weights of `checkpoint`, of a run that was interrupted. Returns the slots that hold some; means whose
/// statistics of batch normalisation were not renewed are not among them.
///
/// # Errors
/// A checkpoint of another setup.
pub fn checkpoint_weights(checkpoint: &Checkpoint, engine: &mut dyn Engine) -> Result<Vec<Slot>> {
    if !engine.has(Slot::Best) {
        engine.allocate(Slot::Best)?;
    }
    let progress = checkpoint.restore(engine)?;
    let is_mean = |slot: Slot| matches!(slot, Slot::Swa | Slot::Ema);
    let mut slots = engine.slots();
    slots.retain(|&slot| {
        slot == Slot::Best && progress.watch.best.is_some()
            || matches!(slot, Slot::Live | Slot::Snapshot(_))
            || is_mean(slot) && engine.setup().model.norm != Norm::Batch
    });
    let mut kept = Vec::new();
    for slot in slots {
        // What was never sampled is 0.
        if engine.norm(slot)?.iter().all(|&length| length > 0.0) {
            kept.push(slot);
        }
    }
    Ok(kept)
}
