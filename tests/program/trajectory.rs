//! `train --trajectory`: the weights of a run on their way.

use crate::common;

use std::fs;
use std::path::Path;

use common::program::{fails, ok, table, tensors, words};
use tempfile::TempDir;
use thalweg::event::{Control, Event};
use thalweg::run::{Config, Every};
use thalweg::run::{Place, Prepared, Trained, read_config, seen_weights, trajectory};
use thalweg::schedule::Unit;

/// 60 samples, of which 12 are held out, in batches of 10: five steps an epoch.
const TRAIN: &str = "train --validation 0.2 --batch 10 --epochs 3 --hidden 4 --device cpu --quiet --run";

#[track_caller]
fn train(dir: &TempDir, name: &str, more: &str) {
    let data = table(dir);
    let args = [words(TRAIN), vec![name, "--data", &data], words(more)].concat();
    ok(dir.path(), &args);
}

/// The steps of the files of one replica's trajectory.
fn steps(run: &Path, replica: usize) -> Vec<u64> {
    trajectory(run, replica).into_iter().map(|(steps, _)| steps).collect()
}

/// The way to weights that were restored ends where they were.
#[test]
fn the_way_to_restored_weights_ends_there() {
    let dir = TempDir::new().unwrap();
    train(&dir, "best", "--trajectory 1 --epochs 9 --lr 0.5 --patience 3 --restore-best");
    let summary = common::program::json(dir.path().join("best/summary.json"));
    let (best, last) = (summary["best"]["steps"].as_u64().unwrap(), summary["steps"].as_u64().unwrap());
    assert!(summary["restored"] == true && best < last && best >= 5, "{summary}");
    let mut trained = Trained::open(&dir.path().join("best"), None, None, |_| {}).unwrap();
    let seen = seen_weights(&dir.path().join("best"), &mut trained, 0).unwrap();
    assert_eq!(seen.iter().map(|(steps, _)| *steps).collect::<Vec<_>>(), (0..=best).step_by(5).collect::<Vec<_>>());
    assert!(seen.last().unwrap().1 == trained.values("last", 0).unwrap());
}

/// Every so many steps or epochs, in either spelling, with the first weights and the last; and a file holds what the run holds
/// after so many steps.
#[test]
fn the_weights_are_written_on_their_way() {
    let dir = TempDir::new().unwrap();
    let cases = [
        ("every=4steps", "a", vec![0, 4, 8, 12, 15]),
        ("4steps", "b", vec![0, 4, 8, 12, 15]),
        ("every=2", "c", vec![0, 10, 15]),
        ("1", "d", vec![0, 5, 10, 15]),
        ("99", "e", vec![0, 15]),
    ];
    for (every, name, want) in cases {
        train(&dir, name, &format!("--trajectory {every}"));
        let run = dir.path().join(name);
        assert_eq!(steps(&run, 0), want, "{every}");
        let last = tensors(&run.join("trajectory.15.safetensors"));
        assert_eq!(last, tensors(&run.join("weights.safetensors")), "{every}");
    }
    let [a, b, d] = ["a", "b", "d"].map(|name| dir.path().join(name));
    for (steps, path) in trajectory(&a, 0) {
        let name = format!("trajectory.{steps}.safetensors");
        assert_eq!(path, a.join(&name));
        assert_eq!(fs::read(path).unwrap(), fs::read(b.join(name)).unwrap());
    }
    // A run that ends after the first epoch holds the weights that another had on its way there; and one of no such flag, none.
    train(&dir, "one", "--epochs 1 --overwrite");
    let one = dir.path().join("one");
    assert_eq!(tensors(&d.join("trajectory.5.safetensors")), tensors(&one.join("weights.safetensors")));
    assert!(trajectory(&one, 0).is_empty());
    // The trajectory is the run's, and goes with it.
    train(&dir, "a", "--overwrite");
    assert!(trajectory(&a, 0).is_empty());
    assert_eq!(tensors(&a.join("weights.safetensors")), tensors(&b.join("weights.safetensors")));
}

/// Several replicas have a file each, with the bits of one alone; best weights that the run goes back to are not on its way.
#[test]
fn each_replica_has_its_own() {
    let dir = TempDir::new().unwrap();
    train(&dir, "two", "--replicas 2 --trajectory 3steps --restore-best --lr 3 --optimizer sgd");
    train(&dir, "one", "--seed 1 --trajectory 3steps --lr 3 --optimizer sgd");
    let [two, one] = ["two", "one"].map(|name| dir.path().join(name));
    assert_eq!((steps(&two, 0), steps(&two, 1), steps(&two, 2)), (vec![0, 3, 6, 9, 12, 15], steps(&one, 0), vec![]));
    for ((_, of_two), (_, alone)) in trajectory(&two, 1).into_iter().zip(trajectory(&one, 0)) {
        assert_eq!(fs::read(of_two).unwrap(), fs::read(alone).unwrap());
    }
    assert!(two.join("trajectory.15.1.safetensors").exists());
}

/// A run that goes on writes what is beyond its checkpoint anew, at the distance that it has then.
#[test]
fn a_run_that_goes_on_leaves_no_other_way() {
    let dir = TempDir::new().unwrap();
    train(&dir, "through", "--trajectory 2steps");
    let through = dir.path().join("through");
    let config = |run: &Path| Config::resolve(read_config(run).unwrap(), Vec::new(), Vec::new()).unwrap();
    let run = dir.path().join("left");
    let mut leave = |event: &Event| match event {
        Event::Step(step) if step.step >= 6 => Ok(Control::Interrupt),
        _ => Ok(Control::Continue),
    };
    let begun = Prepared::open(config(&through), Place::New(run.clone()), |_| ()).unwrap();
    begun.train(&mut [&mut leave]).unwrap();
    let before = steps(&run, 0);
    // An interrupted run has not come to its end.
    assert!(before.ends_with(&[6]) || before.ends_with(&[8]), "{before:?}");
    for stray in [9, 14] {
        fs::write(run.join(format!("trajectory.{stray}.safetensors")), "of another way").unwrap();
    }
    let mut config = config(&run);
    config.train.trajectory_every = Some(Every { count: 5, unit: Unit::Step });
    Prepared::open(config, Place::Resume(run.clone()), |_| ()).unwrap().train(&mut []).unwrap();
    let want: Vec<u64> = before.into_iter().chain([10, 15]).collect();
    assert_eq!(steps(&run, 0), want);
    for (steps, path) in trajectory(&run, 0) {
        let same = through.join(format!("trajectory.{steps}.safetensors"));
        assert!(!same.exists() || fs::read(path).unwrap() == fs::read(same).unwrap(), "after {steps}");
    }
}

/// What is no distance is refused in one line, and nothing is written; weights that are not finite are not either.
#[test]
fn what_is_no_distance_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let expected = "expected a number of epochs, or of steps as \"200steps\"";
    for (every, want) in [
        ("every=0", "error: train.trajectory_every: expected at least 1, found 0"),
        ("0steps", "error: train.trajectory_every: expected at least 1, found 0"),
        ("often", expected),
        ("every=", expected),
        ("-3", "error: "),
        ("every=20s", expected),
    ] {
        let args = [words(TRAIN), vec!["r", "--data", &data, "--trajectory", every]].concat();
        let said = fails(dir.path(), 2, &args);
        assert!(said.contains(want), "{every}: {said}");
        assert!(!dir.path().join("r").exists(), "{every}");
    }
    let wild = words("--trajectory 1steps --optimizer sgd --lr 1e30 --loss cross_entropy");
    fails(dir.path(), 1, &[words(TRAIN), vec!["r", "--data", &data], wild].concat());
    for (_, path) in trajectory(&dir.path().join("r"), 0) {
        let finite = |(_, bytes): (String, Vec<u8>)| {
            let (values, _) = bytes.as_chunks();
            values.iter().all(|value| f32::from_le_bytes(*value).is_finite())
        };
        assert!(tensors(&path).into_iter().all(finite), "{}", path.display());
    }
}
