//! Which learning rate a step has: that of the range test, of a plateau, of a schedule in epochs.

mod common;

use common::program::{lines, summary, table};
use common::small::{N, on_each_engine, setup};
use tempfile::TempDir;
use thalweg::activation::Activation;
use thalweg::data::Order;
use thalweg::engine::initialize;
use thalweg::engine::{Setup, Slot};
use thalweg::explore::{Range, lr_find};
use thalweg::loss::Loss;
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;

/// The weights are those of before, and the suggestion is one with which training works.
#[test]
fn lr_find_leaves_the_weights_alone() {
    // The rates with which 80 steps, as many as the test makes, leave less than a hundredth of the loss of the start,
    // 0.414: found by training at rates a tenth of a decade apart, and closer at the ends. From 0.121 on they do, from
    // 2.3 on they diverge. Below, 80 steps are too few: what is left is a function of rate times steps.
    let good = (0.121, 2.2);
    let range = Range { from: 1e-4, to: 1e3, steps: 80, order: Order::Shuffle };
    let sgd = Optimizer::sgd(1.0);
    // Least squares: too large a rate diverges for certain.
    let model = Mlp { activation: Activation::Identity, ..setup().model };
    for replicas in [1, 12] {
        // One replica's suggestions are good. Twelve rates are a factor of 4.3 apart, and what they suggest is on the way
        // down, not at its end. Two thirds down is one rate short of the good ones. The loss after all steps falls fastest
        // where half of it is left, at about 0.009 if rates were dense, which is between one and two rates short.
        let apart = (range.to / range.from).powf(1.0 / 11.0);
        let short = if replicas == 1 { [1.0, 1.0] } else { [apart, apart * apart] };
        // The whole part in one batch, so that the loss has no noise.
        let setup = Setup { optimizer: sgd, replicas, batch: N, model: model.clone(), loss: Loss::Mse, ..setup() };
        on_each_engine(&setup, |mut engine, _| {
            initialize(engine.as_mut(), Init::Pytorch).unwrap();
            let before: Vec<_> = (0..replicas).map(|r| engine.download(Slot::Live, r).unwrap()).collect();
            let test = lr_find(engine.as_mut(), range).unwrap();
            let after: Vec<_> = (0..replicas).map(|r| engine.download(Slot::Live, r).unwrap()).collect();
            assert_eq!(before, after);
            assert!(test.points.windows(2).all(|p| p[0].lr < p[1].lr), "{test:?}");
            assert!(test.diverged_at.is_some(), "{test:?}");
            for (lr, short) in [test.valley, test.steepest].map(Option::unwrap_or_default).into_iter().zip(short) {
                assert!((good.0 / short..=good.1).contains(&lr), "{replicas} replica(s): {lr}, {test:?}");
            }
        });
    }
}

/// Between two evaluations a plateau sees nothing.
#[test]
fn a_plateau_counts_evaluations() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let plateau = "schedule={name=\"plateau\",factor=0.5,patience=0,threshold=0.99}";
    summary(&dir, &data, &["--epochs", "7", "--eval-every", "3", "--set", plateau]);
    let lr: Vec<f64> =
        lines(dir.path().join("r/epochs.jsonl")).iter().map(|epoch| epoch["lr"].as_f64().unwrap()).collect();
    // The first evaluation, after epoch 3, is the best; the second reduces.
    assert_eq!(lr, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]);
}

/// A schedule that counts epochs stays the same within one.
#[test]
fn schedules_count_epochs_where_they_are_told_to() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let schedule = "schedule={name=\"step\",step_size=2,gamma=0.5,unit=\"epoch\"}";
    summary(&dir, &data, &["--epochs", "6", "--log-every", "1", "--set", schedule]);
    for line in lines(dir.path().join("r/metrics.jsonl")) {
        let want = 0.5 * 0.5f64.powi((line["epoch"].as_u64().unwrap() / 2) as i32);
        assert_eq!(line["lr"], want, "{line}");
    }
    assert!(std::fs::read_to_string(dir.path().join("r/config.toml")).unwrap().contains("unit = \"epoch\""));
}
