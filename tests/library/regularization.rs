//! What keeps a network from learning its samples by heart: weight decay, dropout, augmentation.

use crate::common;

use common::small::{N, setup};
use thalweg::activation::Activation;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Augment, Dataset, Samples};
use thalweg::engine::{Engine, Setup, Slot, Step};
use thalweg::internals::cpu::{self, Dropout, Finish, Training};
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::Optimizer;
use thalweg::schedule::Rate;

/// A decay that spares biases and γ leaves them where a run without decay has them, after one step.
#[test]
fn weight_decay_spares_what_it_is_told_to() {
    let step = |decay, weight_decay| {
        let optimizer = Optimizer::sgd(0.1).weight_decay(weight_decay);
        let model = Mlp { norm: Norm::Layer, ..setup().model };
        let mut engine = CpuEngine::<f64>::new(Setup { optimizer, decay, model, ..setup() }).unwrap();
        let start = engine.layout().init(&engine.setup().model.clone(), Init::Pytorch, 0);
        engine.upload(Slot::Live, 0, &start).unwrap();
        engine.set_order(&[(0..N as u32).collect()]).unwrap();
        let rates = vec![Rate { lr: 0.1, momentum: 0.0 }];
        engine.run(&[Step { rows: 16, rates, ..Step::default() }]).unwrap();
        let weights = engine.download(Slot::Live, 0).unwrap();
        engine.layout().unpack(&weights)
    };
    use thalweg::optimizer::Decay::{All, Weights};
    let (none, all, weights) = (step(All, 0.0), step(All, 0.5), step(Weights, 0.5));
    for ((none, all), weights) in none.iter().zip(&all).zip(&weights) {
        let is_weight = weights.shape.len() == 2;
        assert_eq!(weights.values == none.values, !is_weight, "{}", weights.name);
        assert_eq!(weights.values == all.values, is_weight || none.values == all.values, "{}", weights.name);
    }
    assert_ne!(none[2].values, all[2].values, "the decay of γ is seen where it acts");
}

/// Shares of what is dropped, mirrored and shifted, within five standard errors of n draws: 5 √(p (1 − p) / n).
#[test]
fn what_is_random_has_its_distribution() {
    let within = |what: &str, count: usize, n: usize, p: f64| {
        let (got, bound) = (count as f64 / n as f64, 5.0 * (p * (1.0 - p) / n as f64).sqrt());
        assert!((got - p).abs() < bound, "{what}: {got}, expected {p} ± {bound}");
    };
    let n = 20_000;
    let dropout = Dropout { rate: 0.3, first: 17, layer: 1, ..Dropout::default() };
    let finish = Finish { activation: Activation::Identity, dropout: Some(dropout), residual: false };
    let (mut y, mut slope) = (vec![1.0f64; 4 * n], vec![0.0; 4 * n]);
    cpu::activate(&finish, 4, &[], &mut y, &mut slope);
    within("dropped", y.iter().filter(|&&y| y == 0.0).count(), 4 * n, 0.3);
    assert!(y == slope && y.iter().all(|&y| y == 0.0 || y == 1.0 / 0.7));

    // An image of one line of three pixels, 1 2 3, with a border of one.
    let train = Samples::labelled(vec![1.0f32, 2.0, 3.0, 1.0, 2.0, 3.0], [0, 1]);
    let data = Dataset::new("line", [1, 1, 3], train, None).unwrap();
    let (order, training) = (vec![0; n], Training::default());
    let gather = |augment: &Augment, quantiles: &[f64]| {
        let (mut x, mut mix) = (vec![0.0f64; 4 * n], vec![(0, 0.0); n]);
        cpu::gather(&data, &data.train.features, &order, Some((augment, quantiles, &training)), &mut x, &mut mix);
        (x, mix)
    };
    let rows_of = |x: &[f64], row: [f64; 3]| x.chunks(4).filter(|x| x[..3] == row).count();
    let (x, _) = gather(&Augment { flip: true, ..Augment::default() }, &[]);
    within("mirrored", rows_of(&x, [3.0, 2.0, 1.0]), n, 0.5);
    assert_eq!(rows_of(&x, [3.0, 2.0, 1.0]) + rows_of(&x, [1.0, 2.0, 3.0]), n);
    // Three places down, of which two leave nothing of the line, times three across.
    let (x, _) = gather(&Augment { pad: 1, ..Augment::default() }, &[]);
    for row in [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]] {
        within("shifted", rows_of(&x, row), n, 1.0 / 9.0);
    }
    within("shifted out", rows_of(&x, [0.0; 3]), n, 6.0 / 9.0);
    // A square of one pixel, its centre on any of three.
    let (x, _) = gather(&Augment { cutout: 1, ..Augment::default() }, &[]);
    within("cut", rows_of(&x, [0.0, 2.0, 3.0]), n, 1.0 / 3.0);
    // The deviation of a sample deviation is σ / √(2n).
    let (x, _) = gather(&Augment { noise: 0.5, ..Augment::default() }, &[]);
    let noise: Vec<f64> = x.chunks(4).flat_map(|x| [x[0] - 1.0, x[1] - 2.0, x[2] - 3.0]).collect();
    let deviation = (noise.iter().map(|e| e * e).sum::<f64>() / noise.len() as f64).sqrt();
    assert!((deviation / 0.5 - 1.0).abs() < 5.0 / (2.0 * noise.len() as f64).sqrt(), "{deviation}");
    // Uniform shares: one in four is below a quarter.
    let (_, mix) = gather(&Augment { mixup: 1.0, ..Augment::default() }, &[0.0, 0.5, 1.0]);
    within("shares", mix.iter().filter(|(_, share)| *share < 0.25).count(), n, 0.25);
}
