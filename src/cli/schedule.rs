//! `thalweg schedule`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use thalweg::report::{Curve, Panels, Scale, curves};
use thalweg::schedule::{Memory, Rate, Unit};

use super::settings::Settings;
use super::{chart, say, schedules};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Steps (or epochs, as schedule.unit says) to show
    #[arg(long, required_unless_present = "list")]
    steps: Option<u64>,
    /// List every schedule: its formula, and its arguments with their defaults
    #[arg(long)]
    list: bool,
    /// Print an array of {step, lr, momentum}
    #[arg(long)]
    json: bool,
    /// Draw the curves into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What a plateau sees after each step, one number a line
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

/// All rates are kept.
const MOST_STEPS: u64 = 10_000_000;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(steps) = args.steps.filter(|_| !args.list) else {
        say!("{}", schedules::list().trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let config = args.settings.resolve()?;
    let unit = if config.schedule.unit == Unit::Epoch { "epoch" } else { "step" };
    config.optimizer.check()?;
    config.schedule.schedule.check(steps)?;
    anyhow::ensure!((1..=MOST_STEPS).contains(&steps), "--steps: expected 1 to {MOST_STEPS}, found {}", steps);
    let metrics = args.metrics.as_deref().map(read_numbers).transpose()?;

    let base = config.optimizer.optimizer.rate();
    let mut memory = Memory::default();
    let mut rates = Vec::new();
    for step in 0..steps {
        rates.push(config.schedule.schedule.at(step, steps, base, &memory));
        if let Some(&metric) = metrics.as_ref().and_then(|m| m.get(step as usize)) {
            config.schedule.schedule.observe(step, steps, base, |_| metric, &mut memory);
        }
    }

    if let Some(path) = &args.svg {
        let curve = |name: &str, value: fn(&Rate) -> f64| Curve {
            name: name.into(),
            points: rates.iter().enumerate().map(|(step, rate)| (step as f64, value(rate))).collect(),
            ..Curve::default()
        };
        let mut all = vec![curve("learning rate", |r| r.lr)];
        if rates.iter().any(|r| r.momentum != rates[0].momentum) {
            all.push(curve("momentum", |r| r.momentum));
        }
        let name =
            serde_json::to_value(&config.schedule.schedule)?["name"].as_str().unwrap_or_default().replace('_', " ");
        let panels = Panels { title: &name, by: unit, scale: Scale::Linear, curves: all, ..Panels::default() };
        curves(path, &panels)?;
    }
    if args.json {
        let line = |(step, rate): (usize, &Rate)| json!({ "step": step, "lr": rate.lr, "momentum": rate.momentum });
        say!("{:#}", rates.iter().enumerate().map(line).collect::<serde_json::Value>());
    } else {
        for (step, rate) in rates.iter().enumerate() {
            say!("{step:>6}  lr {:<12.6e}  momentum {:.4}", rate.lr, rate.momentum);
        }
        // The chart's labels have one decimal.
        let highest = rates.iter().map(|r| r.lr).fold(0.0, f64::max);
        let exponent = if highest > 0.0 { highest.log10().floor() } else { 0.0 };
        let scaled = |lr: f64| (lr / 10f64.powf(exponent)) as f32;
        let points: Vec<(f32, f32)> = rates.iter().enumerate().map(|(i, r)| (i as f32, scaled(r.lr))).collect();
        let chart = chart(&points, 0.0..=(steps - 1).max(1) as f32, None);
        say!("\nlearning rate by {unit}, in 1e{exponent}\n{chart}");
    }
    Ok(ExitCode::SUCCESS)
}

fn read_numbers(path: &Path) -> anyhow::Result<Vec<f64>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let number = |(i, line): (usize, &str)| {
        let value: Option<f64> = line.trim().parse().ok();
        value.with_context(|| format!("{}: expected a number in line {}, found {line:?}", path.display(), i + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(number).collect()
}
