//! Everything that a report shows of a run, as JSON.

mod profile;
mod settings;
mod shape;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::history::History;
use super::page::Page;
use super::quality;
use crate::disk::write_whole;
use crate::error::{Error, Result};
use crate::run::{Config, read_config, read_summary};

pub use profile::profile;
pub(super) use settings::settings;

/// The script that draws the curves of runs, `thalweg.curves(section, [{ name, history }, ...])`.
pub const CURVES: &str = include_str!("../page/curves.js");
pub(super) const SETTINGS: &str = include_str!("../page/settings.js");
const SHAPE: &str = include_str!("../page/shape.js");
const REPORT: &str = include_str!("../page/report.js");

/// The document of the run in `dir`: what its folder tells.
///
/// | key | holds |
/// | --- | --- |
/// | `name` | the folder's name |
/// | `history` | its [`History`] |
/// | `settings` | every setting: `key`, `value`, `default`, and whether it `differs` |
/// | `summary` | its `summary.json`; null of a run that has not ended |
/// | `model` | `widths` and `parameters`, where weights are there |
/// | `machine` | the machine that trained it, in words |
/// | `quality` | what [`quality`](quality::quality) tells, where its caller adds it |
/// | `landscape` | where one was computed: `x`, `y`, rows of `loss` and `accuracy`, `points` with `name`, `at`, `loss`, `accuracy`, the `path`, and the `picture` |
/// | `curvature` | where it was computed: for each of the `weights` what `curvature.json` holds, and the `density` of eigenvalues |
///
/// # Errors
/// The folder holds no run, or a file of it cannot be read.
pub fn document(dir: &Path) -> Result<Map<String, Value>> {
    let config = Config::resolve(read_config(dir)?, Vec::new(), Vec::new())?;
    let summary = read_summary(dir)?;
    let mut document = Map::new();
    document.insert("name".into(), name(dir).into());
    document.insert("history".into(), History::read(dir)?.to_json());
    document.insert("settings".into(), settings(&config)?);
    if let Some(machine) = summary.as_ref().and_then(|summary| summary.get("machine")) {
        document.insert("machine".into(), machine.clone());
    }
    document.insert("summary".into(), summary.map_or(Value::Null, Value::Object));
    for (name, value) in [("landscape", shape::landscape(dir)?), ("curvature", shape::curvature(dir)?)] {
        if let Some(value) = value {
            document.insert(name.into(), value);
        }
    }
    Ok(document)
}

/// The page of a report on `documents`: one run in all it has, or several beside each other.
pub fn report(documents: Vec<Value>) -> Page {
    let title = match &documents[..] {
        [one] => format!("Run {}", one["name"].as_str().unwrap_or_default()),
        several => format!("{} runs", several.len()),
    };
    let page = Page::new(title).data("runs", Value::Array(documents));
    let scripts = [CURVES, SHAPE].into_iter().chain(quality::SCRIPTS).chain([SETTINGS, REPORT]);
    scripts.fold(page, Page::script)
}

/// The script that draws a report's data where nothing else is done with them.
pub const DRAW: &str = "thalweg.report(thalweg.data(\"runs\"));";

/// Gives documents of the same name the paths of their runs instead.
pub fn tell_apart(documents: &mut [Map<String, Value>], dirs: &[PathBuf]) {
    let names: Vec<Value> = documents.iter().map(|document| document["name"].clone()).collect();
    for (document, dir) in documents.iter_mut().zip(dirs) {
        if names.iter().filter(|name| **name == document["name"]).count() > 1 {
            document["name"] = dir.display().to_string().into();
        }
    }
}

/// Writes documents as one file of JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write_documents(path: &Path, documents: &[Value]) -> Result<()> {
    write_whole(path, format!("{:#}\n", Value::Array(documents.to_vec())).as_bytes())
}

/// The name of a folder.
pub(super) fn name(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.into());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

/// The content of a file of JSON, if there is one.
///
/// # Errors
/// The file cannot be read, or holds no JSON.
fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let value =
        serde_json::from_str(&text).map_err(|error| Error::data(path, format!("expected JSON, found {error}")))?;
    Ok(Some(value))
}
