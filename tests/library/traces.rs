//! A training of everything at once on small images, and all that it leaves.

use crate::common;

use std::sync::Arc;

use thalweg::activation::Activation;
use thalweg::average::{Average, Ema, Lookahead, Sampling, Snapshots};
use thalweg::data::{Augment, Dataset, Features, Normalize, Samples, Source, Targets};
use thalweg::engine::{Engine, Evaluation, Setup};
use thalweg::event::Epoch;
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::{Decay, Optimizer};
use thalweg::plan::Plan;
use thalweg::schedule::{Schedule, Unit};
use thalweg::train::Trainer;

pub const EMA: Ema =
    Ema { decay: 0.8, start: 1, start_unit: Unit::Step, every: 1, bias_correction: true, warm_up: false };

/// 330 training images, 40 held out of them, and 50 test images.
pub fn images() -> Arc<Dataset> {
    let mut data = Source::Synthetic.load(0).unwrap();
    let first = |samples: &Samples, n: usize| {
        let (Features::U8(pixels), Targets::Labels(labels)) = (&samples.features, &samples.targets) else { panic!() };
        let features = Features::U8(pixels[..n * 3072].to_vec());
        Samples::labelled(features, labels[..n].to_vec())
    };
    data.train = first(&data.train, 370);
    data.test = data.test.map(|test| first(&test, 50));
    Arc::new(data.hold_out(40.0 / 370.0, 1).unwrap().normalize(Normalize::Channel))
}

pub fn setup(replicas: usize, batch: usize) -> Setup {
    let dataset = images();
    let model = Mlp::new(dataset.width(), 10).hidden([37, 21]).activation(Activation::Silu);
    let swa = Some(Sampling::Every { start: 3, every: 2, unit: Unit::Step });
    Setup {
        label_smoothing: 0.1,
        optimizer: Optimizer::sgd(0.05).momentum(0.9).weight_decay(1e-3).nesterov(),
        clip_norm: Some(1.0),
        average: Average { swa, ema: Some(EMA), ..Average::default() },
        replicas,
        batch,
        ..Setup::new(model, dataset)
    }
}

/// Everything at once: normalisation, residual connections, dropout, augmentation, all averages.
pub fn rich(setup: Setup, norm: Norm) -> Setup {
    let model = Mlp::new(3072, 10).hidden([37, 37, 37]).activation(Activation::Silu);
    let snapshots = Snapshots { max: 2, when: Sampling::Listed { after_updates: vec![4, 6, 9] } };
    Setup {
        model: Mlp { norm, residual: true, dropout: 0.2, ..model },
        augment: Augment { pad: 2, flip: true, cutout: 5, mixup: 0.5, noise: 0.1 },
        decay: Decay::Weights,
        average: Average {
            snapshots: Some(snapshots),
            lookahead: Some(Lookahead { every: 3, alpha: 0.5 }),
            ..setup.average.clone()
        },
        ..setup
    }
}

/// Everything a run leaves: weights, losses, evaluations.
#[derive(Debug, PartialEq)]
pub struct Trace {
    pub weights: Vec<Vec<Vec<f64>>>,
    pub losses: Vec<Vec<f64>>,
    pub evaluations: Vec<Vec<Evaluation>>,
}

pub fn train(engine: Box<dyn Engine>) -> Trace {
    trained(engine).0
}

pub fn trained(engine: Box<dyn Engine>) -> (Trace, Box<dyn Engine>) {
    let plan = Plan { epochs: 2, schedule: Schedule::cosine(), ..Plan::default() };
    let replicas = engine.setup().replicas;
    let mut trainer = Trainer::new(engine, plan).unwrap();
    trainer.init(Init::Kaiming).unwrap();
    let mut losses = vec![Vec::new(); replicas];
    let mut evaluations = vec![Vec::new(); replicas];
    while let Some(Epoch { train, validation, test, means, .. }) =
        trainer.epoch_with(&mut common::keep(&mut losses)).unwrap()
    {
        let means = means.into_iter().flat_map(|mean| [mean.validation.unwrap(), mean.test.unwrap()]);
        for part in [train, validation.unwrap(), test.unwrap()].into_iter().chain(means) {
            part.into_iter().zip(&mut evaluations).for_each(|(e, all)| all.push(e));
        }
    }
    let mut engine = trainer.into_engine();
    let weights = (0..replicas).map(|r| all_weights(engine.as_mut(), r)).collect();
    (Trace { weights, losses, evaluations }, engine)
}

fn all_weights(engine: &mut dyn Engine, replica: usize) -> Vec<Vec<f64>> {
    let slots = engine.setup().slots();
    slots.into_iter().map(|slot| engine.download(slot, replica).unwrap()).collect()
}

impl Trace {
    pub fn replica(&self, r: usize) -> Self {
        Self {
            weights: vec![self.weights[r].clone()],
            losses: vec![self.losses[r].clone()],
            evaluations: vec![self.evaluations[r].clone()],
        }
    }
}
