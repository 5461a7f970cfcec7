//! What must hold on every driver, and where several programs share one: `tests/swiftshader.sh` runs it on a second one.

use crate::common;
use crate::common::program::{ok, table};
use crate::common::small;
use tempfile::TempDir;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Order, Part};
use thalweg::engine::{Engine, Slot, Step, initialize};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::Init;
use thalweg::schedule::Rate;

/// The losses of an epoch, then the loss of an evaluation, and the weights.
fn epoch(engine: &mut dyn Engine) -> (Vec<f64>, Vec<f64>) {
    let batch = engine.setup().batch;
    initialize(engine, Init::Kaiming).unwrap();
    engine.set_order(&[Order::Shuffle.permutation(small::N, 1, 0)]).unwrap();
    let rates = vec![Rate { lr: 0.3, momentum: 0.9 }];
    let step = |i| Step { index: i as u64, first: i * batch, rows: batch, rates: rates.clone(), ..Step::default() };
    let steps: Vec<Step> = (0..small::N / batch).map(step).collect();
    let mut metrics = engine.run(&steps).unwrap();
    metrics.extend(engine.wait().unwrap());
    let mut losses: Vec<f64> = metrics.iter().map(|m| m.loss).collect();
    losses.push(engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].loss);
    (losses, engine.download(Slot::Live, 0).unwrap())
}

/// An epoch on the adapter has the losses and the weights that the CPU engine has in f64.
#[test]
fn an_epoch_is_that_of_the_cpu_in_f64() {
    let Some(gpu) = common::gpu() else { return };
    let setup = small::setup();
    let (losses, weights) = epoch(&mut GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap());
    let (want_losses, want_weights) = epoch(&mut CpuEngine::<f64>::new(setup).unwrap());
    // A gradient below 1 is off by 55 ε at most, as `verify` has it for networks of this size. Six steps at a rate of 0.3 move
    // the weights by ten times as much with the momentum of 0.9: 6 · 0.3 · 10 · 55 ε = 1e3 ε. A loss whose gradient is below 1 in each
    // of 66 weights follows by √66 times that at most.
    let bound = 1e3 * f64::from(f32::EPSILON);
    let tolerance = |abs| common::Tolerance { abs, rel: 0.0 };
    common::assert_close("weights", &weights, &want_weights, tolerance(bound));
    common::assert_close("losses", &losses, &want_losses, tolerance(8.1 * bound));
}

/// Two programs that train on one adapter at a time both have the bits that they have alone.
#[test]
fn two_programs_at_a_time_have_the_bits_they_have_alone() {
    if common::gpu().is_none() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = |name: &str, seed: u64, more: &[&str]| {
        let line =
            format!("train --data {data} --hidden 24,24 --norm batch --batch 8 --epochs 40 --device gpu --no-tune -q");
        let line = format!("{line} --seed {seed} --run {name}");
        ok(dir.path(), &[&common::program::words(&line)[..], more].concat());
        let files = std::fs::read_dir(dir.path().join(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut weights: Vec<_> = files.filter(|path| path.to_string_lossy().contains("weights")).collect();
        weights.sort();
        assert!(!weights.is_empty(), "{name}");
        weights.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let kinds: [(u64, &[&str]); 2] = [(1, &[]), (2, &["--replicas", "2", "--optimizer", "adam"])];
    let alone = kinds.map(|(seed, more)| train(&format!("alone{seed}"), seed, more));
    let together = std::thread::scope(|scope| {
        let train = &train;
        kinds
            .map(|(seed, more)| scope.spawn(move || train(&format!("together{seed}"), seed, more)))
            .map(|run| run.join().unwrap())
    });
    assert!(alone == together);
}
