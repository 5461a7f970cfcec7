//! What was measured on the devices of this machine, remembered from run to run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::write_whole;
use crate::engine::{Choice, Forms, Limits};

/// A cache: one value a device, in a file of the user's folder of caches.
struct Cache {
    /// The path of the file; none on a system that has no place for it.
    path: Option<PathBuf>,
    devices: Map<String, Value>,
}

/// The key of a device: what is measured depends on it, its driver, and the program's kernels.
fn key(device: &str) -> String {
    format!("{device}, thalweg {}", env!("CARGO_PKG_VERSION"))
}

impl Cache {
    /// Reads `thalweg/FILE`; a file that is not there or cannot be understood holds nothing.
    fn read(file: &str) -> Self {
        let path = dirs::cache_dir().map(|dir| dir.join("thalweg").join(file));
        let text = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let devices = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { path, devices }
    }

    fn get<T: DeserializeOwned>(&self, device: &str) -> Option<T> {
        serde_json::from_value(self.devices.get(&key(device))?.clone()).ok()
    }

    /// Sets the value of a device; a cache that cannot be written is measured again another time.
    fn set<T: Serialize>(mut self, device: &str, value: &T) {
        let Ok(value) = serde_json::to_value(value) else { return };
        self.devices.insert(key(device), value);
        if let Some(path) = &self.path
            && let Ok(text) = serde_json::to_vec_pretty(&self.devices)
            && path.parent().is_some_and(|dir| std::fs::create_dir_all(dir).is_ok())
        {
            let _ = write_whole(path, &text);
        }
    }
}

const FORMS: &str = "kernels.json";

/// One measured form.
#[derive(Serialize, Deserialize)]
struct Measured {
    form: String,
    microseconds: f64,
}

/// The forms of matrix products that were measured on the adapter of this name.
pub(super) fn forms(adapter: &str) -> Forms {
    let measured: BTreeMap<String, Measured> = Cache::read(FORMS).get(adapter).unwrap_or_default();
    let choice = |Measured { form, microseconds }| Choice { form, microseconds: Some(microseconds) };
    let products = measured.into_iter().map(|(key, measured)| (key, choice(measured))).collect();
    Forms { adapter: adapter.into(), products }
}

/// Remembers those of `used` that were measured and are not yet known.
pub(super) fn add_forms(used: &Forms) {
    let cache = Cache::read(FORMS);
    let mut known: BTreeMap<String, Measured> = cache.get(&used.adapter).unwrap_or_default();
    let before = known.len();
    for (key, choice) in &used.products {
        if let Some(microseconds) = choice.microseconds {
            known.insert(key.clone(), Measured { form: choice.form.clone(), microseconds });
        }
    }
    if known.len() > before {
        cache.set(&used.adapter, &known);
    }
}

const LIMITS: &str = "limits.json";

/// The limits of a device, if they were ever measured; `device` is how its engines describe themselves.
pub fn remembered_limits(device: &str) -> Option<Limits> {
    Cache::read(LIMITS).get(device)
}

/// Remembers the limits of a device: the best of all measurements, since a busy machine is slower than it could be.
pub fn remember_limits(device: &str, limits: Limits) {
    let cache = Cache::read(LIMITS);
    let limits = cache.get(device).map_or(limits, |before: Limits| before.best(&limits));
    cache.set(device, &limits);
}
