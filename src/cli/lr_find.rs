//! `thalweg lr-find`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use thalweg::average::Average;
use thalweg::engine::Setup;
use thalweg::engine::initialize;
use thalweg::explore::{Range, RatePoint, lr_find};
use thalweg::report::{Curve, Scale, curves};
use thalweg::run::start_from;

use super::settings::Settings;
use super::{chart, measuring, say};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// The lowest rate
    #[arg(long, value_name = "LR", default_value_t = 1e-6)]
    from: f64,
    /// The highest rate
    #[arg(long, value_name = "LR", default_value_t = 10.0)]
    to: f64,
    /// Updates; with --replicas, of each rate
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Print {points, diverged_at, steepest, valley}
    #[arg(long)]
    json: bool,
    /// Draw the losses into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = args.settings.resolve()?;
    // No average is needed.
    let setup = Setup { average: Average::default(), ..config.setup(config.dataset()?)? };
    let (mut engine, reason) = config.engine(setup, measuring)?;
    let engine = engine.as_mut();
    match &config.model.init_from {
        Some(path) => start_from(engine, path)?,
        None => initialize(engine, config.model.init)?,
    }
    let test = lr_find(engine, Range { from: args.from, to: args.to, steps: args.steps, order: config.train.order })?;

    let curve = |name: &str, value: fn(&RatePoint) -> f64| Curve {
        name: name.into(),
        points: test.points.iter().map(|p| (p.lr, value(p))).collect(),
    };
    if let Some(path) = &args.svg {
        let all = [curve("smoothed loss", |p| p.smoothed), curve("loss", |p| p.loss)];
        curves(path, "loss by learning rate", "learning rate", Scale::Log, &all)?;
    }
    if args.json {
        say!("{:#}", json!(test));
        return Ok(ExitCode::SUCCESS);
    }
    say!("device  {}: {reason}", engine.describe());
    if test.points.len() > 1 {
        let points: Vec<(f32, f32)> = test.points.iter().map(|p| (p.lr.log10() as f32, p.smoothed as f32)).collect();
        let chart = chart(&points, points[0].0..=points[points.len() - 1].0);
        say!("\nsmoothed loss by the learning rate's power of ten\n{chart}");
    }
    let show = |lr: Option<f64>| lr.map_or("none".into(), |lr| format!("{lr:.2e}"));
    say!("steepest     {}", show(test.steepest));
    say!("valley       {}", show(test.valley));
    say!("diverged at  {}", show(test.diverged_at));
    match test.valley {
        Some(lr) => say!("\nTry --lr {lr:.1e}."),
        None => say!("\nThe loss never fell; try other --from and --to, or more --steps."),
    }
    Ok(ExitCode::SUCCESS)
}
