//! Where a run ends, and with which weights.

use crate::common;

use std::sync::Arc;

use common::program::{lines, ok, summary, table, tensors};
use common::small::{N, dataset, setup};
use serde_json::Value;
use tempfile::TempDir;
use thalweg::cpu::CpuEngine;
use thalweg::data::Part;
use thalweg::engine::{Setup, Slot};
use thalweg::model::Init;
use thalweg::optimizer::Optimizer;
use thalweg::plan::Plan;
use thalweg::stop::Stop;
use thalweg::train::Trainer;

#[test]
fn a_run_ends_where_it_is_told_to() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let run = |more: &[&str]| summary(&dir, &data, more);
    let ended =
        |summary: &Value| (summary["stopped_by"].as_str().unwrap().to_string(), summary["epochs"].as_u64().unwrap());
    assert_eq!(ended(&run(&[])), ("epochs".into(), 40));
    // No epoch improves by so much: the first counts as an improvement, the two after it do not.
    assert_eq!(ended(&run(&["--patience", "2", "--set", "stop.min_delta=100.0"])), ("patience".into(), 3));
    let at_target = run(&["--metric", "train_accuracy", "--target", "0.9"]);
    assert_eq!(at_target["stopped_by"], "target");
    assert!(at_target["train_accuracy"]["mean"].as_f64().unwrap() >= 0.9 && at_target["epochs"].as_u64().unwrap() < 40);
    let plateau = "schedule={name=\"plateau\",factor=0.1,patience=0,threshold=0.9}";
    let low = run(&["--set", plateau, "--min-lr", "0.01"]);
    // The first evaluation sets the best; each further one divides the rate by ten: 0.5, 0.05, 0.005.
    assert_eq!(ended(&low), ("min_lr".into(), 3));
    assert_eq!(ended(&run(&["--seconds", "0"])), ("seconds".into(), 1));
}

/// Time that runs out in the middle of an epoch leaves that epoch to be begun anew.
#[test]
fn an_epoch_cut_short_is_not_over() {
    let engine = CpuEngine::<f32>::new(Setup { batch: 1, ..setup() }).unwrap();
    let stop = Stop { seconds: Some(0.0), ..Stop::default() };
    let mut trainer = Trainer::new(Box::new(engine), Plan { stop, ..Plan::default() }).unwrap();
    let epoch = trainer.epoch().unwrap().unwrap();
    assert!(epoch.steps < N as u64, "the epoch was to be cut short, and had {} steps", epoch.steps);
    assert_eq!(trainer.progress().epoch, 0);
    assert!(trainer.epoch().unwrap().is_none());
}

#[test]
fn the_best_weights_are_kept_or_restored() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let wild = ["--lr", "2", "--hidden", "8", "--epochs", "12", "--metric", "validation_loss"];
    let kept = summary(&dir, &data, &[&wild[..], &["--keep-best"]].concat());
    let validation: Vec<f64> = lines(dir.path().join("r/epochs.jsonl"))
        .iter()
        .map(|epoch| epoch["validation_loss"]["mean"].as_f64().unwrap())
        .collect();
    let best = validation.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(kept["best_validation_loss"]["mean"], best);
    assert!(best < validation[11], "the last epoch is not to be the best, for this test to mean something");
    assert_eq!(kept["validation_loss"]["mean"], validation[11]);
    let evaluated: Value = serde_json::from_str(&ok(dir.path(), &["eval", "r", "--json"])).unwrap();
    assert_eq!(evaluated["best_validation_loss"], kept["best_validation_loss"]);

    let restored = summary(&dir, &data, &[&wild[..], &["--restore-best"]].concat());
    assert_eq!(restored["validation_loss"]["mean"], best);
    let files = ["weights.safetensors", "weights.best.safetensors"].map(|f| tensors(&dir.path().join("r").join(f)));
    assert!(files[0] == files[1]);
}

/// The best weights are those of the least loss, and the run ends with them.
#[test]
fn early_stopping_in_a_loop_of_ones_own() {
    // A rate at which the loss does not settle.
    let optimizer = Optimizer::sgd(1.0).momentum(0.9);
    let setup = Setup { optimizer, ..setup() };
    let dataset = dataset().hold_out(0.25, 0).unwrap();
    let engine = CpuEngine::<f32>::new(Setup { dataset: Arc::new(dataset), batch: 8, ..setup }).unwrap();
    let stop = Stop { patience: Some(3), restore_best: true, ..Stop::default() };
    let mut trainer = Trainer::new(Box::new(engine), Plan { epochs: 200, stop, ..Plan::default() }).unwrap();
    trainer.init(Init::Kaiming).unwrap();
    let mut losses = Vec::new();
    while let Some(epoch) = trainer.epoch().unwrap() {
        losses.push(epoch.validation.unwrap()[0].loss);
    }
    let best = trainer.progress().watch.best.unwrap();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best.0, least);
    assert_eq!(trainer.engine().evaluate(Part::Validation, &[Slot::Live]).unwrap()[0].loss, least);
    assert!(losses.len() < 200, "the run was to end early");
}

/// `min_delta` is what patience waits for; the best weights are the best, and the summary says which they were.
#[test]
fn the_best_is_the_best_by_however_little() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let wild = ["--lr", "2", "--hidden", "8", "--epochs", "12", "--set", "stop.min_delta=100.0", "--restore-best"];
    let run = summary(&dir, &data, &wild);
    let epochs = lines(dir.path().join("r/epochs.jsonl"));
    // The last line has the restored weights.
    assert_eq!(epochs[11]["restored"], true);
    let losses: Vec<f64> = epochs[..11].iter().map(|e| e["validation_loss"]["mean"].as_f64().unwrap()).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let epoch = losses.iter().position(|&loss| loss == least).unwrap();
    assert!(least < losses[0], "the first epoch is not to be the best, for this test to mean something");
    assert_eq!(run["best_validation_loss"]["mean"], least);
    let best = serde_json::json!({
        "metric": "validation_loss", "mean": least, "epoch": epoch, "steps": epochs[epoch]["steps"],
    });
    assert_eq!((&run["best"], &run["restored"]), (&best, &true.into()));
    // All figures of the best weights are theirs, in the summary as in the evaluation.
    let evaluated: Value = serde_json::from_str(&ok(dir.path(), &["eval", "r", "--json"])).unwrap();
    for part in ["validation_loss", "validation_accuracy", "test_loss", "test_accuracy"] {
        assert_eq!(run[format!("best_{part}")], evaluated[format!("best_{part}")], "{part}");
        assert_eq!(run[part], evaluated[part], "{part}");
    }
    let highest = epochs[..11].iter().map(|e| e["test_accuracy"]["mean"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(run["highest_test_accuracy"]["mean"], highest);
}

/// The last lines mark what is not of the last weights.
#[test]
fn restored_weights_are_marked() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--validation", "0.3", "--batch", "8", "--device", "cpu", "--run", "r"];
    let text = ok(dir.path(), &[&args[..], &["--lr", "1", "--epochs", "5", "--restore-best"]].concat());
    let best = summary_of(&dir)["best"].clone();
    let epoch = best["epoch"].as_u64().unwrap() + 1;
    assert!(epoch < 5, "the last epoch is not to be the best, for this test to mean something");
    for part in
        ["validation and test are those of the best weights", "test (best weights, restored)", "train (running mean)"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let line = format!("best validation loss {:.4} in epoch {epoch}", best["mean"].as_f64().unwrap());
    assert!(text.contains(&line) && text.contains("whose weights the run ended with"), "{line}: {text}");
}

/// The highest accuracy may lie within an epoch.
#[test]
fn evaluations_within_epochs_count_for_the_highest() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--batch", "8", "--device", "cpu", "--quiet", "--lr", "0.5", "--run", "r"];
    ok(dir.path(), &[&args[..], &["--epochs", "4", "--eval-every", "1steps"]].concat());
    let accuracies = |name: &str| -> Vec<f64> {
        let lines = common::program::lines(dir.path().join("r").join(name));
        lines.iter().filter_map(|line| line["test_accuracy"]["mean"].as_f64()).collect()
    };
    let all = [accuracies("evaluations.jsonl"), accuracies("epochs.jsonl")].concat();
    let highest = all.iter().copied().fold(0.0, f64::max);
    assert_eq!(summary_of(&dir)["highest_test_accuracy"]["mean"], highest);
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "5", "--quiet"]);
    assert!(summary_of(&dir)["highest_test_accuracy"]["mean"].as_f64().unwrap() >= highest);
}

fn summary_of(dir: &TempDir) -> Value {
    common::program::json(dir.path().join("r/summary.json"))
}

/// What is planned for a run does not take the longer the longer it is.
#[test]
fn a_run_of_any_length_begins() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let long = ["--epochs", "10000000000000", "--seconds", "0", "--min-lr", "1e-9"];
    let averages = "average={swa={at=\"minima\"},snapshots={max=2},ema={},lookahead={}}";
    for schedule in ["schedule={name=\"cosine_warm_restarts\",t_0=2}", "schedule={name=\"cosine\"}"] {
        let run = summary(&dir, &data, &[&long[..], &["--set", averages, "--set", schedule]].concat());
        assert_eq!((&run["stopped_by"], &run["epochs"]), (&"seconds".into(), &1.into()));
    }
}
