//! The weights that a run left, on an engine that evaluates and predicts.

use std::path::Path;

use toml::Value;

use super::checkpoint::Checkpoint;
use super::data::encoding;
use super::folder::{is_interrupted, read_config, weight_file};
use super::{Config, Setting, checkpoint_weights};
use crate::data::{Dataset, Encoding, Inputs, Part, Samples, Source, Targets};
use crate::device::Device;
use crate::engine::{Engine, Evaluation, Layout, Precision, Setup, Slot};
use crate::error::{Error, Result};
use crate::export::safetensors;
use crate::gpu::Measuring;
use crate::score::Scores;

/// A run that was trained: everything that its folder holds of weights, on an engine.
pub struct Trained {
    /// The configuration of the run, with what was asked for instead.
    pub config: Config,
    /// The reason why the engine is where it is, in words.
    pub reason: String,
    /// The position in the run of the checkpoint that the weights are of, since the run was interrupted.
    pub checkpoint: Option<Position>,
    /// What is wrong in the folder, and did not keep the run from being read, a line each.
    pub warnings: Vec<String>,
    /// The name of the part that stands in the place of the training part.
    first: &'static str,
    /// Whether the samples have targets.
    has_targets: bool,
    engine: Box<dyn Engine>,
    weights: Vec<Which>,
}

/// A position in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of whole epochs.
    pub epochs: u64,
    /// The number of steps, those of an epoch under way too.
    pub steps: u64,
}

/// A set of weights that a run left, or the ensemble of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// The name: `last`, `swa`, `ema`, `best`, or `snapshots` for the ensemble of them all.
    pub name: String,
    /// The slots whose predictions are averaged.
    pub slots: Vec<Slot>,
}

impl Trained {
    /// Opens the run in `dir`: its own data, or what `data` names instead, scaled as the run's; its own device, or another.
    /// `measuring` is told of each matrix product whose forms are measured.
    ///
    /// # Errors
    /// A folder without a run or without weights, data of another shape, no such device.
    pub fn open(dir: &Path, data: Option<&str>, device: Option<&str>, measuring: Measuring) -> Result<Self> {
        let config = configuration(dir, data, device)?;
        let (dataset, is_own) = config.dataset_as(dir)?;
        let first = if is_own || dataset.test.is_some() { "train" } else { "data" };
        Self::on(dir, config, dataset, first, measuring)
    }

    /// Opens the run in `dir` to predict for one part of `data`, which need not have targets: of the files, the last that is
    /// there where none is named; or of the run, if the data are its own. Else as [`open`](Self::open).
    ///
    /// # Errors
    /// What [`open`](Self::open) refuses; no such part.
    pub fn open_inputs(
        dir: &Path,
        data: &str,
        part: Option<&str>,
        device: Option<&str>,
        measuring: Measuring,
    ) -> Result<Self> {
        let config = configuration(dir, Some(data), device)?;
        // The run's own data, wherever they lie now, have its parts.
        if part.is_some()
            && let Ok((dataset, true)) = config.dataset_as(dir)
        {
            return Self::on(dir, config, dataset, "train", measuring);
        }
        let (part, first) = match part {
            None => (None, "data"),
            Some("data") => (Some(Part::Train), "data"),
            Some("train") => (Some(Part::Train), "train"),
            Some("test") => (Some(Part::Test), "test"),
            Some(name) => {
                let found = format!("expected train or test, the parts that files have, found {name}");
                return Err(Error::config("--part", found));
            }
        };
        let (dataset, has_targets) = config.inputs_as(dir, part)?;
        Ok(Self { has_targets, ..Self::on(dir, config, dataset, first, measuring)? })
    }

    /// Opens the run in `dir` to predict for samples at hand, `name` in errors, whose part is called `data`; the run's own data
    /// need not be there. Else as [`open`](Self::open).
    ///
    /// # Errors
    /// A folder without a run or without weights, samples that do not fit the run, no such device.
    pub fn open_samples(
        dir: &Path,
        name: &str,
        samples: Inputs,
        device: Option<&str>,
        measuring: Measuring,
    ) -> Result<Self> {
        let config = configuration(dir, None, device)?;
        let (dataset, has_targets) = config.samples_as(dir, name, samples)?;
        Ok(Self { has_targets, ..Self::on(dir, config, dataset, "data", measuring)? })
    }

    /// Opens the run in `dir` for its weights alone, on the CPU: its data need not be there, and it has one blank sample in their
    /// place.
    ///
    /// # Errors
    /// A folder without a run or without weights.
    pub fn open_weights(dir: &Path) -> Result<Self> {
        let config = configuration(dir, None, Some("cpu"))?;
        let dataset = config.blank_as(dir)?;
        Self::on(dir, config, dataset, "data", |_| {})
    }

    fn on(dir: &Path, mut config: Config, dataset: Dataset, first: &'static str, measuring: Measuring) -> Result<Self> {
        // Losses are summed up batch by batch, and so repeat their bits.
        let samples = dataset.train.len();
        config.train.batch = config.train.batch.filter(|_| config.train.batch_of(samples) <= samples);
        let setup = Setup { evaluation_only: true, ..config.setup(dataset)? };
        let (mut engine, reason) = config.engine(setup, measuring)?;
        let mut warnings = Vec::new();
        let (slots, checkpoint) = load(engine.as_mut(), dir, &config, &mut warnings)?;
        let weights = ensembles(slots);
        Ok(Self { config, reason, checkpoint, warnings, first, has_targets: true, engine, weights })
    }

    /// The setup of the engine, with its data set.
    pub fn setup(&self) -> &Setup {
        self.engine.setup()
    }

    /// The name of the device.
    pub fn device(&self) -> String {
        self.engine.describe()
    }

    /// The weights that the run left, the last ones first.
    pub fn weights(&self) -> &[Which] {
        &self.weights
    }

    /// The weights of this name.
    ///
    /// # Errors
    /// The run left none of this name; the text names those that it left.
    pub fn which(&self, name: &str) -> Result<Which> {
        self.weights.iter().find(|which| which.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = self.weights.iter().map(|which| which.name.as_str()).collect();
            let found = format!("expected one of {}, which the run has, found {name:?}", names.join(", "));
            Error::config("--weights", found)
        })
    }

    /// The values of one replica's weights, in the layout's order: those of a name, or of a snapshot, `snapshot.0`, or those
    /// in a safetensors file.
    ///
    /// # Errors
    /// No such weights or replica; a file whose tensors do not fit the model.
    pub fn values(&mut self, name: &str, replica: usize) -> Result<Vec<f64>> {
        let mut slots = self.weights.iter().flat_map(|which| which.slots.iter().map(|slot| (&which.name, *slot)));
        if let Some((_, slot)) =
            slots.find(|(which, slot)| *which == name && name != "snapshots" || slot.name() == name)
        {
            return self.engine.download(slot, replica);
        }
        let path = Path::new(name);
        if path.exists() {
            return safetensors::read(path, self.engine.layout(), self.config.train.precision);
        }
        let names = self.weights.iter().flat_map(|which| match &which.name[..] {
            "snapshots" => which.slots.iter().map(|slot| slot.name()).collect(),
            name => vec![name.to_string()],
        });
        let names: Vec<String> = names.collect();
        let found = format!("expected one of {}, which the run has, or a file, found {name:?}", names.join(", "));
        Err(Error::config("weights", found))
    }

    /// The layout of the weights.
    pub fn layout(&self) -> &Layout {
        self.engine.layout()
    }

    /// The configuration and the setup, without the engine.
    pub fn into_setup(self) -> (Config, Setup) {
        let setup = self.engine.setup().clone();
        (self.config, setup)
    }

    /// The parts that the data have, by name: `train`, `validation` and `test`; other data than the run's, of one part, are
    /// `data`, since nothing was trained on them. Of [`open_inputs`](Self::open_inputs)
    /// and [`open_samples`](Self::open_samples) it is the one part that there is.
    pub fn parts(&self) -> Vec<(&'static str, Part)> {
        let dataset = &self.setup().dataset;
        let parts = [(self.first, Part::Train), ("validation", Part::Validation), ("test", Part::Test)];
        parts.into_iter().filter(|(_, part)| dataset.part(*part).is_some()).collect()
    }

    /// The part of this name; without a name the last that is there.
    ///
    /// # Errors
    /// The data have no such part; the text names those that they have.
    pub fn part(&self, name: Option<&str>) -> Result<(&'static str, Part)> {
        let parts = self.parts();
        let found = parts.iter().rev().find(|(part, _)| name.is_none_or(|name| name == *part));
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
            let found = format!(
                "expected one of {}, which the data have, found {}",
                names.join(", "),
                name.unwrap_or_default()
            );
            Error::config("--part", found)
        })
    }

    /// The samples of a part.
    ///
    /// # Errors
    /// The data set has no such part.
    pub fn samples(&self, part: Part) -> Result<&Samples> {
        let dataset = &self.setup().dataset;
        dataset.part(part).ok_or_else(|| dataset.missing(part))
    }

    /// Loss and accuracy over a part, one a replica; every sample counts alike.
    ///
    /// # Errors
    /// No such part; the device is lost.
    pub fn evaluate(&mut self, part: Part, which: &Which) -> Result<Vec<Evaluation>> {
        self.engine.evaluate(part, &which.slots)
    }

    /// The scores over a part, the answers of all replicas together; every sample counts alike.
    ///
    /// # Errors
    /// No such part; the device is lost.
    pub fn score(&mut self, part: Part, which: &Which) -> Result<Scores> {
        let targets = self.known_targets(part)?;
        let outputs = self.predict_part(part, which)?;
        Ok(Scores::of(&targets, &outputs, self.setup().loss))
    }

    /// The targets of a part by which predictions are scored, as [`targets`](Self::targets) has them.
    ///
    /// # Errors
    /// No such part; files without targets.
    pub fn known_targets(&self, part: Part) -> Result<Targets> {
        self.targets(part)?.ok_or_else(|| {
            Error::data(&self.setup().dataset.name, "expected targets, by which predictions are scored, found none")
        })
    }

    /// The targets of a part, those of a regression in their own units; none where the samples have none.
    ///
    /// # Errors
    /// No such part.
    pub fn targets(&self, part: Part) -> Result<Option<Targets>> {
        let mut targets = self.samples(part)?.targets.clone();
        if let Some(scaling) = &self.setup().dataset.target_scaling {
            scaling.restore_targets(&mut targets);
        }
        Ok(self.has_targets.then_some(targets))
    }

    /// What the network says of the samples of a part, as [`Engine::predict`] does.
    ///
    /// # Errors
    /// No such part; the device is lost.
    pub fn predict_part(&mut self, part: Part, which: &Which) -> Result<Vec<Vec<f64>>> {
        let dataset = self.setup().dataset.clone();
        let samples = dataset.part(part).ok_or_else(|| dataset.missing(part))?;
        self.engine.predict(&samples.features, &which.slots)
    }
}

/// The shape of the images that the run in `dir` was trained on: channels, 1 or 3, height and width; to it pictures are brought,
/// whose network sees them as those.
///
/// # Errors
/// No run; one whose data are no images, of other values than bytes, or of other channels.
pub fn picture_shape(dir: &Path) -> Result<[usize; 3]> {
    let config = Config::resolve(read_config(dir)?, Vec::new(), Vec::new())?;
    let source: Source = config.data.source.parse()?;
    let Encoding { shape, pixels, .. } = encoding(dir)?;
    let found = match shape {
        None => "data of a shape that was not recorded".into(),
        Some([features, 1, 1]) => format!("a table of {features} features"),
        Some([channels @ (1 | 3), height, width]) => match pixels || source.has_pixels() {
            true => return Ok([channels, height, width]),
            false => "images of other values than bytes, whose scale nothing tells".into(),
        },
        Some([channels, ..]) => format!("images of {channels} channels"),
    };
    let wanted = "expected a run on images of bytes, 0 to 255, with 1 or 3 channels, to which pictures can be brought";
    Err(Error::data(dir, format!("{wanted}, found {found}; --data takes samples in the run's own form")))
}

/// The configuration of the run in `dir`, with other data or another device, for what is not training.
fn configuration(dir: &Path, data: Option<&str>, device: Option<&str>) -> Result<Config> {
    let settings = [("data.source", data), ("train.device", device)];
    let setting = |(key, text): (&str, Option<&str>)| Some((key.to_string(), Value::String(text?.into())));
    let settings: Vec<Setting> = settings.into_iter().filter_map(setting).collect();
    let mut config = Config::resolve(read_config(dir)?, settings, Vec::new())?;
    // What only training asks for.
    config.data.weights = None;
    // The weights of a run in mixed precision are f32, and without a GPU they are evaluated as such.
    let device: Device = config.train.device.parse()?;
    if config.train.precision == Precision::Mixed && device.find(Precision::Mixed)?.0.is_none() {
        config.train.precision = Precision::F32;
    }
    Ok(config)
}

/// Hands the engine what the run left, and returns those slots: all whose files are there. Of a run that was interrupted it is
/// what its checkpoint holds, whose position is returned too.
fn load(
    engine: &mut dyn Engine,
    dir: &Path,
    config: &Config,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Slot>, Option<Position>)> {
    if is_interrupted(dir)
        && let Some(checkpoint) = Checkpoint::newest(dir, warnings)?
    {
        let position = Position { epochs: checkpoint.progress.epoch, steps: checkpoint.steps };
        return Ok((checkpoint_weights(&checkpoint, engine)?, Some(position)));
    }
    let replicas = config.train.replicas;
    let mut kept = [engine.setup().slots(), vec![Slot::Best]].concat();
    kept.retain(|&slot| (0..replicas).all(|r| weight_file(dir, slot, r, replicas).exists()));
    if !kept.contains(&Slot::Live) {
        let found = "expected weights or a checkpoint, found neither; train --resume goes on with a run that was interrupted \
                     after a checkpoint (train.checkpoint_every)";
        return Err(Error::data(dir, found));
    }
    if kept.contains(&Slot::Best) {
        engine.allocate(Slot::Best)?;
    }
    for &slot in &kept {
        for r in 0..replicas {
            let path = weight_file(dir, slot, r, replicas);
            let weights = safetensors::read(&path, engine.layout(), config.train.precision)?;
            engine.upload(slot, r, &weights)?;
        }
    }
    Ok((kept, None))
}

/// Each slot by itself, and all snapshots together.
fn ensembles(slots: Vec<Slot>) -> Vec<Which> {
    let (snapshots, single): (Vec<Slot>, Vec<Slot>) =
        slots.into_iter().partition(|slot| matches!(slot, Slot::Snapshot(_)));
    let name = |slot: Slot| if slot == Slot::Live { "last".into() } else { slot.name() };
    let mut all: Vec<Which> = single.into_iter().map(|slot| Which { name: name(slot), slots: vec![slot] }).collect();
    if !snapshots.is_empty() {
        all.push(Which { name: "snapshots".into(), slots: snapshots });
    }
    all
}
