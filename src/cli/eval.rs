//! `thalweg eval`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use thalweg::Dataset;
use thalweg::run::{self, Position, Trained, Which};
use thalweg::score::{ClassScore, ClassScores, Scores, ValueScores};

use super::{EVALUATION_HEADER, evaluation_row, measuring, say, table, warn, wrap};

/// The most classes whose confusions fit on a terminal.
const MOST_COLUMNS: usize = 12;

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// Evaluate on another data set of the same shape
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// The part whose figures are told class by class: train, validation, test or data [default: the last that is there]
    #[arg(long)]
    part: Option<String>,
    /// The weights of those figures: last, swa, ema, best or snapshots
    #[arg(long, default_value = "last")]
    weights: String,
    /// auto, cpu, gpu, or an adapter's number or name [default: the run's]
    #[arg(long)]
    device: Option<String>,
    /// Print JSON: loss and accuracy of each part, mean, deviation and each replica's; of --part and --weights confusion
    /// (rows true, columns predicted), per_class, macro_mean, weighted_mean, calibration_error, its bins as calibration, and
    /// top5_accuracy, or rmse, mae and r2
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut trained = Trained::open(&args.run, args.data.as_deref(), args.device.as_deref(), measuring)?;
    trained.warnings.iter().for_each(|warning| warn(warning));
    let which = trained.which(&args.weights)?;
    let (part_name, part) = trained.part(args.part.as_deref())?;
    let (rows, mut object) = evaluate(&mut trained)?;
    let scores = trained.score(part, &which)?;
    if args.json {
        object["scored"] = json!({ "part": part_name, "weights": which.name });
        let names = trained.setup().dataset.encoding.names();
        if !names.is_empty() {
            object["classes"] = json!(names);
        }
        if let Some(Position { epochs, steps }) = trained.checkpoint {
            object["checkpoint_epochs"] = epochs.into();
            object["checkpoint_steps"] = steps.into();
        }
        if let (Value::Object(all), Value::Object(scores)) = (&mut object, serde_json::to_value(&scores)?) {
            all.extend(scores);
        }
        say!("{object:#}");
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", wrap("device  ", &format!("{}: {}", trained.device(), trained.reason)));
    if let Some(Position { epochs, steps }) = trained.checkpoint {
        let dir = args.run.display();
        let text = format!("of the checkpoint after epoch {epochs}, step {steps}; train --resume {dir} goes on");
        say!("{}", wrap("weights ", &text));
    }
    say!("\n{}\n\n{part_name} part, {} weights", table(&rows), which.name);
    match &scores {
        Scores::Classes(scores) => say_classes(scores, &trained.setup().dataset),
        Scores::Values(scores) => say_values(scores),
    }
    Ok(ExitCode::SUCCESS)
}

/// Loss and accuracy of every part under all weights: a table, and a JSON object.
fn evaluate(trained: &mut Trained) -> anyhow::Result<(Vec<Vec<String>>, Value)> {
    let is_classification = trained.setup().dataset.is_classification();
    let mut header = EVALUATION_HEADER.map(String::from).to_vec();
    header.insert(1, "samples".into());
    let (mut rows, mut object) = (vec![header], json!({}));
    let all: Vec<Which> = trained.weights().to_vec();
    let parts = trained.parts();
    for (which, &(part_name, part)) in all.iter().flat_map(|which| parts.iter().map(move |part| (which, part))) {
        let samples = trained.samples(part)?.len();
        let evaluations = trained.evaluate(part, which)?;
        let is_last = which.name == "last";
        let name = if is_last { part_name.to_string() } else { format!("{}_{part_name}", which.name) };
        for (key, value) in run::statistics(&name, &evaluations, is_classification) {
            object[key] = value;
        }
        let mut row = evaluation_row(&name, &evaluations, is_classification);
        row.insert(1, samples.to_string());
        rows.push(row);
    }
    Ok((rows, object))
}

/// Precision, recall and F1 of each class, and which classes are taken for which.
fn say_classes(scores: &ClassScores, dataset: &Dataset) {
    let mut rows = vec![["class", "precision", "recall", "f1", "samples"].map(String::from).to_vec()];
    let mut add = |name: String, score: &ClassScore| {
        let figures = [score.precision, score.recall, score.f1].map(|figure| format!("{figure:.4}"));
        rows.push([vec![name], figures.to_vec(), vec![score.support.to_string()]].concat());
    };
    for (c, score) in scores.per_class.iter().enumerate() {
        add(dataset.encoding.names().get(c).map_or(c.to_string(), |name| format!("{c}: {name}")), score);
    }
    add("macro mean".into(), &scores.macro_mean);
    add("weighted mean".into(), &scores.weighted_mean);
    say!("\n{}", table(&rows));
    if let Some(accuracy) = scores.top5_accuracy {
        say!("\namong the five likeliest  {accuracy:.4}");
    }
    if let Some(error) = scores.calibration_error {
        say!("\nexpected calibration error  {error:.4}");
    }
    if (1..=MOST_COLUMNS).contains(&scores.confusion.len()) {
        let classes = scores.confusion.iter().enumerate();
        let header =
            [vec!["true \\ said".into()], (0..scores.confusion.len()).map(|c| c.to_string()).collect()].concat();
        let row = |(c, row): (usize, &Vec<u64>)| {
            [vec![c.to_string()], row.iter().map(u64::to_string).collect::<Vec<_>>()].concat()
        };
        let rows: Vec<Vec<String>> = std::iter::once(header).chain(classes.map(row)).collect();
        say!("\n{}", table(&rows));
    }
}

/// The errors in the units of the targets.
fn say_values(scores: &ValueScores) {
    let row = |name: String, s: &ValueScores| {
        // Errors may be of any size.
        let error =
            |error: f64| if (1e-2..1e6).contains(&error) { format!("{error:.4}") } else { format!("{error:.4e}") };
        vec![name, error(s.rmse), error(s.mae), format!("{:.5}", s.r2)]
    };
    let mut rows = vec![["target", "RMSE", "MAE", "R²"].map(String::from).to_vec(), row("mean".into(), scores)];
    rows.extend(scores.per_target.iter().enumerate().map(|(j, scores)| row(j.to_string(), scores)));
    say!("\n{}", table(&rows));
}
