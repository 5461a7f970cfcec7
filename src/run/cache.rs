//! What was measured on the devices of this machine, remembered from run to run.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::FORMS;
use crate::engine::Limits;
use crate::gpu::adapter::Description;
use crate::gpu::forms::{Forms, measured};
use crate::weights::write_whole;

/// One value a device, in a file of the user's folder of caches.
struct Cache {
    /// Nothing on a system that has no place for it.
    path: Option<PathBuf>,
    devices: Map<String, Value>,
}

/// What is measured depends on the device, its driver, and the program's kernels.
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

    /// A cache that cannot be written is measured again another time.
    fn set<T: Serialize>(mut self, device: &str, value: &T) {
        let Ok(value) = serde_json::to_value(value) else { return };
        self.devices.insert(key(device), value);
        if let Some(path) = &self.path
            && let Ok(text) = serde_json::to_vec_pretty(&self.devices)
            && path.parent().is_some_and(|dir| std::fs::create_dir_all(dir).is_ok())
        {
            let _ = write_whole(path, text);
        }
    }
}

/// The forms of matrix products that were measured on the adapter.
pub(super) fn forms(adapter: &Description) -> Forms {
    Cache::read(FORMS).get(&adapter.to_string()).unwrap_or_default()
}

/// Remembers those of `used` that were measured and are not yet known.
pub(super) fn add_forms(adapter: &Description, used: Forms) {
    let (cache, device) = (Cache::read(FORMS), adapter.to_string());
    let mut forms: Forms = cache.get(&device).unwrap_or_default();
    let before = forms.len();
    forms.extend(measured(used));
    if forms.len() > before {
        cache.set(&device, &forms);
    }
}

const LIMITS: &str = "limits.json";

/// What a device can do at most, if that was ever measured; `device` is how its engines describe themselves.
pub fn limits(device: &str) -> Option<Limits> {
    Cache::read(LIMITS).get(device)
}

/// Remembers what a device can do at most: the best of all measurements, since a busy machine is slower than it could be.
pub fn remember_limits(device: &str, limits: Limits) {
    let cache = Cache::read(LIMITS);
    let limits = cache.get(device).map_or(limits, |before: Limits| before.best(&limits));
    cache.set(device, &limits);
}
