//! `thalweg data`.

use std::process::ExitCode;

use serde_json::json;
use thalweg::data::{Part, Source, Targets};

use super::{say, table, thousands};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Describe a data set: shape, classes, histogram, mean and deviation of each channel
    Info {
        /// As for `train --data`
        #[arg(default_value = "synthetic")]
        source: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Download a data set's official archive, check its published checksum, and unpack it
    #[cfg(feature = "fetch")]
    Fetch {
        /// cifar10, cifar100, fashion-mnist or mnist
        name: String,
        /// Folder for the files [default: data/NAME]
        #[arg(long)]
        dir: Option<std::path::PathBuf>,
        /// Take the files from this address instead of the official one
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Info { source, json } => info(source, *json),
        #[cfg(feature = "fetch")]
        Command::Fetch { name, dir, mirror } => {
            let archive = thalweg::data::fetch::Archive::named(name)?;
            let dir = dir.clone().unwrap_or_else(|| std::path::Path::new("data").join(name));
            let bar = indicatif::ProgressBar::new(0).with_style(
                indicatif::ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {eta} left  {msg}")
                    .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
            );
            archive.fetch(mirror.as_deref(), &dir, &mut |file, done, total| {
                bar.set_message(file.to_string());
                bar.set_length(total.unwrap_or(done));
                bar.set_position(done);
            })?;
            bar.finish_and_clear();
            let dir = archive.data_dir(&dir);
            say!("{}: checksums agree. Train on it with --data {name}:{}", dir.display(), dir.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn info(source: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let data = source.parse::<Source>()?.load(0)?;
    let kind = data.train.features.kind();
    let unit = data.unit();
    let channels: Vec<(f64, f64)> = data.channel_statistics().iter().map(|(m, d)| (m * unit, d * unit)).collect();
    let parts = [(Part::Train, "train"), (Part::Test, "test")];
    let parts: Vec<_> = parts.iter().filter_map(|&(part, name)| data.part(part).map(|s| (name, s))).collect();
    if as_json {
        let counts = parts.iter().map(|(name, s)| {
            (
                name.to_string(),
                json!({
                    "samples": s.len(),
                    "histogram": data.is_classification().then(|| s.histogram(data.outputs)),
                }),
            )
        });
        say!(
            "{:#}",
            json!({
                "name": data.name, "shape": data.shape, "type": kind,
                "classes": data.is_classification().then_some(data.outputs),
                "targets": (!data.is_classification()).then_some(data.outputs),
                "class_names": data.classes,
                "channels": channels.iter().map(|(m, d)| json!({ "mean": m, "deviation": d })).collect::<Vec<_>>(),
                "parts": counts.collect::<serde_json::Map<_, _>>(),
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    let [c, h, w] = data.shape;
    let counts: Vec<String> = parts.iter().map(|(name, s)| format!("{} {name}", thousands(s.len() as u64))).collect();
    say!("{}: {} samples of {c}x{h}x{w} {kind}\n", data.name, counts.join(" and "));

    let mut rows = vec![["channel", "mean", "deviation"].map(String::from).to_vec()];
    rows.extend(
        channels.iter().enumerate().map(|(i, (m, d))| vec![i.to_string(), format!("{m:.4}"), format!("{d:.4}")]),
    );
    const SHOWN: usize = 32;
    let hidden = rows.len().saturating_sub(SHOWN + 1);
    rows.truncate(SHOWN + 1);
    say!("{}", table(&rows));
    if hidden > 0 {
        say!("... and {hidden} more; --json shows all");
    }
    say!("{}", if unit == 1.0 { "" } else { "of values scaled to [0, 1]\n" });

    match &data.train.targets {
        Targets::Values { width, .. } => say!("{width} regression target(s)"),
        Targets::Labels(_) => {
            let histograms: Vec<Vec<usize>> = parts.iter().map(|(_, s)| s.histogram(data.outputs)).collect();
            let most = histograms[0].iter().max().copied().unwrap_or(1).max(1);
            let mut header = vec!["class".to_string(), "name".into()];
            header.extend(parts.iter().map(|(name, _)| name.to_string()));
            let mut rows = vec![header];
            for class in 0..data.outputs {
                let mut row = vec![class.to_string(), data.classes.get(class).cloned().unwrap_or_default()];
                row.extend(histograms.iter().map(|h| h[class].to_string()));
                row.push("#".repeat((histograms[0][class] * 40).div_ceil(most)));
                rows.push(row);
            }
            say!("{}", table(&rows));
        }
    }
    Ok(ExitCode::SUCCESS)
}
