//! The forms of matrix products of one run.

use std::path::Path;

use crate::error::{Error, Result};
use crate::gpu::forms::Forms;

/// Their file in a run's folder.
pub(super) const FILE: &str = "kernels.json";

/// The forms that the run in `dir` has used.
///
/// # Errors
/// The file cannot be read or understood.
pub fn read(dir: &Path) -> Result<Forms> {
    let path = dir.join(FILE);
    let text = std::fs::read(&path).map_err(Error::io(&path))?;
    serde_json::from_slice(&text).map_err(|error| Error::data(path.display().to_string(), error.to_string()))
}
