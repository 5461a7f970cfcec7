//! Which learning rate a step has: that of the range test, of a plateau, of a schedule in epochs.

use crate::common;

use common::program::{json, lines, ok, summary, table, words};
use common::small::{N, on_each_engine, setup};
use serde_json::Value;
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
            let range_test = if replicas == 1 { vec![test.valley, test.steepest] } else { vec![test.lowest] };
            for lr in range_test.into_iter().chain([test.suggested]).map(Option::unwrap_or_default) {
                assert!((good.0..=good.1).contains(&lr), "{replicas} replica(s): {lr}, {test:?}");
            }
        });
    }
}

/// Sixteen rates side by side, as `lr-find --replicas` has them, against whole runs: what is suggested is within a factor of 3
/// of the best of `grid`, whose rates are about that far apart, and as good as it to `points` of the test accuracy.
fn suggests_as_runs_do(data: &str, epochs: u32, optimizer: &str, grid: [&str; 4], points: f64) {
    let dir = TempDir::new().unwrap();
    let config = format!("{data} --hidden 64 --device cpu {optimizer}");
    let accuracy = |lr: &str| {
        let line =
            format!("train {config} --replicas 3 --epochs {epochs} --lr {lr} --quiet --checkpoint-every 0 --run {lr}");
        ok(dir.path(), &words(&line));
        json(dir.path().join(lr).join("summary.json"))["test_accuracy"]["mean"].as_f64().unwrap()
    };
    let (best, most) = grid.map(|lr| (lr, accuracy(lr))).into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let found = ok(dir.path(), &words(&format!("lr-find {config} --replicas 16 --json")));
    let suggested = serde_json::from_str::<Value>(&found).unwrap()["suggested"].as_f64().unwrap();
    let ratio = suggested / best.parse::<f64>().unwrap();
    assert!((1.0 / 3.0..=3.0).contains(&ratio), "{optimizer}: suggested {suggested}, best {best}");
    let reached = accuracy(&suggested.to_string());
    assert!(reached >= most - points, "{optimizer}: {reached} at {suggested}, {most} at {best}");
}

/// On the built-in images three seeds of three epochs have means of a standard error of about half a point, of which a
/// difference may be two.
#[test]
fn rates_side_by_side_suggest_what_runs_want() {
    suggests_as_runs_do("", 3, "--optimizer adamw", ["3e-4", "1e-3", "3e-3", "1e-2"], 0.015);
    suggests_as_runs_do("", 3, "--optimizer sgd --momentum 0.9", ["3e-3", "1e-2", "3e-2", "1e-1"], 0.015);
}

#[test]
#[ignore = "needs THALWEG_DATA"]
fn real_rates_side_by_side_suggest_what_runs_want() {
    let folder = common::real_data("fashion-mnist");
    let data = format!("--data fashion-mnist:{}", folder.display());
    suggests_as_runs_do(&data, 2, "--optimizer adamw", ["3e-4", "1e-3", "3e-3", "1e-2"], 0.005);
    suggests_as_runs_do(&data, 2, "--optimizer sgd --momentum 0.9", ["3e-3", "1e-2", "3e-2", "1e-1"], 0.005);
}

/// The suggestion stands in the picture, and what diverges does not flatten it.
#[test]
fn a_picture_of_rates_marks_the_suggestion() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for replicas in ["1", "12"] {
        let line = format!(
            "lr-find --data {data} --device cpu --hidden 8 --optimizer sgd --batch 20 --from 1e-3 --to 1e4 --svg r.svg --replicas {replicas}"
        );
        let text = ok(dir.path(), &words(&line));
        let found: Value = serde_json::from_str(&ok(dir.path(), &[&words(&line)[..], &["--json"]].concat())).unwrap();
        let suggested = found["suggested"].as_f64().unwrap();
        assert!(text.contains(&format!("Try --lr {suggested:.1e}")), "{text}");
        assert!(text.contains(if replicas == "1" { "valley" } else { "lowest at" }), "{text}");
        let svg = std::fs::read_to_string(dir.path().join("r.svg")).unwrap();
        assert_eq!(svg.matches(&format!("suggested: {suggested:.1e}")).count(), 2, "a word in each panel");
        // The ticks of the losses: none beyond the first loss, about ln 2, and a quarter.
        let ticks = svg.split("</text>").filter_map(|tag| tag.rsplit('>').next()?.trim().parse::<f64>().ok());
        let losses = ticks.filter(|tick| tick.fract() != 0.0 && *tick > 0.1);
        assert!(losses.clone().count() > 3 && losses.fold(0.0, f64::max) < 1.0, "{replicas} replica(s)");
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
