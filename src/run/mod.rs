//! A run as a folder: its configuration, metrics, summary and weights.
//!
//! | file | holds |
//! | --- | --- |
//! | `config.toml` | every setting of the run, resolved |
//! | `normalization.json` | `scale` and `shift` of each channel: the network sees `raw · scale + shift` |
//! | `kernels.json` | the form of each matrix product, with which the run can be resumed bit for bit |
//! | `metrics.jsonl` | a line every `log_every` steps: `step`, `epoch`, `lr`, `momentum`, `loss`, `accuracy` |
//! | `epochs.jsonl` | a line an epoch: losses and accuracies of the parts, seconds, samples per second |
//! | `summary.json` | the last evaluation, mean, deviation and each replica's; what ended the run |
//! | `weights.safetensors` | the weights; with several replicas `weights.0.safetensors` and so on |
//! | `weights.swa.safetensors` | those of SWA, where it is asked for, and likewise `ema`, `best` and `snapshot` |
//! | `checkpoint.safetensors` | all that the run needs to go on |

mod cache;
mod checkpoint;
mod config;
mod resolve;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::data::{Dataset, Normalization, Source};
use crate::device::{Device, Precision};
use crate::engine::{Engine, Evaluation, Setup, Slot};
use crate::error::{Error, Result};
use crate::gpu::forms::Forms;
use crate::gpu::{Measuring, Options};
use crate::model::Mlp;
use crate::train::{Epoch, Mean, Plan, Progress, StepReport};
use crate::weights;

pub use cache::{limits, remember_limits};
pub use checkpoint::Checkpoint;
pub use config::{Batch, Bytes, Config, DataConfig, ModelConfig, ScheduleConfig, TrainConfig};
pub use resolve::{Setting, setting};

impl Config {
    /// Loads, splits and normalises the data set.
    ///
    /// # Errors
    /// What [`Source::load`] and [`Dataset::hold_out`] refuse.
    pub fn dataset(&self) -> Result<Dataset> {
        let data = &self.data;
        let mut dataset = data.source.parse::<Source>()?.load(data.seed)?;
        if let Some(classes) = data.classes {
            dataset = dataset.with_classes(classes)?;
        }
        Ok(dataset.hold_out(data.validation, data.seed)?.normalize(data.normalize))
    }

    /// What the engine is built for.
    ///
    /// # Errors
    /// A model that cannot be.
    pub fn setup(&self, dataset: Dataset) -> Result<Setup> {
        let ModelConfig { hidden, activation, norm, residual, dropout, .. } = &self.model;
        let model = Mlp::new(dataset.width(), hidden, dataset.outputs, *activation)?;
        let model = Mlp { norm: *norm, residual: *residual, dropout: *dropout, ..model };
        let batch = self.train.batch_of(dataset.train.len());
        let setup = Setup::new(model, Arc::new(dataset));
        Ok(Setup {
            loss: self.model.loss.unwrap_or(setup.loss),
            label_smoothing: self.model.label_smoothing,
            augment: self.augment.clone(),
            optimizer: self.optimizer,
            decay: self.train.decay,
            clip_norm: self.train.clip_norm,
            average: self.average.clone(),
            keep_best: self.stop.keeps_best(),
            seed: self.train.seed,
            replicas: self.train.replicas,
            batch,
            ..setup
        })
    }

    fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::config("config", error.to_string()))
    }

    /// What the trainer does.
    pub fn plan(&self) -> Plan {
        Plan {
            epochs: self.train.epochs,
            drop_last: self.train.drop_last,
            order: self.train.order,
            schedule: self.schedule.schedule.clone(),
            schedule_unit: self.schedule.unit,
            stop: self.stop.clone(),
            eval_every: self.train.eval_every,
        }
    }

    /// Opens the engine, and says in words why it is this one.
    ///
    /// Its matrix products have the forms `recorded`; without a record, those that were once measured on the adapter, and
    /// `measuring` is told of each that is measured now; without `train.tune`, the built-in ones.
    ///
    /// # Errors
    /// What [`Device::open`] refuses.
    pub fn engine(
        &self,
        setup: Setup,
        recorded: Option<Forms>,
        measuring: Measuring,
    ) -> Result<(Box<dyn Engine>, String)> {
        let (adapter, reason) = self.train.device.parse::<Device>()?.find(self.train.precision)?;
        let mut options = Options { memory: self.train.memory.map(|bytes| bytes.0), ..Options::default() };
        let tuned = adapter.as_ref().filter(|_| self.train.tune && recorded.is_none());
        if let Some(adapter) = tuned {
            options.forms = cache::forms(adapter);
            options.measure = Some(measuring);
        } else {
            options.forms = recorded.unwrap_or_default();
        }
        let engine = Device::build(adapter.as_ref().map(|a| a.index), self.train.precision, setup, options)?;
        if let Some(adapter) = tuned {
            cache::add_forms(adapter, engine.forms());
        }
        Ok((engine, reason))
    }
}

/// A run's folder, open for writing.
pub struct Run {
    dir: PathBuf,
    metrics: BufWriter<File>,
    epochs: BufWriter<File>,
    /// Whether accuracies mean something.
    is_classification: bool,
}

/// The forms of the engine's products, in a run's folder and, of each adapter, in the user's folder of caches.
const FORMS: &str = "kernels.json";

/// The files that a run writes beside its weights.
const FILES: [&str; 7] =
    ["config.toml", "normalization.json", FORMS, "metrics.jsonl", "epochs.jsonl", "summary.json", checkpoint::FILE];

impl Run {
    /// Makes the folder, `dir` or else the first free one of `runs/1`, `runs/2`, ..., and writes the configuration,
    /// the normalisation and the forms of the engine's products. A folder that holds a run is refused unless `overwrite`.
    ///
    /// # Errors
    /// The folder cannot be made or written, or holds a run; what was written then is removed.
    pub fn create(
        dir: Option<&Path>,
        overwrite: bool,
        config: &Config,
        dataset: &Dataset,
        forms: &Forms,
    ) -> Result<Self> {
        let dir = match dir {
            Some(dir) => {
                Self::check(dir, overwrite)?;
                fs::create_dir_all(dir).map_err(Error::io(dir))?;
                dir.to_path_buf()
            }
            None => new_dir()?,
        };
        for path in run_files(&dir) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        Self::begin(&dir, config, dataset, forms).inspect_err(|_| {
            // That the rest of a failed start cannot be removed either is less telling than why it failed.
            run_files(&dir).iter().for_each(|path| drop(fs::remove_file(path)));
            let _ = fs::remove_dir(&dir);
        })
    }

    fn begin(dir: &Path, config: &Config, dataset: &Dataset, forms: &Forms) -> Result<Self> {
        let write = |name: &str, text: String| fs::write(dir.join(name), text).map_err(Error::io(&dir.join(name)));
        write("config.toml", config.to_toml()?)?;
        let Normalization { scale, shift } = &dataset.normalization;
        write("normalization.json", json!({ "scale": scale, "shift": shift }).to_string() + "\n")?;
        let forms = serde_json::to_string_pretty(forms).map_err(|error| Error::config("kernels", error.to_string()))?;
        write(FORMS, forms + "\n")?;
        let open = |name: &str| {
            let path = dir.join(name);
            File::create(&path).map(BufWriter::new).map_err(Error::io(&path))
        };
        let (metrics, epochs) = (open("metrics.jsonl")?, open("epochs.jsonl")?);
        Ok(Self { dir: dir.into(), metrics, epochs, is_classification: dataset.is_classification() })
    }

    /// Opens the folder of a run that is to go on after `progress`, whose later lines are dropped.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn resume(dir: &Path, config: &Config, progress: &Progress, steps: u64, dataset: &Dataset) -> Result<Self> {
        weights::write_whole(&dir.join("config.toml"), config.to_toml()?.into_bytes())?;
        let open = |name: &str, key: &str, end: u64| -> Result<BufWriter<File>> {
            let path = dir.join(name);
            let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
            let is_before = |line: &&str| {
                let line: Option<Value> = serde_json::from_str(line).ok();
                line.is_some_and(|line| line[key].as_u64().is_some_and(|at| at < end))
            };
            let kept: String = text.lines().take_while(is_before).flat_map(|line| [line, "\n"]).collect();
            weights::write_whole(&path, kept.into_bytes())?;
            File::options().append(true).open(&path).map(BufWriter::new).map_err(Error::io(&path))
        };
        let metrics = open("metrics.jsonl", "step", steps)?;
        let epochs = open("epochs.jsonl", "epoch", progress.epoch)?;
        Ok(Self { dir: dir.into(), metrics, epochs, is_classification: dataset.is_classification() })
    }

    /// The lines of `epochs.jsonl`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn epochs_so_far(&self) -> Result<Vec<Value>> {
        let path = self.dir.join("epochs.jsonl");
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Refuses a folder that holds a run, unless `overwrite`.
    ///
    /// # Errors
    /// As said.
    pub fn check(dir: &Path, overwrite: bool) -> Result<()> {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::config("--run", format!("expected a folder, found a file at {}", dir.display())));
        }
        match run_files(dir).first() {
            Some(file) if !overwrite => Err(Error::config(
                "--run",
                format!("expected a folder without a run, found {}; --overwrite replaces it", file.display()),
            )),
            _ => Ok(()),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a step's line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn step(&mut self, step: &StepReport) -> Result<()> {
        let all = step.replicas;
        let losses: Vec<f64> = all.iter().map(|m| m.loss).collect();
        let accuracies: Vec<f64> = all.iter().map(|m| m.correct as f64 / step.rows as f64).collect();
        let mut line = json!({
            "step": step.step, "epoch": step.epoch, "lr": step.rate.lr, "momentum": step.rate.momentum,
            "loss": number(mean(&losses)),
        });
        if all.len() > 1 {
            line["losses"] = losses.iter().map(|&loss| number(loss)).collect();
        }
        if self.is_classification {
            line["accuracy"] = json!(mean(&accuracies));
            if all.len() > 1 {
                line["accuracies"] = json!(accuracies);
            }
        }
        let norms: Vec<f64> = all.iter().filter_map(|m| m.grad_norm).collect();
        if !norms.is_empty() {
            line["grad_norm"] = number(mean(&norms));
        }
        if all.iter().any(|m| m.loss_scale.is_some()) {
            line["loss_scales"] = all.iter().filter_map(|m| m.loss_scale).collect();
        }
        self.write("metrics.jsonl", &line)
    }

    /// Writes an epoch's line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        let mut line = json!({ "epoch": epoch.epoch, "steps": epoch.steps, "lr": epoch.lr });
        for (part, evaluations) in parts(epoch) {
            for (name, value) in statistics(&part, evaluations, self.is_classification) {
                line[name] = value;
            }
        }
        line["seconds"] = json!(epoch.seconds);
        line["samples_per_second"] = json!(epoch.samples_per_second);
        self.write("epochs.jsonl", &line)?;
        self.metrics.flush().map_err(Error::io(&self.dir.join("metrics.jsonl")))?;
        self.epochs.flush().map_err(Error::io(&self.dir.join("epochs.jsonl")))
    }

    /// Writes the weights of all replicas, those of `means`, and the summary. Means that are not finite, as those of a
    /// diverged run may be, are left out.
    ///
    /// # Errors
    /// A file cannot be written, or the device is lost.
    pub fn finish(
        &mut self,
        engine: &mut dyn Engine,
        precision: Precision,
        means: &[(&str, Vec<Slot>)],
        summary: &Value,
    ) -> Result<()> {
        self.metrics.flush().map_err(Error::io(&self.dir.join("metrics.jsonl")))?;
        let replicas = engine.setup().replicas;
        for slot in means.iter().flat_map(|(_, slots)| slots).chain(&[Slot::Live]) {
            for r in 0..replicas {
                let values = engine.weights(*slot, r)?;
                let path = weight_file(&self.dir, *slot, r, replicas);
                if values.iter().all(|w| w.is_finite()) {
                    weights::write(&path, engine.layout(), &values, precision)?;
                } else if path.exists() {
                    fs::remove_file(&path).map_err(Error::io(&path))?;
                }
            }
        }
        let path = self.dir.join("summary.json");
        let text = serde_json::to_string_pretty(summary).unwrap_or_default() + "\n";
        fs::write(&path, text).map_err(Error::io(&path))
    }

    fn write(&mut self, name: &str, line: &Value) -> Result<()> {
        let file = if name == "metrics.jsonl" { &mut self.metrics } else { &mut self.epochs };
        writeln!(file, "{line}").map_err(Error::io(&self.dir.join(name)))
    }
}

/// Where one replica's weights in `slot` lie: `weights.safetensors`, `weights.0.safetensors`, `weights.swa.safetensors`,
/// `weights.snapshot.3.0.safetensors`; the last number is the replica's, where there are several.
pub fn weight_file(dir: &Path, slot: Slot, r: usize, replicas: usize) -> PathBuf {
    let slot = if slot == Slot::Live { String::new() } else { format!(".{}", slot.name()) };
    let replica = if replicas == 1 { String::new() } else { format!(".{r}") };
    dir.join(format!("weights{slot}{replica}.safetensors"))
}

/// Everything that was evaluated after an epoch, with its name: `train`, `test`, `swa_test`, ...
pub fn parts(epoch: &Epoch) -> Vec<(String, &Vec<Evaluation>)> {
    let mut parts = vec![
        ("train".to_string(), Some(&epoch.train)),
        ("validation".to_string(), epoch.validation.as_ref()),
        ("test".to_string(), epoch.test.as_ref()),
    ];
    for Mean { name, validation, test } in &epoch.means {
        parts.push((format!("{name}_validation"), validation.as_ref()));
        parts.push((format!("{name}_test"), test.as_ref()));
    }
    parts.into_iter().filter_map(|(name, e)| Some((name, e.filter(|e| !e.is_empty())?))).collect()
}

/// Makes the first of `runs/1`, `runs/2`, ... that is not there, so that two runs that start together get one each.
fn new_dir() -> Result<PathBuf> {
    let runs = Path::new("runs");
    fs::create_dir_all(runs).map_err(Error::io(runs))?;
    for i in 1u64.. {
        let dir = runs.join(i.to_string());
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(Error::io(&dir)).map(|()| dir),
        }
    }
    Err(Error::config("--run", "expected a number that is free in runs, found none"))
}

/// The files of a run that lie in `dir`.
fn run_files(dir: &Path) -> Vec<PathBuf> {
    let is_weights = |name: &str| {
        let inner = name.strip_prefix("weights").and_then(|name| name.strip_suffix(".safetensors"));
        inner.is_some_and(|inner| {
            let mut parts = inner.split('.');
            parts.next() == Some("")
                && parts
                    .all(|part| matches!(part, "swa" | "ema" | "best" | "snapshot") || part.parse::<usize>().is_ok())
        })
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| FILES.contains(&name) || is_weights(name)))
        .map(|entry| entry.path())
        .collect()
}

/// The forms of the engine's products that the run in `dir` has used.
///
/// # Errors
/// The file cannot be read or understood.
pub fn forms(dir: &Path) -> Result<Forms> {
    let path = dir.join(FORMS);
    let text = fs::read(&path).map_err(Error::io(&path))?;
    serde_json::from_slice(&text).map_err(|error| Error::data(path.display().to_string(), error.to_string()))
}

/// The normalisation that the run in `dir` was trained with.
///
/// # Errors
/// The file is missing or holds something else.
pub fn normalization(dir: &Path) -> Result<Normalization> {
    let path = dir.join("normalization.json");
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let bad = || Error::data(&path, "expected {scale, shift}, each with a number for every channel");
    let object: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let numbers = |key: &str| -> Option<Vec<f64>> { object.get(key)?.as_array()?.iter().map(Value::as_f64).collect() };
    let (scale, shift) = (numbers("scale").ok_or_else(bad)?, numbers("shift").ok_or_else(bad)?);
    if scale.len() == shift.len() { Ok(Normalization { scale, shift }) } else { Err(bad()) }
}

/// `PART_loss` and, for a classification, `PART_accuracy`, each with mean, deviation and every replica's.
pub fn statistics(part: &str, evaluations: &[Evaluation], is_classification: bool) -> Vec<(String, Value)> {
    let entry = |name: &str, values: Vec<f64>| {
        let replicas: Vec<Value> = values.iter().map(|&v| number(v)).collect();
        let value = json!({
            "mean": number(mean(&values)), "deviation": number(deviation(&values)), "replicas": replicas,
        });
        (format!("{part}_{name}"), value)
    };
    let mut entries = vec![entry("loss", evaluations.iter().map(|e| e.loss).collect())];
    if is_classification {
        entries.push(entry("accuracy", evaluations.iter().map(|e| e.accuracy).collect()));
    }
    entries
}

/// A JSON number; one that is not finite becomes text, since JSON has no such number.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

/// Arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample deviation, with n − 1; 0 for a single value.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}
