//! No step reads what an earlier one left in scratch memory: filled with NaN between all calls, it gives the same bits.

use std::sync::Arc;

use crate::common;
use crate::common::small;
use thalweg::average::{Average, Lookahead};
use thalweg::data::{Augment, Features, Part};
use thalweg::engine::{Checked, Engine, Gradient, Precision, Setup, Slot, Step, initialize};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::Optimizer;
use thalweg::sam::Sam;
use thalweg::schedule::Rate;

/// NaN as an f32 and as two halves; as an index, beyond every buffer.
const NAN: u32 = u32::MAX;

/// The networks and what is done to them, by name.
fn cases() -> Vec<(&'static str, Setup)> {
    let plain = small::setup();
    // Widths that leave padding in rows, and layers of one width, for residual connections.
    let model = |norm, residual, dropout| Mlp {
        norm,
        residual,
        dropout,
        ..Mlp::new(small::WIDTHS[0], small::WIDTHS[2]).hidden([7, 7])
    };
    let with = |norm, residual, dropout| Setup { model: model(norm, residual, dropout), ..plain.clone() };
    let average = Average { ema: Some(small::ema(0.9)), ..Average::default() };
    let adam = Optimizer::Adamw { lr: 1e-2, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, amsgrad: true };
    vec![
        ("plain", plain.clone()),
        ("adam, ema", Setup { optimizer: adam, average: average.clone(), ..plain.clone() }),
        ("batch norm", with(Norm::Batch, true, 0.2)),
        ("layer norm", with(Norm::Layer, true, 0.2)),
        ("residual", with(Norm::None, true, 0.0)),
        ("mixup", Setup { augment: Augment { mixup: 0.5, ..Augment::default() }, ..with(Norm::None, false, 0.3) }),
        ("clipping", Setup { clip_norm: Some(0.1), ..with(Norm::Batch, false, 0.0) }),
        ("mixed", Setup { precision: Precision::Mixed, average, ..with(Norm::None, true, 0.2) }),
        (
            "mixed, clipping",
            Setup { precision: Precision::Mixed, clip_norm: Some(0.1), ..with(Norm::Batch, false, 0.0) },
        ),
        ("mixed, layer norm", Setup { precision: Precision::Mixed, ..with(Norm::Layer, true, 0.0) }),
        ("lookahead", {
            let lookahead = Some(Lookahead { alpha: 0.5, every: 2 });
            Setup { average: Average { lookahead, ..Average::default() }, ..plain.clone() }
        }),
        ("ascent", Setup { sam: Some(Sam::default()), ..with(Norm::Batch, false, 0.0) }),
        ("several passes", Setup { dataset: Arc::new(small::dataset_of(2500)), batch: 2200, ..plain }),
    ]
}

/// The bits of everything that an engine tells and keeps over some steps; `fill` comes between all calls.
fn bits(setup: &Setup, fill: impl Fn(&Checked<GpuEngine>)) -> Option<Vec<u64>> {
    let mut engine = GpuEngine::new(common::gpu()?, setup.clone(), Options::default()).unwrap();
    initialize(&mut engine, Init::Kaiming).unwrap();
    let samples = setup.dataset.train.len();
    let order: Vec<u32> = (0..samples as u32).rev().collect();
    engine.set_order(&vec![order; setup.replicas]).unwrap();
    let rows = setup.batch;
    let mut all = Vec::new();
    let mut keep = |values: Vec<f64>| all.extend(values.into_iter().map(f64::to_bits));
    for index in 0..6u64 {
        // The last steps have fewer rows than the buffers hold.
        let rows = if index < 4 { rows } else { rows - 3 };
        let rates = (0..setup.replicas).map(|r| Rate { lr: 0.05 / (r + 1) as f64, momentum: 0.9 }).collect();
        let step = Step { index, first: index as usize % 3, rows, rates, ..Step::default() };
        fill(&engine);
        let mut metrics = engine.run(std::slice::from_ref(&step)).unwrap();
        fill(&engine);
        metrics.extend(engine.wait().unwrap());
        keep(metrics.iter().flat_map(|m| [m.loss, m.correct as f64, m.grad_norm.unwrap_or(0.0)]).collect());
        fill(&engine);
        let gradient = engine.gradient(&step, Gradient::Plain).unwrap();
        keep(gradient.iter().map(|m| m.loss).collect());
        keep(engine.download(Slot::Gradient, setup.replicas - 1).unwrap());
    }
    fill(&engine);
    for slots in [&[Slot::Live][..], &[Slot::Live, Slot::Live]] {
        let evaluation = engine.evaluate(Part::Test, slots).unwrap();
        keep(evaluation.iter().flat_map(|e| [e.loss, e.accuracy]).collect());
        fill(&engine);
        let inputs = Features::F32((0..21 * small::WIDTHS[0]).map(|i| (i % 13) as f32 / 6.0 - 1.0).collect());
        keep(engine.predict(&inputs, slots).unwrap().concat());
        fill(&engine);
    }
    keep(engine.dot(Slot::Live, Slot::Live).unwrap());
    fill(&engine);
    for slot in engine.slots() {
        for r in 0..setup.replicas {
            keep(engine.download(slot, r).unwrap());
        }
    }
    Some(all)
}

#[test]
fn scratch_that_is_filled_with_nan_changes_no_bit() {
    for (name, setup) in cases() {
        let setup = Setup { replicas: 2, ..setup };
        let Some(want) = bits(&setup, |_| ()) else { return };
        assert!(want.iter().all(|&bits| f64::from_bits(bits).is_finite()), "{name}");
        let got = bits(&setup, |engine| engine.fill_scratch(NAN)).unwrap();
        let off = got.iter().zip(&want).filter(|(got, want)| got != want).count();
        assert!(got == want, "{name}: {off} of {} values are off", want.len());
    }
}
