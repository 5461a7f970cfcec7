//! `thalweg eval`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use thalweg::Dataset;
use thalweg::data::{Part, Samples};
use thalweg::device::Device;
use thalweg::engine::{Engine, Precision, Setup, Slot};
use thalweg::export::safetensors;
use thalweg::run::{self, Config, weight_file};
use toml::Value;

use super::{EVALUATION_HEADER, evaluation_row, measuring, say, table};

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
    let (config, dataset) = configuration(args)?;
    let setup = Setup { evaluation_only: true, ..config.setup(dataset)? };
    let is_classification = setup.dataset.is_classification();
    let (mut engine, reason) = config.engine(setup, measuring)?;
    let (kept, checkpoint) = load(engine.as_mut(), &args.run, &config)?;

    let mut header = EVALUATION_HEADER.map(String::from).to_vec();
    header.insert(1, "samples".into());
    let mut rows = vec![header];
    let mut object = json!({});
    // Data of one part that was given for an evaluation was not trained on.
    let is_one_part = args.data.is_some() && engine.setup().dataset.test.is_none();
    let train = if is_one_part { "data" } else { "train" };
    let parts = [(Part::Train, train), (Part::Validation, "validation"), (Part::Test, "test")];
    let means = means(kept);
    for ((mean, slots), (part, part_name)) in means.iter().flat_map(|mean| parts.map(|part| (mean, part))) {
        let Some(samples) = engine.setup().dataset.part(part).map(Samples::len) else { continue };
        let evaluations = engine.evaluate(part, slots)?;
        let name = if mean.is_empty() { part_name.to_string() } else { format!("{mean}_{part_name}") };
        for (key, value) in run::statistics(&name, &evaluations, is_classification) {
            object[key] = value;
        }
        let mut row = evaluation_row(&name, &evaluations, is_classification);
        row.insert(1, samples.to_string());
        rows.push(row);
    }
    if args.json {
        if let Some(epochs) = checkpoint {
            object["checkpoint_epochs"] = epochs.into();
        }
        say!("{object:#}");
        return Ok(ExitCode::SUCCESS);
    }
    say!("device  {}: {reason}", engine.describe());
    if let Some(epochs) = checkpoint {
        let dir = args.run.display();
        say!(
            "weights of the checkpoint after epoch {epochs}: the run has not ended; train --resume {dir} goes on with it"
        );
    }
    say!("\n{}", table(&rows));
    Ok(ExitCode::SUCCESS)
}

/// The run's configuration under the flags, and the data to evaluate on.
fn configuration(args: &Args) -> anyhow::Result<(Config, Dataset)> {
    let file = run::read_config(&args.run)?;
    let flags = [("data.source", &args.data), ("train.device", &args.device)];
    let flags =
        flags.iter().filter_map(|(key, v)| Some((key.to_string(), Value::String(v.as_ref()?.clone())))).collect();
    let mut config = Config::resolve(file, flags, Vec::new())?;
    if args.data.is_some() {
        config.data.validation = 0.0;
    }
    // The weights belong to the numbers that they were trained with.
    let dataset = run::normalized_as(&args.run, config.dataset()?)?;
    config.train.batch =
        config.train.batch.filter(|_| config.train.batch_of(dataset.train.len()) <= dataset.train.len());
    // The weights of a run in mixed precision are f32, and without a GPU they are evaluated as such.
    if config.train.precision == Precision::Mixed
        && config.train.device.parse::<Device>()?.find(Precision::Mixed)?.0.is_none()
    {
        config.train.precision = Precision::F32;
    }
    Ok((config, dataset))
}

/// Hands the engine what the run left, and returns those slots: all whose files are there. Of a run that was interrupted it is
/// what its checkpoint holds, after the epochs that are returned too.
fn load(engine: &mut dyn Engine, run: &Path, config: &Config) -> anyhow::Result<(Vec<Slot>, Option<u64>)> {
    if run::is_interrupted(run) {
        let (kept, epochs) = run::checkpoint_weights(run, engine)?;
        return Ok((kept, Some(epochs)));
    }
    let replicas = config.train.replicas;
    let mut kept = [engine.setup().slots(), vec![Slot::Best]].concat();
    kept.retain(|&slot| (0..replicas).all(|r| weight_file(run, slot, r, replicas).exists()));
    if kept.contains(&Slot::Best) {
        engine.allocate(Slot::Best)?;
    }
    for &slot in &kept {
        for r in 0..replicas {
            let path = weight_file(run, slot, r, replicas);
            let weights = safetensors::read(&path, engine.layout(), config.train.precision)?;
            engine.upload(slot, r, &weights)?;
        }
    }
    anyhow::ensure!(
        kept.contains(&Slot::Live),
        "{}: expected weights or a checkpoint, found neither; train --resume goes on with a run that was interrupted after a \
         checkpoint (train.checkpoint_every)",
        run.display()
    );
    Ok((kept, None))
}

/// The means of predictions to evaluate, by name: each slot by itself, the last weights without a name, and all snapshots
/// together.
fn means(slots: Vec<Slot>) -> Vec<(String, Vec<Slot>)> {
    let (snapshots, single): (Vec<Slot>, Vec<Slot>) =
        slots.into_iter().partition(|slot| matches!(slot, Slot::Snapshot(_)));
    let name = |slot: Slot| if slot == Slot::Live { String::new() } else { slot.name() };
    let mut means: Vec<(String, Vec<Slot>)> = single.into_iter().map(|slot| (name(slot), vec![slot])).collect();
    if !snapshots.is_empty() {
        means.push(("snapshots".into(), snapshots));
    }
    means
}
