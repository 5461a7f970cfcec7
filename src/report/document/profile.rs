//! The kernels' share of a step of a run.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::Result;
use crate::explore;
use crate::gpu::Measuring;
use crate::run::{Config, read_config};

/// The time that each dispatch of a step of the run in `dir` takes on its device, by that device's clock: `device` and `kernels`,
/// each a [`Timed`](crate::engine::Timed); or why there is none, `missing`.
///
/// # Errors
/// The run's data or device are not there; the device is lost.
pub fn profile(dir: &Path, measuring: Measuring) -> Result<Value> {
    let config = Config::resolve(read_config(dir)?, Vec::new(), Vec::new())?;
    let setup = config.setup(config.dataset_as(dir)?.0)?;
    let (mut engine, _) = config.engine(setup, measuring)?;
    let kernels = explore::profile(engine.as_mut())?;
    let device = engine.describe();
    if kernels.is_empty() {
        let missing = format!("{device} has no clock, so that the kernels of a step cannot be timed.");
        return Ok(json!({ "missing": missing }));
    }
    Ok(json!({ "device": device, "kernels": kernels }))
}
