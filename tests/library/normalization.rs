//! Columns that single precision cannot hold: timestamps in milliseconds, of which the last digits decide.

use crate::common;

use std::sync::Arc;

use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Features, Normalize, Part, Samples};
use thalweg::engine::{Engine, Setup, Slot};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::Init;
use thalweg::optimizer::Optimizer;
use thalweg::plan::Plan;
use thalweg::train::Trainer;
use thalweg::{Error, Mlp};

const N: usize = 600;

/// The time of a sample: a minute around a moment of 2023, the second half of which is the other class.
fn time(i: usize) -> f64 {
    1.7e12 + (i * 7919 % 60_000) as f64
}

/// The times beside a column that says nothing, and one that is constant.
fn timestamps() -> Dataset {
    let part = |first: usize, n: usize| {
        let rows = first..first + n;
        let features: Vec<f64> = rows.clone().flat_map(|i| [(i % 13) as f64, time(i), 99.99]).collect();
        Samples::labelled(features, rows.map(|i| u32::from(time(i) >= 1.7e12 + 30_000.0)))
    };
    Dataset::new("timestamps", [3, 1, 1], part(0, N), Some(part(N, 100))).unwrap().normalize(Normalize::Channel)
}

/// The engine after ten epochs, with its accuracy on the test part.
fn learned(engine: Box<dyn Engine>) -> (Box<dyn Engine>, f64) {
    let mut trainer = Trainer::new(engine, Plan { epochs: 10, ..Plan::default() }).unwrap();
    trainer.init(Init::Pytorch).unwrap();
    trainer.run().unwrap();
    let mut engine = trainer.into_engine();
    let accuracy = engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].accuracy;
    assert!(accuracy > 0.9, "{}: {accuracy}", engine.describe());
    (engine, accuracy)
}

#[test]
fn the_last_digits_of_large_numbers_are_learned_from() {
    let model = Mlp::new(3, 2).hidden([16]);
    let optimizer = Optimizer::adam(0.01);
    let setup = Setup { optimizer, batch: 20, ..Setup::new(model, Arc::new(timestamps())) };
    let is_right = |predictions: &[f64]| {
        let right = |(i, logits): (usize, &[f64])| (logits[1] > logits[0]) == (time(N + i) >= 1.7e12 + 30_000.0);
        predictions.chunks(2).enumerate().filter(|&pair| right(pair)).count() as f64 / 100.0
    };
    let check = |engine: Box<dyn Engine>| {
        let (mut engine, accuracy) = learned(engine);
        let test: Features = engine.setup().dataset.test.as_ref().unwrap().features.clone();
        let predictions = engine.predict(&test, &[Slot::Live]).unwrap().remove(0);
        assert_eq!(accuracy, is_right(&predictions), "{}: predictions see what evaluations see", engine.describe());
        engine.download(Slot::Live, 0).unwrap()
    };
    check(Box::new(CpuEngine::<f64>::new(setup.clone()).unwrap()));
    check(Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()));
    let open = |memory| {
        let options = Options { memory, ..Options::default() };
        common::gpu().map(|gpu| GpuEngine::new(gpu, setup.clone(), options))
    };
    let Some(resident) = open(None) else { return };
    let resident = check(Box::new(resident.unwrap()));
    // What is needed beside the records leaves no room for them.
    let Some(Err(Error::DeviceMemory { needed, .. })) = open(Some(0)) else { panic!("no memory is enough") };
    let streamed = open(Some(needed)).unwrap().unwrap();
    assert!(streamed.is_streamed());
    let streamed = learned(Box::new(streamed)).0.download(Slot::Live, 0).unwrap();
    assert!(streamed == resident, "streamed data gives other bits than resident");
}
