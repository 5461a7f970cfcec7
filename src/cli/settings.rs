//! The flags that make a configuration; each stands for one key of the file.

use std::path::PathBuf;

use anyhow::Context;
use thalweg::run::{Config, Setting, read_table, setting};
use toml::{Table, Value};

/// A configuration file and what overrides it.
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Settings {
    /// A configuration [default: for train alone, examples/first.toml where no flag sets what is trained]; its tables are [data], [augment], [model], [optimizer], [schedule], [average], [stop],
    /// [train] and, as a run records them, [forms]
    config: Option<PathBuf>,
    /// synthetic (default), cifar10:DIR, cifar100:DIR, mnist:DIR, fashion-mnist:DIR,
    /// idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS], npy:X,Y[,TEST_X,TEST_Y],
    /// npz:FILE[,x=NAME,y=NAME,test_x=NAME,test_y=NAME] or csv:FILE,target=NAME[,test=FILE]
    #[arg(long, help_heading = "Data", value_name = "SOURCE")]
    data: Option<String>,
    /// channel (mean 0, deviation 1; default), unit (pixels in [0, 1]) or none
    #[arg(long, help_heading = "Data")]
    normalize: Option<String>,
    /// Fraction of the training part to hold out [default: 0]
    #[arg(long, help_heading = "Data", value_name = "FRACTION")]
    validation: Option<f64>,
    /// Number of classes [default: the largest label + 1]
    #[arg(long, help_heading = "Data")]
    classes: Option<i64>,
    /// Weight of each training sample in the loss: a .npy file of floats [default: all count alike]
    #[arg(long, help_heading = "Data", value_name = "FILE.npy")]
    sample_weights: Option<String>,
    /// Scale regression targets to mean 0 and deviation 1; predictions are in their own units
    #[arg(long, help_heading = "Data")]
    standardize_targets: bool,
    /// nchw or nhwc: whether the channels of images come before height and width, or last [default: first]
    #[arg(long, help_heading = "Data")]
    layout: Option<String>,
    /// Crop training images at random out of a black border of so many pixels [default: 0]
    #[arg(long, help_heading = "Augmentation", value_name = "PIXELS")]
    pad: Option<i64>,
    /// Mirror half of the training images, left for right
    #[arg(long, help_heading = "Augmentation")]
    flip: bool,
    /// Cut a square of so many pixels a side out of every training image [default: 0]
    #[arg(long, help_heading = "Augmentation", value_name = "PIXELS")]
    cutout: Option<i64>,
    /// Mix every training sample with another, in shares from Beta(ALPHA, ALPHA) [default: 0]
    #[arg(long, help_heading = "Augmentation", value_name = "ALPHA")]
    mixup: Option<f64>,
    /// Add Gaussian noise of this deviation to the training features [default: 0]
    #[arg(long, help_heading = "Augmentation", value_name = "DEVIATION")]
    noise: Option<f64>,
    /// Widths of the hidden layers, or none for a linear model [default: 256,128]
    #[arg(long, help_heading = "Model", value_name = "W,W,...")]
    hidden: Option<String>,
    /// identity, relu (default), gelu, gelu_tanh, silu, tanh, leaky_relu, elu or sigmoid
    #[arg(long, help_heading = "Model")]
    activation: Option<String>,
    /// pytorch (default), kaiming or xavier
    #[arg(long, help_heading = "Model")]
    init: Option<String>,
    /// Start from the weights of a file, or of another run, as for fine-tuning at another rate [default: drawn ones]
    #[arg(long, help_heading = "Model", value_name = "FILE.safetensors|RUN")]
    init_from: Option<String>,
    /// Names of the layers in that file, in the network's order, as fc1,fc2 [default: numbers that ascend]
    #[arg(long, help_heading = "Model", value_name = "NAME,NAME,...")]
    init_map: Option<String>,
    /// cross_entropy (default for labels) or mse (default for other targets)
    #[arg(long, help_heading = "Model")]
    loss: Option<String>,
    /// Weight of each class in the loss of training: balanced (n / (classes · count)) or a list [default: all alike]
    #[arg(long, help_heading = "Model", value_name = "balanced|W,W,...")]
    class_weights: Option<String>,
    /// none (default), batch or layer: normalisation before each activation
    #[arg(long, help_heading = "Model")]
    norm: Option<String>,
    /// Add to the output of every hidden layer its input, where both are of one width
    #[arg(long, help_heading = "Model")]
    residual: bool,
    /// Probability with which training drops an output of a hidden layer [default: 0]
    #[arg(long, help_heading = "Model", value_name = "P")]
    dropout: Option<f64>,
    /// Weight of the uniform distribution in the targets [default: 0]
    #[arg(long, help_heading = "Model", value_name = "EPSILON")]
    label_smoothing: Option<f64>,
    /// sgd, adam, adamw (default) or rmsprop, with PyTorch's defaults
    #[arg(long, help_heading = "Optimizer")]
    optimizer: Option<String>,
    /// Learning rate [default: the optimizer's: 0.001, rmsprop 0.01]
    #[arg(long, help_heading = "Optimizer")]
    lr: Option<f64>,
    /// sgd, rmsprop [default: 0]
    #[arg(long, help_heading = "Optimizer")]
    momentum: Option<f64>,
    /// sgd [default: 0]
    #[arg(long, help_heading = "Optimizer")]
    dampening: Option<f64>,
    /// sgd: Nesterov's momentum
    #[arg(long, help_heading = "Optimizer")]
    nesterov: bool,
    /// adam, adamw [default: 0.9,0.999]
    #[arg(long, help_heading = "Optimizer", value_name = "B1,B2", allow_hyphen_values = true)]
    betas: Option<String>,
    /// rmsprop [default: 0.99]
    #[arg(long, help_heading = "Optimizer")]
    alpha: Option<f64>,
    /// adam, adamw, rmsprop [default: 1e-8]
    #[arg(long, help_heading = "Optimizer")]
    eps: Option<f64>,
    /// adam, adamw: divide by the largest second moment
    #[arg(long, help_heading = "Optimizer")]
    amsgrad: bool,
    /// rmsprop: divide by the deviation
    #[arg(long, help_heading = "Optimizer")]
    centered: bool,
    /// [default: 0; adamw 0.01]
    #[arg(long, help_heading = "Optimizer")]
    weight_decay: Option<f64>,
    /// Take each gradient where the loss rises most, so far from the weights, as 0.05: sharpness-aware minimisation, with two
    /// gradients a step [default: none]
    #[arg(long, help_heading = "Optimizer", value_name = "RHO")]
    sam: Option<f64>,
    /// Ascend by each weight's own size (ASAM), about ten times as far [default: --sam alike for all]
    #[arg(long, help_heading = "Optimizer")]
    sam_adaptive: bool,
    /// all (default) or weights: what the weight decay acts on
    #[arg(long, help_heading = "Optimizer")]
    decay: Option<String>,
    /// constant (default), cosine, or another, whose arguments --set schedule.KEY=VALUE gives: step, multistep,
    /// exponential, linear, polynomial, cosine_warm_restarts, cyclic, one_cycle, swalr, swa_cyclic, plateau, sequential;
    /// `thalweg schedule --list` tells all arguments
    #[arg(long, help_heading = "Schedule")]
    schedule: Option<String>,
    /// Epochs that the schedule is made for; after them its last rate holds [default: those of the run]
    #[arg(long, help_heading = "Schedule", value_name = "EPOCHS")]
    schedule_epochs: Option<i64>,
    /// Samples of a step, or full for the whole training part [default: 128, or all if fewer]
    #[arg(long, help_heading = "Run", value_name = "N|full")]
    batch: Option<String>,
    /// Passes over the training part [default: 10]
    #[arg(long, help_heading = "Run")]
    epochs: Option<i64>,
    /// Draws first weights and orders; replica r uses seed + r [default: 0]
    #[arg(long, help_heading = "Run")]
    seed: Option<i64>,
    /// Models trained side by side [default: 1]
    #[arg(long, help_heading = "Run", value_name = "R")]
    replicas: Option<i64>,
    /// shuffle (default) or sequential
    #[arg(long, help_heading = "Run")]
    order: Option<String>,
    /// Leave out an epoch's last batch if it is short
    #[arg(long, help_heading = "Run")]
    drop_last: bool,
    /// Scale gradients of a larger global norm down to it
    #[arg(long, help_heading = "Run", value_name = "NORM")]
    clip_norm: Option<f64>,
    /// f32 (default), mixed (f16 activations, f32 weights; a GPU's) or f64 (the CPU engine's)
    #[arg(long, help_heading = "Run")]
    precision: Option<String>,
    /// auto (a hardware GPU, else the CPU; default), cpu, gpu, or an adapter's number or name
    #[arg(long, help_heading = "Run")]
    device: Option<String>,
    /// Train on all processes that mpirun starts: data (each has a share of every step's samples), local (each takes steps by
    /// its share alone, --average-every) or swap (each trains alone, and SWA's mean is theirs); --device may list the devices
    /// of one machine, as 0,1; a build with the feature mpi [default: one process]
    #[arg(long, help_heading = "Run", value_name = "MODE")]
    distributed: Option<String>,
    /// Steps of --distributed local from one mean of all weights to the next [default: 8]
    #[arg(long, help_heading = "Run", value_name = "STEPS")]
    average_every: Option<i64>,
    /// Memory of a GPU that may be taken, as 512MiB; data that does not fit is streamed [default: all]
    #[arg(long, help_heading = "Run", value_name = "BYTES")]
    memory: Option<String>,
    /// Do not choose the forms of the matrix products by measuring them, which takes a second or two when an adapter sees
    /// a shape for the first time
    #[arg(long, help_heading = "Run")]
    no_tune: bool,
    /// Write every so many steps a line to metrics.jsonl, 0 for none [default: 10]
    #[arg(long, help_heading = "Run", value_name = "STEPS")]
    log_every: Option<i64>,
    /// Evaluate after every so many epochs, or steps as 200steps, and at the end; what is shown as train is the running mean
    /// of the epoch, while the weights still learn [default: 1]
    #[arg(long, help_heading = "Run", value_name = "N|Nsteps")]
    eval_every: Option<String>,
    /// Write a checkpoint after every so many epochs, steps as 500steps or seconds as 30s, 0 for none [default: 1]
    #[arg(long, help_heading = "Run", value_name = "N|Nsteps|Ns")]
    checkpoint_every: Option<String>,
    /// Keep so many checkpoints, of which an older one serves where a newer is damaged [default: 2]
    #[arg(long, help_heading = "Run", value_name = "N")]
    keep_checkpoints: Option<i64>,
    /// Write the weights on their way, after every so many epochs, or steps as every=20steps, with the first and the last
    /// [default: none]
    #[arg(long, help_heading = "Run", value_name = "every=N|Nsteps")]
    trajectory: Option<String>,
    /// Measure the Hessian's largest eigenvalue every so many steps, or epochs as every=1epoch [default: never]
    #[arg(long, help_heading = "Run", value_name = "every=N|Nepochs")]
    curvature: Option<String>,
    /// Training samples over which it is measured [default: 1000]
    #[arg(long, help_heading = "Run", value_name = "N")]
    curvature_samples: Option<i64>,
    /// Write events beside the run's files, for tensorboard --logdir RUN [default: none]
    #[arg(long, help_heading = "Run")]
    tensorboard: bool,
    /// What --patience, --target and --restore-best watch: train, validation or test, _loss or _accuracy; with swa_ or ema_
    /// before validation or test that average's, whose weights are the best then [default: validation_loss]
    #[arg(long, help_heading = "Stopping")]
    metric: Option<String>,
    /// End the run after so many evaluations without improvement; with --metric train_loss --eval-every 1steps, after so many
    /// steps [default: none]
    #[arg(long, help_heading = "Stopping", value_name = "EVALUATIONS")]
    patience: Option<i64>,
    /// End the run once the metric is as good as this
    #[arg(long, help_heading = "Stopping", value_name = "VALUE")]
    target: Option<f64>,
    /// End the run when the learning rate falls below this
    #[arg(long, help_heading = "Stopping", value_name = "LR")]
    min_lr: Option<f64>,
    /// End the run after so many seconds
    #[arg(long, help_heading = "Stopping")]
    seconds: Option<f64>,
    /// Keep the weights of the best evaluation beside the last
    #[arg(long, help_heading = "Stopping")]
    keep_best: bool,
    /// End with the weights of the best evaluation
    #[arg(long, help_heading = "Stopping")]
    restore_best: bool,
    /// Set any key of the configuration to a TOML value; overrides file and flags. Averages are set so:
    /// 'average={swa={start=4000, every=100}, ema={decay=0.999}, snapshots={max=5}, lookahead={every=5}}'; the EMA warms up
    /// unless warm_up=false
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
}

/// The configuration of a first run: what `train` does when nothing decides it.
const FIRST: &str = include_str!("../../examples/first.toml");
/// The keys that do not decide what is trained and how: where, how often, and what is written.
const BESIDE: [&str; 14] = [
    "distributed.mode",
    "train.device",
    "train.memory",
    "train.tune",
    "train.precision",
    "train.seed",
    "train.replicas",
    "train.log_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.trajectory_every",
    "train.curvature_every",
    "train.curvature_samples",
    "train.tensorboard",
];

impl Settings {
    /// The configuration of a first run under the flags, if there is neither a configuration nor a flag that decides what is
    /// trained and how.
    pub fn first(&self) -> anyhow::Result<Option<Config>> {
        let is_beside = |(key, _): &Setting| BESIDE.contains(&key.as_str());
        if self.config.is_some() || !self.set.is_empty() || !self.flags()?.iter().all(is_beside) {
            return Ok(None);
        }
        self.over(FIRST.parse()?).map(Some)
    }

    /// The resolved configuration.
    pub fn resolve(&self) -> anyhow::Result<Config> {
        self.over(self.file()?)
    }

    /// The tables of the configuration file, if there is one.
    pub fn file(&self) -> anyhow::Result<Table> {
        Ok(self.config.as_ref().map_or_else(|| Ok(Table::new()), |path| read_table(path))?)
    }

    /// The configuration of `file`, with the flags over it.
    pub fn over(&self, file: Table) -> anyhow::Result<Config> {
        let sets = self.set.iter().map(|text| setting(text)).collect::<thalweg::Result<Vec<_>>>()?;
        Ok(Config::resolve(file, self.flags()?, sets)?)
    }

    fn flags(&self) -> anyhow::Result<Vec<Setting>> {
        // The names come first, since another name forgets the keys set before.
        let mut flags = self.texts();
        flags.extend(self.numbers());
        flags.extend(self.counts());
        flags.extend(self.switches());
        flags.extend(self.lists()?);
        Ok(flags.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }

    fn texts(&self) -> Vec<(&'static str, Value)> {
        let texts = [
            ("optimizer.name", &self.optimizer),
            ("schedule.name", &self.schedule),
            ("data.source", &self.data),
            ("data.normalize", &self.normalize),
            ("data.weights", &self.sample_weights),
            ("data.layout", &self.layout),
            ("model.activation", &self.activation),
            ("model.init", &self.init),
            ("model.init_from", &self.init_from),
            ("model.init_map", &self.init_map),
            ("model.loss", &self.loss),
            ("model.norm", &self.norm),
            ("train.decay", &self.decay),
            ("stop.metric", &self.metric),
            ("train.order", &self.order),
            ("train.precision", &self.precision),
            ("train.device", &self.device),
            ("distributed.mode", &self.distributed),
            ("train.memory", &self.memory),
        ];
        texts.into_iter().filter_map(|(key, v)| Some((key, Value::String(v.clone()?)))).collect()
    }

    fn numbers(&self) -> Vec<(&'static str, Value)> {
        let numbers = [
            ("data.validation", self.validation),
            ("augment.mixup", self.mixup),
            ("augment.noise", self.noise),
            ("model.label_smoothing", self.label_smoothing),
            ("model.dropout", self.dropout),
            ("optimizer.lr", self.lr),
            ("optimizer.momentum", self.momentum),
            ("optimizer.dampening", self.dampening),
            ("optimizer.alpha", self.alpha),
            ("optimizer.eps", self.eps),
            ("optimizer.weight_decay", self.weight_decay),
            ("optimizer.sam.rho", self.sam),
            ("train.clip_norm", self.clip_norm),
            ("stop.target", self.target),
            ("stop.min_lr", self.min_lr),
            ("stop.seconds", self.seconds),
        ];
        numbers.into_iter().filter_map(|(key, v)| Some((key, Value::Float(v?)))).collect()
    }

    fn counts(&self) -> Vec<(&'static str, Value)> {
        let counts = [
            ("data.classes", self.classes),
            ("augment.pad", self.pad),
            ("augment.cutout", self.cutout),
            ("train.epochs", self.epochs),
            ("train.seed", self.seed),
            ("train.replicas", self.replicas),
            ("train.log_every", self.log_every),
            ("schedule.epochs", self.schedule_epochs),
            ("train.keep_checkpoints", self.keep_checkpoints),
            ("stop.patience", self.patience),
            ("train.curvature_samples", self.curvature_samples),
            ("distributed.every", self.average_every),
        ];
        let mut counts: Vec<_> = counts.into_iter().filter_map(|(key, v)| Some((key, Value::Integer(v?)))).collect();
        let worded = [
            ("train.batch", &self.batch),
            ("train.eval_every", &self.eval_every),
            ("train.checkpoint_every", &self.checkpoint_every),
        ];
        counts.extend(worded.into_iter().filter_map(|(key, text)| Some((key, number_in_words(text.as_ref()?)))));
        counts.extend(self.trajectory.as_ref().map(|text| ("train.trajectory_every", distance(text))));
        counts.extend(self.curvature.as_ref().map(|text| ("train.curvature_every", steps(distance(text)))));
        counts
    }

    fn switches(&self) -> Vec<(&'static str, Value)> {
        let switches = [
            ("augment.flip", self.flip),
            ("data.standardize_targets", self.standardize_targets),
            ("model.residual", self.residual),
            ("optimizer.nesterov", self.nesterov),
            ("optimizer.amsgrad", self.amsgrad),
            ("optimizer.centered", self.centered),
            ("optimizer.sam.adaptive", self.sam_adaptive),
            ("train.drop_last", self.drop_last),
            ("train.tensorboard", self.tensorboard),
            ("stop.keep_best", self.keep_best),
            ("stop.restore_best", self.restore_best),
        ];
        let on = switches.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| (key, Value::Boolean(true)));
        on.chain(self.no_tune.then_some(("train.tune", Value::Boolean(false)))).collect()
    }

    fn lists(&self) -> anyhow::Result<Vec<(&'static str, Value)>> {
        let mut lists = Vec::new();
        if let Some(betas) = &self.betas {
            let numbers = list(betas, Value::Float).filter(|numbers| numbers.len() == 2);
            let numbers =
                numbers.with_context(|| format!("--betas: expected two numbers as 0.9,0.999, found {betas:?}"))?;
            lists.push(("optimizer.betas", Value::Array(numbers)));
        }
        if let Some(weights) = &self.class_weights {
            let value = match weights.as_str() {
                "balanced" => Value::String(weights.clone()),
                _ => Value::Array(list(weights, Value::Float).with_context(|| {
                    format!("--class-weights: expected balanced, or numbers as 1,2.5,1, found {weights:?}")
                })?),
            };
            lists.push(("model.class_weights", value));
        }
        if let Some(hidden) = &self.hidden {
            let widths = if hidden == "none" { Some(Vec::new()) } else { list(hidden, Value::Integer) };
            let widths =
                widths.with_context(|| format!("--hidden: expected widths as 512,256, or none, found {hidden:?}"))?;
            lists.push(("model.hidden", Value::Array(widths)));
        }
        Ok(lists)
    }
}

/// A number, or a number in words: `20`, `20steps`.
fn number_in_words(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::String(text.into()), Value::Integer)
}

/// A distance within the run: `20`, `20steps`, or either behind `every=`.
fn distance(text: &str) -> Value {
    number_in_words(text.strip_prefix("every=").unwrap_or(text))
}

/// A distance whose unit is steps where none is named.
fn steps(distance: Value) -> Value {
    match distance {
        Value::Integer(count) => Value::String(format!("{count}steps")),
        other => other,
    }
}

/// The values of a list with commas, or nothing if one of them is none.
fn list<T: std::str::FromStr>(text: &str, value: fn(T) -> Value) -> Option<Vec<Value>> {
    text.split(',').map(|part| part.trim().parse().ok().map(value)).collect()
}
