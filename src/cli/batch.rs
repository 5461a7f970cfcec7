//! `thalweg bench batch`: what each batch size costs, and which to take.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde_json::{Value, json};
use thalweg::average::Average;
use thalweg::engine::{Engine, Limits, Setup};
use thalweg::explore::{
    CriticalBatch, LrRule, Recommendation, StepsToTarget, Target, Trials, critical_batch, noise_scale, reach,
    recommend, speed, with_batch,
};
use thalweg::model::Norm;
use thalweg::plan::Plan;
use thalweg::report::{BatchSize, batch_picture, check_csv_name, write_batch_csv};
use thalweg::run::{Config, machine};
use thalweg::train::Trainer;

use super::date::today;
use super::settings::Settings;
use super::speeds::{limits_table, measure_limits, numbers, open, speed_cells};
use super::{output, say, targets, wrap};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Powers of two, as 1..8192, or a list, as 1,32,100 [default: 1..8192, as far as data and model allow]
    #[arg(long, value_name = "LIST")]
    batches: Option<String>,
    /// Train at every batch size until this test accuracy, for at most --epochs
    #[arg(long, value_name = "ACCURACY")]
    to: Option<f64>,
    /// With --to, so many seeds at every batch size, from train.seed on, one after the other [default: 1]
    #[arg(long, value_name = "N", requires = "to", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// With --to, evaluations an epoch: a time to the target is known to one of them [default: 10]
    #[arg(long, value_name = "N", requires = "to", value_parser = clap::value_parser!(u64).range(1..))]
    evaluations: Option<u64>,
    /// How the learning rate follows the batch size from --batch, at which it is --lr: linear, sqrt or none
    #[arg(long, value_name = "RULE", default_value = "sqrt")]
    lr_rule: String,
    /// Measure the gradient noise scale, before training and after an epoch
    #[arg(long)]
    noise_scale: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw throughput and time to the target by batch size into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// With --to, write a row a batch size and seed into this file
    #[arg(long, value_name = "FILE.csv", requires = "to")]
    csv: Option<PathBuf>,
}

/// The columns of the table of speeds and their widths.
const COLUMNS: [(&str, usize); 7] =
    [("batch", 5), ("ms a step", 9), ("samples/s", 10), ("GFLOP/s", 7), ("limit", 5), ("MiB", 7), ("lr", 8)];
/// The most samples of a step that are tried by default.
const MOST: usize = 8192;
/// Pairs of gradients that a noise scale is averaged over.
const NOISE_PAIRS: usize = 40;
/// The evaluations an epoch by default.
const EVALUATIONS: u64 = 10;

/// All that was measured, and on what.
struct Study<'a> {
    args: &'a Args,
    config: &'a Config,
    /// The device and, after a colon, why it is that one.
    device: String,
    limits: Limits,
    sizes: Vec<BatchSize>,
    noise: Option<[Option<f64>; 2]>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.settings.resolve()?;
    let setup = config.setup(config.dataset()?)?;
    args.check(&setup)?;
    let setups = args.setups(&config, &setup)?;
    if args.svg.is_some() || args.csv.is_some() {
        output::go_on();
    }
    let (mut engine, device) = open(&config, setup)?;
    let limits = measure_limits(engine.as_mut())?;
    if !args.json {
        say!("{}\n\n{}\n", wrap("device  ", &device), limits_table(&limits));
    }
    let noise = if args.noise_scale { Some(noise_scales(&config, engine)?) } else { None };
    let mut study = Study { args, config: &config, device, limits, sizes: Vec::new(), noise };
    study.measure(&setups)?;
    if let Some(target) = args.target() {
        study.train(target, &setups)?;
    }
    study.conclude()
}

impl Args {
    /// Refuses what would fail only after hours.
    fn check(&self, setup: &Setup) -> anyhow::Result<()> {
        if let Some(path) = &self.csv {
            check_csv_name(path)?;
        }
        for (flag, path) in [("--svg", &self.svg), ("--csv", &self.csv)] {
            let dir = path.as_ref().and_then(|path| path.parent()).filter(|dir| !dir.as_os_str().is_empty());
            let is_there = dir.is_none_or(Path::is_dir);
            let dir = dir.unwrap_or(Path::new("")).display();
            ensure!(is_there, "{flag}: expected a file in a folder that is there, found none at {dir}; make it first");
        }
        let (seeds, replicas) = (self.seeds.unwrap_or(1), setup.replicas);
        ensure!(
            seeds == 1 || replicas == 1,
            "--seeds: expected one replica, since each has a seed of its own, found {replicas}; leave --replicas out"
        );
        Ok(())
    }

    fn target(&self) -> Option<Target> {
        self.to.map(|accuracy| Target { accuracy, evaluations: self.evaluations.unwrap_or(EVALUATIONS) })
    }

    fn rule(&self) -> anyhow::Result<LrRule> {
        serde_json::from_value(json!(self.lr_rule))
            .map_err(|_| anyhow::anyhow!("--lr-rule: expected linear, sqrt or none, found {:?}", self.lr_rule))
    }

    /// A setup for each batch size, with its rate. Of those that nobody asked for by name, what the model or the run refuses is
    /// left out.
    fn setups(&self, config: &Config, setup: &Setup) -> anyhow::Result<Vec<Setup>> {
        let (rule, samples) = (self.rule()?, setup.dataset.train.len());
        let batches = match &self.batches {
            Some(text) => numbers("--batches", text)?,
            None => numbers("--batches", &format!("1..{}", samples.min(MOST)))?,
        };
        let of_batch = |batch: usize| -> thalweg::Result<Setup> {
            let optimizer = setup.optimizer.with_lr(setup.optimizer.lr() * rule.factor(batch, setup.batch));
            // What is reached and measured is the training; averages beside it would only take time.
            let average = Average { lookahead: setup.average.lookahead, ..Average::default() };
            let setup = Setup { optimizer, average, ..with_batch(setup, batch)? };
            setup.check(f64::MAX)?;
            if let Some(target) = self.target() {
                target.plan(&setup, config.plan())?;
            }
            Ok(setup)
        };
        let (fit, refused): (Vec<_>, Vec<_>) = batches.into_iter().map(of_batch).partition(Result::is_ok);
        match refused.into_iter().find_map(Result::err) {
            Some(error) if self.batches.is_some() || fit.is_empty() => Err(error.into()),
            _ => Ok(fit.into_iter().flatten().collect()),
        }
    }
}

impl Study<'_> {
    /// Measures the speed of steps at each size. Line by line, since each takes a while.
    fn measure(&mut self, setups: &[Setup]) -> anyhow::Result<()> {
        let header = COLUMNS.map(|(name, _)| name.to_string());
        self.say(|| targets::line(&header, &COLUMNS));
        for setup in setups {
            let (mut engine, _) = open(self.config, setup.clone())?;
            let speed = speed(engine.as_mut(), &self.limits)?;
            let size = BatchSize { speed, lr: setup.optimizer.lr(), trials: None };
            self.say(|| targets::line(&cells(&size), &COLUMNS));
            self.sizes.push(size);
        }
        Ok(())
    }

    /// Trains to the target at each size, seed after seed.
    fn train(&mut self, target: Target, setups: &[Setup]) -> anyhow::Result<()> {
        let seeds = self.args.seeds.unwrap_or(1);
        self.say(|| format!("\n{}", targets::heading(seeds as usize)));
        for (i, setup) in setups.iter().enumerate() {
            let mut trials = Trials { batch: setup.batch, trials: Vec::new() };
            for seed in (0..seeds).map(|r| setup.seed.wrapping_add(r)) {
                let (engine, _) = open(self.config, Setup { seed, ..setup.clone() })?;
                trials.trials.push(reach(engine, self.config.model.init, target, self.config.plan())?);
            }
            self.say(|| targets::row(&trials));
            self.sizes[i].trials = Some(trials);
        }
        Ok(())
    }

    /// Prints a line where no JSON is asked for.
    fn say(&self, line: impl FnOnce() -> String) {
        if !self.args.json {
            say!("{}", line());
        }
    }

    fn trials(&self) -> Vec<&Trials> {
        self.sizes.iter().filter_map(|size| size.trials.as_ref()).collect()
    }

    /// The critical batch size, or why there is none; nothing without a target.
    fn critical(&self) -> Option<thalweg::Result<CriticalBatch>> {
        self.args.to?;
        let steps: Vec<StepsToTarget> = self.trials().into_iter().filter_map(Trials::steps_to_target).collect();
        Some(critical_batch(&steps))
    }

    /// Says what follows from the numbers, and writes the files.
    fn conclude(&self) -> anyhow::Result<()> {
        let speeds: Vec<_> = self.sizes.iter().map(|size| size.speed.clone()).collect();
        let trials: Vec<Trials> = self.trials().into_iter().cloned().collect();
        let noise = self.noise.and_then(|noise| noise[1].or(noise[0]));
        let recommendation = recommend(&speeds, &trials, noise);
        let critical = self.critical();
        if self.args.json {
            say!("{:#}", self.object(recommendation, critical.as_ref())?);
        } else {
            self.advise(recommendation, critical.as_ref());
        }
        let notes = self.notes(critical.as_ref())?;
        if let Some(path) = &self.args.csv {
            write_batch_csv(path, &self.sizes, &notes)?;
        }
        if let Some(path) = &self.args.svg {
            let lines = notes.iter().flat_map(|note| wrap("", note).lines().map(String::from).collect::<Vec<_>>());
            let fit = critical.as_ref().and_then(|critical| critical.as_ref().ok());
            let svg = batch_picture(&self.sizes, fit, lines.collect())?;
            std::fs::write(path, svg).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Noise scale, critical batch size and recommendation in words.
    fn advise(&self, recommendation: Option<Recommendation>, critical: Option<&thalweg::Result<CriticalBatch>>) {
        let trials = self.trials();
        for remark in [targets::failures(&trials), targets::resolution(&trials)].into_iter().flatten() {
            say!("{}", wrap("\n", &format!("Note that {remark}.")));
        }
        let sentence = critical.map(critical_words);
        for sentence in self.noise.map(noise_words).into_iter().chain(sentence) {
            say!("{}", wrap("\n", &sentence));
        }
        let rate = |batch| self.sizes.iter().find(|size| size.speed.batch == batch).map(|size| size.lr);
        if let Some((r, lr)) = recommendation.and_then(|r| rate(r.batch).map(|lr| (r, lr))) {
            say!("{}", wrap("\n", &format!("Take --batch {} --lr {lr:.1e}: {}.", r.batch, r.reason)));
        }
    }

    fn object(
        &self,
        recommendation: Option<Recommendation>,
        critical: Option<&thalweg::Result<CriticalBatch>>,
    ) -> anyhow::Result<Value> {
        let entry = |size: &BatchSize| {
            let mut entry = json!(size.speed);
            entry["lr"] = json!(size.lr);
            if let Some(trials) = &size.trials {
                entry["to_target"] = targets::object(trials);
            }
            entry
        };
        Ok(json!({
            "device": self.device, "machine": machine(), "date": today(), "settings": self.settings()?,
            "limits": self.limits, "lr_rule": self.args.rule()?, "target": self.args.target(),
            "batches": self.sizes.iter().map(entry).collect::<Vec<Value>>(),
            "noise_scale": self.noise.map(|[first, later]| json!({ "first": first, "after_an_epoch": later })),
            "critical_batch": critical.and_then(|critical| critical.as_ref().ok()),
            "no_critical_batch": critical.and_then(|critical| critical.as_ref().err()).map(ToString::to_string),
            "recommendation": recommendation,
        }))
    }

    /// The settings that are not the defaults.
    fn settings(&self) -> thalweg::Result<serde_json::Map<String, Value>> {
        let defaults = Config::default().flat()?;
        let is_own = |(key, value): &(String, Value)| !defaults.iter().any(|(k, v)| k == key && v == value);
        Ok(self
            .config
            .flat()?
            .into_iter()
            .filter(|setting| !setting.0.starts_with("forms") && is_own(setting))
            .collect())
    }

    /// What the numbers were measured on, and what they come to, so that they can be cited.
    fn notes(&self, critical: Option<&thalweg::Result<CriticalBatch>>) -> anyhow::Result<Vec<String>> {
        let mut notes = vec![format!("{}, {}", today(), machine()), format!("device {}", self.device)];
        let settings = self.settings()?.into_iter().map(|(key, value)| format!("{key}={value}"));
        notes.push(format!("settings {}", settings.collect::<Vec<_>>().join(" ")));
        if let Some(Target { accuracy, evaluations }) = self.args.target() {
            notes.push(format!(
                "target test accuracy {accuracy}, {evaluations} evaluations an epoch, {} seeds, rates by the rule {}",
                self.args.seeds.unwrap_or(1),
                self.args.lr_rule
            ));
        }
        notes.extend(targets::failures(&self.trials()));
        notes.extend(self.noise.map(noise_words));
        notes.extend(critical.map(critical_words));
        Ok(notes)
    }
}

fn critical_words(critical: &thalweg::Result<CriticalBatch>) -> String {
    match critical {
        Ok(fit) => format!("critical batch size: {}", targets::critical(fit)),
        Err(error) => format!("no {error}"),
    }
}

fn noise_words([first, later]: [Option<f64>; 2]) -> String {
    let show = |scale: Option<f64>| scale.map_or("not to be told".into(), |scale| format!("{scale:.0}"));
    format!("gradient noise scale: {} at first, {} after an epoch", show(first), show(later))
}

/// The cells of the table of speeds.
fn cells(size: &BatchSize) -> Vec<String> {
    let (batch, lr) = (size.speed.batch.to_string(), format!("{:.2e}", size.lr));
    [&[batch][..], &speed_cells(&size.speed), &[lr]].concat()
}

/// The gradient noise scale of the first weights, and after an epoch.
fn noise_scales(config: &Config, engine: Box<dyn Engine>) -> anyhow::Result<[Option<f64>; 2]> {
    let large = engine.setup().batch;
    // A single sample has no variance to normalise by.
    let least = if engine.setup().model.norm == Norm::Batch { 2 } else { 1 };
    let small = (large / 8).max(least);
    let mut scales = [None, None];
    let mut trainer = Trainer::new(engine, Plan { epochs: 1, ..config.plan() })?;
    trainer.init(config.model.init)?;
    scales[0] = noise_scale(trainer.engine(), small, large, NOISE_PAIRS)?;
    trainer.epoch()?;
    scales[1] = noise_scale(trainer.engine(), small, large, NOISE_PAIRS)?;
    Ok(scales)
}
