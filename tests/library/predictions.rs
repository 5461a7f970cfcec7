//! What an engine predicts and evaluates, without a training too; on both engines, with replicas that differ.

use crate::common;

use common::{Tolerance, assert_close};
use std::sync::Arc;
use thalweg::data::{Features, Normalization, Part, Targets};
use thalweg::engine::{Engine, Setup, Slot};
use thalweg::loss::{Loss, softmax};
use thalweg::model::Norm;

use crate::tiny::{N, REPLICAS, begin, dataset, engines, mixed, plain, rich, steps};

/// What is predicted for the samples of the test part has its loss and accuracy.
#[test]
fn predictions_are_those_that_are_evaluated() {
    for setup in [plain(), rich(Norm::Batch), rich(Norm::Layer)] {
        for (mut engine, eps) in engines(&setup) {
            begin(engine.as_mut());
            engine.run(&steps(&setup, 5)).unwrap();
            engine.wait().unwrap();
            let test = engine.setup().dataset.test.clone().unwrap();
            let Targets::Labels(labels) = &test.targets else { panic!("labels") };
            let ensemble: Vec<Slot> =
                if engine.has(Slot::Snapshot(1)) { vec![Slot::Snapshot(0), Slot::Snapshot(1)] } else { vec![] };
            for slots in [vec![Slot::Live], ensemble] {
                if slots.is_empty() {
                    continue;
                }
                let evaluations = engine.evaluate(Part::Test, &slots).unwrap();
                let predictions = engine.predict(&test.features, &slots).unwrap();
                for (mut logits, evaluation) in predictions.into_iter().zip(evaluations) {
                    softmax(&mut logits, 3);
                    let rows = logits.chunks(3).zip(labels);
                    let loss = -rows.clone().map(|(p, &l)| p[l as usize].ln()).sum::<f64>() / labels.len() as f64;
                    let right = rows.filter(|(p, l)| p.iter().all(|q| *q <= p[**l as usize])).count();
                    // Each of 70 losses near 1 is rounded a few times, and so is their sum.
                    assert_close("loss", &[evaluation.loss], &[loss], Tolerance { abs: 100.0 * eps, rel: 0.0 });
                    assert_eq!(evaluation.accuracy, right as f64 / labels.len() as f64, "{}", engine.describe());
                }
            }
        }
    }
}

/// A row's prediction has the same bits alone, in a batch of any size, beside any other rows.
#[test]
fn a_row_is_predicted_alike_in_any_company() {
    let check = |engine: &mut dyn Engine| {
        begin(engine);
        let features = engine.setup().dataset.train.features.clone();
        let Features::U8(pixels) = &features else { panic!("pixels") };
        let predict = |engine: &mut dyn Engine, rows: &[usize]| {
            let picked: Vec<u8> = rows.iter().flat_map(|&row| pixels[row * 20..][..20].to_vec()).collect();
            engine.predict(&Features::U8(picked), &[Slot::Live]).unwrap()
        };
        // More rows than pass through at once.
        let all = predict(engine, &(0..N).collect::<Vec<_>>());
        for rows in [vec![0], vec![N - 1], vec![5, 3, 3, 599], (100..117).collect(), (0..N).rev().collect()] {
            let some = predict(engine, &rows);
            for (r, (some, all)) in some.iter().zip(&all).enumerate() {
                for (place, &row) in rows.iter().enumerate() {
                    let (got, want) = (&some[place * 3..][..3], &all[row * 3..][..3]);
                    assert_eq!(got, want, "{}: replica {r}, row {row} among {}", engine.describe(), rows.len());
                }
            }
        }
        assert_ne!(all[0], all[1], "replicas differ");
    };
    for setup in [plain(), rich(Norm::Batch), rich(Norm::Layer)] {
        engines(&setup).iter_mut().for_each(|(engine, _)| check(engine.as_mut()));
        if let Some(mut engine) = mixed(&setup) {
            check(engine.as_mut());
        }
    }
}

/// Samples may come in another type than the data set's. The scaling is one that rounds nothing: pixels are scaled in the
/// engine's precision, numbers in f64.
#[test]
fn predictions_take_every_type_of_features() {
    let mut data = (*dataset(Features::U8)).clone();
    data.normalization = Normalization { scale: vec![0.015625], shift: vec![-2.0] };
    let setup = Setup { dataset: Arc::new(data), ..plain() };
    for (mut engine, _) in engines(&setup) {
        begin(engine.as_mut());
        let bytes: Vec<u8> = (0..60).collect();
        let of = |engine: &mut dyn Engine, f: Features| engine.predict(&f, &[Slot::Live]).unwrap();
        let want = of(engine.as_mut(), Features::U8(bytes.clone()));
        let floats = Features::F32(bytes.iter().map(|&b| f32::from(b)).collect());
        let doubles = Features::F64(bytes.iter().map(|&b| f64::from(b)).collect());
        assert_eq!(of(engine.as_mut(), floats), want);
        assert_eq!(of(engine.as_mut(), doubles), want);
    }
}

/// An engine for evaluation alone has the same bits in less memory, and does not train.
#[test]
fn an_engine_may_evaluate_alone() {
    for setup in [plain(), rich(Norm::Batch), rich(Norm::Layer), Setup { loss: Loss::Mse, ..plain() }] {
        let alone = Setup { evaluation_only: true, ..setup.clone() };
        for ((mut whole, _), (mut alone, _)) in engines(&setup).into_iter().zip(engines(&alone)) {
            begin(whole.as_mut());
            for r in 0..REPLICAS {
                let weights = whole.download(Slot::Live, r).unwrap();
                alone.upload(Slot::Live, r, &weights).unwrap();
            }
            for part in [Part::Train, Part::Test] {
                let slots = [Slot::Live];
                assert_eq!(alone.evaluate(part, &slots).unwrap(), whole.evaluate(part, &slots).unwrap());
            }
            let inputs = whole.setup().dataset.train.features.clone();
            let predict = |engine: &mut dyn Engine| engine.predict(&inputs, &[Slot::Live]).unwrap();
            assert!(predict(alone.as_mut()) == predict(whole.as_mut()));
            let bytes = |engine: &dyn Engine| engine.memory().iter().map(|m| m.bytes).sum::<u64>();
            let (less, all) = (bytes(alone.as_ref()), bytes(whole.as_ref()));
            assert!(4 * less < 3 * all, "{}: {less} of {all} bytes", whole.describe());
            assert!(!alone.has(Slot::Gradient) && !alone.has(Slot::State(0)));
            let error = alone.run(&steps(&setup, 5)[..1]).unwrap_err().to_string();
            assert!(error.contains("evaluation alone"), "{error}");
        }
    }
}

/// Any slots make an ensemble, whether or not the setup keeps snapshots.
#[test]
fn an_ensemble_needs_no_snapshots() {
    let means: Vec<[f64; 2]> = engines(&plain())
        .into_iter()
        .map(|(mut engine, _)| {
            begin(engine.as_mut());
            engine.copy(Slot::Live, Slot::Copy(0)).unwrap();
            engine.run(&steps(&plain(), 5)).unwrap();
            engine.wait().unwrap();
            let inputs = &dataset(Features::U8).test.as_ref().unwrap().features.clone();
            engine.predict(inputs, &[Slot::Live]).unwrap();
            let loss = engine.evaluate(Part::Test, &[Slot::Copy(0), Slot::Live]).unwrap()[0].loss;
            let logits = engine.predict(inputs, &[Slot::Copy(0), Slot::Live]).unwrap()[0].clone();
            assert_ne!(loss, engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].loss);
            [loss, logits[0]]
        })
        .collect();
    for other in &means[1..] {
        // Five steps and two passes of sums of up to twenty terms in f32.
        assert_close("ensemble", other, &means[0], Tolerance { abs: 1e-5, rel: 0.0 });
    }
}
