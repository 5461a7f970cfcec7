//! `thalweg export`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use thalweg::Result;
use thalweg::data::expand;
use thalweg::export::onnx::{self, Network};
use thalweg::report::{check_csv_name, write_csv};
use thalweg::run::{Config, Position, Trained, read_config};

use super::predict::check_apart;
use super::report::check_folder;
use super::{say, warn};

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder; its data need not be there
    run: PathBuf,
    /// Write the network as an ONNX model: raw values of the data in, logits or a regression's values out, for any batch size
    #[arg(long, value_name = "FILE.onnx", required_unless_present = "csv")]
    onnx: Option<PathBuf>,
    /// Write every value of the run's curves: step,epoch,curve,replica,value
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// The weights: last, swa, ema, best, snapshot.0, snapshots (their ensemble) or a file
    #[arg(long, default_value = "last", requires = "onnx")]
    weights: String,
    /// The replica, of a run of several
    #[arg(long, value_name = "N", default_value_t = 0, requires = "onnx")]
    replica: usize,
    /// Let probabilities come out, the softmax of the logits [default: logits]
    #[arg(long, requires = "onnx")]
    softmax: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| expand(&path.to_string_lossy()));
    let (onnx, csv) = (path(&args.onnx), path(&args.csv));
    for (flag, path, check) in
        [("--onnx", &onnx, onnx::check_name as fn(&Path) -> Result<()>), ("--csv", &csv, check_csv_name)]
    {
        if let Some(path) = path {
            check(path)?;
            check_folder(flag, path)?;
        }
    }
    let config = Config::resolve(read_config(&args.run)?, Vec::new(), Vec::new())?;
    if let Some(path) = &csv {
        check_apart("--csv", path, &config, &[])?;
    }
    if let Some(path) = &onnx {
        args.write_onnx(path)?;
    }
    if let Some(path) = &csv {
        write_csv(&args.run, path)?;
        say!("the curves of {} in {}", args.run.display(), path.display());
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn write_onnx(&self, path: &Path) -> anyhow::Result<()> {
        let mut trained = Trained::open_weights(&self.run)?;
        trained.warnings.iter().for_each(|warning| warn(warning));
        let replicas = trained.setup().replicas;
        ensure!(self.replica < replicas, "--replica: expected one below {replicas}, found {}", self.replica);
        let members: Vec<String> = match self.weights.as_str() {
            "snapshots" => trained.which("snapshots")?.slots.iter().map(|slot| slot.name()).collect(),
            name => vec![name.into()],
        };
        let values = members.iter().map(|name| trained.values(name, self.replica));
        let values = values.collect::<Result<Vec<_>>>()?;
        let network =
            Network { setup: trained.setup(), members: &values, weights: &self.weights, softmax: self.softmax };
        network.write(path)?;
        let of_replica = if replicas > 1 { format!(" of replica {}", self.replica) } else { String::new() };
        let at = trained.checkpoint.map_or(String::new(), |Position { epochs, steps }| {
            format!(", of the checkpoint after epoch {epochs}, step {steps}")
        });
        say!("the {} weights{of_replica}{at} in {}: {}", self.weights, path.display(), network.describe());
        Ok(())
    }
}
