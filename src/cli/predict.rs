//! `thalweg predict`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thalweg::Result;
use thalweg::data::{Part, Source, Targets, expand};
use thalweg::export::columns::{Cell, Table};
use thalweg::loss::{Loss, softmax};
use thalweg::run::{Config, Trained, Which, picture_shape};
use thalweg::score::largest;

use super::{BAD_INPUT, measuring, pictures, say, thousands, warn};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// Pictures (PNG, JPEG), brought to the shape of the run's images; what is said of them is printed [default: none, but the
    /// samples of --data]
    #[arg(value_name = "PICTURE", conflicts_with_all = ["data", "part"])]
    pictures: Vec<PathBuf>,
    /// The samples, as --data of train but with or without targets; read and scaled as the run's [default: the run's own]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// The part of the samples: train, validation, test or data [default: the last that is there]
    #[arg(long)]
    part: Option<String>,
    /// The weights: last, swa, ema, best or snapshots
    #[arg(long, default_value = "last")]
    weights: String,
    /// auto, cpu, gpu, or an adapter's number or name [default: the run's]
    #[arg(long)]
    device: Option<String>,
    /// The file to write: index,label,prediction,p0,p1,... or, of a regression, index,target,prediction; the index is
    /// the sample's place in its file, and of a picture it is the file's name [default of pictures: none]
    #[arg(long, value_name = "FILE.csv|.jsonl|.npy", required_unless_present = "pictures")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let out = args.out.as_ref().map(|out| expand(&out.to_string_lossy()));
    out.as_deref().map(Table::check_name).transpose()?;
    let shape = if args.pictures.is_empty() { None } else { Some(picture_shape(&args.run)?) };
    let Some(pictures) = pictures::read(&args.pictures, shape.unwrap_or_default()) else {
        return Ok(ExitCode::from(BAD_INPUT));
    };
    let (device, part) = (args.device.as_deref(), args.part.as_deref());
    let mut trained = match (shape, &args.data) {
        (Some(shape), _) => {
            let samples = pictures::inputs(&pictures, shape);
            Trained::open_samples(&args.run, "pictures", samples, device, measuring)?
        }
        (None, Some(data)) => Trained::open_inputs(&args.run, data, part, device, measuring)?,
        (None, None) => Trained::open(&args.run, None, device, measuring)?,
    };
    trained.warnings.iter().for_each(|warning| warn(warning));
    if let Some(out) = &out {
        check_apart("--out", out, &trained.config, &args.pictures)?;
    }
    let which = trained.which(&args.weights)?;
    let (name, part) = trained.part(part)?;
    let outputs = outputs(&mut trained, part, &which)?;
    pictures::tell(&pictures);
    let Some(out) = out else {
        let replicas = trained.config.train.replicas;
        let mean = if replicas > 1 { format!(", the mean of {replicas} replicas") } else { String::new() };
        say!("\nby the {} weights{mean}:\n\n{}", which.name, pictures::show(&pictures, &trained, &outputs));
        return Ok(ExitCode::SUCCESS);
    };
    let places = match shape {
        Some(_) => pictures.iter().map(|picture| Cell::Text(picture.path.display().to_string())).collect(),
        None => trained.setup().dataset.rows(part).into_iter().map(|row| Cell::Whole(Some(row.into()))).collect(),
    };
    let table = said(&trained, part, (if shape.is_some() { "file" } else { "index" }, places), &outputs)?;
    table.write(&out)?;
    let rows = thousands(table.rows.len() as u64);
    let of = if shape.is_some() { "pictures".into() } else { format!("the {name} part") };
    say!("{rows} predictions of the {} weights for {of} in {}", which.name, out.display());
    Ok(ExitCode::SUCCESS)
}

/// Refuses to write over a file of a run's data or a picture.
pub fn check_apart(flag: &str, out: &Path, config: &Config, pictures: &[PathBuf]) -> anyhow::Result<()> {
    let source: Source = config.data.source.parse()?;
    let same = |path: &Path| out.canonicalize().is_ok_and(|out| path.canonicalize().is_ok_and(|path| path == out));
    let is_apart = !source.paths().into_iter().chain(pictures.iter().map(PathBuf::as_path)).any(same);
    anyhow::ensure!(is_apart, "{flag}: expected another file than those of the data, found {}", out.display());
    Ok(())
}

/// What the replicas say of a part, as their mean: the probabilities of classes, where the loss gives them, or the outputs.
fn outputs(trained: &mut Trained, part: Part, which: &Which) -> Result<Vec<f64>> {
    let mut outputs = trained.predict_part(part, which)?;
    let width = trained.setup().model.outputs();
    if trained.setup().loss == Loss::CrossEntropy {
        outputs.iter_mut().for_each(|of_replica| softmax(of_replica, width));
    }
    Ok(mean(outputs))
}

/// What was said of each sample of a part, in a table whose first column has this name and these cells.
fn said(trained: &Trained, part: Part, first: (&str, Vec<Cell>), outputs: &[f64]) -> Result<Table> {
    let (targets, width) = (trained.targets(part)?, trained.setup().model.outputs());
    let dataset = &trained.setup().dataset;
    if !dataset.is_classification() {
        return Ok(numbers(targets, first, outputs, width));
    }
    let labels = targets.and_then(|targets| if let Targets::Labels(labels) = targets { Some(labels) } else { None });
    Ok(classes(labels.as_deref(), &dataset.encoding.labels, first, outputs, width))
}

/// The mean of what the replicas say.
fn mean(mut outputs: Vec<Vec<f64>>) -> Vec<f64> {
    let replicas = outputs.len() as f64;
    let mut sums = outputs.remove(0);
    for of_replica in outputs {
        sums.iter_mut().zip(of_replica).for_each(|(sum, output)| *sum += output);
    }
    sums.iter_mut().for_each(|sum| *sum /= replicas);
    sums
}

/// What was said of each sample of a classification: the likeliest class, and the probability of each. Classes have the names
/// that stand for them in the files, or their numbers.
fn classes(
    labels: Option<&[u32]>,
    names: &[String],
    (name, places): (&str, Vec<Cell>),
    outputs: &[f64],
    width: usize,
) -> Table {
    let are_numbers = names.iter().all(|name| name.parse::<i64>().is_ok());
    let class = |c: usize| match names.get(c) {
        Some(name) if are_numbers => Cell::Whole(name.parse().ok()),
        Some(name) => Cell::Text(name.clone()),
        None => Cell::Whole(Some(c as i64)),
    };
    let nothing = if are_numbers { Cell::Whole(None) } else { Cell::Text(String::new()) };
    let row = |(i, output): (usize, &[f64])| {
        let label = labels.map_or(nothing.clone(), |labels| class(labels[i] as usize));
        let head = [places[i].clone(), label, class(largest(output))];
        head.into_iter().chain(output.iter().copied().map(Cell::Real)).collect()
    };
    let mut header = [name, "label", "prediction"].map(String::from).to_vec();
    header.extend((0..width).map(|c| format!("p{c}")));
    Table { names: header, rows: outputs.chunks_exact(width).enumerate().map(row).collect() }
}

/// What was said of each sample of a regression, beside its targets.
fn numbers(targets: Option<Targets>, (name, places): (&str, Vec<Cell>), outputs: &[f64], width: usize) -> Table {
    let targets = match targets {
        Some(Targets::Values { values, .. }) => values,
        _ => vec![f64::NAN; outputs.len()],
    };
    let named = |name: &str| match width {
        1 => vec![name.to_string()],
        _ => (0..width).map(|j| format!("{name}{j}")).collect(),
    };
    let row = |(i, (target, output)): (usize, (&[f64], &[f64]))| {
        let values = target.iter().chain(output).copied().map(Cell::Real);
        std::iter::once(places[i].clone()).chain(values).collect()
    };
    let all = targets.chunks_exact(width).zip(outputs.chunks_exact(width)).enumerate();
    let names = [vec![name.into()], named("target"), named("prediction")].concat();
    Table { names, rows: all.map(row).collect() }
}
