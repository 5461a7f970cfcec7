//! Vectors on the device, and what engines refuse; on both engines, with replicas that differ.

use crate::common;

use common::{Tolerance, assert_close};
use thalweg::data::{Features, Part};
use thalweg::engine::{Curvature, Engine, Gradient, Setup, Slot, Step};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::Norm;
use thalweg::{Error, Mlp};

use crate::tiny::{BATCH, N, REPLICAS, begin, engines, everything, plain, rich, steps};

/// What vectors do on the device, beside plain loops; every replica has a factor of its own.
#[test]
fn vectors_follow_plain_loops() {
    let setup = Setup { model: Mlp::new(20, 3).hidden([70, 90]), ..plain() };
    for (mut engine, eps) in engines(&setup) {
        let layout = engine.layout().clone();
        let len = layout.len;
        // What lies between rows is 0.
        let padded = |flat: Vec<f64>| layout.pack(&layout.unpack(&flat)).unwrap();
        let vector = |salt: usize| -> Vec<Vec<f64>> {
            let value = |i: usize| f64::from(((i * 2_654_435_761 + salt * 977) % 1999) as f32 / 1000.0 - 1.0);
            (0..REPLICAS).map(|r| padded((0..len).map(|i| value(i + r * len)).collect())).collect()
        };
        let (x, y) = (vector(1), vector(2));
        let (a, b) = (Slot::Scratch(0), Slot::Scratch(7));
        engine.allocate(a).unwrap();
        engine.allocate(b).unwrap();
        assert!(engine.download(a, 1).unwrap().iter().all(|v| *v == 0.0), "a new vector is 0");
        for r in 0..REPLICAS {
            engine.upload(a, r, &x[r]).unwrap();
            engine.upload(b, r, &y[r]).unwrap();
        }
        let alpha = [0.5, -1.25];
        let (dots, norms) = (engine.dot(a, b).unwrap(), engine.norm(a).unwrap());
        engine.axpy(&alpha, a, b).unwrap();
        engine.scale(&alpha, a).unwrap();
        for r in 0..REPLICAS {
            let sum = |f: &dyn Fn(usize) -> f64| (0..len).map(f).sum::<f64>();
            // Sums of terms below 1 in 64 parts, one after the other: n ε of the largest sum a part can have.
            let tolerance = Tolerance { abs: len as f64 * eps * len as f64 / 64.0, rel: 0.0 };
            assert_close("dot", &[dots[r]], &[sum(&|i| x[r][i] * y[r][i])], tolerance);
            assert_close("norm", &[norms[r]], &[sum(&|i| x[r][i] * x[r][i]).sqrt()], tolerance);
            let single = eps > 1e-10;
            let rounded = |v: f64| if single { f64::from(v as f32) } else { v };
            // WGSL lets a device round a product before it is added; the CPU engine rounds once.
            let once = |i: usize| rounded(alpha[r].mul_add(x[r][i], y[r][i]));
            let twice = |i: usize| rounded(rounded(alpha[r] * x[r][i]) + y[r][i]);
            let is_gpu = engine.dispatches() > 0;
            for (i, got) in engine.download(b, r).unwrap().into_iter().enumerate() {
                assert!(got == once(i) || is_gpu && got == twice(i), "{}: axpy {i}: {got}", engine.describe());
            }
            let want: Vec<f64> = (0..len).map(|i| rounded(alpha[r] * x[r][i])).collect();
            assert_eq!(engine.download(a, r).unwrap(), want, "{}: scale", engine.describe());
        }
        engine.copy(b, Slot::Live).unwrap();
        assert_eq!(engine.download(Slot::Live, 1).unwrap(), engine.download(b, 1).unwrap());
        let with = engine.evaluate(Part::Test, &[Slot::Live]).unwrap();
        assert_eq!(engine.evaluate(Part::Test, &[b]).unwrap(), with, "an allocated vector can be evaluated");
        engine.free(a).unwrap();
        assert!(!engine.has(a) && engine.has(b));
        assert!(
            !engine.memory().iter().any(|m| m.name == a.name()) && engine.memory().iter().any(|m| m.name == b.name())
        );
    }
}

/// One line that says what was expected and what was found, on both engines alike, and nothing is changed.
#[test]
fn what_does_not_fit_is_refused() {
    let setup = plain();
    let mut texts: Vec<Vec<String>> = Vec::new();
    for (mut engine, _) in engines(&setup) {
        let engine = engine.as_mut();
        let len = engine.layout().len;
        let step = steps(&setup, 1).remove(0);
        let mut found = Vec::new();
        let mut refused = |result: thalweg::Result<()>| match result {
            Err(error @ (Error::Config { .. } | Error::Data { .. })) => found.push(error.to_string()),
            other => panic!("{other:?}"),
        };
        refused(engine.run(std::slice::from_ref(&step)).map(drop)); // no order yet
        begin(engine);
        let before = everything(engine);
        refused(engine.upload(Slot::Live, 0, &vec![0.0; len + 1]));
        refused(engine.upload(Slot::Live, 0, &[]));
        refused(engine.upload(Slot::Live, REPLICAS, &vec![0.0; len]));
        refused(engine.download(Slot::Live, REPLICAS).map(drop));
        refused(engine.download(Slot::Swa, 0).map(drop));
        refused(engine.download(Slot::State(1), 0).map(drop));
        refused(engine.copy(Slot::Live, Slot::Copy(2)));
        refused(engine.copy(Slot::Live, Slot::Scratch(0)));
        refused(engine.allocate(Slot::Live));
        refused(engine.free(Slot::Scratch(0)));
        refused(engine.free(Slot::Copy(0)));
        refused(engine.axpy(&[1.0], Slot::Copy(0), Slot::Live));
        refused(engine.axpy(&[1.0; REPLICAS], Slot::Live, Slot::Live));
        refused(engine.scale(&[1.0; REPLICAS + 1], Slot::Live));
        refused(engine.dot(Slot::Live, Slot::Ema).map(drop));
        refused(engine.set_order(&[vec![0; N]]));
        refused(engine.set_order(&[vec![0; N - 1], vec![0; N]]));
        refused(engine.set_order(&[vec![0; N], vec![N as u32; N]]));
        refused(engine.run(&[Step { rates: step.rates[..1].to_vec(), ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { rows: 0, ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { rows: BATCH + 1, ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { first: N - 1, ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { first: usize::MAX, ..step.clone() }]).map(drop));
        let mut taken = step.clone();
        taken.take.swa = 1.0;
        refused(engine.run(&[taken.clone()]).map(drop));
        refused(engine.update(&taken));
        refused(engine.gradient(&Step { rates: Vec::new(), ..step.clone() }, Gradient::Plain).map(drop));
        refused(engine.evaluate(Part::Test, &[]).map(drop));
        refused(engine.evaluate(Part::Validation, &[Slot::Live]).map(drop));
        refused(engine.evaluate(Part::Test, &[Slot::Best]).map(drop));
        refused(engine.predict(&Features::U8(vec![0; 21]), &[Slot::Live]).map(drop));
        refused(engine.predict(&Features::U8(Vec::new()), &[Slot::Live]).map(drop));
        refused(engine.renew_statistics(Slot::Swa, &[step]));
        refused(engine.project(Part::Validation, &[Slot::Live]).map(drop));
        refused(engine.project(Part::Test, &[Slot::Live, Slot::Swa]).map(drop));
        let coefficients = vec![vec![1.0]; REPLICAS];
        refused(engine.evaluate_projected(&coefficients).map(drop));
        assert!(engine.project(Part::Test, &[Slot::Live]).unwrap() && !engine.project(Part::Test, &[]).unwrap());
        refused(engine.evaluate_projected(&coefficients).map(drop));
        assert!(engine.project(Part::Test, &[Slot::Live]).unwrap());
        refused(engine.evaluate_projected(&coefficients[1..]).map(drop));
        refused(engine.evaluate_projected(&vec![vec![1.0; 2]; REPLICAS]).map(drop));
        refused(engine.slope(0..0).map(drop));
        refused(engine.slope(3..N + 1).map(drop));
        refused(engine.curve(Curvature::Hessian, 0..N + 1, Slot::Copy(0), Slot::Copy(1)));
        refused(engine.curve(Curvature::Hessian, 0..N, Slot::Copy(0), Slot::Copy(0)));
        refused(engine.curve(Curvature::Hessian, 0..N, Slot::Gradient, Slot::Copy(0)));
        refused(engine.curve(Curvature::GaussNewton, 0..N, Slot::Copy(0), Slot::Live));
        refused(engine.curve(Curvature::Hessian, 0..N, Slot::Copy(0), Slot::Swa));
        assert!(everything(engine) == before, "{}: a refusal changes something", engine.describe());
        engine.allocate(Slot::Best).unwrap();
        refused(engine.allocate(Slot::Best));
        texts.push(found);
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:#?}");
    assert!(texts[0].iter().all(|text| text.contains("expected") && text.contains("found")), "{texts:#?}");
}

/// A copy that was never written is full of zeros, and takes part in arithmetic as any other vector.
#[test]
fn copies_begin_as_zeros() {
    for (mut engine, _) in engines(&plain()) {
        begin(engine.as_mut());
        let live = engine.norm(Slot::Live).unwrap();
        assert_eq!(engine.dot(Slot::Live, Slot::Copy(0)).unwrap(), [0.0; REPLICAS]);
        engine.axpy(&[1.0; REPLICAS], Slot::Live, Slot::Copy(1)).unwrap();
        assert_eq!(engine.norm(Slot::Copy(1)).unwrap(), live);
        assert!(!engine.has(Slot::State(usize::MAX)));
    }
    let alone = Setup { evaluation_only: true, ..plain() };
    assert!(engines(&alone).iter().all(|(engine, _)| !engine.has(Slot::Copy(0))));
}

/// Only what the layout names can be put into a vector: what lies between the rows stays 0, as kernels rely on.
#[test]
fn padding_stays_zero() {
    let setup = rich(Norm::Batch);
    for (mut engine, _) in engines(&setup) {
        let layout = engine.layout().clone();
        let named: usize = layout.names().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        engine.upload(Slot::Live, 1, &vec![1.0; layout.len]).unwrap();
        assert_eq!(engine.dot(Slot::Live, Slot::Live).unwrap(), [0.0, named as f64]);
        let ones = engine.download(Slot::Live, 1).unwrap();
        assert!(layout.unpack(&ones).iter().all(|tensor| tensor.values.iter().all(|&value| value == 1.0)));
    }
}

/// Vectors that are allocated count in the memory budget.
#[test]
fn allocations_keep_within_the_budget() {
    let Some(gpu) = common::gpu() else { return };
    let engine = GpuEngine::new(gpu, plain(), Options::default()).unwrap();
    let taken: u64 = thalweg::engine::Diagnose::memory(&engine).iter().map(|a| a.bytes).sum();
    let vector = (engine.layout().len * REPLICAS * 4) as u64;
    let memory = Some(taken + vector);
    let mut engine = GpuEngine::new(common::gpu().unwrap(), plain(), Options { memory, ..Options::default() }).unwrap();
    engine.allocate(Slot::Scratch(0)).unwrap();
    let refused = engine.allocate(Slot::Scratch(1)).unwrap_err();
    assert!(matches!(refused, Error::DeviceMemory { .. }), "{refused}");
    engine.free(Slot::Scratch(0)).unwrap();
    engine.allocate(Slot::Scratch(1)).unwrap();
}
