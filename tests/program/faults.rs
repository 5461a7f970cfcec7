//! Faults of disk, device and numbers: what was written before is still there, and the run goes on from it.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thalweg::Error;
use thalweg::event::{Control, Event};
use thalweg::optimizer::Optimizer;
use thalweg::run::{Config, Interval, Place, Prepared};

use common::program::{fails, json, lines, table, tensors};

fn config(dir: &TempDir, device: &str) -> Config {
    table(dir);
    let mut config = Config::default();
    let [x, y] = ["x.npy", "y.npy"].map(|name| dir.path().join(name).display().to_string());
    config.data.source = format!("npy:{x},{y},{x},{y}");
    config.model.hidden = vec![8];
    config.train.device = device.into();
    config.train.batch = Some(thalweg::run::Batch::Size(8));
    config.train.epochs = 6;
    config.train.log_every = 1;
    config.train.checkpoint_every = Interval::Steps(5);
    config.average.ema = Some(common::small::ema(0.9));
    config.optimizer = Optimizer::adam(0.02).into();
    config
}

fn open(config: &Config, place: Place) -> Prepared {
    Prepared::open(config.clone(), place, |_| ()).unwrap()
}

fn assert_same(dir: &Path, one: &str, other: &str) {
    for file in ["weights.safetensors", "weights.ema.safetensors", "metrics.jsonl"] {
        let read = |run: &str| fs::read(dir.join(run).join(file)).unwrap();
        assert!(read(one) == read(other), "{file}");
    }
    let epochs = |run: &str| {
        let mut lines = lines(dir.join(run).join("epochs.jsonl"));
        lines.iter_mut().for_each(|line| line.as_object_mut().unwrap().retain(|key, _| !key.contains("second")));
        lines
    };
    assert_eq!(epochs(one), epochs(other));
}

/// A device that is lost is opened anew, once, and the run goes on from its last checkpoint to the same end.
#[test]
fn a_lost_device_is_opened_anew() {
    if common::gpu().is_none() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let config = config(&dir, "gpu");
    let whole = open(&config, Place::New(dir.path().join("whole")));
    let config = whole.config().clone();
    whole.train(&mut []).unwrap();
    // Before the first checkpoint, and after some.
    for (run, at, from) in [("early", 0, 0..5), ("late", 33, 25..34)] {
        let mut prepared = open(&config, Place::New(dir.path().join(run)));
        let device = prepared.trainer().engine().device().unwrap();
        let mut recovered = Vec::new();
        let mut lose = |event: &Event| {
            match event {
                Event::Step(step) if step.step == at => device.destroy(),
                Event::Recovered(event) => recovered.push((event.steps, event.reason.to_string())),
                _ => {}
            }
            Ok(Control::Continue)
        };
        prepared.train(&mut [&mut lose]).unwrap();
        assert!(recovered.len() == 1 && from.contains(&recovered[0].0), "{recovered:?}");
        assert_same(dir.path(), "whole", run);
        assert_eq!(json(dir.path().join(run).join("summary.json"))["stopped_by"], "epochs");
    }
}

/// The CPU engine has no device to lose; one that is lost again ends the run with the reason, from where it can go on.
#[test]
fn a_device_that_is_lost_again_ends_the_run() {
    if common::gpu().is_none() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let config = config(&dir, "gpu");
    open(&config, Place::New(dir.path().join("whole"))).train(&mut []).unwrap();
    let run = dir.path().join("r");
    let mut prepared = open(&config, Place::New(run.clone()));
    let device = prepared.trainer().engine().device().unwrap();
    let mut lose = |event: &Event| match event {
        Event::Step(step) if step.step == 12 => {
            device.destroy();
            Ok(Control::Continue)
        }
        // As the new device would tell it.
        Event::Step(step) if step.step == 20 => Err(Error::DeviceLost("the cable was pulled".into())),
        _ => Ok(Control::Continue),
    };
    let error = prepared.train(&mut [&mut lose]).unwrap_err();
    assert!(matches!(&error, Error::DeviceLost(why) if why == "the cable was pulled"), "{error}");
    assert!(!run.join("summary.json").exists());
    open(&config, Place::Resume(run)).train(&mut []).unwrap();
    assert_same(dir.path(), "whole", "r");
}

/// A folder that is taken away is told at the next checkpoint, in a line.
#[test]
fn a_folder_that_is_gone_is_told() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("r");
    let mut take_away = |event: &Event| {
        if matches!(event, Event::Step(step) if step.step == 11) {
            fs::rename(&run, dir.path().join("elsewhere")).unwrap();
        }
        Ok(Control::Continue)
    };
    let error = open(&config(&dir, "cpu"), Place::New(run.clone())).train(&mut [&mut take_away]).unwrap_err();
    assert!(error.to_string().contains("/r/") && error.to_string().ends_with(": its folder is gone"), "{error}");
    assert!(!run.exists());
}

/// Weights that blew up within an epoch without a loss to tell of it.
const BLOWN: &str = "schedule={name=\"multistep\",milestones=[11],gamma=1e30}";

/// A loss that is no longer finite leaves the checkpoint before it, and weights whose loss was finite; and so does the run that
/// goes on from there and fails again.
#[test]
fn a_diverged_run_keeps_what_was_good() {
    let dir = TempDir::new().unwrap();
    table(&dir);
    // Without a part to evaluate, the twelfth update, the last of the third epoch, is noticed a step later.
    let args = ["train", "--data", "npy:x.npy,y.npy", "--device", "cpu", "--batch", "16", "--run", "r", "--quiet"];
    let args = [&args[..], &["--optimizer", "sgd", "--lr", "0.1", "--epochs", "9", "--set", BLOWN]].concat();
    let error = fails(dir.path(), 1, &args);
    assert!(error.contains("at step 12 "), "{error}");
    let weights = tensors(&dir.path().join("r/weights.safetensors"));
    let largest = |weights: &[(String, Vec<u8>)]| {
        let values = weights.iter().flat_map(|(_, bytes)| bytes.chunks_exact(4));
        values.map(|b| f32::from_le_bytes(b.try_into().unwrap()).abs()).fold(0.0, f32::max)
    };
    assert!(largest(&weights) < 10.0);
    assert_eq!(json(dir.path().join("r/summary.json"))["stopped_by"], "diverged");
    let error = fails(dir.path(), 1, &["train", "--resume", "r"]);
    assert!(error.contains("at step 12 "), "{error}");
    assert!(
        tensors(&dir.path().join("r/weights.safetensors")) == weights,
        "weights that were never good took their place"
    );
    assert!(error.contains("the weights stay as they were"), "{error}");

    // Weights that are not finite are no checkpoint.
    let args =
        [&args[..], &["--overwrite", "--set", "schedule={name=\"multistep\",milestones=[11],gamma=1e60}"]].concat();
    fails(dir.path(), 1, &args);
    let steps = thalweg::run::Checkpoint::newest(&dir.path().join("r"), &mut Vec::new()).unwrap().unwrap().steps;
    assert_eq!(steps, 8);
}

/// What runs `script` with a disk of its own on `full`, and so many KiB on it.
#[cfg(target_os = "linux")]
fn on_disk(dir: &Path, kib: u32, script: &str) -> Option<std::process::Output> {
    let mount = format!("mount -t tmpfs -o size={kib}k none full");
    fs::create_dir_all(dir.join("full")).unwrap();
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).current_dir(dir);
        command.env("THALWEG", env!("CARGO_BIN_EXE_thalweg")).output()
    };
    if !shell(&mount).is_ok_and(|output| output.status.success()) {
        eprintln!("\n*** NOT RUN: this test needs to mount a small disk (unshare --user --mount), and may not ***\n");
        return None;
    }
    Some(shell(&format!("{mount} && {script}")).unwrap())
}

/// A full disk ends the run with a line that names the file; what was written before is whole, and the run goes on from there.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_and_nothing_else() {
    for (what, more) in [
        ("r/checkpoint", "--hidden 64,64 --log-every 0 --checkpoint-every 1 --keep-checkpoints 100000"),
        // Its second checkpoint, in the midst of an epoch, is far from the full disk, so that a line is what finds it full.
        ("s.jsonl", "--hidden 16 --log-every 1 --checkpoint-every 611"),
    ] {
        let dir = TempDir::new().unwrap();
        let data = table(&dir);
        let train = format!("\"$THALWEG\" train --data {data} --device cpu --batch 8 --epochs 200 --quiet {more}");
        let script = format!(
            "{train} --run through || exit 9
             {train} --run full/r; echo \"status $?\"
             ls -a full/r | grep part
             mount -o remount,size=100m full
             \"$THALWEG\" train --resume full/r --quiet || exit 8
             cp -r full/r left"
        );
        let Some(output) = on_disk(dir.path(), 256, &script) else { return };
        let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{what}: {printed}{said}");
        assert_eq!(printed, "status 2\n", "{said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(what) && errors[0].contains("No space left"), "{said}");
        for file in ["weights.safetensors", "metrics.jsonl"] {
            let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
            assert!(read("through") == read("left"), "{what}: {file}");
        }
    }
}

/// A folder that cannot be written is told before the first step.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = format!("\"$THALWEG\" train --data {data} --device cpu --epochs 2 --quiet");
    let script = format!(
        "{train} --run full/r || exit 9
         mount -o remount,ro full
         {train} --run full/new; echo \"status $?\"
         {train} --run full/r --overwrite; echo \"status $?\"
         \"$THALWEG\" train --resume full/r --epochs 3 --quiet; echo \"status $?\"
         \"$THALWEG\" eval full/r > /dev/null; echo \"status $?\""
    );
    let Some(output) = on_disk(dir.path(), 10240, &script) else { return };
    let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(printed, "status 2\nstatus 2\nstatus 2\nstatus 0\n", "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(
        errors.len() == 3 && errors.iter().all(|error| error.contains("full/") && error.contains("Read-only")),
        "{said}"
    );
}
