//! `thalweg descend`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use thalweg::explore::{Descent, Point, Surface, Trajectory, Verdict, descend, verdict};
use thalweg::optimizer::{Optimizer, Rule};
use thalweg::report::{Contour, Mark, contour};
use thalweg::run::{Config, Setting, setting};
use thalweg::schedule::{Schedule, Unit};
use toml::{Table, Value};

use super::{say, table, wrap};

/// The number of times as wide as it was that a picture may become to hold the way.
const WIDEST: f64 = 3.0;

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// bowl, valley (ill-conditioned), rosenbrock, saddle, himmelblau (four minima), rastrigin (many local minima),
    /// wells (a flat and a sharp minimum) or regression (a sum over examples, for --batch)
    #[arg(long, value_name = "NAME")]
    surface: Surface,
    /// sgd (default), adam, adamw or rmsprop, whose other arguments --set optimizer.KEY=VALUE gives
    #[arg(long)]
    optimizer: Option<String>,
    /// Learning rate [default: for sgd one that suits the surface; for the others, whose steps are about as long as it,
    /// a hundredth of the picture's width]
    #[arg(long)]
    lr: Option<f64>,
    /// sgd, rmsprop [default: 0]
    #[arg(long)]
    momentum: Option<f64>,
    /// sgd: Nesterov's momentum
    #[arg(long)]
    nesterov: bool,
    /// constant (default), cosine, or another, whose arguments --set schedule.KEY=VALUE gives; a plateau sees the value
    /// after every step
    #[arg(long)]
    schedule: Option<String>,
    /// Updates
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Where to start [default: the surface's own place]
    #[arg(long, value_name = "X,Y", allow_hyphen_values = true)]
    start: Option<String>,
    /// regression: examples of a step, in a new order every epoch [default: all]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Standard deviation of noise on each component of each gradient
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    noise: f64,
    /// Draws noise and order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print {surface, optimizer, schedule, minima, points, finite, ended}
    #[arg(long)]
    json: bool,
    /// Draw the contours and the way down into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Set any key of the optimizer or the schedule to a TOML value; overrides flags
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let surface = args.surface;
    let (optimizer, schedule) = args.resolve()?;
    let plan = Descent {
        steps: args.steps,
        start: args.start.as_deref().map(read_start).transpose()?.unwrap_or(surface.start()),
        batch: args.batch,
        noise: args.noise,
        seed: args.seed,
    };
    let trajectory = descend(surface, &optimizer, &schedule, &plan)?;
    let ended = verdict(surface, &trajectory);
    let title = args.title(&optimizer, &schedule)?;
    if let Some(file) = &args.svg {
        let path: Vec<[f64; 2]> = trajectory.points.iter().map(|point| point.w).collect();
        let minima = surface.minima().iter().map(|&w| (Mark::Minimum, w, ""));
        let saddles = surface.saddles().iter().map(|&w| (Mark::Saddle, w, ""));
        let picture = Contour {
            title: &title,
            subtitle: surface.formula(),
            value: &|w| surface.value(w),
            window: surface.window(),
            widest: WIDEST,
            axes: ["x", "y"],
            height: "value",
            path: &path,
            marks: &minima.chain(saddles).collect::<Vec<_>>(),
        };
        contour(file, &picture)?;
    }
    if args.json {
        let object = json!({
            "surface": surface,
            "optimizer": optimizer,
            "schedule": schedule,
            "minima": surface.minima(),
            "points": trajectory.points,
            "finite": trajectory.finite,
            "ended": ended,
        });
        say!("{object:#}");
    } else {
        say!("{title}\n{}\n", surface.formula());
        say!("{}\n", points_table(&trajectory.points));
        say!("{}", wrap("", &sentence(surface, &trajectory, ended)));
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The optimizer and the schedule.
    fn resolve(&self) -> anyhow::Result<(Optimizer, Schedule)> {
        let mut sets = self.set.iter().map(|text| setting(text)).collect::<thalweg::Result<Vec<_>>>()?;
        let mut has_lr = self.lr.is_some();
        for (key, value) in &mut sets {
            let section = key.split('.').next().unwrap_or_default().trim();
            anyhow::ensure!(
                matches!(section, "optimizer" | "schedule"),
                "--set: expected a key of optimizer or schedule, found {key}"
            );
            has_lr |= key == "optimizer.lr";
            if let ("optimizer", Value::Table(whole)) = (key.as_str(), value) {
                whole.entry("name").or_insert("sgd".into());
                has_lr |= whole.contains_key("lr");
            }
        }
        let mut file = Table::new();
        file.insert("optimizer".into(), Value::Table(Table::from_iter([("name".into(), "sgd".into())])));
        let mut flags = self.flags();
        if !has_lr {
            let config = Config::resolve(file.clone(), flags.clone(), sets.clone())?;
            let lr = match config.optimizer.optimizer.rule() {
                Rule::Sgd { .. } => self.surface.lr(),
                Rule::Adam { .. } | Rule::Rmsprop { .. } => self.surface.width() / 100.0,
            };
            flags.push(("optimizer.lr".into(), Value::Float(lr)));
        }
        let config = Config::resolve(file, flags, sets)?;
        anyhow::ensure!(config.schedule.unit == Unit::Step, "schedule.unit: expected step, since there are no epochs");
        anyhow::ensure!(
            config.optimizer.sam.is_none(),
            "optimizer.sam: expected none on a surface of two parameters, found one"
        );
        Ok((config.optimizer.optimizer, config.schedule.schedule))
    }

    fn flags(&self) -> Vec<Setting> {
        let text = |text: &Option<String>| text.clone().map(Value::String);
        let flags = [
            ("optimizer.name", text(&self.optimizer)),
            ("schedule.name", text(&self.schedule)),
            ("optimizer.lr", self.lr.map(Value::Float)),
            ("optimizer.momentum", self.momentum.map(Value::Float)),
            ("optimizer.nesterov", self.nesterov.then_some(Value::Boolean(true))),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))).collect()
    }

    /// `saddle: sgd, lr 0.1, momentum 0.9, noise 0.01`.
    fn title(&self, optimizer: &Optimizer, schedule: &Schedule) -> anyhow::Result<String> {
        let name = |value: serde_json::Value| value["name"].as_str().unwrap_or_default().replace('_', " ");
        let mut parts = vec![name(serde_json::to_value(optimizer)?), format!("lr {}", optimizer.lr())];
        if matches!(optimizer.rule(), Rule::Sgd { .. } | Rule::Rmsprop { .. }) && optimizer.rate().momentum > 0.0 {
            parts.push(format!("momentum {}", optimizer.rate().momentum));
        }
        if *schedule != Schedule::default() {
            parts.push(name(serde_json::to_value(schedule)?));
        }
        parts.extend(self.batch.map(|batch| format!("batch {batch}")));
        if self.noise > 0.0 {
            parts.push(format!("noise {}", self.noise));
        }
        Ok(format!("{}: {}", self.surface, parts.join(", ")))
    }
}

fn read_start(text: &str) -> anyhow::Result<[f64; 2]> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    let start = numbers.and_then(|numbers| <[f64; 2]>::try_from(numbers).ok());
    start.with_context(|| format!("--start: expected two numbers as -1.5,0.5, found {text:?}"))
}

/// The steps 0, 1, 2, 5, 10, 20, 50 and so on, and the last.
fn points_table(points: &[Point]) -> String {
    let last = points.len() - 1;
    let decades = (0..).map(|k| 10usize.pow(k)).take_while(|&decade| decade <= last);
    let steps = decades.flat_map(|decade| [1, 2, 5].map(|k| k * decade)).filter(|&step| step < last);
    let header = ["step", "x", "y", "value", "gradient", "lr"].map(String::from).to_vec();
    let row = |step: usize| {
        let Point { step, w, value, lr, grad_norm, .. } = points[step];
        vec![step.to_string(), short(w[0]), short(w[1]), short(value), short(grad_norm), short(lr)]
    };
    let first = (last > 0).then_some(0);
    let rows = first.into_iter().chain(steps).chain([last]).map(row);
    table(&[header].into_iter().chain(rows).collect::<Vec<_>>())
}

/// How it ended, in plain words.
fn sentence(surface: Surface, trajectory: &Trajectory, ended: Verdict) -> String {
    let Some(&Point { step, w, value, grad_norm, .. }) = trajectory.points.last() else { return String::new() };
    let place = format!("({}, {})", short(w[0]), short(w[1]));
    let distance = short(surface.distance(w));
    let words = match ended {
        Verdict::Diverged if !trajectory.finite => {
            "it diverged: the next step leaves the finite numbers; the rate is too large".to_string()
        }
        Verdict::Diverged => {
            "it diverged: it left the picture and is higher than at the start; the rate or the noise is too large"
                .into()
        }
        Verdict::Reached => "it reached a minimum".into(),
        Verdict::LocalMinimum => {
            format!("it is caught in a local minimum; the lowest value is {}", short(surface.lowest()))
        }
        Verdict::Saddle => format!(
            "it is stuck at a saddle: the gradient is {}, yet the surface falls to the sides, where noise would lead",
            short(grad_norm)
        ),
        Verdict::Scattered => {
            "it stays about a minimum without coming to rest; a rate that decays would let it settle".into()
        }
        Verdict::Bouncing => {
            "it bounces: its last steps turn back or climb, far from a minimum; the rate or the noise is too large"
                .into()
        }
        Verdict::UnderWay => format!("it is still on its way down, with a gradient of {}", short(grad_norm)),
    };
    format!("After {step} steps at {place}, value {}, {distance} from the nearest minimum: {words}.", short(value))
}

/// A number of about five digits.
fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e4).contains(&value.abs()) { format!("{value:.4}") } else { format!("{value:.2e}") }
}
