//! What a run keeps beside its weights: averages, snapshots and their ensemble, lookahead.

use crate::common;

use common::small::{N, WIDTHS, ema, on_each_engine, setup};
use common::{Tolerance, assert_close};
use thalweg::average::{Average, Clock, Lookahead, Sampling, Snapshots};
use thalweg::cpu::CpuEngine;
use thalweg::data::{Augment, Features, Part, Targets};
use thalweg::engine::{Engine, Setup, Slot, Step};
use thalweg::model::{Init, Mlp, Norm};
use thalweg::plan::Plan;
use thalweg::schedule::{Rate, Schedule};
use thalweg::stop::Stop;
use thalweg::train::Trainer;

fn restarts(t_0: u64) -> Schedule {
    Schedule::CosineWarmRestarts { t_0, t_mult: 1, eta_min: 0.01 }
}

fn minima() -> Sampling {
    serde_json::from_value(serde_json::json!({ "at": "minima" })).unwrap()
}

/// The classes' probabilities over the test part, by a forward pass written out here.
fn probabilities(engine: &dyn Engine, weights: &[f64]) -> Vec<Vec<f64>> {
    let tensors = engine.layout().unpack(weights);
    let product = |x: &[f64], w: usize| -> Vec<f64> {
        let rows = tensors[w].values.chunks(x.len()).zip(&tensors[w + 1].values);
        rows.map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
    };
    let dataset = &engine.setup().dataset;
    let Features::F32(x) = &dataset.part(Part::Test).unwrap().features else { panic!("features are f32") };
    x.chunks(WIDTHS[0])
        .map(|row| {
            let x: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let hidden: Vec<f64> = product(&x, 0).into_iter().map(f64::tanh).collect();
            let e: Vec<f64> = product(&hidden, 2).into_iter().map(f64::exp).collect();
            e.iter().map(|p| p / e.iter().sum::<f64>()).collect()
        })
        .collect()
}

/// Snapshots are taken at the minima of the schedule, SWA at the same is their mean, and the ensemble predicts the mean
/// of what each of them predicts.
#[test]
fn snapshots_are_an_ensemble_and_their_mean_is_swa() {
    let snapshots = Snapshots { max: 5, when: minima() };
    let average = Average { swa: Some(minima()), snapshots: Some(snapshots), ..Average::default() };
    // Four epochs of six steps, five periods of five steps but the last, which the run cuts short.
    on_each_engine(&Setup { average, ..setup() }, |engine, eps| {
        let plan = Plan { epochs: 4, schedule: restarts(5), ..Plan::default() };
        let mut trainer = Trainer::new(engine, plan).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let mut report = None;
        while let Some(epoch) = trainer.epoch().unwrap() {
            report = Some(epoch);
        }
        let means = report.unwrap().means;
        let mut engine = trainer.into_engine();
        assert_eq!(means.iter().map(|m| m.name).collect::<Vec<_>>(), ["swa", "snapshots"]);

        let members: Vec<Vec<f64>> = (0..5).map(|i| engine.download(Slot::Snapshot(i), 0).unwrap()).collect();
        let mean: Vec<f64> = (0..members[0].len()).map(|i| members.iter().map(|m| m[i]).sum::<f64>() / 5.0).collect();
        let tolerance = Tolerance { abs: 10.0 * eps, rel: 0.0 };
        assert_close("SWA", &engine.download(Slot::Swa, 0).unwrap(), &mean, tolerance);
        assert_eq!(members[4], engine.download(Slot::Live, 0).unwrap(), "the last minimum is the end of the run");

        let all: Vec<Vec<Vec<f64>>> = members.iter().map(|m| probabilities(engine.as_ref(), m)).collect();
        let Targets::Labels(labels) = &engine.setup().dataset.test.as_ref().unwrap().targets else { panic!() };
        let (mut loss, mut correct) = (0.0, 0);
        for (row, &label) in labels.iter().enumerate() {
            let mean: Vec<f64> = (0..3).map(|c| all.iter().map(|m| m[row][c]).sum::<f64>() / 5.0).collect();
            loss -= mean[label as usize].ln() / labels.len() as f64;
            correct += u32::from((0..3).all(|c| mean[c] <= mean[label as usize]));
        }
        let got = &means[1].test.as_ref().unwrap()[0];
        // Two layers of sums of seven terms, and a softmax.
        assert_close("ensemble loss", &[got.loss], &[loss], Tolerance { abs: 200.0 * eps, rel: 0.0 });
        assert_eq!(got.accuracy, f64::from(correct) / labels.len() as f64);
        assert_ne!(got.loss, means[0].test.as_ref().unwrap()[0].loss);
    });
}

/// Lookahead against the same steps without it, whose weights the host moves.
#[test]
fn lookahead_leads_the_weights() {
    let average = Average { lookahead: Some(Lookahead { every: 3, alpha: 0.4 }), ..Average::default() };
    let clock = Clock { steps: 6, per_epoch: 6, lr: None };
    on_each_engine(&setup(), |mut plain, eps| {
        let with = Setup { average: average.clone(), ..setup() };
        let mut engine = CpuEngine::<f64>::new(with.clone()).unwrap();
        let start = plain.layout().init(&setup().model, Init::Pytorch, 0);
        let start: Vec<f64> = start.into_iter().map(|w| f64::from(w as f32)).collect();
        let sampler = with.average.sampler(&clock).unwrap();
        let mut slow = start.clone();
        for e in [plain.as_mut(), &mut engine as &mut dyn Engine] {
            e.upload(Slot::Live, 0, &start).unwrap();
            e.set_order(&[(0..N as u32).collect()]).unwrap();
        }
        engine.copy(Slot::Live, Slot::Slow).unwrap();
        for index in 0..6 {
            let rates = vec![Rate { lr: 0.3, momentum: 0.9 }];
            let step = Step { index, first: 16 * index as usize, rows: 16, rates, ..Step::default() };
            plain.run(std::slice::from_ref(&step)).unwrap();
            plain.wait().unwrap();
            engine.run(&[Step { take: sampler.take(index), ..step }]).unwrap();
            if index % 3 == 2 {
                let fast = plain.download(Slot::Live, 0).unwrap();
                slow.iter_mut().zip(&fast).for_each(|(slow, w)| *slow += 0.4 * (w - *slow));
                plain.upload(Slot::Live, 0, &slow).unwrap();
            }
        }
        let tolerance = Tolerance { abs: 1000.0 * eps, rel: 0.0 };
        assert_close("weights", &engine.download(Slot::Live, 0).unwrap(), &slow, tolerance);
        assert_close("slow weights", &engine.download(Slot::Slow, 0).unwrap(), &slow, tolerance);
    });
}

/// Lookahead is the last part of an update: a step at which it moves the weights leaves those to every average.
#[test]
fn averages_take_the_weights_that_lookahead_leaves() {
    let lookahead = Some(Lookahead { every: 3, alpha: 0.4 });
    let third = |value| serde_json::from_value(value).unwrap();
    let average = Average {
        swa: Some(third(serde_json::json!({ "start": 2, "every": 100 }))),
        ema: Some(ema(0.0)),
        snapshots: Some(Snapshots { max: 1, when: third(serde_json::json!({ "after_updates": [2] })) }),
        lookahead,
    };
    let clock = Clock { steps: 6, per_epoch: 6, lr: None };
    for clip_norm in [None, Some(1.0)] {
        let with = Setup { average: average.clone(), clip_norm, ..setup() };
        on_each_engine(&with, |mut engine, _| {
            let sampler = average.sampler(&clock).unwrap();
            thalweg::engine::initialize(engine.as_mut(), Init::Pytorch).unwrap();
            engine.copy(Slot::Live, Slot::Slow).unwrap();
            engine.set_order(&[(0..N as u32).collect()]).unwrap();
            let rates = vec![Rate { lr: 0.3, momentum: 0.9 }];
            let step = |i: u64| Step {
                index: i,
                first: 16 * i as usize,
                rows: 16,
                rates: rates.clone(),
                take: sampler.take(i),
                ..Step::default()
            };
            engine.run(&[step(0), step(1), step(2)]).unwrap();
            engine.wait().unwrap();
            let live = engine.download(Slot::Live, 0).unwrap();
            for slot in [Slot::Slow, Slot::Swa, Slot::Ema, Slot::Snapshot(0)] {
                assert_eq!(engine.download(slot, 0).unwrap(), live, "{slot:?}");
            }
        });
    }
}

/// Batch normalisation's statistics of an average are those of the whole training part, however early the run ended.
#[test]
fn statistics_of_averages_come_from_the_whole_training_part() {
    let ema = serde_json::from_value(serde_json::json!({ "decay": 0.5 })).unwrap();
    let swa = Some(Sampling::Listed { after_updates: vec![0, 1] });
    let average = Average { ema: Some(ema), swa, ..Average::default() };
    let model = Mlp { norm: Norm::Batch, dropout: 0.2, ..setup().model };
    let augment = Augment { noise: 0.1, ..Augment::default() };
    let setup = Setup { model, average, augment, batch: 2, ..setup() };
    let (asked, timed) = (Stop::default(), Stop { seconds: Some(0.0), ..Stop::default() });
    for stop in [asked, timed] {
        on_each_engine(&setup, |engine, _| {
            let mut trainer = Trainer::new(engine, Plan { stop: stop.clone(), ..Plan::default() }).unwrap();
            trainer.init(Init::Pytorch).unwrap();
            trainer.advance(4).unwrap();
            trainer.stop_soon();
            trainer.step().unwrap();
            assert!(trainer.ended().is_some() && trainer.steps_taken() < 6);
            let rates = vec![Rate::default()];
            let step =
                |i: u64| Step { index: i, first: 2 * i as usize, rows: 2, rates: rates.clone(), ..Step::default() };
            let all: Vec<Step> = (0..48).map(step).collect();
            for slot in [Slot::Swa, Slot::Ema] {
                let left = trainer.engine().download(slot, 0).unwrap();
                trainer.engine().renew_statistics(slot, &all).unwrap();
                assert!(left == trainer.engine().download(slot, 0).unwrap(), "{slot:?} has statistics of a part");
            }
        });
    }
}
