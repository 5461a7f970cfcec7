//! `thalweg bench batch`: what each batch size costs, and which to take.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thalweg::average::Average;
use thalweg::engine::{Engine, Limits, Setup};
use thalweg::explore::{LrRule, Reached, Speed, noise_scale, reach, recommend, speed, with_batch};
use thalweg::model::Norm;
use thalweg::plan::Plan;
use thalweg::report::{Curve, Panels, Scale, curves};
use thalweg::run::Config;
use thalweg::train::Trainer;

use super::settings::Settings;
use super::speeds::{limits_table, measure_limits, numbers, open};
use super::{output, percent, say, thousands, wrap};

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
    /// How the learning rate follows the batch size from --batch, at which it is --lr: linear, sqrt or none
    #[arg(long, value_name = "RULE", default_value = "sqrt")]
    lr_rule: String,
    /// Measure the gradient noise scale, before training and after an epoch
    #[arg(long)]
    noise_scale: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw throughput and time by batch size into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The columns of the table and their widths; the last two are there with `--to`.
const COLUMNS: [(&str, usize); 9] = [
    ("batch", 5),
    ("ms a step", 9),
    ("samples/s", 10),
    ("GFLOP/s", 7),
    ("limit", 5),
    ("MiB", 7),
    ("lr", 8),
    ("epochs", 6),
    ("seconds", 7),
];
/// The most samples of a step that are tried by default.
const MOST: usize = 8192;
/// Pairs of gradients that a noise scale is averaged over.
const NOISE_PAIRS: usize = 40;

/// A batch size that was measured, with its rate.
struct Measured {
    speed: Speed,
    lr: f64,
    /// What it took to reach the target, where that was asked for: none within the epochs.
    reached: Option<Option<Reached>>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.settings.resolve()?;
    let setup = config.setup(config.dataset()?)?;
    let setups = args.setups(&config, &setup)?;
    if args.svg.is_some() {
        output::go_on();
    }
    let (mut engine, device) = open(&config, setup.clone())?;
    let limits = measure_limits(engine.as_mut())?;
    if !args.json {
        say!("{}\n\n{}\n", wrap("device  ", &device), limits_table(&limits));
    }
    let noise = if args.noise_scale { Some(noise_scales(&config, engine)?) } else { None };

    let header = COLUMNS.map(|(name, _)| name.to_string());
    let columns = if args.to.is_some() { COLUMNS.len() } else { COLUMNS.len() - 2 };
    let mut all: Vec<Measured> = Vec::new();
    for setup in setups {
        let (mut engine, _) = open(&config, setup.clone())?;
        let speed = speed(engine.as_mut(), &limits)?;
        drop(engine);
        let lr = setup.optimizer.lr();
        let reached = args
            .to
            .map(|target| {
                reach(open(&config, setup)?.0, config.model.init, target, config.plan()).map_err(anyhow::Error::from)
            })
            .transpose()?;
        all.push(Measured { speed, lr, reached });
        if !args.json {
            // Line by line, since each takes a while.
            let heading = if all.len() == 1 { line(&header[..columns]) + "\n" } else { String::new() };
            say!("{heading}{}", line(&all[all.len() - 1].cells()));
        }
    }
    if let Some(path) = &args.svg {
        draw(path, &all)?;
    }
    args.conclude(&device, &limits, &all, noise)
}

impl Args {
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
            if self.to.is_some() {
                config.plan().check(&setup)?;
            }
            Ok(setup)
        };
        let (fit, refused): (Vec<_>, Vec<_>) = batches.into_iter().map(of_batch).partition(Result::is_ok);
        match refused.into_iter().find_map(Result::err) {
            Some(error) if self.batches.is_some() || fit.is_empty() => Err(error.into()),
            _ => Ok(fit.into_iter().flatten().collect()),
        }
    }

    /// The recommendation, or all as JSON.
    fn conclude(
        &self,
        device: &str,
        limits: &Limits,
        all: &[Measured],
        noise: Option<[Option<f64>; 2]>,
    ) -> anyhow::Result<()> {
        let speeds: Vec<Speed> = all.iter().map(|m| m.speed.clone()).collect();
        let reached: Vec<Option<Reached>> = all.iter().filter_map(|m| m.reached).collect();
        let recommendation = recommend(&speeds, &reached, noise.and_then(|noise| noise[1].or(noise[0])));
        let lr = recommendation.as_ref().and_then(|r| Some(all.iter().find(|m| m.speed.batch == r.batch)?.lr));
        if self.json {
            let entry = |m: &Measured| {
                let mut entry = json!(m.speed);
                entry["lr"] = json!(m.lr);
                entry
            };
            let object = json!({
                "device": device, "limits": limits, "batches": all.iter().map(entry).collect::<Vec<Value>>(),
                "reached": reached, "lr_rule": self.rule()?,
                "noise_scale": noise.map(|[first, later]| json!({ "first": first, "after_an_epoch": later })),
                "recommendation": recommendation,
            });
            say!("{object:#}");
            return Ok(());
        }
        if let Some([first, later]) = noise {
            let show = |scale: Option<f64>| scale.map_or("not to be told".into(), |scale| format!("{scale:.0}"));
            say!("\ngradient noise scale: {} at first, {} after an epoch", show(first), show(later));
        }
        if let Some((r, lr)) = recommendation.zip(lr) {
            say!("{}", wrap("\n", &format!("Take --batch {} --lr {lr:.1e}: {}.", r.batch, r.reason)));
        }
        Ok(())
    }
}

impl Measured {
    fn cells(&self) -> Vec<String> {
        let Speed { batch, seconds, samples_per_second, flops, of_limit, bytes, .. } = self.speed;
        let mut cells = vec![
            batch.to_string(),
            format!("{:.3}", seconds * 1e3),
            thousands(samples_per_second as u64),
            format!("{:.1}", flops / 1e9),
            percent(of_limit),
            format!("{:.1}", bytes as f64 / f64::from(1 << 20)),
            format!("{:.2e}", self.lr),
        ];
        match self.reached {
            Some(Some(r)) => cells.extend([r.epochs.to_string(), format!("{:.1}", r.seconds)]),
            Some(None) => cells.extend(["-", "-"].map(String::from)),
            None => {}
        }
        cells
    }
}

fn line(cells: &[String]) -> String {
    let cells = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$}"));
    cells.collect::<Vec<_>>().join("  ")
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

fn draw(path: &Path, all: &[Measured]) -> anyhow::Result<()> {
    // By size, in whatever order they were measured.
    let mut all: Vec<&Measured> = all.iter().collect();
    all.sort_by_key(|m| m.speed.batch);
    let curve = |name: &str, value: &dyn Fn(&Measured) -> Option<f64>| Curve {
        name: name.into(),
        points: all.iter().filter_map(|m| Some((m.speed.batch as f64, value(m)?))).collect(),
    };
    let mut panels = vec![
        curve("samples a second", &|m| Some(m.speed.samples_per_second)),
        curve("ms a step", &|m| Some(m.speed.seconds * 1e3)),
        curve("seconds to target", &|m| Some(m.reached??.seconds)),
    ];
    panels.retain(|curve| !curve.points.is_empty());
    let title = "batch size against throughput";
    Ok(curves(path, &Panels { title, by: "batch", scale: Scale::Log, curves: panels, highest: None, mark: None })?)
}
