//! The command line: one file a subcommand.

mod batch;
mod bench;
mod compare;
mod curvature;
mod dashboard;
mod data;
mod date;
mod descend;
mod devices;
mod epochs;
mod eval;
mod export;
mod flatness;
mod landscape;
mod lr_find;
#[cfg(feature = "mpi")]
mod network;
mod output;
mod pictures;
mod points;
mod predict;
mod progress;
#[cfg(feature = "mpi")]
mod ranks;
mod report;
mod schedule;
mod schedules;
mod serve;
mod settings;
mod shader;
mod signals;
mod speeds;
mod sweep;
mod targets;
mod tour;
mod train;
mod verify;
mod view;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind as Refusal;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use textplots::{Chart, Plot, Shape};
use thalweg::engine::Evaluation;
use thalweg::gpu::Tuning;
use thalweg::number::{deviation, mean};
use thalweg::{Error, run};

use output::say;

/// Train small neural networks by mini-batch gradient descent, on any GPU and on the CPU
#[derive(Parser)]
#[command(version, propagate_version = true, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network, and write its metrics and weights to a folder
    Train(Box<train::Args>),
    /// Train a network under many settings and seeds, side by side on one device, and say which is best
    Sweep(Box<sweep::Args>),
    /// Evaluate the weights of a run
    Eval(eval::Args),
    /// Write what a run's network says of samples
    Predict(predict::Args),
    /// Write a run's network as an ONNX model, or its curves as CSV
    Export(export::Args),
    /// Show what differs between runs: in their configurations and in what came of them
    Compare(compare::Args),
    /// Measure the curvature of the loss about a run's weights, side by side: is an average in a flatter place?
    Curvature(curvature::Args),
    /// Draw the loss of a run in a plane of weight space, or along a line
    Landscape(Box<landscape::Args>),
    /// Serve the runs of a folder to a browser on this machine: a list to search, sort and compare
    View(view::Args),
    /// Compare this machine's GPU with the CPU, layer by layer and kernel by kernel
    Verify(verify::Args),
    /// Find a learning rate by trying many, without keeping what they did
    LrFind(Box<lr_find::Args>),
    /// Write what there is to see of a run into one page, or compare several runs
    Report(report::Args),
    /// Measure what the device can do and how much of it training takes
    Bench(bench::Args),
    /// Show how a schedule moves learning rate and momentum
    Schedule(Box<schedule::Args>),
    /// Go down a surface of two parameters, to see what rates, momentum and noise do
    Descend(descend::Args),
    /// Make a page that walks through gradient descent, every picture of which is computed here and now
    Tour(tour::Args),
    /// List the adapters that `--device` can choose
    Devices(devices::Args),
    /// Describe or download a data set
    Data(data::Args),
    /// Print the WGSL that the GPU is given
    Shader(shader::Args),
}

/// Exit status for a run that went wrong: a diverged loss, a failed verification.
const FAILED: u8 = 1;
/// Exit status for input that cannot be used.
const BAD_INPUT: u8 = 2;

/// Says on a terminal what is measured, in a line that the next one overwrites, and anywhere which form does not work.
fn measuring(tuning: Tuning) {
    let mut terminal = std::io::stderr();
    let shows = terminal.is_terminal() && output::held(0).is_none();
    let clear = if shows { "\r\x1b[K" } else { "" };
    match tuning {
        Tuning::Dropped(form) => output::complain(format!("{clear}warning: {form}")),
        Tuning::Measuring(product) if shows => {
            let _ = write!(terminal, "{clear}measuring {product}\r");
            let _ = terminal.flush();
        }
        Tuning::Measuring(_) => {}
    }
}

/// The command line. `-h` leaves the flags of training, which have a heading, to `train`, and shows of other commands what is
/// their own; `--help` shows all.
fn brief(cli: clap::Command) -> clap::Command {
    const HINT: &str = "--help adds the flags of training: data, model, optimizer and so on.";
    let own = |command: clap::Command| {
        command.after_help(HINT).after_long_help("").mut_args(|arg| {
            let is_of_training = arg.get_help_heading().is_some();
            arg.hide_short_help(is_of_training)
        })
    };
    let shown = |command: clap::Command, name| command.mut_arg(name, |arg| arg.hide_short_help(false));
    cli.mut_subcommand("lr-find", own)
        .mut_subcommand("schedule", |command| ["schedule", "lr", "momentum"].into_iter().fold(own(command), shown))
        .mut_subcommand("bench", |command| {
            ["step", "batch", "population"].into_iter().fold(command, |bench, name| bench.mut_subcommand(name, own))
        })
}

/// Runs the command and prints an error as one line.
pub fn main() -> ExitCode {
    let parsed = brief(Cli::command()).try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(help) if help.kind() == Refusal::DisplayHelpOnMissingArgumentOrSubcommand => help.exit(),
        Err(error) if error.use_stderr() => return complain(&one_line(&error.to_string()), BAD_INPUT),
        Err(help) => {
            output::record(help.print());
            return end(ExitCode::SUCCESS, false);
        }
    };
    let is_run = matches!(cli.command, Command::Train(_) | Command::Sweep(_));
    if is_run || matches!(cli.command, Command::Verify(_)) {
        output::go_on();
    }
    let result = match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Curvature(args) => curvature::run(&args),
        Command::Landscape(args) => landscape::run(&args),
        Command::View(args) => view::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::LrFind(args) => lr_find::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Schedule(args) => schedule::run(&args),
        Command::Descend(args) => descend::run(&args),
        Command::Tour(args) => tour::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Shader(args) => shader::run(&args),
    };
    match result {
        Ok(status) => end(status, is_run),
        Err(error) => complain(&format!("{error:#}"), error_status(&error)),
    }
}

/// The exit status of a command that an error ended.
fn error_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::Diverged { .. }) => FAILED,
        _ => BAD_INPUT,
    }
}

/// The exit status of a command that has worked, unless what it printed was lost: then it says so. That nobody read to the end
/// is said of a run alone.
fn end(status: ExitCode, is_run: bool) -> ExitCode {
    match output::failure() {
        Some(failure) if failure.kind() == ErrorKind::BrokenPipe => {
            if is_run {
                warn(&format!("standard output: {failure}; the run went on without it"));
            }
            status
        }
        Some(failure) => {
            let lost = complain(&format!("standard output: {failure}; what was printed is not complete"), BAD_INPUT);
            if status == ExitCode::SUCCESS { lost } else { status }
        }
        None => status,
    }
}

/// Says on standard error what is wrong without ending the command.
fn warn(text: &str) {
    tell("warning", text);
}

/// Says on standard error what ends the command, with this status.
fn complain(text: &str, status: u8) -> ExitCode {
    tell("error", text);
    ExitCode::from(status)
}

/// Prints text as one line on standard error.
fn tell(kind: &str, text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    output::complain(format!("{kind}: {}", words.join(" ")));
}

/// What clap has to say, without its prefix, its usage and its advice to ask for help.
fn one_line(text: &str) -> String {
    let text = text.trim_start_matches("error: ");
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    format!("{} (see --help)", text[..end.unwrap_or(text.len())].trim())
}

/// What [`evaluation_row`] shows.
const EVALUATION_HEADER: [&str; 5] = ["part", "loss", "", "accuracy", ""];

/// Mean loss and accuracy of the replicas with their deviations; for a regression there is no accuracy.
fn evaluation_row(name: &str, evaluations: &[Evaluation], is_classification: bool) -> Vec<String> {
    let losses: Vec<f64> = evaluations.iter().map(|e| e.loss).collect();
    let accuracies: Vec<f64> = evaluations.iter().map(|e| e.accuracy).collect();
    let mut row = vec![name.replace('_', " ")];
    for (values, shown) in [(&losses, true), (&accuracies, is_classification)] {
        let several = values.len() > 1;
        row.push(if shown { format!("{:.4}", mean(values)) } else { String::new() });
        row.push(if shown && several { format!("± {:.4}", deviation(values)) } else { String::new() });
    }
    row
}

/// A table with aligned columns; the first line is the header, and text is left- and numbers right-aligned.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], c: usize| row.get(c).cloned().unwrap_or_default();
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|row| cell(row, c).chars().count()).max().unwrap_or(0)).collect();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '±');
    let right: Vec<bool> = (0..columns)
        .map(|c| rows.iter().skip(1).all(|row| cell(row, c).is_empty() || is_number(&cell(row, c))))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = (0..columns)
            .map(|c| {
                let pad = " ".repeat(widths[c] - cell(row, c).chars().count());
                if right[c] { pad + &cell(row, c) } else { cell(row, c) + &pad }
            })
            .collect();
        cells.join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The most columns of characters that a line takes where it can be broken.
const WIDTH: usize = 80;

/// The label and the words after it, in lines of at most [`WIDTH`] that are broken between words and begin below the first.
fn wrap(label: &str, text: &str) -> String {
    let indent = label.trim_start_matches('\n').chars().count();
    let (mut lines, mut width) = (label.to_string(), indent);
    for (i, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if i > 0 && width + 1 + length > WIDTH {
            lines += &format!("\n{}{word}", " ".repeat(indent));
            width = indent + length;
        } else {
            let space = if i > 0 { " " } else { "" };
            lines += &format!("{space}{word}");
            width += space.len() + length;
        }
    }
    lines
}

/// A curve for the terminal, over the numbers of `range`, with an upright line at `mark`.
fn chart(points: &[(f32, f32)], range: std::ops::RangeInclusive<f32>, mark: Option<f32>) -> String {
    let height = |f: fn(f32, f32) -> f32| points.iter().map(|point| point.1).reduce(f).unwrap_or_default();
    let upright: Vec<(f32, f32)> =
        mark.into_iter().flat_map(|x| [(x, height(f32::min)), (x, height(f32::max))]).collect();
    let (curve, mark) = (Shape::Lines(points), Shape::Lines(&upright));
    let mut chart = Chart::new(140, 48, *range.start(), *range.end());
    let chart = chart.lineplot(&curve).lineplot(&mark);
    // An axis would stand where a number is 0, which is a rate of 1 where they are logarithms.
    chart.borders();
    chart.figures();
    chart.to_string()
}

/// `1,234 samples/s, 61 % of limit`; the share where the device has been measured.
fn speed(pace: run::Pace, samples_per_second: f64) -> String {
    let share = pace.of_limit(samples_per_second);
    let share = share.map_or(String::new(), |share| format!(", {} of limit", percent(share)));
    format!("{} samples/s{share}", thousands(samples_per_second as u64))
}

/// `61 %`.
fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
