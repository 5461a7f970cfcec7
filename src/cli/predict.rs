//! `thalweg predict`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thalweg::data::{Source, Targets, expand};
use thalweg::export::columns::{Cell, Table};
use thalweg::loss::{Loss, softmax};
use thalweg::run::Trained;
use thalweg::score::largest;

use super::{measuring, say, thousands, warn};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
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
    /// the sample's place in its file
    #[arg(long, value_name = "FILE.csv|.jsonl|.npy")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let out = expand(&args.out.to_string_lossy());
    Table::check_name(&out)?;
    let (device, part) = (args.device.as_deref(), args.part.as_deref());
    let mut trained = match &args.data {
        Some(data) => Trained::open_inputs(&args.run, data, part, device, measuring)?,
        None => Trained::open(&args.run, None, device, measuring)?,
    };
    trained.warnings.iter().for_each(|warning| warn(warning));
    check_out(&out, &trained)?;
    let which = trained.which(&args.weights)?;
    let (name, part) = trained.part(part)?;
    let rows = trained.setup().dataset.rows(part);
    let mut outputs = trained.predict_part(part, &which)?;
    let width = trained.setup().model.outputs();
    if trained.setup().loss == Loss::CrossEntropy {
        outputs.iter_mut().for_each(|of_replica| softmax(of_replica, width));
    }
    let (outputs, targets) = (mean(outputs), trained.targets(part)?);
    let table = if trained.setup().dataset.is_classification() {
        let labels =
            targets.and_then(|targets| if let Targets::Labels(labels) = targets { Some(labels) } else { None });
        classes(labels.as_deref(), &trained.setup().dataset.encoding.labels, &rows, &outputs, width)
    } else {
        numbers(targets, &rows, &outputs, width)
    };
    table.write(&out)?;
    let rows = thousands(table.rows.len() as u64);
    say!("{rows} predictions of the {} weights for the {name} part in {}", which.name, out.display());
    Ok(ExitCode::SUCCESS)
}

/// Refuses to write over a file of the data.
fn check_out(out: &Path, trained: &Trained) -> anyhow::Result<()> {
    let source: Source = trained.config.data.source.parse()?;
    let same =
        |path: &&Path| path.canonicalize().ok().is_some_and(|path| out.canonicalize().is_ok_and(|out| out == path));
    match source.paths().into_iter().find(same) {
        Some(path) => anyhow::bail!("--out: expected another file than those of the data, found {}", path.display()),
        None => Ok(()),
    }
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
fn classes(labels: Option<&[u32]>, names: &[String], rows: &[u32], outputs: &[f64], width: usize) -> Table {
    let are_numbers = names.iter().all(|name| name.parse::<i64>().is_ok());
    let class = |c: usize| match names.get(c) {
        Some(name) if are_numbers => Cell::Whole(name.parse().ok()),
        Some(name) => Cell::Text(name.clone()),
        None => Cell::Whole(Some(c as i64)),
    };
    let nothing = if are_numbers { Cell::Whole(None) } else { Cell::Text(String::new()) };
    let row = |(i, output): (usize, &[f64])| {
        let label = labels.map_or(nothing.clone(), |labels| class(labels[i] as usize));
        let head = [Cell::Whole(Some(rows[i].into())), label, class(largest(output))];
        head.into_iter().chain(output.iter().copied().map(Cell::Real)).collect()
    };
    let mut header = ["index", "label", "prediction"].map(String::from).to_vec();
    header.extend((0..width).map(|c| format!("p{c}")));
    Table { names: header, rows: outputs.chunks_exact(width).enumerate().map(row).collect() }
}

/// What was said of each sample of a regression, beside its targets.
fn numbers(targets: Option<Targets>, rows: &[u32], outputs: &[f64], width: usize) -> Table {
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
        std::iter::once(Cell::Whole(Some(rows[i].into()))).chain(values).collect()
    };
    let all = targets.chunks_exact(width).zip(outputs.chunks_exact(width)).enumerate();
    let names = [vec!["index".into()], named("target"), named("prediction")].concat();
    Table { names, rows: all.map(row).collect() }
}
