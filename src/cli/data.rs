//! `thalweg data`.

use std::process::ExitCode;

use serde_json::{Map, Value, json};
use thalweg::Dataset;
use thalweg::data::{Hints, Layout, Part, Samples, Source, TargetKind, Targets};

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
        /// As for `train --classes`
        #[arg(long)]
        classes: Option<usize>,
        /// As for `train --layout`
        #[arg(long)]
        layout: Option<String>,
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
        Command::Info { source, classes, layout, json } => info(&load(source, *classes, layout.as_deref())?, *json),
        #[cfg(feature = "fetch")]
        Command::Fetch { name, dir, mirror } => fetch(name, dir.as_deref(), mirror.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "fetch")]
fn fetch(name: &str, dir: Option<&std::path::Path>, mirror: Option<&str>) -> anyhow::Result<()> {
    let archive = thalweg::data::fetch::Archive::named(name)?;
    let dir = dir.map_or_else(|| std::path::Path::new("data").join(name), std::path::Path::to_path_buf);
    let bar = indicatif::ProgressBar::new(0).with_style(
        indicatif::ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {eta} left  {msg}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
    );
    archive.fetch(mirror, &dir, &mut |file, done, total| {
        bar.set_message(file.to_string());
        bar.set_length(total.unwrap_or(done));
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let dir = archive.data_dir(&dir);
    say!("{}: checksums agree. Train on it with --data {name}:{}", dir.display(), dir.display());
    Ok(())
}

/// The parts that there are, by name.
type Parts<'a> = [(&'static str, &'a Samples)];

/// The data set; whole numbers that may be labels or targets are shown as targets.
fn load(source: &str, classes: Option<usize>, layout: Option<&str>) -> anyhow::Result<Dataset> {
    let layout = match layout {
        None => None,
        Some("nchw") => Some(Layout::Nchw),
        Some("nhwc") => Some(Layout::Nhwc),
        Some(other) => anyhow::bail!("--layout: expected nchw or nhwc, found {other:?}"),
    };
    let source = source.parse::<Source>()?;
    let hints = Hints { targets: None, classes, layout };
    let as_values = Hints { targets: Some(TargetKind::Values), ..hints };
    Ok(source.load_with(0, &hints).or_else(|_| source.load_with(0, &as_values))?)
}

fn info(data: &Dataset, as_json: bool) {
    let unit = data.unit();
    let channels: Vec<(f64, f64)> = data.channel_statistics().iter().map(|(m, d)| (m * unit, d * unit)).collect();
    let parts = [(Part::Train, "train"), (Part::Test, "test")];
    let parts: Vec<_> = parts.iter().filter_map(|&(part, name)| data.part(part).map(|s| (name, s))).collect();
    if as_json {
        say!("{:#}", object(data, &channels, &parts));
        return;
    }
    let ([c, h, w], kind) = (data.shape, data.train.features.kind());
    let counts: Vec<String> = parts.iter().map(|(name, s)| format!("{} {name}", thousands(s.len() as u64))).collect();
    say!("{}: {} samples of {c}x{h}x{w} {kind}\n", data.name, counts.join(" and "));
    data.encoding.describe().iter().for_each(|line| say!("{line}\n"));
    say!("{}", channel_table(&channels));
    say!("{}", if unit == 1.0 { "" } else { "of values scaled to [0, 1]\n" });
    match &data.train.targets {
        Targets::Values { width, .. } => say!("{width} regression target(s)"),
        Targets::Labels(_) => say!("{}", class_table(data, &parts)),
    }
}

fn object(data: &Dataset, channels: &[(f64, f64)], parts: &Parts) -> Value {
    let count = |s: &Samples| {
        let histogram = data.is_classification().then(|| s.histogram(data.outputs));
        json!({ "samples": s.len(), "histogram": histogram })
    };
    json!({
        "name": data.name, "shape": data.shape, "type": data.train.features.kind(),
        "classes": data.is_classification().then_some(data.outputs),
        "targets": (!data.is_classification()).then_some(data.outputs),
        "class_names": data.classes,
        "channels": channels.iter().map(|(m, d)| json!({ "mean": m, "deviation": d })).collect::<Vec<_>>(),
        "parts": parts.iter().map(|(name, s)| (name.to_string(), count(s))).collect::<Map<_, _>>(),
    })
}

/// Mean and deviation of the first channels.
fn channel_table(channels: &[(f64, f64)]) -> String {
    const SHOWN: usize = 32;
    let mut rows = vec![["channel", "mean", "deviation"].map(String::from).to_vec()];
    let shown = channels.iter().take(SHOWN).enumerate();
    rows.extend(shown.map(|(i, (m, d))| vec![i.to_string(), format!("{m:.4}"), format!("{d:.4}")]));
    match channels.len().saturating_sub(SHOWN) {
        0 => table(&rows),
        hidden => format!("{}\n... and {hidden} more; --json shows all", table(&rows)),
    }
}

/// How many samples of each part every class has, with a bar for those of the training part.
fn class_table(data: &Dataset, parts: &Parts) -> String {
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
    table(&rows)
}
