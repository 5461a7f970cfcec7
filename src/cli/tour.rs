//! `thalweg tour`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use thalweg::report::tour::{Tour, tour};
use thalweg::run::Config;
use thalweg::{Error, Result};

use super::settings::Settings;
use super::{measuring, say};

#[derive(clap::Args)]
pub struct Args {
    /// The page to write
    #[arg(long, value_name = "FILE.html", default_value = "tour.html")]
    out: PathBuf,
    /// Everything smaller: ten seconds instead of a minute, and curves that show less
    #[arg(long)]
    quick: bool,
    /// auto, cpu, gpu, or an adapter's number or name
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_writable(&args.out)?;
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let asked = Tour { is_quick: args.quick, device: &args.device, read: &read, measuring };
    let page = tour(asked, &mut |done, all, next| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(next.to_string());
    });
    bar.finish_and_clear();
    page?.write(&args.out)?;
    say!("Written to {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Refuses a file that cannot be written before anything is computed.
fn check_writable(file: &Path) -> anyhow::Result<()> {
    let found = || format!("--out: expected a file in a folder that can be written to, found {}", file.display());
    ensure!(file.file_name().is_some() && !file.is_dir(), found());
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(dir).map(drop).with_context(found)
}

/// The flags of a training alone.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// The configuration of a line of flags.
fn read(line: &str) -> Result<Config> {
    let bad = |error: String| Error::Config {
        key: "tour".into(),
        message: format!("expected flags of train, found {line}: {error}"),
    };
    let flags = Flags::try_parse_from(words(line)).map_err(|error| bad(error.to_string()))?;
    flags.settings.resolve().map_err(|error| bad(format!("{error:#}")))
}

/// The words of a line, as a shell sees them: what stands in single quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (i, part) in line.split('\'').enumerate() {
        let is_quoted = i % 2 == 1;
        for (k, piece) in part.split(|c: char| !is_quoted && c == ' ').enumerate() {
            if k > 0 {
                words.push(String::new());
            }
            words.last_mut().into_iter().for_each(|word| word.push_str(piece));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(super::words("--a 1  --set 'x={y=\"b c\"}' --d"), ["--a", "1", "--set", "x={y=\"b c\"}", "--d"]);
    }
}
