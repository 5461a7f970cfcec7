//! `thalweg predict`.

use std::path::PathBuf;
use std::process::ExitCode;

use thalweg::data::Targets;
use thalweg::export::columns::{Cell, Table};
use thalweg::loss::{Loss, softmax};
use thalweg::run::Trained;
use thalweg::score::largest;

use super::{measuring, say, thousands};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// The samples, with or without targets, as --data of train; scaled as the run's were [default: the run's own]
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
    /// The file to write: index,label,prediction,p0,p1,... or, of a regression, index,target,prediction
    #[arg(long, value_name = "FILE.csv|.jsonl|.npy")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut trained = Trained::open(&args.run, args.data.as_deref(), args.device.as_deref(), measuring)?;
    let which = trained.which(&args.weights)?;
    let (part_name, part) = trained.part(args.part.as_deref())?;
    let mut outputs = trained.predict_part(part, &which)?;
    let (targets, width) = (trained.targets(part)?, trained.setup().model.outputs());
    if trained.setup().loss == Loss::CrossEntropy {
        outputs.iter_mut().for_each(|of_replica| softmax(of_replica, width));
    }
    let table = match targets {
        Targets::Labels(labels) => classes(&labels, &mean(outputs), width),
        Targets::Values { values, .. } => numbers(&values, &mean(outputs), width),
    };
    table.write(&args.out)?;
    let rows = thousands(table.rows.len() as u64);
    say!("{rows} predictions of the {} weights for the {part_name} part in {}", which.name, args.out.display());
    Ok(ExitCode::SUCCESS)
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

/// What was said of each sample of a classification: the likeliest class, and the probability of each.
fn classes(labels: &[u32], outputs: &[f64], width: usize) -> Table {
    let mut names = ["index", "label", "prediction"].map(String::from).to_vec();
    names.extend((0..width).map(|c| format!("p{c}")));
    let row = |(i, (label, output)): (usize, (&u32, &[f64]))| {
        let whole = [i as u32, *label, largest(output) as u32].map(|number| Cell::Whole(Some(number)));
        whole.into_iter().chain(output.iter().copied().map(Cell::Real)).collect()
    };
    let rows = labels.iter().zip(outputs.chunks_exact(width)).enumerate();
    Table { names, rows: rows.map(row).collect() }
}

/// What was said of each sample of a regression, beside its targets.
fn numbers(targets: &[f64], outputs: &[f64], width: usize) -> Table {
    let named = |name: &str| match width {
        1 => vec![name.to_string()],
        _ => (0..width).map(|j| format!("{name}{j}")).collect(),
    };
    let row = |(i, (target, output)): (usize, (&[f64], &[f64]))| {
        let values = target.iter().chain(output).copied().map(Cell::Real);
        std::iter::once(Cell::Whole(Some(i as u32))).chain(values).collect()
    };
    let rows = targets.chunks_exact(width).zip(outputs.chunks_exact(width)).enumerate();
    let names = [vec!["index".into()], named("target"), named("prediction")].concat();
    Table { names, rows: rows.map(row).collect() }
}
