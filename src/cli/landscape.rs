//! `thalweg landscape`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use thalweg::data::Part;
use thalweg::engine::{Layout, Setup};
use thalweg::explore::curvature::{CurvaturePlan, Eigenpair, eigenvectors};
use thalweg::explore::landscape::{Barrier, Grid, Landscape, Normalized, Options, Random, Section, sampled};
use thalweg::model::Norm;
use thalweg::report::{Pictured, write_landscape};
use thalweg::run::{SideBySide, Trained, seen_weights};

use super::points::{check_writable, evaluate, read_grid};
use super::signals::Signals;
use super::{measuring, say, table, thousands, warn, wrap};

/// The number of training samples by which running statistics are renewed.
const RENEWED: usize = 1000;

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// With --plane weights, the three that it goes through: last, swa, ema, best, snapshot.0 or files
    #[arg(value_name = "A,B,C")]
    weights: Option<String>,
    /// The plane: through --center along two random directions; through three weights, A,B,C; of the principal components of
    /// the run's path (train --trajectory keeps it); along the Hessian's first two eigenvectors
    #[arg(long, value_enum, default_value_t = Plane::Random)]
    plane: Plane,
    /// Instead of a plane the line between two weights, and the barrier on it
    #[arg(long, value_name = "A,B", conflicts_with_all = ["plane", "weights"])]
    line: Option<String>,
    /// Where random and curvature planes lie: last, swa, ema, best, snapshot.0 or a file [default: last]
    #[arg(long, value_name = "WEIGHTS")]
    center: Option<String>,
    /// How far the picture reaches from its middle [default: 1, times the directions; of weights and path, what shows them]
    #[arg(long, allow_negative_numbers = true)]
    radius: Option<f64>,
    /// Points along each axis; of a line, points between its ends
    #[arg(long, value_name = "NXxNY", default_value = "51x51")]
    grid: String,
    /// The part: train, validation or test
    #[arg(long, default_value = "train")]
    part: String,
    /// Samples of the part, the same at every point; all where it has no more
    #[arg(long, value_name = "N", default_value_t = 1000)]
    samples: usize,
    /// Draws directions and samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Random directions: what is as long as the weights there, each row of a matrix (filter), each tensor (layer) or nothing
    /// (none) [default: filter]
    #[arg(long)]
    norm: Option<Normalized>,
    /// Random directions: make the second orthogonal to the first
    #[arg(long)]
    orthogonal: bool,
    /// Random directions: move biases and the parameters of normalisations too
    #[arg(long)]
    include_biases: bool,
    /// Batch normalisation's running statistics: renewed at every point, by up to 1,000 training samples, or kept as the centre
    /// has them. Kept ones are those of other weights: away from the centre they measure how badly statistics fit, and the
    /// loss there is no network's that could have been trained
    #[arg(long, value_enum, default_value_t = Statistics::Renew)]
    bn: Statistics,
    /// Evaluate every point by itself, to the last bit as its weights are; otherwise the CPU engine makes the first layer's
    /// products once for the whole section and sums them up at each point, a rounding away and several times as fast
    #[arg(long)]
    exact: bool,
    /// The replica, of a run of several
    #[arg(long, value_name = "N", default_value_t = 0)]
    replica: usize,
    /// auto, cpu, gpu, or an adapter's number or name [default: the run's]
    #[arg(long)]
    device: Option<String>,
    /// The folder to write to: landscape.npz, .csv, .svg, .png, of a plane .vtp for ParaView, and directions.safetensors
    /// [default: RUN/landscape]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON: files, seeds, the samples' places in their file, points, lowest loss, and of a line the barrier
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Plane {
    Random,
    Weights,
    Path,
    Curvature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Statistics {
    Renew,
    Keep,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let signals = Signals::watch()?;
    args.check()?;
    let nodes = read_grid(&args.grid, args.line.is_some())?;
    let mut trained = Trained::open(&args.run, None, args.device.as_deref(), measuring)?;
    trained.warnings.iter().for_each(|warning| warn(warning));
    let replicas = trained.setup().replicas;
    ensure!(args.replica < replicas, "--replica: expected one below {replicas}, found {}", args.replica);
    let (part_name, part) = trained.part(Some(&args.part))?;
    let dataset = &trained.setup().dataset;
    let places = dataset.draw(part, Some(args.samples), args.seed)?;
    let renewed = (trained.setup().model.norm == Norm::Batch && args.bn == Statistics::Renew)
        .then(|| dataset.draw(Part::Train, Some(RENEWED), args.seed))
        .transpose()?;
    let section = args.section(&mut trained)?;
    let precision = trained.setup().precision;
    let grid = match &args.line {
        Some(_) => Grid::along(nodes[0], precision)?,
        None => Grid::over(section.window(args.radius)?, nodes, precision)?,
    };
    let out = args.out.clone().unwrap_or_else(|| args.run.join("landscape"));
    let is_new = !out.exists();
    check_writable(&out)?;
    let layout = trained.layout().clone();
    let (device, reason) = (trained.device(), trained.reason.clone());
    let (config, whole) = trained.into_setup();

    let (setup, evaluated) = sampled(&whole, part, &places, renewed.as_deref())?;
    let options = Options { renew: renewed.is_some(), exact: args.exact };
    let found = evaluate(&config, &setup, evaluated, &section, &grid, options, &signals);
    if is_new && !matches!(found, Ok(Some(_))) {
        // Nothing was written to it.
        let _ = std::fs::remove_dir(&out);
    }
    let Some(found) = found? else { return Ok(ExitCode::from(signals.status().unwrap_or_default())) };
    let view = View { args, section: &section, found: &found, whole: &whole, part: (part_name, part), places: &places };
    let files = view.write(&out, &layout, renewed.is_some())?;
    if args.json {
        say!("{:#}", view.json(&files, renewed.as_deref()));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", wrap("device  ", &format!("{device}: {reason}")));
    view.say();
    say!("\nWritten to {}", out.display());
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Refuses flags that say nothing where they stand.
    fn check(&self) -> anyhow::Result<()> {
        let is_random = self.plane == Plane::Random && self.line.is_none();
        let of_random = [
            ("--norm", self.norm.is_some()),
            ("--orthogonal", self.orthogonal),
            ("--include-biases", self.include_biases),
        ];
        if let Some((flag, _)) = of_random.iter().find(|(_, is_given)| *is_given && !is_random) {
            bail!("{flag}: expected --plane random, whose directions it is about, found another section");
        }
        let has_center = is_random || self.plane == Plane::Curvature && self.line.is_none();
        ensure!(
            has_center || self.center.is_none(),
            "--center: expected --plane random or curvature, found another section"
        );
        ensure!(
            self.line.is_none() || self.radius.is_none(),
            "--radius: expected a plane, found a line, which shows its ends and a fifth beyond"
        );
        match (&self.weights, self.plane) {
            (None, Plane::Weights) => {
                bail!("--plane weights: expected three weights behind it, as last,swa,ema, found none")
            }
            (Some(found), plane) if plane != Plane::Weights => {
                bail!("expected one run, found {found:?} too; weights belong to --plane weights")
            }
            _ => Ok(()),
        }
    }

    /// The section that is asked for.
    fn section(&self, trained: &mut Trained) -> anyhow::Result<Section> {
        let layout = trained.layout().clone();
        let center = self.center.as_deref().unwrap_or("last");
        if let Some(line) = &self.line {
            let ends: [(&str, Vec<f64>); 2] = self.values("--line", "two weights, as last,swa", line, trained)?;
            return Ok(Section::between(&layout, ends)?);
        }
        match self.plane {
            Plane::Random => {
                let random = Random {
                    normalized: self.norm.unwrap_or_default(),
                    orthogonal: self.orthogonal,
                    include_biases: self.include_biases,
                    seed: self.seed,
                };
                Ok(Section::random(&layout, (center, trained.values(center, self.replica)?), &random)?)
            }
            Plane::Weights => {
                let list = self.weights.as_deref().unwrap_or_default();
                Ok(Section::through(
                    &layout,
                    self.values("--plane weights", "three weights, as last,swa,ema", list, trained)?,
                )?)
            }
            Plane::Path => Ok(Section::along(&layout, seen_weights(&self.run, trained, self.replica)?)?),
            Plane::Curvature => self.along_eigenvectors(center, trained),
        }
    }

    /// The plane along the eigenvectors of the Hessian's two largest eigenvalues, of length 1, over the samples that are evaluated.
    fn along_eigenvectors(&self, center: &str, trained: &mut Trained) -> anyhow::Result<Section> {
        let own = Trained::open(&self.run, None, self.device.as_deref(), measuring)?;
        let samples = (trained.part(Some(&self.part))?.1, self.samples, self.seed);
        let mut alone = SideBySide::open(own, &[center.into()], self.replica, samples, measuring)?;
        let found =
            eigenvectors(alone.engine.as_mut(), &CurvaturePlan { top: 2, seed: self.seed, ..Default::default() })?;
        let axis = |e: Eigenpair| (format!("eigenvector of the Hessian, eigenvalue {:.4}", e.value), e.vector);
        let center = (center, trained.values(center, self.replica)?);
        Ok(Section::spanned(trained.layout(), center, found.into_iter().flatten().map(axis).collect())?)
    }

    /// The weights of a list of names or files.
    fn values<'a, const N: usize>(
        &self,
        flag: &str,
        expected: &str,
        list: &'a str,
        trained: &mut Trained,
    ) -> anyhow::Result<[(&'a str, Vec<f64>); N]> {
        let names: Vec<&str> = list.split(',').map(str::trim).collect();
        let Ok(names) = <[&str; N]>::try_from(names) else {
            bail!("{flag}: expected {expected}, found {list:?}");
        };
        let values: thalweg::Result<Vec<_>> =
            names.iter().map(|name| Ok((*name, trained.values(name, self.replica)?))).collect();
        values?.try_into().map_err(|_| anyhow::anyhow!("{flag}: expected {expected}, found {list:?}"))
    }
}

/// What was found, and what is told of it.
struct View<'a> {
    args: &'a Args,
    section: &'a Section,
    found: &'a Landscape,
    /// The setup with the whole data set.
    whole: &'a Setup,
    part: (&'a str, Part),
    places: &'a [u32],
}

impl View<'_> {
    fn write(&self, out: &Path, layout: &Layout, renewed: bool) -> thalweg::Result<Vec<PathBuf>> {
        let name = self.args.run.file_name().map_or("run".into(), |name| name.to_string_lossy());
        let title = format!("{name}: loss on {} {} samples", thousands(self.places.len() as u64), self.part.0);
        let mut words = vec![network(self.whole)];
        if self.whole.model.norm == Norm::Batch {
            words.push(if renewed { "statistics renewed" } else { "statistics kept" }.into());
        }
        words.extend(self.barrier().map(|barrier| format!("barrier {:.4}", barrier.height)));
        let pictured = Pictured {
            landscape: self.found,
            section: self.section,
            layout,
            precision: self.whole.precision,
            title: &title,
            subtitle: &words.join(", "),
            seeds: [self.args.seed; 2],
            has_accuracy: self.has_accuracy(),
        };
        write_landscape(out, &pictured)
    }

    fn has_accuracy(&self) -> bool {
        self.whole.dataset.is_classification()
    }

    fn barrier(&self) -> Option<Barrier> {
        self.args.line.as_ref().and_then(|_| self.found.grid.barrier(&self.found.values))
    }

    /// The lowest loss at a node, and its place.
    fn lowest(&self) -> Option<([f64; 2], f64)> {
        let all = self.found.grid.points().zip(&self.found.values).map(|(at, value)| (at, value.loss));
        all.filter(|(_, loss)| loss.is_finite()).min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    fn not_finite(&self) -> usize {
        self.found.values.iter().filter(|value| !value.loss.is_finite()).count()
    }

    fn json(&self, files: &[PathBuf], renewed: Option<&[u32]>) -> Value {
        let (args, axes) = (self.args, self.section.axes.len());
        let of_file = |part: Part, places: &[u32]| {
            let rows = self.whole.dataset.rows(part);
            places.iter().map(|&place| rows[place as usize]).collect::<Vec<u32>>()
        };
        let points = self.section.marks.iter().zip(&self.found.marks).map(|(mark, value)| {
            let mut point = json!({ "name": mark.name, "at": &mark.at[..axes], "loss": value.loss });
            if self.has_accuracy() {
                point["accuracy"] = value.accuracy.into();
            }
            point
        });
        let mut object = json!({
            "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "center": self.section.marks[0].name,
            "replica": args.replica,
            "axes": self.section.axes.iter().map(|axis| &axis.label).collect::<Vec<_>>(),
            "seeds": { "directions": args.seed, "samples": args.seed },
            "part": self.part.0,
            "samples": of_file(self.part.1, self.places),
            "points": points.collect::<Vec<_>>(),
            "lowest": self.lowest().map(|(at, loss)| json!({ "at": &at[..axes], "loss": loss })),
            "not_finite": self.not_finite(),
        });
        if args.line.is_none() {
            object["plane"] = format!("{:?}", args.plane).to_lowercase().into();
        }
        if args.line.is_none() && args.plane == Plane::Random {
            object["norm"] = args.norm.unwrap_or_default().name().into();
            object["orthogonal"] = args.orthogonal.into();
            object["include_biases"] = args.include_biases.into();
        }
        if self.whole.model.norm == Norm::Batch {
            object["bn"] = if renewed.is_some() { "renew" } else { "keep" }.into();
        }
        if let Some(places) = renewed {
            object["renewed_by"] = of_file(Part::Train, places).into();
        }
        if let Some(barrier) = self.barrier() {
            object["barrier"] = json!({ "height": barrier.height, "at": barrier.at });
        }
        object
    }

    /// Prints the section, its points and what was found.
    fn say(&self) {
        let samples = thousands(self.places.len() as u64);
        say!("model   {}\ndata    {samples} {} samples", network(self.whole), self.part.0);
        for (name, axis) in ["x", "y"].iter().zip(&self.section.axes) {
            say!("{}", wrap(&format!("{name}       "), &axis.label));
        }
        let axes = self.section.axes.len();
        let mut header = vec!["point", "x", "y", "loss", "accuracy"];
        header.retain(|&column| (column != "y" || axes == 2) && (column != "accuracy" || self.has_accuracy()));
        let mut rows = vec![header.into_iter().map(String::from).collect::<Vec<_>>()];
        for (mark, value) in self.section.marks.iter().zip(&self.found.marks) {
            let mut row = vec![mark.name.clone()];
            row.extend(mark.at[..axes].iter().map(|x| format!("{x:.4}")));
            row.push(format!("{:.4}", value.loss));
            row.extend(self.has_accuracy().then(|| format!("{:.4}", value.accuracy)));
            rows.push(row);
        }
        say!("\n{}\n", table(&rows));
        if let Some((at, loss)) = self.lowest() {
            let at: Vec<String> = at[..axes].iter().map(|x| format!("{x:.4}")).collect();
            say!("lowest loss {loss:.4} at {}", at.join(", "));
        }
        if self.not_finite() > 0 {
            say!("{} of {} losses are not finite", self.not_finite(), self.found.values.len());
        }
        if let Some(barrier) = self.barrier() {
            say!("{}", wrap("", &sentence(barrier)));
        }
    }
}

/// What a barrier means.
fn sentence(Barrier { height, at }: Barrier) -> String {
    if height == 0.0 {
        return "There is no barrier: nowhere between its ends does the loss rise above the straight line between theirs.".into();
    }
    format!(
        "The barrier is {height:.4} high: so far the loss rises above the straight line between those of the ends, at {at:.2} of \
         the way."
    )
}

/// The network in a few words: `784-256-128-10, batch norm`; many layers of one width are counted.
fn network(setup: &Setup) -> String {
    let mut widths: Vec<String> = Vec::new();
    for same in setup.model.widths.chunk_by(|a, b| a == b) {
        widths.push(if same.len() > 2 {
            format!("{}×{}", same[0], same.len())
        } else {
            same.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
        });
    }
    let mut words = vec![widths.join("-")];
    match setup.model.norm {
        Norm::None => {}
        Norm::Batch => words.push("batch norm".into()),
        Norm::Layer => words.push("layer norm".into()),
    }
    words.extend(setup.model.residual.then(|| "residual".into()));
    words.join(", ")
}
