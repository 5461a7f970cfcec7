//! `thalweg train`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use thalweg::Error;
use thalweg::data::Dataset;
use thalweg::engine::{Engine, Evaluation, Slot};
use thalweg::explore::least_seconds;
use thalweg::run::{self, Batch, Checkpoint, Config, Run};
use thalweg::stop::Ended;
use thalweg::train::{Epoch, Progress, Trainer};

use super::settings::{Settings, read_table};
use super::{EVALUATION_HEADER, evaluation_row, measuring, percent, say, table, thousands};

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
    /// Go on with the run in this folder from its last checkpoint; flags override its configuration
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "run", "overwrite"])]
    resume: Option<PathBuf>,
    /// Open the engine, print what it takes of the device's memory, buffer by buffer, and end
    #[arg(long)]
    dry_run: bool,
    /// Print the errors alone
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (mut config, own) = match &args.resume {
        Some(dir) => {
            let file = read_table(&dir.join("config.toml"))?;
            let own = Config::resolve(file.clone(), Vec::new(), Vec::new())?;
            let config = args.settings.over(file)?;
            config.check_resumes(&own)?;
            (config, Some(own))
        }
        None => (args.settings.resolve()?, None),
    };
    if let Some(dir) = &args.run {
        Run::check(dir, args.overwrite)?;
    }
    config.optimizer.check()?;
    let mut dataset = config.dataset()?;
    if let Some(dir) = &args.resume {
        dataset.normalization = run::normalization(dir)?;
    }
    // What the data decided is part of the resolved configuration.
    config.data.classes = dataset.is_classification().then_some(dataset.outputs);
    let setup = config.setup(dataset)?;
    (config.train.batch, config.model.loss) = (Some(Batch::Size(setup.batch)), Some(setup.loss));
    let data = setup.dataset.clone();
    // A resumed run goes on with the forms that it began with.
    let recorded = args.resume.as_deref().map(run::forms).transpose()?;
    let (mut engine, reason) = config.engine(setup, recorded, measuring)?;
    let engine = engine.as_mut();

    let device = engine.describe();
    if !args.quiet {
        describe(&config, engine, &format!("{device}: {reason}"));
    }
    if args.dry_run {
        Trainer::new(engine, config.plan())?;
        say!("{}", memory_table(engine));
        return Ok(ExitCode::SUCCESS);
    }
    let mut checkpoint = args.resume.as_deref().map(|dir| Checkpoint::read(dir, engine)).transpose()?;
    if let (Some(Checkpoint { progress, .. }), Some(own)) = (&mut checkpoint, &own) {
        check_goes_on(progress, &config, own)?;
    }
    let init_from = match &config.model.init_from {
        Some(path) if checkpoint.is_none() => {
            Some(thalweg::weights::read(path, engine.layout(), config.train.precision)?)
        }
        _ => None,
    };
    let pace = Pace::of(engine);
    let mut trainer = Trainer::new(engine, config.plan())?;
    match (&checkpoint, init_from) {
        (Some(checkpoint), _) => {
            checkpoint.restore(trainer.engine())?;
            trainer.resume(checkpoint.progress.clone())?;
        }
        (None, Some(weights)) => {
            (0..config.train.replicas).try_for_each(|r| trainer.engine().set_weights(Slot::Live, r, &weights))?;
        }
        (None, None) => trainer.init(config.model.init)?,
    }
    // From here on nothing is wrong with the input.
    let mut run = match (&args.resume, &checkpoint) {
        (Some(dir), Some(Checkpoint { progress, .. })) => {
            Run::resume(dir, &config, progress, progress.epoch * trainer.steps_per_epoch(), &data)?
        }
        _ => {
            let forms = trainer.engine().forms();
            Run::create(args.run.as_deref(), args.overwrite, &config, &data, &forms)?
        }
    };
    let (outcome, ended) = epochs(&config, &data, &mut trainer, &mut run, &pace, args.quiet);
    // The epochs before a resumed one may have had another device.
    let pace = if args.resume.is_some() { Pace(None) } else { pace };
    let diverged = match &ended {
        Ok(()) => None,
        Err(error @ Error::Diverged { .. }) => Some(error.to_string()),
        Err(_) => return ended.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    };
    let mut means = trainer.means(outcome.last.steps);
    if config.stop.keeps_best() && trainer.progress().watch.best.is_some() {
        means.push(("best", vec![Slot::Best]));
    }
    let ended_by = trainer.ended().map_or("diverged", Ended::name);
    let summary = summary(&config, &data, &outcome, &pace, &device, ended_by, diverged);
    run.finish(trainer.engine(), config.train.precision, &means, &summary)?;
    ended?;
    if !args.quiet {
        let end = trainer.ended().map_or("", Ended::describe);
        say!("\n{}\n\nWritten to {}", final_table(&data, &outcome, &pace, end), run.dir().display());
    }
    Ok(ExitCode::SUCCESS)
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

/// Refuses to resume a run that has nothing left to do. One that ended early goes on if `[stop]` is another now.
fn check_goes_on(progress: &mut Progress, config: &Config, own: &Config) -> anyhow::Result<()> {
    if config.stop != own.stop {
        progress.ended = None;
    }
    if let Some(ended) = progress.ended {
        anyhow::bail!("--resume: expected a run that goes on, found one that ended {}", ended.describe());
    }
    let (epochs, done) = (config.train.epochs, progress.epoch);
    anyhow::ensure!(epochs > done, "train.epochs: expected more than the {done} that the run has, found {epochs}");
    Ok(())
}

/// What a run's epochs left.
#[derive(Default)]
struct Outcome {
    last: Epoch,
    best: Option<(u64, f64)>,
    seconds: f64,
    samples: f64,
}

impl Outcome {
    /// What the epochs before a resumed one left.
    fn so_far(run: &Run) -> thalweg::Result<Self> {
        let mut outcome = Self::default();
        for line in run.epochs_so_far()? {
            let seconds = line["seconds"].as_f64().unwrap_or(0.0);
            let accuracy = line["test_accuracy"]["mean"].as_f64();
            outcome.add(line["epoch"].as_u64().unwrap_or(0), seconds, &line["samples_per_second"], accuracy);
        }
        Ok(outcome)
    }

    fn add(&mut self, epoch: u64, seconds: f64, samples_per_second: &Value, test_accuracy: Option<f64>) {
        self.seconds += seconds;
        self.samples += seconds * samples_per_second.as_f64().unwrap_or(0.0);
        if let Some(accuracy) = test_accuracy
            && self.best.is_none_or(|(_, best)| accuracy > best)
        {
            self.best = Some((epoch, accuracy));
        }
    }
}

/// How fast training could be at most, where `thalweg bench` has measured the device.
struct Pace(Option<f64>);

impl Pace {
    fn of(engine: &dyn Engine) -> Self {
        let setup = engine.setup();
        let samples = (setup.batch * setup.replicas) as f64;
        Self(run::limits(&engine.describe()).map(|limits| samples / least_seconds(engine, &limits)))
    }

    /// The share of it that `samples_per_second` are.
    fn of_limit(&self, samples_per_second: f64) -> Option<f64> {
        self.0.map(|most| samples_per_second / most)
    }

    fn describe(&self, samples_per_second: f64) -> String {
        let share = self.of_limit(samples_per_second);
        let share = share.map_or(String::new(), |share| format!(", {} of limit", percent(share)));
        format!("{} samples/s{share}", thousands(samples_per_second as u64))
    }
}

fn epochs(
    config: &Config,
    data: &Dataset,
    trainer: &mut Trainer,
    run: &mut Run,
    pace: &Pace,
    quiet: bool,
) -> (Outcome, thalweg::Result<()>) {
    let bar = if quiet { ProgressBar::hidden() } else { progress(trainer.steps()) };
    let mut outcome = match Outcome::so_far(run) {
        Ok(mut outcome) => {
            let epochs = trainer.progress().epoch;
            outcome.last.epoch = epochs.saturating_sub(1);
            outcome.last.steps = epochs * trainer.steps_per_epoch();
            outcome
        }
        Err(error) => return (Outcome::default(), Err(error)),
    };
    let replicas = config.train.replicas as f64;
    let ended = loop {
        let start = std::time::Instant::now();
        let mut written = Ok(());
        let (mut rows, mut shown) = (0.0, start);
        let result = trainer.epoch(&mut |step| {
            rows += step.rows as f64 * replicas;
            // Ten times a second is often enough for the eye.
            if shown.elapsed() > Duration::from_millis(100) {
                shown = std::time::Instant::now();
                let loss = step.replicas.iter().map(|m| m.loss).sum::<f64>() / replicas;
                let correct = step.replicas.iter().map(|m| m.correct as f64).sum::<f64>();
                let accuracy = correct / (replicas * step.rows as f64);
                let speed = thousands((rows / start.elapsed().as_secs_f64()) as u64);
                bar.set_position(step.step + 1);
                let accuracy =
                    if data.is_classification() { format!("  accuracy {accuracy:.3}") } else { String::new() };
                bar.set_message(format!("loss {loss:.4}{accuracy}  {speed} samples/s"));
            }
            let log_every = config.train.log_every;
            if written.is_ok() && log_every > 0 && step.step.is_multiple_of(log_every) {
                written = run.step(step);
            }
        });
        let epoch = match result.and_then(|epoch| written.map(|()| epoch)) {
            Ok(Some(epoch)) => epoch,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let accuracies = epoch.test.as_ref().filter(|_| data.is_classification());
        let accuracy = accuracies.map(|e| run::mean(&e.iter().map(|e| e.accuracy).collect::<Vec<_>>()));
        outcome.add(epoch.epoch, epoch.seconds, &json!(epoch.samples_per_second), accuracy);
        if let Err(error) = run.epoch(&epoch) {
            break Err(error);
        }
        if !quiet {
            bar.suspend(|| say!("{}", epoch_line(config, data, pace, &epoch)));
        }
        outcome.last = epoch;
        let every = config.train.checkpoint_every;
        let progress = trainer.progress().clone();
        // Not in the middle of an epoch, and not when the weights are no longer those that the steps led to.
        let is_whole = progress.epoch > outcome.last.epoch;
        let is_restored = trainer.ended().is_some() && config.stop.restore_best;
        if every > 0
            && (is_whole && !is_restored)
            && (progress.epoch.is_multiple_of(every) || trainer.ended().is_some())
            && let Err(error) = Checkpoint::write(run.dir(), trainer.engine(), config.train.precision, &progress)
        {
            break Err(error);
        }
    };
    bar.finish_and_clear();
    (outcome, ended)
}

fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} steps  {msg}  {eta} left");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn describe(config: &Config, engine: &dyn Engine, device: &str) {
    let setup = engine.setup();
    let data = &setup.dataset;
    let widths: Vec<String> = setup.model.widths.iter().map(ToString::to_string).collect();
    let held = |samples: Option<&thalweg::data::Samples>, name: &str| {
        samples.map_or(String::new(), |s| format!(", {} {name}", thousands(s.len() as u64)))
    };
    say!("device  {device}");
    say!(
        "data    {}: {} training samples{}{}",
        data.name,
        thousands(data.train.len() as u64),
        held(data.validation.as_ref(), "validation"),
        held(data.test.as_ref(), "test"),
    );
    say!("model   {}, {} parameters", widths.join("-"), thousands(setup.model.parameters() as u64));
    say!("run     batch {}, {} epochs, {} replica(s)\n", setup.batch, config.train.epochs, setup.replicas);
}

fn epoch_line(config: &Config, data: &Dataset, pace: &Pace, epoch: &Epoch) -> String {
    let part = |name: &str, evaluations: Option<&Vec<Evaluation>>| {
        evaluations.map_or(String::new(), |e| {
            let (loss, accuracy) = loss_and_accuracy(e);
            if data.is_classification() {
                format!("  {name} {loss:.4} {accuracy:.4}")
            } else {
                format!("  {name} {loss:.4}")
            }
        })
    };
    let means: String = epoch.means.iter().map(|m| part(m.name, m.test.as_ref().or(m.validation.as_ref()))).collect();
    let epochs = config.train.epochs;
    format!(
        "epoch {:>width$}/{epochs}  lr {:<9.3e}{}{}{}{}  {}",
        epoch.epoch + 1,
        epoch.lr,
        part("train", Some(&epoch.train)),
        part("validation", epoch.validation.as_ref()),
        part("test", epoch.test.as_ref()),
        means,
        pace.describe(epoch.samples_per_second),
        width = epochs.to_string().len(),
    )
}

fn loss_and_accuracy(evaluations: &[Evaluation]) -> (f64, f64) {
    let of = |f: fn(&Evaluation) -> f64| run::mean(&evaluations.iter().map(f).collect::<Vec<_>>());
    (of(|e| e.loss), of(|e| e.accuracy))
}

fn final_table(data: &Dataset, outcome: &Outcome, pace: &Pace, ended: &str) -> String {
    let mut rows = vec![EVALUATION_HEADER.map(String::from).to_vec()];
    for (name, evaluations) in run::parts(&outcome.last) {
        rows.push(evaluation_row(&name, evaluations, data.is_classification()));
    }
    let speed = pace.describe(outcome.samples / outcome.seconds);
    let best = outcome.best.map_or(String::new(), |(epoch, accuracy)| {
        format!("\nbest test accuracy {accuracy:.4} after epoch {}", epoch + 1)
    });
    let steps = thousands(outcome.last.steps);
    format!("{}\n{steps} steps in {:.1} s, {speed}; ended {ended}{best}", table(&rows), outcome.seconds)
}

fn summary(
    config: &Config,
    data: &Dataset,
    outcome: &Outcome,
    pace: &Pace,
    device: &str,
    stopped_by: &str,
    diverged: Option<String>,
) -> Value {
    let samples_per_second = outcome.samples / outcome.seconds.max(f64::MIN_POSITIVE);
    let mut summary = json!({
        "stopped_by": stopped_by,
        "epochs": outcome.last.epoch + u64::from(outcome.last.steps > 0),
        "steps": outcome.last.steps,
        "replicas": config.train.replicas,
        "device": device,
        "seconds": outcome.seconds,
        "samples_per_second": samples_per_second,
    });
    if let Some(share) = pace.of_limit(samples_per_second) {
        summary["of_limit"] = share.into();
    }
    for (part, evaluations) in run::parts(&outcome.last) {
        for (name, value) in run::statistics(&part, evaluations, data.is_classification()) {
            summary[name] = value;
        }
    }
    if let Some((epoch, accuracy)) = outcome.best {
        summary["best_test_accuracy"] = json!({ "epoch": epoch, "mean": accuracy });
    }
    if let Some(text) = diverged {
        summary["diverged"] = text.into();
    }
    summary
}
