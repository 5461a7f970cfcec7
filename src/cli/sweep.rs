//! `thalweg sweep`: its flags, and what it prints.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use thalweg::event::Control;
use thalweg::sweep::{
    Axis, Design, Halving, Range, Row, Sweep, Swept, Told, best_dir, cells, judged_by, make_dir, metric_name,
    read_design, write_design,
};

use super::settings::Settings;
use super::signals::Signals;
use super::{measuring, say, table, warn, wrap};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Try every one of these values of a setting, with every one of the other --grid: optimizer.lr=0.01,0.03,0.1
    #[arg(long, help_heading = "Sweep", value_name = "KEY=V,V,...")]
    grid: Vec<String>,
    /// Draw so many points from the --range, evenly spread (Sobol's sequence); each is tried with all of --grid
    #[arg(long, help_heading = "Sweep", value_name = "N", requires = "range")]
    random: Option<u64>,
    /// Draw a setting's values between two ends; :log spreads them evenly over powers: optimizer.lr=1e-4..1e-1:log
    #[arg(long, help_heading = "Sweep", value_name = "KEY=LO..HI[:log]")]
    range: Vec<String>,
    /// Train every setting with so many seeds, from --seed on [default: 1]
    #[arg(long, help_heading = "Sweep", value_name = "N")]
    seeds: Option<u64>,
    /// Seed that shifts the points of --random [default: 0]
    #[arg(long, help_heading = "Sweep", value_name = "SEED")]
    design_seed: Option<u64>,
    /// Train all settings for so many epochs, the best one in ETA of them for ETA times as many, and so on [default: 1,3]
    #[arg(long, help_heading = "Sweep", value_name = "EPOCHS[,ETA]", num_args = 0..=1, default_missing_value = "1")]
    halving: Option<String>,
    /// Most members to train side by side; fewer where memory holds no more [default: 64]
    #[arg(long, help_heading = "Sweep", value_name = "N", default_value_t = 64, hide_default_value = true)]
    population: usize,
    /// Keep the weights of every member, not of the best alone
    #[arg(long, help_heading = "Sweep")]
    keep_weights: bool,
    /// Folder for the sweep's files [default: sweeps/1, sweeps/2, ...]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Replace the sweep that the folder holds
    #[arg(long)]
    overwrite: bool,
    /// Go on with the sweep in this folder: with the members that have not ended, from their checkpoints
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "run", "overwrite", "grid", "random", "range", "seeds", "halving"])]
    resume: Option<PathBuf>,
    /// Deal the members out to all processes that mpirun starts, which share the folder
    #[cfg(feature = "mpi")]
    #[arg(long, help_heading = "Sweep")]
    ranks: bool,
    /// Print the errors alone
    #[arg(long, short)]
    quiet: bool,
}

/// The most settings that are printed.
const SHOWN: usize = 20;
/// The most characters of a line of the table.
const WIDTH: usize = 100;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "mpi")]
    if args.ranks {
        return super::ranks::together(|session| args.across(session.ranks()));
    }
    let sweep = args.sweep()?;
    args.train(&sweep, |dir, told| sweep.run(dir, told))
}

/// What hears of a sweep.
type Hear<'a> = dyn FnMut(Told) -> thalweg::Result<Control> + 'a;

impl Args {
    /// Trains as one of several ranks: the first deals out the members, and the others train what they are given.
    #[cfg(feature = "mpi")]
    fn across(&self, mut ranks: thalweg::mpi::Ranks) -> anyhow::Result<ExitCode> {
        let mut sweep = self.sweep()?;
        if ranks.rank == 0 {
            return self.train(&sweep, |dir, told| {
                ranks.agree(&std::path::absolute(dir).unwrap_or(dir.into()).to_string_lossy());
                sweep.run_with(&mut ranks, dir, told)
            });
        }
        super::ranks::ignore_signals();
        let dir = PathBuf::from(ranks.agree(""));
        sweep.base = sweep.base.on_rank(&ranks);
        sweep.follow(&dir, &mut ranks)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The sweep of the flags, or of the folder that goes on.
    fn sweep(&self) -> anyhow::Result<Sweep> {
        let (design, base) = match &self.resume {
            Some(dir) => read_design(dir)?,
            None => self.design()?,
        };
        let mut sweep = Sweep::new(design, base);
        (sweep.most, sweep.keep_weights, sweep.measuring) = (self.population, self.keep_weights, measuring);
        Ok(sweep)
    }

    /// Makes the folder, and has the members trained in it; prints what comes of it.
    fn train(
        &self,
        sweep: &Sweep,
        run: impl FnOnce(&Path, &mut Hear) -> thalweg::Result<Swept>,
    ) -> anyhow::Result<ExitCode> {
        let members = sweep.check()?;
        let dir = match &self.resume {
            Some(dir) => dir.clone(),
            None => {
                let dir = make_dir(self.run.as_deref(), self.overwrite)?;
                write_design(&dir, &sweep.design, &sweep.base)?;
                dir
            }
        };
        let signals = Signals::watch()?;
        let mut view = View::new(self.quiet, members);
        let swept = run(&dir, &mut |told| view.told(&told, &signals));
        view.bar.finish_and_clear();
        let swept = swept?;
        if let (true, Some(status)) = (swept.is_interrupted, signals.status()) {
            warn(&format!(
                "interrupted after {} of {members} members; thalweg sweep --resume {} goes on",
                swept.rows.len(),
                dir.display()
            ));
            return Ok(ExitCode::from(status));
        }
        if !self.quiet {
            say!("{}", results(&dir, &swept));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The design and the configuration that it is over: those of the file, and of flags over it.
    fn design(&self) -> anyhow::Result<(Design, thalweg::run::Config)> {
        let mut file = self.settings.file()?;
        let mut design = Design::take(&mut file)?;
        let axes = self.grid.iter().map(|text| Axis::parse(text)).collect::<thalweg::Result<Vec<_>>>()?;
        let ranges = self.range.iter().map(|text| Range::parse(text)).collect::<thalweg::Result<Vec<_>>>()?;
        let flagged: Vec<&str> =
            axes.iter().map(|axis| &axis.key[..]).chain(ranges.iter().map(|range| &range.key[..])).collect();
        // What a flag sweeps it sweeps instead of the file.
        design.grid.retain(|axis| !flagged.contains(&&axis.key[..]));
        design.ranges.retain(|range| !flagged.contains(&&range.key[..]));
        design.grid.extend(axes);
        design.ranges.extend(ranges);
        design.random = self.random.or(design.random);
        design.seeds = self.seeds.unwrap_or(design.seeds);
        design.seed = self.design_seed.unwrap_or(design.seed);
        if let Some(text) = &self.halving {
            design.halving = Some(halving(text)?);
        }
        Ok((design, self.settings.over(file)?))
    }
}

/// `EPOCHS[,ETA]`.
fn halving(text: &str) -> anyhow::Result<Halving> {
    let (epochs, eta) = text.split_once(',').map_or((text, None), |(epochs, eta)| (epochs, Some(eta)));
    let number = |text: &str| text.trim().parse::<u64>();
    let eta = eta.map_or(Ok(Halving::default().eta), number);
    match (number(epochs), eta) {
        (Ok(epochs), Ok(eta)) => Ok(Halving { epochs, eta }),
        _ => anyhow::bail!("--halving: expected EPOCHS or EPOCHS,ETA, found {text}"),
    }
}

/// What is shown while members are trained: a bar, and a line where something was decided.
struct View {
    is_quiet: bool,
    bar: ProgressBar,
    members: usize,
    ended: usize,
    failed: usize,
}

impl View {
    fn new(is_quiet: bool, members: usize) -> Self {
        Self { is_quiet, bar: ProgressBar::hidden(), members, ended: 0, failed: 0 }
    }

    fn told(&mut self, told: &Told, signals: &Signals) -> thalweg::Result<Control> {
        match *told {
            Told::Began { members, at_once, device, until } if !self.is_quiet => {
                let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} epochs  {msg}  {eta} left");
                let bar = ProgressBar::new(members as u64 * until);
                self.bar.finish_and_clear();
                self.bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                let words = format!("{members} members to epoch {until}, {at_once} side by side on {device}");
                self.bar.suspend(|| say!("{}", wrap("train   ", &words)));
            }
            Told::Epoch => self.bar.inc(1),
            Told::Ended(row) => self.end(row),
            Told::Compared { epochs, survivors, members } if !self.is_quiet => {
                let words = format!("{members} members after epoch {epochs}; {survivors} go on");
                self.bar.suspend(|| say!("{}", wrap("compare ", &words)));
            }
            Told::Began { .. } | Told::Compared { .. } | Told::Waiting => {}
        }
        // A signal ends the sweep as it ends a run.
        Ok(if signals.status().is_some() { Control::Interrupt } else { Control::Continue })
    }

    fn end(&mut self, row: &Row) {
        self.ended += 1;
        self.failed += usize::from(row.has_failed());
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        self.bar.set_message(format!("{}/{} members{failed}", self.ended, self.members));
        if row.has_failed() && !self.is_quiet {
            let settings: Vec<String> = row.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let words = format!("{} {}: seed {}, {}", row.member, row.ended, row.seed, settings.join(", "));
            self.bar.suspend(|| say!("{}", wrap("member  ", &words)));
        }
    }
}

/// The settings by what came of them, and where everything lies.
fn results(dir: &Path, swept: &Swept) -> String {
    let metric = judged_by(&swept.rows);
    let cells = cells(&swept.rows, metric, SHOWN, WIDTH);
    let best = best_dir(dir);
    let best = if best.exists() { format!("; the best member's run is {}", best.display()) } else { String::new() };
    let by = metric_name(metric).replace('_', " ");
    format!("\n{}\n\nBest first by {by}. Written to {}{best}", table(&cells), dir.display())
}
