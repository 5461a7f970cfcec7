//! The forms of matrix products that were measured, remembered from run to run, and those of one run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::gpu::adapter::Description;
use crate::gpu::forms::Forms;
use crate::weights::write_whole;

/// Their file in a run's folder.
pub(super) const FILE: &str = "kernels.json";

/// What was measured on each adapter of this machine.
pub(super) struct Cache {
    /// Nothing on a system that has no place for it.
    path: Option<PathBuf>,
    adapters: BTreeMap<String, Forms>,
}

/// Forms depend on the adapter, its driver and this program's shaders.
fn key(adapter: &Description) -> String {
    format!("{}, {}, thalweg {}", adapter.name, adapter.driver, env!("CARGO_PKG_VERSION"))
}

impl Cache {
    /// Reads `thalweg/kernels.json` in the user's folder of caches; a file that is not there or cannot be understood holds
    /// nothing.
    pub fn read() -> Self {
        let path = dirs::cache_dir().map(|dir| dir.join("thalweg").join(FILE));
        let text = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let adapters = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { path, adapters }
    }

    pub fn forms(&self, adapter: &Description) -> Forms {
        self.adapters.get(&key(adapter)).cloned().unwrap_or_default()
    }

    /// Adds what was measured. A cache that cannot be written is measured again another time.
    pub fn add(mut self, adapter: &Description, used: Forms) {
        let forms = self.adapters.entry(key(adapter)).or_default();
        let before = forms.len();
        forms.extend(used.into_iter().filter(|(_, choice)| choice.microseconds.is_some()));
        if forms.len() > before
            && let Some(path) = &self.path
            && let Ok(text) = serde_json::to_vec_pretty(&self.adapters)
            && path.parent().is_some_and(|dir| std::fs::create_dir_all(dir).is_ok())
        {
            let _ = write_whole(path, text);
        }
    }
}

/// The forms that the run in `dir` has used.
///
/// # Errors
/// The file cannot be read or understood.
pub fn read(dir: &Path) -> Result<Forms> {
    let path = dir.join(FILE);
    let text = std::fs::read(&path).map_err(Error::io(&path))?;
    serde_json::from_slice(&text).map_err(|error| Error::data(path.display().to_string(), error.to_string()))
}
