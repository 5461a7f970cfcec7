//! `thalweg lr-find`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use thalweg::average::Average;
use thalweg::engine::Setup;
use thalweg::explore::{Range, RatePoint, RateTest, lr_find};
use thalweg::report::{Curve, Panels, Scale, curves};
use thalweg::run::first_weights;

use super::settings::Settings;
use super::{chart, measuring, say, wrap};

/// The most times the first loss that a picture shows, so that what diverges does not flatten the rest.
const HIGHEST: f64 = 1.25;

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
    /// Print {points, diverged_at, steepest, valley, lowest, suggested}
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
    first_weights(engine, &config.model)?;
    let test = lr_find(engine, Range { from: args.from, to: args.to, steps: args.steps, order: config.train.order })?;

    let highest = test.points.first().map(|p| HIGHEST * p.smoothed);
    if let Some(path) = &args.svg {
        draw(path, &test, highest)?;
    }
    if args.json {
        say!("{:#}", json!(test));
        return Ok(ExitCode::SUCCESS);
    }
    let (replicas, device) = (engine.setup().replicas, engine.describe());
    say!("{}", wrap("device  ", &format!("{device}: {reason}")));
    if let (Some(highest), [first, .., last]) = (highest, &test.points[..]) {
        let place = |p: &RatePoint| (p.lr.log10() as f32, p.smoothed.min(highest) as f32);
        let points: Vec<(f32, f32)> = test.points.iter().map(place).collect();
        let chart = chart(&points, place(first).0..=place(last).0, test.suggested.map(|lr| lr.log10() as f32));
        say!("\nsmoothed loss by the learning rate's power of ten; upright the suggestion\n{chart}");
    }
    let show = |lr: Option<f64>| lr.map_or("none".into(), |lr| format!("{lr:.2e}"));
    if replicas > 1 {
        say!("lowest at    {}", show(test.lowest));
    } else {
        say!("steepest     {}", show(test.steepest));
        say!("valley       {}", show(test.valley));
    }
    say!("diverged at  {}", show(test.diverged_at));
    say!("{}", wrap("\n", &advice(&test, replicas, args.steps)));
    Ok(ExitCode::SUCCESS)
}

/// The rate to take and why, or what to try for want of one.
fn advice(test: &RateTest, replicas: usize, steps: usize) -> String {
    match test.suggested {
        Some(lr) if replicas > 1 => {
            format!("Try --lr {lr:.1e}: half the rate at which {steps} steps leave the lowest loss.")
        }
        Some(lr) => format!("Try --lr {lr:.1e}."),
        None if replicas > 1 => {
            "The loss is lowest at an end of the range, or never fell; try other --from and --to, or more --steps."
                .into()
        }
        None => "The loss never fell; try other --from and --to, or more --steps.".into(),
    }
}

/// The losses up to `highest`, and where the suggestion lies.
fn draw(path: &Path, test: &RateTest, highest: Option<f64>) -> thalweg::Result<()> {
    let curve = |name: &str, value: fn(&RatePoint) -> f64| Curve {
        name: name.into(),
        points: test.points.iter().map(|p| (p.lr, value(p))).collect(),
        ..Curve::default()
    };
    let words = test.suggested.map(|lr| format!("suggested: {lr:.1e}"));
    let panels = Panels {
        title: "loss by learning rate",
        by: "learning rate",
        scale: Scale::Log,
        curves: vec![curve("smoothed loss", |p| p.smoothed), curve("loss", |p| p.loss)],
        highest,
        mark: test.suggested.zip(words.as_deref()),
        ..Panels::default()
    };
    curves(path, &panels)
}
