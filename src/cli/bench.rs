//! `thalweg bench`: what the device can do, and how much of it a step takes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;
use thalweg::device::Device;
use thalweg::engine::{Engine, Limits, Precision, Setup, Timed};
use thalweg::explore::{LrRule, Reached, Speed, noise_scale, prepare, reach, recommend, speed, with_batch};
use thalweg::gpu::adapter::{self, Description, Gpu};
use thalweg::plan::Plan;
use thalweg::report::{Curve, Scale, curves};
use thalweg::run::{Config, remember_limits};
use thalweg::train::Trainer;
use thalweg::{cpu, gpu};

use super::settings::Settings;
use super::{measuring, percent, say, table, thousands};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Multiply-adds, copies, dispatches and submissions: what the adapter can do at most
    Adapter(AdapterArgs),
    /// A step of the configured run, and with --profile each of its dispatches
    Step(Box<StepArgs>),
    /// Batch size against throughput, and on request against the time to an accuracy
    Batch(Box<BatchArgs>),
    /// Replicas against throughput
    Population(Box<PopulationArgs>),
}

#[derive(clap::Args)]
struct AdapterArgs {
    /// cpu, or an adapter's number or name [default: the first adapter]
    #[arg(long)]
    device: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct StepArgs {
    #[command(flatten)]
    settings: Settings,
    /// Break the step down by kernel, by the device's clock; --device auto takes a software GPU if no other is there
    #[arg(long)]
    profile: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct BatchArgs {
    #[command(flatten)]
    settings: Settings,
    /// Powers of two, as 1..8192, or a list, as 1,32,100 [default: 1..8192, as far as the data goes]
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

#[derive(clap::Args)]
struct PopulationArgs {
    #[command(flatten)]
    settings: Settings,
    /// Numbers of replicas: powers of two, as 1..16, or a list
    #[arg(long, value_name = "LIST", default_value = "1..16")]
    counts: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Adapter(args) => bench_adapter(args)?,
        What::Step(args) => bench_step(args)?,
        What::Batch(args) => bench_batch(args)?,
        What::Population(args) => bench_population(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn bench_adapter(args: &AdapterArgs) -> anyhow::Result<()> {
    let device: Device = args.device.as_deref().unwrap_or("gpu").parse()?;
    let (name, limits) = if device == Device::Cpu {
        (cpu::describe::<f32>(), cpu::measure_limits::<f32>())
    } else {
        let adapters = adapter::list();
        let gpu = match &device {
            Device::Index(_) | Device::Name(_) => {
                let index = device.choose(&adapters);
                Gpu::open(
                    index
                        .with_context(|| format!("--device: expected an adapter of thalweg devices, found {device}"))?,
                )?
            }
            _ => Gpu::open_any()?,
        };
        (gpu.description.to_string(), gpu::measure_limits(&gpu)?)
    };
    remember_limits(&name, limits);
    if args.json {
        say!("{:#}", json!({ "device": name, "limits": limits }));
    } else {
        say!("{name}\n\n{}", limits_table(&limits));
    }
    Ok(())
}

fn limits_table(limits: &Limits) -> String {
    let line = |name: &str, value: f64, unit: &str| vec![name.to_string(), format!("{value:.1}"), unit.to_string()];
    let mut rows = vec![vec!["limit".into(), String::new(), String::new()]];
    rows.push(line("multiply-adds", limits.flops / 1e9, "GFLOP/s"));
    rows.extend(limits.flops_f16.map(|flops| line("multiply-adds, f16", flops / 1e9, "GFLOP/s")));
    let cooperative = limits.flops_cooperative;
    rows.extend(cooperative.map(|flops| line("multiply-adds, cooperative matrices", flops / 1e9, "GFLOP/s")));
    rows.push(line("copy, read and written", limits.bandwidth / 1e9, "GB/s"));
    if limits.submission > 0.0 {
        rows.push(line("dispatch after dispatch", limits.dispatch * 1e6, "µs"));
        rows.push(line("submission and wait", limits.submission * 1e6, "µs"));
    }
    table(&rows)
}

/// Measures what the engine's device can do at most; runs of training tell their share of it from then on.
fn measure_limits(engine: &mut dyn Engine) -> anyhow::Result<Limits> {
    let limits = engine.measure_limits()?;
    remember_limits(&engine.describe(), limits);
    Ok(limits)
}

/// Opens the engine of `setup`, with words on it.
fn open(config: &Config, setup: Setup) -> anyhow::Result<(Box<dyn Engine>, String)> {
    let (engine, reason) = config.engine(setup, measuring)?;
    let words = format!("{}: {reason}", engine.describe());
    Ok((engine, words))
}

fn bench_step(args: &StepArgs) -> anyhow::Result<()> {
    let mut config = args.settings.resolve()?;
    if args.profile && config.train.device == "auto" {
        config.train.device = with_clock(&adapter::list(), config.train.precision).into();
    }
    let (mut engine, device) = open(&config, config.setup(config.dataset()?)?)?;
    let limits = measure_limits(engine.as_mut())?;
    let speed = speed(engine.as_mut(), &limits)?;
    let profile = if args.profile {
        let steps = prepare(engine.as_mut())?;
        // The first time is that of compiling and of cold caches.
        engine.profile(&steps[0])?;
        engine.profile(&steps[0])?
    } else {
        Vec::new()
    };
    let no_profile = (args.profile && profile.is_empty()).then(|| {
        format!("{} has no clock; --device takes an adapter with timestamps, see thalweg devices", engine.describe())
    });
    if args.json {
        let object = json!({
            "device": device, "limits": limits, "step": speed, "profile": profile, "no_profile": no_profile,
        });
        say!("{object:#}");
        return Ok(());
    }
    say!("device  {device}\n\n{}\n", limits_table(&limits));
    say!("{}", speed_table(std::slice::from_ref(&speed), &[]));
    if let Some(why) = no_profile {
        say!("\nNo profile: {why}.");
    } else if args.profile {
        say!("\n{}", profile_table(&profile, &limits, engine.setup().is_mixed()));
    }
    Ok(())
}

/// The device that a profile is taken on where none is named: `gpu`, if only a software adapter has a clock, else `auto`.
fn with_clock(adapters: &[Description], precision: Precision) -> &'static str {
    let has_clock = |a: &Description| a.features.contains(&"timestamps");
    let has_hardware = adapters.iter().any(|a| a.hardware && a.conforms);
    let takes_gpu = precision != Precision::F64 && !has_hardware && adapters.iter().any(has_clock);
    if takes_gpu { "gpu" } else { "auto" }
}

fn profile_table(profile: &[Timed], limits: &Limits, mixed: bool) -> String {
    let mut rows = vec![["kernel", "µs", "share", "GFLOP/s", "GB/s", "of limit"].map(String::from).to_vec()];
    let total: f64 = profile.iter().map(|t| t.seconds).sum();
    let row = |name: &str, seconds: f64, flops: f64, bytes: f64, dispatches: usize| {
        let of_limit = limits.floor(mixed, flops, bytes, dispatches) / seconds;
        vec![
            name.to_string(),
            format!("{:.1}", seconds * 1e6),
            percent(seconds / total),
            format!("{:.1}", flops / seconds / 1e9),
            format!("{:.1}", bytes / seconds / 1e9),
            percent(of_limit),
        ]
    };
    rows.extend(profile.iter().map(|t| row(&t.name, t.seconds, t.flops, t.bytes, t.dispatches)));
    let sum = |f: fn(&Timed) -> f64| profile.iter().map(f).sum();
    rows.push(row("all", total, sum(|t| t.flops), sum(|t| t.bytes), profile.iter().map(|t| t.dispatches).sum()));
    table(&rows)
}

/// One line a speed, and what it took to reach the target where that was asked for.
fn speed_table(speeds: &[Speed], reached: &[Option<Reached>]) -> String {
    let mut header = vec!["batch", "replicas", "ms a step", "samples/s", "GFLOP/s", "of limit", "MiB"];
    if !reached.is_empty() {
        header.extend(["epochs", "samples", "seconds"]);
    }
    let mut rows = vec![header.into_iter().map(String::from).collect::<Vec<_>>()];
    for (i, s) in speeds.iter().enumerate() {
        let mut row = vec![
            s.batch.to_string(),
            s.replicas.to_string(),
            format!("{:.3}", s.seconds * 1e3),
            thousands(s.samples_per_second as u64),
            format!("{:.1}", s.flops / 1e9),
            percent(s.of_limit),
            format!("{:.1}", s.bytes as f64 / f64::from(1 << 20)),
        ];
        match reached.get(i) {
            Some(Some(r)) => row.extend([r.epochs.to_string(), thousands(r.samples), format!("{:.1}", r.seconds)]),
            Some(None) => row.extend(["-", "-", "-"].map(String::from)),
            None => {}
        }
        rows.push(row);
    }
    table(&rows)
}

impl BatchArgs {
    fn rule(&self) -> anyhow::Result<LrRule> {
        serde_json::from_value(json!(self.lr_rule))
            .map_err(|_| anyhow::anyhow!("--lr-rule: expected linear, sqrt or none, found {:?}", self.lr_rule))
    }

    /// The batch sizes to measure on so many samples.
    fn batches(&self, samples: usize) -> anyhow::Result<Vec<usize>> {
        match &self.batches {
            Some(text) => numbers("--batches", text),
            None => numbers("--batches", &format!("1..{}", samples.min(8192))),
        }
    }
}

/// The table's line of the last speed; under the header, if it is the first.
fn last_line(speeds: &[Speed], reached: &[Option<Reached>]) -> String {
    let table = speed_table(&speeds[speeds.len() - 1..], &reached[reached.len().saturating_sub(1)..]);
    let lines: Vec<&str> = table.lines().skip(usize::from(speeds.len() > 1)).collect();
    lines.join("\n")
}

fn bench_batch(args: &BatchArgs) -> anyhow::Result<()> {
    let config = args.settings.resolve()?;
    let rule = args.rule()?;
    let setup = config.setup(config.dataset()?)?;
    let base = setup.batch;
    let batches = args.batches(setup.dataset.train.len())?;
    let setups = batches.iter().map(|&batch| with_batch(&setup, batch)).collect::<thalweg::Result<Vec<_>>>()?;

    let (mut engine, device) = open(&config, setup.clone())?;
    let limits = measure_limits(engine.as_mut())?;
    if !args.json {
        say!("device  {device}\n\n{}\n", limits_table(&limits));
    }
    let noise = if args.noise_scale { Some(noise_scales(&config, engine)?) } else { None };

    let (mut speeds, mut reached) = (Vec::new(), Vec::new());
    for setup in setups {
        let (mut engine, _) = open(&config, setup.clone())?;
        speeds.push(speed(engine.as_mut(), &limits)?);
        if let Some(target) = args.to {
            let optimizer = setup.optimizer.with_lr(setup.optimizer.lr() * rule.factor(setup.batch, base));
            drop(engine);
            let (engine, _) = open(&config, Setup { optimizer, ..setup })?;
            reached.push(reach(engine, config.model.init, target, config.plan())?);
        }
        if !args.json {
            // Line by line, since each takes a while.
            say!("{}", last_line(&speeds, &reached));
        }
    }
    let scale = noise.as_ref().and_then(|noise| noise[1].or(noise[0]));
    let recommendation = recommend(&speeds, &reached, scale);
    if let Some(path) = &args.svg {
        draw_batches(path, &speeds, &reached)?;
    }
    if args.json {
        let object = json!({
            "device": device, "limits": limits, "batches": speeds, "reached": reached, "lr_rule": rule,
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
    if let Some(r) = recommendation {
        say!("\nTake --batch {}: {}.", r.batch, r.reason);
    }
    Ok(())
}

/// The gradient noise scale of the first weights, and after an epoch.
fn noise_scales(config: &Config, engine: Box<dyn Engine>) -> anyhow::Result<[Option<f64>; 2]> {
    let large = engine.setup().batch;
    let small = (large / 8).max(1);
    let mut scales = [None, None];
    let mut trainer = Trainer::new(engine, Plan { epochs: 1, ..config.plan() })?;
    trainer.init(config.model.init)?;
    scales[0] = noise_scale(trainer.engine(), small, large, NOISE_PAIRS)?;
    trainer.epoch()?;
    scales[1] = noise_scale(trainer.engine(), small, large, NOISE_PAIRS)?;
    Ok(scales)
}

/// Pairs of gradients that a noise scale is averaged over.
const NOISE_PAIRS: usize = 40;

fn draw_batches(path: &std::path::Path, speeds: &[Speed], reached: &[Option<Reached>]) -> anyhow::Result<()> {
    let curve = |name: &str, value: fn(&Speed) -> f64| Curve {
        name: name.into(),
        points: speeds.iter().map(|s| (s.batch as f64, value(s))).collect(),
    };
    let mut all = vec![curve("samples a second", |s| s.samples_per_second), curve("ms a step", |s| s.seconds * 1e3)];
    let times = speeds.iter().zip(reached).filter_map(|(s, r)| Some((s.batch as f64, (*r)?.seconds)));
    let times: Vec<(f64, f64)> = times.collect();
    if !times.is_empty() {
        all.push(Curve { name: "seconds to target".into(), points: times });
    }
    Ok(curves(path, "batch size against throughput", "batch", Scale::Log, &all)?)
}

fn bench_population(args: &PopulationArgs) -> anyhow::Result<()> {
    let config = args.settings.resolve()?;
    let setup = config.setup(config.dataset()?)?;
    let counts = numbers("--counts", &args.counts)?;
    let (mut speeds, mut limits, mut words) = (Vec::new(), None, String::new());
    for replicas in counts {
        let (mut engine, device) = open(&config, Setup { replicas, ..setup.clone() })?;
        let limits = match limits {
            Some(limits) => limits,
            None => *limits.insert(measure_limits(engine.as_mut())?),
        };
        speeds.push(speed(engine.as_mut(), &limits)?);
        words = device;
    }
    if args.json {
        say!("{:#}", json!({ "device": words, "limits": limits, "population": speeds }));
        return Ok(());
    }
    say!("device  {words}\n\n{}", speed_table(&speeds, &[]));
    if let [first, .., last] = &speeds[..] {
        let times = last.seconds / first.seconds;
        say!("\n{} replicas take {times:.2} times the time of {}.", last.replicas, first.replicas);
    }
    Ok(())
}

/// `1..8192` as powers of two times the first, or a list with commas.
fn numbers(flag: &str, text: &str) -> anyhow::Result<Vec<usize>> {
    let bad = || format!("{flag}: expected numbers as 1..8192 or 1,32,100, found {text:?}");
    let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
    let numbers: Option<Vec<usize>> = match text.split_once("..") {
        Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| {
            std::iter::successors(Some(from), |n| n.checked_mul(2)).take_while(|&n| n <= to).collect()
        }),
        None => text.split(',').map(number).collect(),
    };
    numbers.filter(|numbers| !numbers.is_empty()).with_context(bad)
}
