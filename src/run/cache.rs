//! What was measured on the devices of this machine, remembered from run to run.
//!
//! A cache is a convenience: one that cannot be read or written is silently done without.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::write_whole;
use crate::engine::{Choice, Forms, Limits};
use crate::gpu;
use crate::gpu::forms::Form;

/// The key of a device: what is measured depends on it, its driver, the program, and the texts of its kernels.
fn key(device: &str) -> String {
    static SHADERS: LazyLock<u64> = LazyLock::new(gpu::digest);
    format!("{device}, thalweg {}, shaders {:016x}", env!("CARGO_PKG_VERSION"), *SHADERS)
}

/// A cache: one value a device, in a file.
struct Cache {
    path: PathBuf,
}

impl Cache {
    /// The cache `thalweg/FILE` in the user's folder of caches; none on a system that has no place for it.
    fn of(file: &str) -> Option<Self> {
        dirs::cache_dir().map(|dir| Self { path: dir.join("thalweg").join(file) })
    }

    /// All values; a file that is not there or cannot be understood holds nothing.
    fn read(&self) -> Map<String, Value> {
        std::fs::read(&self.path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn get<T: DeserializeOwned>(&self, device: &str) -> Option<T> {
        serde_json::from_value(self.read().remove(&key(device))?).ok()
    }

    /// Replaces the value of a device by what `change` makes of it, while no other process does so.
    fn update<T: Serialize + DeserializeOwned>(&self, device: &str, change: impl FnOnce(Option<T>) -> T) {
        if self.path.parent().is_none_or(|dir| std::fs::create_dir_all(dir).is_err()) {
            return;
        }
        // Where a file system has no locks, the last one wins.
        let _locked = lock(&self.path.with_extension("lock"));
        let Ok(value) = serde_json::to_value(change(self.get(device))) else { return };
        let mut devices = self.read();
        devices.insert(key(device), value);
        if let Ok(text) = serde_json::to_vec_pretty(&devices) {
            let _ = write_whole(&self.path, &text);
        }
    }
}

/// The lock that is held as long as this file is open.
fn lock(path: &Path) -> Option<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    file.lock().ok().map(|()| file)
}

const FORMS: &str = "kernels.json";

/// One measured form.
#[derive(Serialize, Deserialize)]
struct Measured {
    form: String,
    microseconds: f64,
}

/// The measured forms of a device, by the key of their product.
type Known = BTreeMap<String, Measured>;

/// The forms of matrix products that were measured on the adapter of this name.
pub(super) fn forms(adapter: &str) -> Forms {
    let measured: Known = Cache::of(FORMS).and_then(|cache| cache.get(adapter)).unwrap_or_default();
    let choice = |Measured { form, microseconds }| Choice { form, microseconds: Some(microseconds) };
    let is_form = |(_, measured): &(String, Measured)| measured.form.parse::<Form>().is_ok();
    let products = measured.into_iter().filter(is_form).map(|(key, measured)| (key, choice(measured))).collect();
    Forms { adapter: adapter.into(), products }
}

/// Remembers those of `used` that were measured and are not yet known.
pub(super) fn add_forms(used: &Forms) {
    if let Some(cache) = Cache::of(FORMS) {
        add(&cache, used);
    }
}

fn add(cache: &Cache, used: &Forms) {
    let measured = |choice: &Choice| Some(Measured { form: choice.form.clone(), microseconds: choice.microseconds? });
    let mut new: Known = used.products.iter().filter_map(|(key, c)| Some((key.clone(), measured(c)?))).collect();
    let known: Known = cache.get(&used.adapter).unwrap_or_default();
    new.retain(|key, _| !known.contains_key(key));
    if !new.is_empty() {
        cache.update(&used.adapter, |known: Option<Known>| {
            let mut known = known.unwrap_or_default();
            known.extend(new);
            known
        });
    }
}

const LIMITS: &str = "limits.json";

/// The limits of a device, if they were ever measured; `device` is how its engines describe themselves.
pub fn remembered_limits(device: &str) -> Option<Limits> {
    Cache::of(LIMITS)?.get(device)
}

/// Remembers the limits of a device: the best of all measurements, since a busy machine is slower than it could be.
pub fn remember_limits(device: &str, limits: Limits) {
    if let Some(cache) = Cache::of(LIMITS) {
        cache.update(device, |known: Option<Limits>| known.map_or(limits, |known| known.best(&limits)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "plain 4x1x8x1x1";

    fn cache(dir: &tempfile::TempDir) -> Cache {
        Cache { path: dir.path().join("thalweg").join(FORMS) }
    }

    fn used(product: String) -> Forms {
        let choice = Choice { form: FORM.into(), microseconds: Some(1.0) };
        Forms { adapter: "test".into(), products: [(product, choice)].into() }
    }

    /// Every writer opens the file of the lock by itself, as other processes do.
    #[test]
    fn writers_at_a_time_lose_nothing_of_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let cache = cache(&dir);
                scope.spawn(move || (0..10).for_each(|i| add(&cache, &used(format!("linear {writer}x{i}x1")))));
            }
        });
        assert_eq!(cache(&dir).get::<Known>("test").unwrap().len(), 80);
    }

    #[test]
    fn a_damaged_file_holds_nothing_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir);
        add(&cache, &used("linear 1x1x1".into()));
        let text = std::fs::read_to_string(&cache.path).unwrap();
        let cut = &text[..text.len() / 2];
        for damaged in ["", "{", "[1]", "nul\0", cut, &text.replace(FORM, "\u{fffd}"), &text.replace("1.0", "\"x\"")] {
            std::fs::write(&cache.path, damaged).unwrap();
            let _ = cache.get::<Known>("test");
            add(&cache, &used("linear 2x2x2".into()));
            assert!(cache.get::<Known>("test").unwrap().contains_key("linear 2x2x2"), "{damaged}");
        }
    }

    /// What another version or other shaders measured is not replayed, nor is it lost.
    #[test]
    fn the_key_names_program_and_shaders() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir);
        add(&cache, &used("linear 1x1x1".into()));
        let text = std::fs::read_to_string(&cache.path).unwrap();
        let digest = format!("{:016x}", gpu::digest());
        assert!(text.contains(&digest) && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
        std::fs::write(&cache.path, text.replace(&digest, "0123456789abcdef")).unwrap();
        assert!(cache.get::<Known>("test").is_none());
        add(&cache, &used("linear 1x1x1".into()));
        assert_eq!(cache.read().len(), 2);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir);
        // A file in the place of the folder.
        std::fs::write(dir.path().join("thalweg"), "").unwrap();
        add(&cache, &used("linear 1x1x1".into()));
        assert!(cache.get::<Known>("test").is_none());
        // A folder in the place of the file.
        std::fs::remove_file(dir.path().join("thalweg")).unwrap();
        std::fs::create_dir_all(&cache.path).unwrap();
        add(&cache, &used("linear 1x1x1".into()));
        assert!(cache.get::<Known>("test").is_none());
        let names: Vec<_> =
            std::fs::read_dir(dir.path().join("thalweg")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("part")), "{names:?}");
    }
}
