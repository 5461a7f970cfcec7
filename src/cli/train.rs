//! `thalweg train`: its flags, and what it prints.

use std::path::PathBuf;
use std::process::ExitCode;

use thalweg::engine::{Engine, Setup};
use thalweg::event::{Control, Ended, Event, Observer};
use thalweg::report::{History, write_edge};
use thalweg::run::{Best, Config, Finished, Outcome, Pace, Place, Prepared, read_edited_config, read_metrics};

use super::dashboard::Dashboard;
use super::progress::Progress;
use super::serve::{self, LivePage, bind};
use super::settings::Settings;
use super::signals::Signals;
use super::{EVALUATION_HEADER, evaluation_row, measuring, say, speed, table, thousands, warn, wrap};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Folder for the run's files [default: runs/1, runs/2, ...]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Replace the run that the folder holds
    #[arg(long)]
    overwrite: bool,
    /// Go on with the run in this folder from its last checkpoint. Flags may change where its data lies, --epochs,
    /// --schedule-epochs, what stops it, device and memory, and how often it logs, evaluates and saves; nothing else (a new
    /// rate, as for fine-tuning, is a new run with --init-from RUN)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "run", "overwrite"])]
    resume: Option<PathBuf>,
    /// Serve a page of the run to a browser on this machine while it goes on [default port: 8717; 0 takes any free one]
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = serve::PORT, value_parser = serve::port)]
    serve: Option<u16>,
    /// Open the engine, print what it takes of the device's memory, buffer by buffer, and end
    #[arg(long)]
    dry_run: bool,
    /// Print the errors alone
    #[arg(long, short)]
    quiet: bool,
    /// Show the run on the whole terminal: curves, averages, speed, time left; ? lists the keys [default: a bar and a table]
    #[arg(long, conflicts_with = "quiet")]
    tui: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (config, place, is_first) = args.resolve()?;
    #[cfg(feature = "mpi")]
    if config.distributed.is_some() {
        return super::ranks::run(config, place, |open| train(args, is_first, open));
    }
    train(args, is_first, || Prepared::open(config, place, measuring))
}

/// Trains the run that `open` prepares, and prints what there is to say.
fn train(args: &Args, is_first: bool, open: impl FnOnce() -> thalweg::Result<Prepared>) -> anyhow::Result<ExitCode> {
    // Before data is read, so that a port in use is told at once.
    let server = args.serve.map(|port| bind("--serve", port)).transpose()?;
    let mut prepared = open()?;
    let mut page = server.filter(|_| !args.dry_run).map(LivePage::open).transpose()?;
    if let Some(page) = &page {
        say!("page    {}", page.address());
    }
    prepared.warnings().iter().for_each(|warning| warn(warning));
    if !args.quiet {
        if is_first {
            say!("{}", wrap("config  ", "built in, since no setting was given: examples/first.toml"));
        }
        let (reason, epochs) = (prepared.reason().to_string(), prepared.config().train.epochs);
        let notes = prepared.notes().to_vec();
        describe(prepared.trainer().engine(), &reason, epochs, &notes);
    }
    if args.dry_run {
        say!("{}", memory_table(prepared.trainer().engine()));
        return Ok(ExitCode::SUCCESS);
    }
    let (pace, setup) = (prepared.pace(), prepared.trainer().engine().setup().clone());
    let (mut bar, mut signals, mut warnings) = (Progress::new(pace), Signals::watch()?, Warnings);
    let mut dashboard = if args.tui { args.dashboard(&mut prepared)? } else { None };
    let mut observers: Vec<&mut dyn Observer> = vec![&mut signals, &mut warnings];
    match &mut dashboard {
        Some(dashboard) => observers.push(dashboard),
        None if !args.quiet => observers.push(&mut bar),
        None => {}
    }
    observers.extend(page.as_mut().map(LivePage::observer));
    let finished = prepared.train(&mut observers);
    bar.clear();
    drop(dashboard);
    if let Some(page) = page {
        let (end, table) = told(&finished, &setup);
        page.close(&end, &table);
    }
    let finished = finished?;
    if let (Ended::Interrupted, Some(status)) = (finished.ended, signals.status()) {
        let dir = finished.dir.display();
        warn(&format!("interrupted, with a checkpoint; thalweg train --resume {dir} goes on from it"));
        return Ok(ExitCode::from(status));
    }
    draw_edge(&finished, &setup)?;
    if !args.quiet {
        say!("\n{}", final_table(&finished, &setup, pace, args.resume.is_some()));
    }
    if is_first && !args.quiet {
        say!("\n{}", next(&finished));
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws the largest eigenvalue along the run, if it was measured.
fn draw_edge(finished: &Finished, setup: &Setup) -> thalweg::Result<()> {
    let plain = setup.sam.is_none().then_some(&setup.optimizer);
    write_edge(&finished.dir, &read_metrics(&finished.dir)?, plain).map(drop)
}

/// The observer that says on standard error what went wrong without ending the run.
struct Warnings;

impl Observer for Warnings {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        if let Event::Recovered(recovered) = event {
            warn(&format!(
                "the device was lost ({}); the run goes on from step {} on {}",
                recovered.reason, recovered.steps, recovered.device
            ));
        }
        Ok(Control::Continue)
    }
}

impl Args {
    /// The dashboard, or else a word on why there is none.
    fn dashboard(&self, prepared: &mut Prepared) -> anyhow::Result<Option<Dashboard>> {
        let history = self.resume.as_deref().map_or(Ok(History::default()), History::read)?;
        let dashboard = Dashboard::open(prepared, self.resume.as_deref().or(self.run.as_deref()), history);
        Ok(dashboard.inspect_err(|why| warn(&format!("--tui: {why}; a bar takes its place"))).ok())
    }

    /// The configuration, the place, and whether the configuration is that of a first run.
    fn resolve(&self) -> anyhow::Result<(Config, Place, bool)> {
        if let Some(dir) = &self.resume {
            return Ok((self.settings.over(read_edited_config(dir)?)?, Place::Resume(dir.clone()), false));
        }
        let place = match &self.run {
            None => Place::Next,
            Some(dir) if self.overwrite => Place::Replace(dir.clone()),
            Some(dir) => Place::New(dir.clone()),
        };
        Ok(match self.settings.first()? {
            Some(config) => (config, place, true),
            None => (self.settings.resolve()?, place, false),
        })
    }
}

/// What to look at after a first run.
fn next(finished: &Finished) -> String {
    let (dir, steps) = (finished.dir.display(), finished.outcome.last.steps);
    let commands = [
        ("all weights again", format!("thalweg eval {dir}")),
        ("the way of the rate", format!("thalweg schedule {dir}/config.toml --steps {steps}")),
        ("real images", "thalweg data fetch fashion-mnist".into()),
    ];
    let lines = commands.map(|(what, command)| format!("\n  {what:<20} {command}"));
    format!("swa and ema are averages of the weights. Look next at{}", lines.concat())
}

fn describe(engine: &dyn Engine, reason: &str, epochs: u64, notes: &[String]) {
    let (setup, data) = (engine.setup(), &engine.setup().dataset);
    let widths: Vec<String> = setup.model.widths.iter().map(ToString::to_string).collect();
    let parts = [
        (Some(&data.train), "training samples"),
        (data.validation.as_ref(), "validation"),
        (data.test.as_ref(), "test"),
    ];
    let count = |(samples, name): &(Option<&thalweg::data::Samples>, &str)| {
        samples.map(|samples| format!("{} {name}", thousands(samples.len() as u64)))
    };
    let counts: Vec<String> = parts.iter().filter_map(count).collect();
    say!("{}", wrap("device  ", &format!("{}: {reason}", engine.describe())));
    say!("{}", wrap("data    ", &format!("{}: {}", data.name, counts.join(", "))));
    notes.iter().for_each(|note| say!("{}", wrap("note    ", note)));
    let parameters = thousands(setup.model.parameters() as u64);
    say!("{}", wrap("model   ", &format!("{}, {parameters} parameters", widths.join("-"))));
    say!("run     batch {}, {epochs} epochs, {} replica(s)", setup.batch, setup.replicas);
    say!("train   is the running mean, of weights that still learn\n");
}

/// Every buffer with its bytes, the largest first, and their sum.
fn memory_table(engine: &dyn Engine) -> String {
    let mut memory = engine.memory();
    memory.sort_by_key(|buffer| std::cmp::Reverse(buffer.bytes));
    let mut rows = vec![["buffer", "bytes"].map(String::from).to_vec()];
    rows.extend(memory.iter().map(|buffer| vec![buffer.name.clone(), thousands(buffer.bytes)]));
    rows.push(vec!["all".into(), thousands(memory.iter().map(|buffer| buffer.bytes).sum())]);
    table(&rows)
}

/// What the page of a run tells of its end: a sentence, and the last evaluations.
fn told(finished: &thalweg::Result<Finished>, setup: &Setup) -> (String, Vec<Vec<String>>) {
    match finished {
        Err(error) => (format!("Error: {error}"), Vec::new()),
        Ok(Finished { dir, ended: Ended::Interrupted, .. }) => {
            let dir = dir.display();
            (format!("Interrupted, with a checkpoint. thalweg train --resume {dir} goes on from it."), Vec::new())
        }
        Ok(Finished { dir, ended, outcome }) => {
            let (ended, steps, dir) = (ended.describe(), thousands(outcome.last.steps), dir.display());
            let text = format!("Ended {ended}: {steps} steps in {:.1} s. Written to {dir}.", outcome.seconds);
            (text, evaluations(outcome, setup))
        }
    }
}

/// The rows of the last evaluations, with a header.
fn evaluations(outcome: &Outcome, setup: &Setup) -> Vec<Vec<String>> {
    let mut rows = vec![EVALUATION_HEADER.map(String::from).to_vec()];
    for (name, evaluations) in outcome.last.parts() {
        let name = match name.as_str() {
            "train" => "train (running mean)".into(),
            "validation" | "test" if outcome.last.is_restored => format!("{name} (best weights, restored)"),
            _ => name,
        };
        rows.push(evaluation_row(&name, evaluations, setup.dataset.is_classification()));
    }
    rows
}

fn final_table(finished: &Finished, setup: &Setup, pace: Pace, is_resumed: bool) -> String {
    let Finished { dir, ended, outcome } = finished;
    let rows = evaluations(outcome, setup);
    // The epochs before a resumed one may have had another device.
    let pace = if is_resumed { Pace::default() } else { pace };
    format!(
        "{}\n{} steps in {:.1} s, {}; ended {}{}\n\nWritten to {}",
        table(&rows),
        thousands(outcome.last.steps),
        outcome.seconds,
        speed(pace, outcome.samples_per_second()),
        ended.describe(),
        best(outcome),
        dir.display()
    )
}

/// The line that says which epoch was the best, where there is one to say.
fn best(outcome: &Outcome) -> String {
    let Some(Best { metric, value, epoch, steps, from }) = outcome.best else {
        return outcome.highest.map_or(String::new(), |(epoch, accuracy)| {
            format!("\nhighest test accuracy {accuracy:.4} after epoch {}", epoch + 1)
        });
    };
    let name = serde_json::to_value(metric).ok().and_then(|name| Some(name.as_str()?.replace('_', " ")));
    let from = if from > 0 { format!(", looked for from epoch {} on", from + 1) } else { String::new() };
    let restored = if outcome.last.is_restored { ", whose weights the run ended with" } else { "" };
    format!(
        "\nbest {} {value:.4} in epoch {}, after step {}{from}{restored}",
        name.unwrap_or_default(),
        epoch + 1,
        thousands(steps)
    )
}
