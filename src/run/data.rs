//! What a run keeps of its data: how it was read and scaled, so that the same and other data are read and scaled alike.

use std::path::Path;

use serde_json::{Value, json};

use super::config::Config;
use crate::data::{
    Dataset, Encoding, Inputs, Normalization, Part, Samples, Source, TargetKind, TargetScaling, Targets,
};
use crate::disk::{read_sealed, seal_json, write_whole};
use crate::error::{Error, Result};

pub(super) const NORMALIZATION: &str = "normalization.json";
pub(super) const ENCODING: &str = "encoding.json";

/// Writes how the run's data is read and scaled.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(dir: &Path, dataset: &Dataset) -> Result<()> {
    let Normalization { scale, shift } = &dataset.normalization;
    let mut object = json!({ "scale": scale, "shift": shift });
    if let Some(scaling) = &dataset.target_scaling {
        object["targets"] = json!(scaling);
    }
    write_whole(&dir.join(NORMALIZATION), seal_json(&format!("{object:#}")).as_bytes())?;
    let encoding = serde_json::to_string_pretty(&dataset.encoding).unwrap_or_default();
    write_whole(&dir.join(ENCODING), seal_json(&encoding).as_bytes())
}

impl Config {
    /// The data set that the configuration names, split, read and scaled as the run in `dir` did, to whose numbers its weights
    /// belong. If it is the run's own, wherever it lies now, the same samples are held out and the second value is true; of
    /// another, none are.
    ///
    /// # Errors
    /// Files that are missing or do not fit the run.
    pub fn dataset_as(&self, dir: &Path) -> Result<(Dataset, bool)> {
        let (dataset, is_own) = self.read_as(dir)?;
        let validation = if is_own { self.data.validation } else { 0.0 };
        Ok((dataset.hold_out(validation, self.data.seed)?, is_own))
    }

    /// The run's own data set, wherever it lies now, for a run that goes on.
    ///
    /// # Errors
    /// What [`dataset_as`](Self::dataset_as) refuses; other data than the run's.
    pub(super) fn own_dataset(&self, dir: &Path) -> Result<Dataset> {
        let (dataset, is_own) = self.read_as(dir)?;
        if !is_own {
            let found = format!("expected the data of the run, found other samples in {}", dataset.name);
            return Err(Error::config("data.source", found + "; --init-from starts a new run from its weights"));
        }
        self.split(dataset)
    }

    /// The data set for a new run that starts from the weights of the run in `dir`: its own, split anew, but read and scaled as
    /// that run's.
    ///
    /// # Errors
    /// What [`dataset_as`](Self::dataset_as) refuses.
    pub(super) fn dataset_after(&self, dir: &Path) -> Result<Dataset> {
        let (dataset, _) = self.read_as(dir)?;
        self.split(dataset)
    }

    /// The data set, read and scaled as the run in `dir` did, and whether it is the run's own.
    fn read_as(&self, dir: &Path) -> Result<(Dataset, bool)> {
        let encoding = encoding(dir)?;
        let dataset = self.found_source()?.load_as(self.data.seed, &encoding)?;
        let is_own = encoding.fingerprint.is_none() || encoding.fingerprint == dataset.encoding.fingerprint;
        Ok((scaled(dir, dataset)?, is_own))
    }

    /// The samples of one part alone, to be predicted, read and scaled as the run in `dir` did; the last part that is there,
    /// where none is named. Where the files have no targets, others stand in their place, and the second value is false.
    ///
    /// # Errors
    /// Files that are missing or do not fit the run; no such part.
    pub(super) fn inputs_as(&self, dir: &Path, part: Option<Part>) -> Result<(Dataset, bool)> {
        let encoding = encoding(dir)?;
        let source = self.found_source()?;
        let inputs = source.inputs(self.data.seed, &encoding, part)?;
        self.dataset_of(dir, &source.to_string(), encoding, inputs)
    }

    /// Samples at hand, to be predicted, scaled as those of the run in `dir`; else as [`inputs_as`](Self::inputs_as).
    ///
    /// # Errors
    /// Samples that do not fit the run.
    pub(super) fn samples_as(&self, dir: &Path, name: &str, inputs: Inputs) -> Result<(Dataset, bool)> {
        self.dataset_of(dir, name, encoding(dir)?, inputs)
    }

    /// The data set of samples that may have no targets, and whether they have.
    fn dataset_of(&self, dir: &Path, name: &str, encoding: Encoding, inputs: Inputs) -> Result<(Dataset, bool)> {
        let Inputs { features, shape, targets } = inputs;
        let rows = features.len() / shape.iter().product::<usize>().max(1);
        let outputs = if encoding.outputs > 0 { Some(encoding.outputs) } else { self.data.classes };
        let is_labelled = targets.is_some();
        let targets = match (targets, outputs) {
            (Some(targets), _) => targets,
            (None, Some(_)) if encoding.targets == Some(TargetKind::Labels) => Targets::Labels(vec![0; rows]),
            (None, Some(width)) => Targets::Values { width, values: vec![0.0; rows * width] },
            (None, None) => {
                let found = "expected targets, since the run does not say how many its network has, found none";
                return Err(Error::data(name, found));
            }
        };
        let samples = Samples { features, targets, weights: None };
        let mut dataset = Dataset::new(name, shape, samples, None)?;
        if let Some(classes) = outputs.filter(|_| dataset.is_classification()) {
            dataset = dataset.with_classes(classes)?;
        }
        dataset.classes.clone_from(&encoding.classes);
        dataset.encoding = encoding;
        Ok((scaled(dir, dataset)?, is_labelled))
    }

    /// A data set of one blank sample, read and scaled as the run in `dir` did, whose data need not be there.
    ///
    /// # Errors
    /// Files of the run that are missing or damaged.
    pub(super) fn blank_as(&self, dir: &Path) -> Result<Dataset> {
        scaled(dir, Dataset::blank(&dir.join(ENCODING), encoding(dir)?)?)
    }

    /// The source of the data, whose files are there.
    fn found_source(&self) -> Result<Source> {
        let source = self.data.source.parse::<Source>()?;
        match source.paths().into_iter().find(|path| !path.exists()) {
            None => Ok(source),
            Some(path) => {
                let text = format!("found nothing at {}; --data SOURCE names where the data lies now", path.display());
                Err(Error::config("data.source", text))
            }
        }
    }
}

/// How the run in `dir` read its data.
///
/// # Errors
/// The file is missing or damaged.
pub(super) fn encoding(dir: &Path) -> Result<Encoding> {
    let path = dir.join(ENCODING);
    let bad = |error| Error::data(&path, format!("expected how the run's data was read, found: {error}"));
    let mut object: Value = serde_json::from_str(&read_sealed(&path)?).map_err(bad)?;
    object.as_object_mut().map(|object| object.remove("checksum"));
    serde_json::from_value(object).map_err(bad)
}

/// The data set with features and targets scaled as those of the run in `dir`.
fn scaled(dir: &Path, mut dataset: Dataset) -> Result<Dataset> {
    let path = dir.join(NORMALIZATION);
    let bad = || Error::data(&path, "expected {scale, shift}, each with a number for every channel");
    let object: Value = serde_json::from_str(&read_sealed(&path)?).map_err(|_| bad())?;
    let numbers = |key: &str| -> Option<Vec<f64>> { object.get(key)?.as_array()?.iter().map(Value::as_f64).collect() };
    let (scale, shift) = (numbers("scale").ok_or_else(bad)?, numbers("shift").ok_or_else(bad)?);
    if scale.len() != shift.len() {
        return Err(bad());
    }
    let (wanted, found) = (scale.len(), dataset.shape[0]);
    if wanted != found {
        return Err(Error::data(&dataset.name, format!("expected {wanted} channels, as the run has, found {found}")));
    }
    dataset.normalization = Normalization { scale, shift };
    let Some(targets) = object.get("targets") else { return Ok(dataset) };
    let scaling = serde_json::from_value::<TargetScaling>(targets.clone());
    dataset.scale_targets(scaling.map_err(|error| Error::data(&path, format!("targets: {error}")))?)
}
