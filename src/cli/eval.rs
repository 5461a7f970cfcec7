//! `thalweg eval`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use thalweg::data::Part;
use thalweg::engine::Slot;
use thalweg::run::{self, Config, setting, weight_file};

use super::{say, table};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// Evaluate on another data set of the same shape
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// auto, cpu, gpu, or an adapter's number or name [default: the run's]
    #[arg(long)]
    device: Option<String>,
    /// Print JSON: loss and accuracy of each part, mean, deviation and each replica's
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.run.join("config.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let file = text.parse().with_context(|| path.display().to_string())?;
    let flags = [("data.source", &args.data), ("train.device", &args.device)]
        .iter()
        .filter_map(|(key, value)| value.as_ref().map(|v| setting(&format!("{key}={v:?}"))))
        .collect::<thalweg::Result<Vec<_>>>()?;
    let config = Config::resolve(file, flags, Vec::new())?;
    let setup = config.setup(config.dataset()?)?;
    let is_classification = setup.dataset.is_classification();
    let (mut engine, reason) = config.engine(setup)?;
    let replicas = config.train.replicas;
    let mut slots = vec![("", Slot::Live)];
    let is_there = |mean: &str| weight_file(&args.run, mean, 0, replicas).exists();
    slots.extend(config.average.slots(u64::MAX).into_iter().filter(|(mean, _)| is_there(mean)));
    for (mean, slot) in &slots {
        for r in 0..replicas {
            let weights = thalweg::weights::read(&weight_file(&args.run, mean, r, replicas), engine.layout())?;
            engine.set_weights(*slot, r, &weights)?;
        }
    }

    let mut rows = vec![["part", "samples", "loss", "", "accuracy", ""].map(String::from).to_vec()];
    let mut object = json!({});
    let parts = [(Part::Train, "train"), (Part::Validation, "validation"), (Part::Test, "test")];
    for ((mean, slot), (part, part_name)) in slots.iter().flat_map(|slot| parts.iter().map(move |part| (slot, part))) {
        let Some(samples) = engine.setup().dataset.part(*part).map(thalweg::data::Samples::len) else { continue };
        let evaluations = engine.evaluate(*part, *slot)?;
        let name = if mean.is_empty() { part_name.to_string() } else { format!("{mean}_{part_name}") };
        for (key, value) in run::statistics(&name, &evaluations) {
            object[key] = value;
        }
        let losses: Vec<f64> = evaluations.iter().map(|e| e.loss).collect();
        let accuracies: Vec<f64> = evaluations.iter().map(|e| e.accuracy).collect();
        let mut row = vec![name.replace('_', " "), samples.to_string()];
        for (values, shown) in [(&losses, true), (&accuracies, is_classification)] {
            row.push(if shown { format!("{:.4}", run::mean(values)) } else { String::new() });
            let several = shown && replicas > 1;
            row.push(if several { format!("± {:.4}", run::deviation(values)) } else { String::new() });
        }
        rows.push(row);
    }
    if args.json {
        say!("{object:#}");
    } else {
        say!("device  {}: {reason}\n\n{}", engine.describe(), table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}
