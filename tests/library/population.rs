//! Runs that share an engine have the bits that each has by itself.

use std::sync::Arc;
use std::thread;

use crate::common;

use common::small::{dataset, ema, on_each_engine, setup};
use thalweg::average::{Average, Lookahead, Sampling, Snapshots};
use thalweg::cpu::CpuEngine;
use thalweg::data::Augment;
use thalweg::engine::{Engine, Evaluation, Precision, Setup, Slot};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::Optimizer;
use thalweg::plan::Plan;
use thalweg::population::Population;
use thalweg::sam::Sam;
use thalweg::schedule::{Schedule, Unit};
use thalweg::stop::{Metric, Stop};
use thalweg::train::Trainer;

/// What a run leaves.
#[derive(Debug, PartialEq)]
struct Left {
    /// By the bits of their values.
    vectors: Vec<(String, Vec<u64>)>,
    losses: Vec<f64>,
    evaluations: Vec<Evaluation>,
    error: Option<String>,
}

/// Trains to the end, two steps at first, then epoch by epoch.
fn train(engine: Box<dyn Engine>, plan: Plan) -> Left {
    let mut trainer = Trainer::new(engine, plan).unwrap();
    trainer.init(Init::Kaiming).unwrap();
    let (mut losses, mut evaluations, mut error) = (Vec::new(), Vec::new(), None);
    loop {
        match trainer.epoch() {
            Ok(Some(epoch)) => {
                losses.extend(epoch.train.iter().map(|e| e.loss));
                evaluations.extend(epoch.test.into_iter().flatten());
                for mean in epoch.means {
                    evaluations.extend(mean.test.into_iter().flatten());
                }
            }
            Ok(None) => break,
            Err(found) => {
                error = Some(found.to_string());
                break;
            }
        }
    }
    let engine = trainer.engine();
    // What NaN is made of has no meaning.
    let bits = |w: f64| if w.is_nan() { f64::NAN.to_bits() } else { w.to_bits() };
    let slots = engine.slots();
    let mut vector = |slot: Slot| engine.download(slot, 0).unwrap().into_iter().map(bits).collect();
    let vectors = slots.into_iter().map(|slot| (slot.name(), vector(slot))).collect();
    Left { vectors, losses, evaluations, error }
}

/// What each of the runs leaves, trained in a population of at most `most` at once.
fn together(engine: Box<dyn Engine>, runs: &[(Setup, Plan)]) -> Vec<Left> {
    let population = Population::new(engine).unwrap();
    let mut places = Vec::new();
    while let Some(place) = population.enter() {
        places.push(place);
    }
    let most = places.len();
    thread::scope(|scope| {
        // Each place takes every `most`-th run, one after the other.
        let work = |first: usize, place: thalweg::population::Place| {
            let own = runs.iter().enumerate().skip(first).step_by(most);
            own.map(|(i, (setup, plan))| (i, train(Box::new(place.seat(setup.clone()).unwrap()), plan.clone())))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            places.into_iter().enumerate().map(|(i, place)| scope.spawn(move || work(i, place))).collect();
        let mut left: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        left.sort_by_key(|(i, _)| *i);
        left.into_iter().map(|(_, left)| left).collect()
    })
}

/// Fails unless all runs, `most` of which share an engine at a time, leave what each leaves by itself, on each engine.
fn are_alone(runs: &[(Setup, Plan)], most: usize) {
    let shared = Population::setup(runs[..most].iter().map(|(setup, _)| setup.clone()).collect()).unwrap();
    on_each_engine(&shared, |engine, _| {
        let precision = engine.setup().precision;
        let is_gpu = engine.device().is_some();
        let got = together(engine, runs);
        for (i, ((setup, plan), got)) in runs.iter().zip(got).enumerate() {
            let setup = Setup { precision, ..setup.clone() };
            let alone: Box<dyn Engine> = match (is_gpu, precision) {
                (true, _) => Box::new(GpuEngine::new(common::gpu().unwrap(), setup, Options::default()).unwrap()),
                (false, Precision::F64) => Box::new(CpuEngine::<f64>::new(setup).unwrap()),
                (false, _) => Box::new(CpuEngine::<f32>::new(setup).unwrap()),
            };
            let want = train(alone, plan.clone());
            assert!(want.vectors.iter().any(|(_, vector)| vector.iter().any(|w| *w != 0)));
            assert_eq!(got, want, "run {i}, GPU {is_gpu}, {precision:?}");
        }
    });
}

fn plan(epochs: u64) -> Plan {
    Plan { epochs, ..Plan::default() }
}

/// Everything that may differ does: constants, schedules, how long they run.
#[test]
fn members_equal_separate_runs() {
    let base = setup();
    let model = Mlp { dropout: 0.2, ..base.model.clone() };
    let averages = |decay, start| Average {
        ema: Some(ema(decay)),
        swa: Some(Sampling::Every { start, every: 2, unit: Unit::Step }),
        ..Average::default()
    };
    let runs: Vec<(Setup, Plan)> = (0..4u64)
        .map(|i| {
            let x = i as f64;
            let optimizer = Optimizer::sgd(0.05 * (x + 1.0)).momentum(0.5 + 0.1 * x).weight_decay(if i == 2 {
                0.0
            } else {
                0.01 * x
            });
            let setup = Setup {
                optimizer,
                seed: 3 + 7 * i,
                label_smoothing: 0.05 * x,
                clip_norm: Some(0.1 + x),
                model: Mlp { dropout: 0.1 * (x + 1.0), ..model.clone() },
                augment: Augment { mixup: 0.2 + x, noise: 0.1 * x, ..Augment::default() },
                average: averages(0.5 + 0.1 * x, 3 + i),
                ..base.clone()
            };
            let schedule = if i == 1 { Schedule::Cosine { eta_min: 0.0, t_max: None } } else { Schedule::default() };
            (setup, Plan { schedule, ..plan(2 + i % 2) })
        })
        .collect();
    are_alone(&runs, 4);
}

/// Runs take the places of those that are over, and of those that diverge; what they end by is their own.
#[test]
fn places_are_taken_again() {
    let base = setup();
    let rates = [0.1, 1e30, 0.2, 0.05, 0.3, 0.4, 0.01];
    let runs: Vec<(Setup, Plan)> = rates
        .into_iter()
        .enumerate()
        .map(|(i, lr)| {
            let setup = Setup { optimizer: Optimizer::adamw(lr), seed: i as u64, ..base.clone() };
            let stop = Stop { metric: Metric::TestLoss, patience: Some(1), keep_best: i % 2 == 0, ..Stop::default() };
            let plan = Plan { stop, eval_every: 4, eval_unit: Unit::Step, ..plan(1 + i as u64) };
            (setup, plan)
        })
        .collect();
    are_alone(&runs, 3);
}

#[test]
fn batch_normalisation_lookahead_and_snapshots_are_each_runs_own() {
    let base = setup();
    let model = Mlp { norm: Norm::Batch, ..base.model.clone() };
    let runs: Vec<(Setup, Plan)> = (0..3u64)
        .map(|i| {
            let average = Average {
                swa: Some(Sampling::Every { start: 2 + i, every: 1, unit: Unit::Step }),
                snapshots: Some(Snapshots {
                    max: 2,
                    when: Sampling::Every { start: i, every: 3 + i, unit: Unit::Step },
                }),
                lookahead: Some(Lookahead { every: 2 + i, alpha: 0.5 }),
                ema: Some(ema(0.9)),
            };
            let setup = Setup { model: model.clone(), average, seed: i, ..base.clone() };
            (setup, Plan { eval_every: 1 + i % 2, ..plan(3) })
        })
        .collect();
    are_alone(&runs, 3);
    are_alone(&runs, 2);
}

#[test]
fn ascents_are_each_runs_own() {
    let base = setup();
    let runs: Vec<(Setup, Plan)> = [0.05, 0.5]
        .into_iter()
        .map(|rho| (Setup { sam: Some(Sam { rho, adaptive: false }), ..base.clone() }, plan(2)))
        .collect();
    are_alone(&runs, 2);
}

/// In mixed precision a run whose gradients overflow halves its own loss scale.
#[test]
fn loss_scales_are_each_runs_own() {
    let Some(gpu) = common::gpu() else { return };
    let base = setup();
    let runs: Vec<(Setup, Plan)> = [0.1, 20.0, 0.3]
        .into_iter()
        .map(|lr| {
            let optimizer = Optimizer::sgd(lr);
            (Setup { optimizer, precision: Precision::Mixed, ..base.clone() }, plan(2))
        })
        .collect();
    let shared = Population::setup(runs[..2].iter().map(|(setup, _)| setup.clone()).collect()).unwrap();
    let got = together(Box::new(GpuEngine::new(gpu, shared, Options::default()).unwrap()), &runs);
    for ((setup, plan), got) in runs.into_iter().zip(got) {
        let engine = GpuEngine::new(common::gpu().unwrap(), setup, Options::default()).unwrap();
        assert_eq!(got, train(Box::new(engine), plan));
    }
}

#[test]
fn what_cannot_share_an_engine_is_refused() {
    let base = setup();
    let refused = |other: Setup| Population::setup(vec![base.clone(), other]).unwrap_err().to_string();
    let said = |key: &str| format!("{key}: expected the same for all replicas of an engine, found several");
    assert_eq!(refused(Setup { batch: 8, ..base.clone() }), said("train.batch"));
    assert_eq!(refused(Setup { optimizer: Optimizer::adamw(0.1), ..base.clone() }), said("optimizer.name"));
    assert_eq!(refused(Setup { clip_norm: Some(1.0), ..base.clone() }), said("train.clip_norm"));
    assert_eq!(refused(Setup { dataset: Arc::new(dataset()), ..base.clone() }), said("data"));
    let average = Average { ema: Some(ema(0.9)), ..Average::default() };
    assert_eq!(refused(Setup { average, ..base.clone() }), said("average"));
    let negative = Setup { label_smoothing: -1.0, ..base.clone() };
    assert!(refused(negative).starts_with("model.label_smoothing: expected"));
    assert!(Population::setup(Vec::new()).is_err());
    assert!(Population::new(Box::new(CpuEngine::<f32>::new(base).unwrap())).is_err());
}
