//! Gradients that stay on the device, and updates with them; on both engines, with replicas that differ.

use crate::common;

use common::{Tolerance, assert_close};
use thalweg::Optimizer;
use thalweg::average::Average;
use thalweg::data::Augment;
use thalweg::engine::{Gradient, Setup, Slot};
use thalweg::model::Norm;

use crate::tiny::{REPLICAS, begin, engines, everything, mixed, plain, rich, steps};

/// A gradient by itself and its update are the step: to the bit where the update is the same code, which it is on the CPU
/// engine; on a GPU the fused kernel may contract products and sums that the other does not: four steps, each rounding
/// weights below 2 and moving them by a few times the rate times the last place of a gradient.
#[test]
fn a_gradient_and_its_update_are_a_step() {
    let clipped = Setup { clip_norm: Some(0.5), ..rich(Norm::Batch) };
    let adam = Setup { optimizer: Optimizer::adamw(0.01).eps(1e-3).amsgrad(), ..plain() };
    for setup in [plain(), rich(Norm::None), rich(Norm::Batch), rich(Norm::Layer), clipped, adam] {
        for ((mut whole, eps), (mut parts, _)) in engines(&setup).into_iter().zip(engines(&setup)) {
            begin(whole.as_mut());
            begin(parts.as_mut());
            let steps = steps(&setup, 5);
            let mut fused = whole.run(&steps).unwrap();
            fused.extend(whole.wait().unwrap());
            let fused: Vec<f64> = fused.iter().map(|m| m.loss).collect();
            let mut losses = Vec::new();
            for step in &steps {
                losses.extend(parts.gradient(step, Gradient::OfStep).unwrap().iter().map(|m| m.loss));
                parts.update(step).unwrap();
            }
            let is_gpu = parts.dispatches() > 0;
            let (want, got) = (everything(whole.as_mut()), everything(parts.as_mut()));
            if is_gpu {
                let tolerance = Tolerance { abs: 100.0 * eps, rel: 100.0 * eps };
                assert_close("losses", &losses, &fused, tolerance);
                want.iter().zip(&got).for_each(|(want, got)| assert_close("vectors", got, want, tolerance));
            } else {
                assert_eq!(losses, fused);
                assert!(want == got, "{}: {:?}", parts.describe(), setup.optimizer);
            }
        }
    }
}

/// A gradient to be looked at changes nothing but itself; without chance it is that of a setup without dropout and
/// augmentation.
#[test]
fn a_gradient_may_be_looked_at() {
    for norm in [Norm::None, Norm::Batch, Norm::Layer] {
        let setup = rich(norm);
        let still = Setup { model: setup.model.clone().dropout(0.0), augment: Augment::default(), ..setup.clone() };
        for ((mut engine, eps), (mut other, _)) in engines(&setup).into_iter().zip(engines(&still)) {
            begin(engine.as_mut());
            begin(other.as_mut());
            let step = &steps(&setup, 5)[0];
            let before = everything(engine.as_mut());
            let drawn = engine.gradients(step).unwrap();
            engine.gradient(step, Gradient::Plain).unwrap();
            let plain: Vec<Vec<f64>> = [0, 1].map(|r| engine.download(Slot::Gradient, r).unwrap()).to_vec();
            assert!(everything(engine.as_mut()) == before, "{}: a look changes something", engine.describe());
            for (r, (_, want)) in other.gradients(step).unwrap().into_iter().enumerate() {
                let largest = want.iter().fold(0.0f64, |most, g| most.max(g.abs()));
                // Four products of at most 20 terms, and a sum over 50 samples.
                let tolerance = Tolerance { abs: 200.0 * eps * largest, rel: 0.0 };
                assert_close("plain gradient", &plain[r], &want, tolerance);
                assert_ne!(drawn[r].1, plain[r], "the drawn gradient is another");
            }
        }
    }
}

/// The norm is that of what is trained; it is taken where the gradient is clipped, not where it is made.
#[test]
fn an_update_clips_what_is_trained() {
    let setup = Setup { clip_norm: Some(0.5), average: Average::default(), ..rich(Norm::Batch) };
    let mut moved = Vec::new();
    for (mut engine, _) in engines(&setup) {
        begin(engine.as_mut());
        let step = steps(&setup, 5).remove(0);
        let metrics = engine.gradient(&step, Gradient::Drawn).unwrap();
        assert!(metrics.iter().all(|m| m.grad_norm.is_none()));
        let ones = vec![1.0; engine.layout().len];
        (0..REPLICAS).for_each(|r| engine.upload(Slot::Gradient, r, &ones).unwrap());
        engine.update(&step).unwrap();
        moved.push(engine.download(Slot::State(0), 0).unwrap());
    }
    for other in &moved[1..] {
        // Equal parts of a length of 0.5, and weights below 1 times the decay.
        assert_close("velocity", other, &moved[0], Tolerance { abs: 1e-6, rel: 0.0 });
    }
}

/// An update takes the gradient that a caller gives, although the last step's own overflowed and was left out.
#[test]
fn a_given_gradient_is_taken_after_an_overflow() {
    let setup = Setup { clip_norm: Some(1.0), ..plain() };
    let Some(mut engine) = mixed(&setup) else { return };
    begin(engine.as_mut());
    let steps = steps(&setup, 2);
    let scale = thalweg::engine::LossScale { next: 16_777_216.0, steps: 0 };
    engine.set_loss_scales(&[scale; REPLICAS]).unwrap();
    let before = everything(engine.as_mut());
    engine.run(&steps[..1]).unwrap();
    engine.wait().unwrap();
    assert_eq!(everything(engine.as_mut()), before, "the step overflows");
    engine.gradient(&steps[1], Gradient::Drawn).unwrap();
    engine.update(&steps[1]).unwrap();
    let after = everything(engine.as_mut());
    assert!((0..REPLICAS).all(|r| after[r] != before[r]), "a gradient that was looked at");

    engine.set_loss_scales(&[scale; REPLICAS]).unwrap();
    engine.run(&steps[..1]).unwrap();
    engine.wait().unwrap();
    let given = vec![0.01; engine.layout().len];
    engine.upload(Slot::Gradient, 0, &given).unwrap();
    engine.update(&steps[1]).unwrap();
    let last = everything(engine.as_mut());
    assert!(last[0] != after[0] && last[1] == after[1], "a gradient that was given to one replica");
}
