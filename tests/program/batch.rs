//! Batch size against the time to an accuracy, over seeds: how it is counted, what is said of it, and what can be cited.

use crate::common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use common::program::{fails, ok, table, words};
use common::small::{on_each_engine, setup};
use serde_json::Value;
use tempfile::TempDir;
use thalweg::Trainer;
use thalweg::activation::Activation;
use thalweg::engine::{Engine, Setup};
use thalweg::event::{Control, Ended, Event};
use thalweg::explore::{Reached, Target, Trial, reach};
use thalweg::loss::Loss;
use thalweg::model::{Init, Mlp};
use thalweg::plan::Plan;
use thalweg::schedule::Unit;

const SEEDS: usize = 3;

/// The test accuracies of replicas that train side by side, evaluated after every `every` steps.
fn side_by_side(engine: Box<dyn Engine>, plan: &Plan, every: u64) -> Vec<(u64, Vec<f64>)> {
    let seen = RefCell::new(Vec::new());
    let plan = Plan { eval_every: every, eval_unit: Unit::Step, ..plan.clone() };
    let mut trainer = Trainer::new(engine, plan).unwrap();
    trainer.init(Init::Pytorch).unwrap();
    let mut watch = |event: &Event| {
        if let Event::Evaluated(epoch) | Event::Epoch(epoch) = event
            && let Some(test) = &epoch.test
        {
            seen.borrow_mut().push((epoch.steps, test.iter().map(|e| e.accuracy).collect()));
        }
        Ok(Control::Continue)
    };
    trainer.run_with(&mut watch).unwrap();
    seen.into_inner()
}

/// A seed by itself comes to the target at the step at which the replica of that seed does among others, on both engines.
#[test]
fn a_seed_takes_the_steps_of_its_replica() {
    // 96 samples in batches of 10: the last of ten steps is short. Three evaluations an epoch are one every three steps.
    let (batch, target) = (10, Target { accuracy: 0.89, evaluations: 3 });
    let plan = Plan { epochs: 6, ..Plan::default() };
    let optimizer = setup().optimizer.with_lr(0.05);
    let [several, one] = [SEEDS, 1].map(|replicas| Setup { replicas, batch, optimizer, seed: 7, ..setup() });
    let found = RefCell::new(BTreeSet::new());
    let all = RefCell::new(Vec::new());
    on_each_engine(&several, |engine, _| all.borrow_mut().push(side_by_side(engine, &plan, 3)));
    for r in 0..SEEDS {
        let engines = RefCell::new(all.borrow().clone().into_iter());
        on_each_engine(&Setup { seed: 7 + r as u64, ..one.clone() }, |engine, _| {
            let seen = engines.borrow_mut().next().unwrap();
            let want = seen.iter().find(|(_, accuracies)| accuracies[r] >= target.accuracy).map(|(steps, _)| *steps);
            let Trial { seed, ended, reached, resolution } =
                reach(engine, Init::Pytorch, target, plan.clone()).unwrap();
            assert_eq!((seed, resolution, reached.map(|reached| reached.steps)), (7 + r as u64, 3, want));
            let Reached { steps, epochs, samples, seconds } = reached.expect("a target that is reached");
            assert!(ended == Ended::Target && seconds > 0.0);
            found.borrow_mut().insert(steps);
            assert_eq!((epochs, samples), (steps as f64 / 10.0, steps / 10 * 96 + steps % 10 * 10));
        });
    }
    assert!(found.borrow().len() > 1, "seeds that differ: {found:?}");
}

#[test]
fn a_target_that_is_not_reached_is_told() {
    let plan = Plan { epochs: 2, ..Plan::default() };
    let target = |accuracy| Target { accuracy, evaluations: 1 };
    let slow = Setup { optimizer: setup().optimizer.with_lr(1e-9), ..setup() };
    on_each_engine(&slow, |engine, _| {
        let trial = reach(engine, Init::Pytorch, target(1.0), plan.clone()).unwrap();
        assert_eq!((trial.ended, trial.reached), (Ended::Epochs, None));
    });
    // Least squares: too large a rate diverges for certain.
    let model = Mlp { activation: Activation::Identity, ..setup().model };
    let diverging = Setup { optimizer: setup().optimizer.with_lr(1e30), model, loss: Loss::Mse, ..setup() };
    on_each_engine(&diverging, |engine, _| {
        let trial = reach(engine, Init::Pytorch, target(1.0), plan.clone()).unwrap();
        assert_eq!((trial.ended, trial.reached), (Ended::Diverged, None));
    });
    on_each_engine(&setup(), |engine, _| {
        let refused = reach(engine, Init::Pytorch, target(1.5), plan.clone()).unwrap_err().to_string();
        assert!(refused.contains("a fraction of at most 1"), "{refused}");
    });
}

fn bench(data: &str, more: &str) -> String {
    format!("bench batch --data {data} --device cpu --hidden 8 --batch 8 --lr 0.02 --batches 4,8,16 --epochs 40 {more}")
}

/// The lines of a CSV file: comments, and the fields of its rows.
fn read(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(path).unwrap();
    let (notes, rows): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
    let fields = |line: &&str| line.split(',').map(String::from).collect();
    (notes.into_iter().map(String::from).collect(), rows.iter().map(fields).collect())
}

/// What the table, the JSON, the CSV and the picture say is one and the same, and each says where it comes from.
#[test]
fn seeds_are_counted_and_can_be_cited() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let line = bench(&data, "--to 0.9 --seeds 3 --evaluations 5 --seed 5 --noise-scale --csv b.csv --svg b.svg");
    let found: Value = serde_json::from_str(&ok(dir.path(), &[&words(&line)[..], &["--json"]].concat())).unwrap();
    let (notes, rows) = read(&dir.path().join("b.csv"));
    assert_eq!(rows[0].join(","), "batch,lr,seed,ended,reached,steps,epochs,samples,seconds,resolution");
    assert_eq!(rows.len(), 1 + 9);
    let date = found["date"].as_str().unwrap();
    assert!(date.len() == 10 && date.starts_with("20"), "{date}");
    let svg = std::fs::read_to_string(dir.path().join("b.svg")).unwrap();
    let version = concat!("thalweg ", env!("CARGO_PKG_VERSION"));
    for said in [version, date, "device CPU engine", "data.source", "critical batch size", "gradient noise scale"] {
        assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:#?}");
        assert!(svg.contains(said), "{said} is not in the picture");
    }
    for said in ["samples a second", "steps to target", "seconds to target", "S_min"] {
        assert!(svg.contains(said), "{said} is not in the picture");
    }
    assert!(found["machine"].as_str().unwrap().contains(version) && found["settings"]["train.seed"] == 5);
    for (batch, rows) in found["batches"].as_array().unwrap().iter().zip(rows[1..].chunks(3)) {
        let of = &batch["to_target"];
        assert_eq!((&of["reached"], of["trials"].as_array().unwrap().len()), (&Value::from(3), 3), "{of:#}");
        for (trial, (row, seed)) in of["trials"].as_array().unwrap().iter().zip(rows.iter().zip(5..)) {
            assert_eq!([&row[0], &row[2]], [&batch["batch"].to_string(), &seed.to_string()]);
            assert!(trial["seed"] == seed && trial["ended"] == "target" && row[3] == "target" && row[4] == "true");
            let reached = &trial["reached"];
            for (field, name) in row[5..9].iter().zip(["steps", "epochs", "samples", "seconds"]) {
                assert_eq!(field.parse::<f64>().unwrap(), reached[name].as_f64().unwrap(), "{name}");
            }
            // Sixty samples: five evaluations an epoch.
            let per_epoch = 60u64.div_ceil(batch["batch"].as_u64().unwrap());
            assert_eq!(trial["resolution"], (per_epoch / 5).max(1));
        }
        let mean = rows.iter().map(|row| row[5].parse::<f64>().unwrap()).sum::<f64>() / 3.0;
        assert!((of["steps"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9 * mean, "{of:#}");
    }
    let fit = &found["critical_batch"];
    assert!(fit["least_steps"].as_f64().unwrap() >= 0.0 && found["no_critical_batch"].is_null(), "{found:#}");

    let text = ok(dir.path(), &words(&line));
    assert_eq!(text.matches("  3/3  ").count(), 3, "{text}");
    assert!(text.contains("\ncritical batch size: ") && text.contains("\ngradient noise scale: "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let again: Vec<Vec<String>> = read(&dir.path().join("b.csv")).1;
    let steps = |rows: &[Vec<String>]| rows.iter().map(|row| row[..8].to_vec()).collect::<Vec<_>>();
    assert_eq!(steps(&again), steps(&rows), "a training with the same seed takes the same steps");
}

#[test]
fn failures_are_said_and_make_no_fit() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let text = ok(dir.path(), &words(&bench(&data, "--to 1 --epochs 1 --seeds 2 --csv b.csv --svg b.svg")));
    assert_eq!(text.matches("  0/2  ").count(), 3, "{text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "no critical batch size: expected at least 3 at which every seed reached the target, found 0",
        "not every seed reached the target",
        "4 (0/2), 8 (0/2), 16 (0/2)",
    ] {
        assert!(flat.contains(said), "{said}: {text}");
    }
    let (_, rows) = read(&dir.path().join("b.csv"));
    assert!(rows[1..].iter().all(|row| row[3..9].join(",") == "epochs,false,,,,"), "{rows:?}");
    // Nothing to the target that could be drawn.
    let svg = std::fs::read_to_string(dir.path().join("b.svg")).unwrap();
    assert!(svg.contains("samples a second") && !svg.contains("steps to target") && !svg.contains("NaN"));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_trained() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for (more, said) in [
        ("--seeds 2", "--to"),
        ("--csv b.csv", "--to"),
        ("--evaluations 2", "--to"),
        ("--to 0.9 --seeds 0", "--seeds"),
        ("--to 0.9 --evaluations 0", "--evaluations"),
        ("--to 0.9 --seeds 2 --replicas 2", "--seeds: expected one replica"),
        ("--to 1.9", "a fraction of at most 1"),
        ("--to 0.9 --csv b.txt", "--csv: expected a file named .csv"),
        ("--to 0.9 --csv no/b.csv", "--csv: expected a file in a folder that is there, found none at no"),
        ("--svg no/b.svg", "--svg: expected a file in a folder that is there"),
    ] {
        let refused = fails(dir.path(), 2, &words(&bench(&data, more)));
        assert!(refused.contains(said), "{more}: {refused}");
    }
}
