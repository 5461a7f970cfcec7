//! `thalweg curvature`.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use thalweg::engine::Curvature;
use thalweg::explore::curvature::{CurvaturePlan, LossShape, curvature};
use thalweg::report::write_curvature;
use thalweg::run::{SideBySide, Trained};

use super::flatness::{short, verdict, with_error};
use super::points::check_writable;
use super::{measuring, say, table, thousands, warn, wrap};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// The weights to set side by side: last, swa, ema, best, snapshot.0 or files [default: of the first four those that the run
    /// has]
    #[arg(long, value_name = "NAME,NAME,...", value_delimiter = ',')]
    weights: Vec<String>,
    /// Number of largest eigenvalues
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Most products with vectors in which eigenvalues are looked for [default: 100, or fewer where all are found earlier]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Samples of the part, over whose mean loss all is measured; all where it has no more
    #[arg(long, value_name = "N", default_value_t = 2000)]
    samples: usize,
    /// The part: train, validation, test or data [default: train]
    #[arg(long)]
    part: Option<String>,
    /// Draws samples and random vectors
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The Gauss-Newton part of the Hessian, without the curvature of the network itself
    #[arg(long)]
    gauss_newton: bool,
    /// Leave biases and the parameters of normalisations where they are [default: they take part]
    #[arg(long)]
    weights_only: bool,
    /// The replica, of a run of several
    #[arg(long, value_name = "N", default_value_t = 0)]
    replica: usize,
    /// Measure on another data set of the same shape
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// auto, cpu, gpu, or an adapter's number or name [default: the run's]
    #[arg(long)]
    device: Option<String>,
    /// The folder to write to: curvature.json, density.csv and density.svg [default: RUN/curvature]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON: of each set of weights its loss, eigenvalues, smallest, trace, density, sharpness and filter_sharpness
    #[arg(long)]
    json: bool,
}

/// The sets of weights that are looked at unless others are named.
const NAMES: [&str; 4] = ["last", "swa", "ema", "best"];

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let trained = Trained::open(&args.run, args.data.as_deref(), args.device.as_deref(), measuring)?;
    trained.warnings.iter().for_each(|warning| warn(warning));
    let first = trained.parts().first().map(|(name, _)| *name);
    let (part_name, part) = trained.part(args.part.as_deref().or(first))?;
    let mut names = args.weights.clone();
    if names.is_empty() {
        let has = |name: &&str| trained.weights().iter().any(|which| which.name == *name);
        names = NAMES.iter().filter(|name| has(name)).map(|name| name.to_string()).collect();
    }
    let SideBySide { mut engine, reason, places, .. } =
        SideBySide::open(trained, &names, args.replica, (part, args.samples, args.seed), measuring)?;
    let style = ProgressStyle::with_template("{wide_bar} {percent} %  {eta} left");
    let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let out = args.out.clone().unwrap_or_else(|| args.run.join("curvature"));
    let is_new = !out.exists();
    check_writable(&out)?;
    let found = curvature(engine.as_mut(), &args.plan(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    if is_new && found.is_err() {
        // Nothing was written to it.
        let _ = std::fs::remove_dir(&out);
    }
    let sets: Vec<(String, LossShape)> = names.into_iter().zip(found?).collect();
    let summary = args.summary(&sets, part_name, places.len())?;
    let files = write_curvature(&out, &summary, &sets)?;
    if args.json {
        say!("{summary:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let matrix = if args.gauss_newton { "Gauss-Newton matrix" } else { "Hessian" };
    let samples = thousands(places.len() as u64);
    say!("{}", wrap("device  ", &format!("{}: {reason}", engine.describe())));
    say!("of      the {matrix} of the mean loss over {samples} {part_name} samples");
    say!("\n{}", table(&rows(&sets)));
    for sentence in verdict(&sets) {
        say!("\n{}", wrap("", &sentence));
    }
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    say!("\nWritten to {}", files.join(", "));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn plan(&self) -> CurvaturePlan {
        CurvaturePlan {
            of: if self.gauss_newton { Curvature::GaussNewton } else { Curvature::Hessian },
            top: self.top,
            steps: self.steps,
            weights_only: self.weights_only,
            seed: self.seed,
            ..CurvaturePlan::default()
        }
    }

    /// What is known of each set of weights, by name.
    fn summary(&self, sets: &[(String, LossShape)], part: &str, samples: usize) -> anyhow::Result<Value> {
        let mut all = Map::new();
        for (name, shape) in sets {
            let mut one = serde_json::to_value(shape)?;
            one["matrix"] = json!(if self.gauss_newton { "gauss_newton" } else { "hessian" });
            (one["part"], one["samples"]) = (json!(part), json!(samples));
            (one["seed"], one["replica"]) = (json!(self.seed), json!(self.replica));
            all.insert(name.clone(), one);
        }
        Ok(Value::Object(all))
    }
}

/// The table: a line a measure, a column a set of weights; the rises of the loss in Keskar et al.'s box, and as filters move.
fn rows(sets: &[(String, LossShape)]) -> Vec<Vec<String>> {
    let mut rows = vec![std::iter::once(String::new()).chain(sets.iter().map(|(name, _)| name.clone())).collect()];
    let mut row = |name: &str, cell: &dyn Fn(&LossShape) -> String| {
        rows.push(std::iter::once(name.to_string()).chain(sets.iter().map(|(_, shape)| cell(shape))).collect());
    };
    row("loss", &|shape| short(shape.loss));
    if sets[0].1.accuracy.is_some() {
        row("accuracy", &|shape| shape.accuracy.map_or(String::new(), |accuracy| format!("{accuracy:.4}")));
    }
    row("gradient", &|shape| short(shape.gradient_norm));
    for k in 0..sets[0].1.eigenvalues.len() {
        let name = if k == 0 { "eigenvalues" } else { "" };
        row(name, &|shape| with_error(shape.eigenvalues[k], shape.eigenvalue_errors[k]));
    }
    row("smallest", &|shape| with_error(shape.smallest, shape.smallest_error));
    row("trace", &|shape| with_error(shape.trace.mean, shape.trace.error));
    row("box: largest", &|shape| short(shape.sharpness.largest));
    row("box: relative %", &|shape| short(shape.sharpness.relative));
    row("box: mean", &|shape| with_error(shape.sharpness.mean.mean, shape.sharpness.mean.error));
    row("box: ascent", &|shape| short(shape.sharpness.ascent));
    row("filters: largest", &|shape| short(shape.filter_sharpness.largest));
    row("filters: mean", &|shape| with_error(shape.filter_sharpness.mean.mean, shape.filter_sharpness.mean.error));
    row("filters: ascent", &|shape| short(shape.filter_sharpness.ascent));
    rows
}
