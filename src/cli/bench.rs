//! `thalweg bench`: what the device can do, and how much of it a step takes.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;
use thalweg::device::Device;
use thalweg::engine::{Limits, Precision, Setup, Timed};
use thalweg::explore::{profile, speed};
use thalweg::gpu::adapter::{self, Description, Gpu};
use thalweg::run::remember_limits;
use thalweg::{cpu, gpu};

use super::settings::Settings;
use super::speeds::{limits_table, measure_limits, numbers, open, speed_table};
use super::{batch, percent, say, table, wrap};

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
    Batch(Box<batch::Args>),
    /// Replicas against throughput
    Population(Box<PopulationArgs>),
    /// The exchange of gradients between the processes that mpirun starts: its latency and bandwidth
    #[cfg(feature = "mpi")]
    Network(super::network::Args),
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
        What::Batch(args) => batch::run(args)?,
        #[cfg(feature = "mpi")]
        What::Network(args) => return super::network::run(args),
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

fn bench_step(args: &StepArgs) -> anyhow::Result<()> {
    let mut config = args.settings.resolve()?;
    if args.profile && config.train.device == "auto" {
        config.train.device = with_clock(&adapter::list(), config.train.precision).into();
    }
    let (mut engine, device) = open(&config, config.setup(config.dataset()?)?)?;
    let limits = measure_limits(engine.as_mut())?;
    let speed = speed(engine.as_mut(), &limits)?;
    let profile = if args.profile { profile(engine.as_mut())? } else { Vec::new() };
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
    say!("{}\n\n{}\n", wrap("device  ", &device), limits_table(&limits));
    say!("{}", speed_table(std::slice::from_ref(&speed)));
    if let Some(why) = no_profile {
        say!("{}", wrap("\n", &format!("No profile: {why}.")));
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
    say!("{}\n\n{}", wrap("device  ", &words), speed_table(&speeds));
    if let [first, .., last] = &speeds[..] {
        let times = last.seconds / first.seconds;
        say!("\n{} replicas take {times:.2} times the time of {}.", last.replicas, first.replicas);
    }
    Ok(())
}
