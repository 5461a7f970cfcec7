//! `train --tensorboard`: event files, read by TensorBoard's own readers.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};

use common::program::{fails, json, lines, npy, ok, table, words};
use common::python::python;
use serde_json::Value;
use tempfile::TempDir;
use thalweg::event::{Control, Ended, Event};
use thalweg::run::{Config, Interval, Place, Prepared};

/// 60 samples, of which 12 are held out, in batches of 10: five steps an epoch.
const TRAIN: &str =
    "train --validation 0.2 --batch 10 --epochs 3 --hidden 4 --device cpu --quiet --log-every 2 --tensorboard --run";

#[track_caller]
fn train(dir: &TempDir, name: &str, more: &str) {
    let data = table(dir);
    ok(dir.path(), &[words(TRAIN), vec![name, "--data", &data], words(more)].concat());
}

/// What TensorBoard's readers find in a folder of runs.
fn read(dir: &Path, logdir: &str) -> Option<Value> {
    python(dir, "events.py", &[logdir]).map(|printed| serde_json::from_str(&printed).unwrap())
}

fn event_files(run: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(run).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    files.sort();
    files
}

/// The number of a line or of a reader; what is not finite stands as text.
fn real(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.to_lowercase().parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

/// Whether a value is `want` rounded to f32.
fn is_rounded(found: &Value, want: f64) -> bool {
    let (found, want) = (real(found), f64::from(want as f32));
    found == want || found.is_nan() && want.is_nan()
}

/// The curve that lines tell of: the step of each, and a value.
fn told(lines: &[Value], step: impl Fn(&Value) -> u64, value: impl Fn(&Value) -> Option<f64>) -> Vec<(u64, f64)> {
    lines.iter().filter_map(|line| Some((step(line), value(line)?))).collect()
}

#[track_caller]
fn assert_curve(run: &Value, tag: &str, want: &[(u64, f64)]) {
    let found = run["scalars"][tag].as_array().unwrap_or_else(|| panic!("no {tag} in {}", run["scalars"]));
    let is_equal = |(point, &(step, value)): (&Value, &(u64, f64))| point[0] == step && is_rounded(&point[1], value);
    assert!(!want.is_empty() && found.len() == want.len(), "{tag}: {found:?} {want:?}");
    assert!(found.iter().zip(want).all(is_equal), "{tag}: {found:?} {want:?}");
}

/// Every number of the lines that a run wrote is a scalar; of one replica its own, otherwise the mean.
#[track_caller]
fn assert_as_logged(found: &Value, run: &Path, replica: Option<usize>) {
    let (metrics, mut evaluations) = (lines(run.join("metrics.jsonl")), lines(run.join("epochs.jsonl")));
    if run.join("evaluations.jsonl").exists() {
        evaluations.extend(lines(run.join("evaluations.jsonl")));
        evaluations.sort_by_key(|line| line["steps"].as_u64());
    }
    let mut tags = Vec::new();
    let plurals = [("loss", "losses"), ("accuracy", "accuracies"), ("curvature", "curvatures")];
    for name in ["loss", "accuracy", "lr", "momentum", "grad_norm", "curvature"] {
        let plural = plurals.iter().find(|(one, _)| *one == name).map(|(_, all)| *all);
        let value = |line: &Value| match replica {
            Some(r) => plural.and_then(|all| line[all].get(r)).map(real),
            None => line.get(name).map(real),
        };
        let want = told(&metrics, |line| line["step"].as_u64().unwrap(), value);
        if !want.is_empty() {
            assert_curve(found, &format!("step/{name}"), &want);
            tags.push(format!("step/{name}"));
        }
    }
    let names = evaluations.iter().flat_map(|line| line.as_object().unwrap().keys().cloned());
    let names: std::collections::BTreeSet<String> = names.collect();
    for name in names.iter().filter(|name| name.contains("loss") || name.contains("acc") || name.contains("samples")) {
        let value = |line: &Value| match (replica, line[name].get("mean")) {
            (Some(r), _) => line[name]["replicas"].get(r).map(real),
            (None, Some(mean)) => Some(real(mean)),
            (None, None) => line.get(name).map(real),
        };
        let want = told(&evaluations, |line| line["steps"].as_u64().unwrap() - 1, value);
        if !want.is_empty() {
            assert_curve(found, &format!("evaluation/{name}"), &want);
            tags.push(format!("evaluation/{name}"));
        }
    }
    let all: Vec<&String> = found["scalars"].as_object().unwrap().keys().filter(|tag| !tags.contains(tag)).collect();
    let extra = if replica.is_some() { vec!["step/grad_norm"] } else { vec![] };
    assert!(all.iter().all(|tag| extra.contains(&tag.as_str())), "{all:?} are more than {tags:?}");
}

/// The values of a tensor of a file.
fn values(path: &Path, name: &str) -> Vec<f64> {
    let tensors = common::program::tensors(path);
    let (_, bytes) = tensors.iter().find(|(found, _)| found == name).unwrap();
    bytes.as_chunks().0.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect()
}

/// The histogram of a tensor after so many steps is that of the values in a file.
#[track_caller]
fn assert_histogram(found: &Value, name: &str, steps: u64, file: &Path) {
    let all = found["histograms"][format!("weights/{name}")].as_array().unwrap();
    let (_, found) = all.iter().map(|e| (&e[0], &e[1])).find(|(step, _)| **step == steps).unwrap();
    let values = values(file, name);
    let fold = |f: fn(f64, f64) -> f64, first| values.iter().copied().fold(first, f);
    assert_eq!(real(&found["min"]), fold(f64::min, f64::INFINITY));
    assert_eq!(real(&found["max"]), fold(f64::max, f64::NEG_INFINITY));
    assert_eq!(real(&found["sum"]), fold(|sum, x| sum + x, 0.0));
    assert_eq!(real(&found["sum_squares"]), fold(|sum, x| sum + x * x, 0.0));
    let counts: f64 = found["counts"].as_array().unwrap().iter().map(real).sum();
    assert!(counts == values.len() as f64 && real(&found["num"]) == counts, "{found}");
    assert_eq!(found["limits"].as_array().unwrap().len(), found["counts"].as_array().unwrap().len());
}

/// Everything that the run's own lines tell, with curvature, gradient norm, averages and evaluations within epochs; the weights at
/// the start, after every epoch and at the end; the settings.
#[test]
fn events_tell_what_the_lines_tell() {
    let dir = TempDir::new().unwrap();
    let more = "--clip-norm 1 --curvature 3 --trajectory 1 --keep-best --norm batch --eval-every 2steps --set average.swa={start=4}";
    train(&dir, "runs/a", more);
    let run = dir.path().join("runs/a");
    let [file] = &event_files(&run)[..] else { panic!("{:?}", event_files(&run)) };
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("events.out.tfevents.") && name.ends_with(".thalweg"), "{name}");
    let Some(found) = read(dir.path(), "runs") else { return };
    let events = &found["runs"]["a"];
    assert_as_logged(events, &run, None);
    for tag in ["step/curvature", "step/grad_norm", "evaluation/swa_validation_loss", "evaluation/best_test_accuracy"] {
        assert!(events["scalars"][tag].is_array(), "{tag}");
    }
    let names = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "3.weight", "3.bias"];
    assert_eq!(events["histograms"].as_object().unwrap().len(), names.len());
    for name in names {
        for steps in [0, 5, 10, 15] {
            assert_histogram(events, name, steps, &run.join(format!("trajectory.{steps}.safetensors")));
        }
    }
    // A table has no pictures.
    assert_eq!(events["images"], serde_json::json!({}));

    let hparams = &found["hparams"];
    let session = &hparams["sessions"]["a"];
    let settings = &session["settings"];
    assert_eq!((&session["status"], &settings["train.epochs"]), (&1.into(), &3.0.into()));
    assert_eq!((&settings["model.norm"], &settings["model.hidden"]), (&"batch".into(), &"[4]".into()));
    assert_eq!((&settings["stop.keep_best"], &settings["optimizer.lr"]), (&true.into(), &0.001.into()));
    assert_eq!(hparams["settings"].as_array().unwrap().len(), settings.as_object().unwrap().len());
    let metrics = hparams["metrics"].as_array().unwrap();
    assert!(metrics.contains(&serde_json::json!(["", "evaluation/test_accuracy"])), "{metrics:?}");
}

/// The run's own events are those of the mean; each replica has its own beside them, equal to those of a run with its seed.
#[test]
fn every_replica_has_its_own_events() {
    let dir = TempDir::new().unwrap();
    train(&dir, "runs/two", "--replicas 2 --seed 7");
    train(&dir, "runs/one", "--seed 8");
    let Some(found) = read(dir.path(), "runs") else { return };
    let of = |name: &str| &found["runs"][name];
    assert_eq!(
        found["runs"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["one", "two", "two/replica.0", "two/replica.1"]
    );
    let two = dir.path().join("runs/two");
    assert_as_logged(of("two"), &two, None);
    assert_as_logged(of("two/replica.0"), &two, Some(0));
    assert_as_logged(of("two/replica.1"), &two, Some(1));
    for kind in ["step/loss", "evaluation/test_loss"] {
        assert_eq!(of("two/replica.1")["scalars"][kind], of("one")["scalars"][kind]);
    }
    assert_eq!(of("two/replica.1")["histograms"], of("one")["histograms"]);
    assert_eq!(of("two")["histograms"], serde_json::json!({}));
    assert_eq!(found["hparams"]["sessions"].as_object().unwrap().len(), 2);

    // They are the run's, and go with it; what else lies there stays.
    let others = [two.join("events.out.tfevents.1.elsewhere"), two.join("replica.1/note")];
    others.iter().for_each(|path| fs::write(path, "").unwrap());
    let data = table(&dir);
    let again =
        [words("train --epochs 1 --device cpu --quiet --overwrite --run runs/two --data"), vec![&data]].concat();
    ok(dir.path(), &again);
    assert_eq!(event_files(&two), [others[0].clone()]);
    assert!(!two.join("replica.0").exists() && others[1].exists() && event_files(&two.join("replica.1")).is_empty());
}

/// The weights of units are pictures where the samples are.
#[test]
fn first_layers_are_pictures() {
    let dir = TempDir::new().unwrap();
    let pixels: Vec<u8> = (0..20 * 3 * 4 * 5).map(|i| (i * 37 % 251) as u8).collect();
    npy(&dir.path().join("p.npy"), &[20, 3, 4, 5], pixels);
    npy(&dir.path().join("q.npy"), &[20], (0..20).map(|i| i64::from(i % 2 == 0)).collect());
    let args =
        "train --data npy:p.npy,q.npy --hidden 10 --batch 10 --epochs 2 --device cpu --quiet --tensorboard --run r";
    ok(dir.path(), &words(args));
    let Some(found) = read(dir.path(), "r") else { return };
    let pictures = found["runs"]["."]["images"]["first_layer"].as_array().unwrap();
    assert_eq!(pictures.iter().map(|picture| picture[0].as_u64().unwrap()).collect::<Vec<_>>(), [0, 2, 4]);
    use base64::Engine as _;
    let png = base64::engine::general_purpose::STANDARD.decode(pictures[2][1]["png"].as_str().unwrap()).unwrap();
    let sheet = image::load_from_memory(&png).unwrap().to_rgb8();
    // Eight units in a row, with a line between two of them.
    assert_eq!((sheet.width(), sheet.height()), (8 * 6 - 1, 2 * 5 - 1));
    assert_eq!((&pictures[2][1]["width"], &pictures[2][1]["height"]), (&47.into(), &9.into()));
    let weight = values(&dir.path().join("r/weights.safetensors"), "0.weight");
    for unit in 0..10u32 {
        let row = &weight[unit as usize * 60..][..60];
        let largest = row.iter().fold(0.0f64, |largest, w| largest.max(w.abs()));
        for (i, w) in row.iter().enumerate() {
            let (channel, y, x) = (i / 20, i as u32 % 20 / 5, i as u32 % 5);
            let pixel = sheet.get_pixel(unit % 8 * 6 + x, unit / 8 * 5 + y).0[channel];
            assert_eq!(pixel, (128.0 + 127.0 * w / largest).round() as u8, "{unit} {i}");
        }
    }
}

/// The configuration of a run that writes events of every step.
fn config(dir: &TempDir) -> Config {
    table(dir);
    let mut config = Config::default();
    let [x, y] = ["x.npy", "y.npy"].map(|name| dir.path().join(name).display().to_string());
    config.data.source = format!("npy:{x},{y},{x},{y}");
    config.model.hidden = vec![4];
    config.train.device = "cpu".into();
    config.train.batch = Some(thalweg::run::Batch::Size(10));
    config.train.epochs = 4;
    config.train.replicas = 2;
    config.train.log_every = 1;
    config.train.tensorboard = true;
    config.train.checkpoint_every = Interval::Steps(4);
    config
}

/// Leaves a run, or fails as if it were killed, at some steps, until it is through.
fn leave(config: &Config, dir: &Path, at: &[(u64, bool)]) {
    let mut place = Place::New(dir.into());
    for &(at, is_asked) in at {
        let mut leave = |event: &Event| match event {
            Event::Step(step) if step.step >= at && is_asked => Ok(Control::Interrupt),
            Event::Step(step) if step.step >= at => Err(thalweg::Error::Device("unplugged".into())),
            _ => Ok(Control::Continue),
        };
        let left = Prepared::open(config.clone(), place, |_| ()).unwrap().train(&mut [&mut leave]);
        assert!(left.is_err() != is_asked && left.is_ok_and(|run| run.ended == Ended::Interrupted) == is_asked);
        place = Place::Resume(dir.into());
    }
    Prepared::open(config.clone(), place, |_| ()).unwrap().train(&mut []).unwrap();
}

/// A run that was left or killed shows each step once, as the run that went through.
#[test]
fn a_run_that_goes_on_shows_every_step_once() {
    let dir = TempDir::new().unwrap();
    let (through, left) = (dir.path().join("runs/through"), dir.path().join("runs/left"));
    let config = config(&dir);
    leave(&config, &through, &[]);
    // At once, before a first checkpoint, at the ends of epochs, at the last step; twice in one second.
    leave(
        &config,
        &left,
        &[(0, false), (2, false), (7, true), (9, false), (11, true), (12, false), (17, false), (23, false)],
    );
    assert_eq!(event_files(&left).len(), 9);
    assert!(event_files(&left.join("replica.1")).len() == 9 && event_files(&through).len() == 1);
    let Some(found) = read(dir.path(), "runs") else { return };
    for (of, replica) in [("", None), ("/replica.0", Some(0)), ("/replica.1", Some(1))] {
        let (one, other) = (&found["runs"][format!("through{of}")], &found["runs"][format!("left{of}")]);
        assert_as_logged(one, &through, replica);
        assert_as_logged(other, &left, replica);
        assert_eq!(one["histograms"], other["histograms"], "{of}");
    }
    let sessions = &found["hparams"]["sessions"];
    assert_eq!(sessions["through"]["settings"], sessions["left"]["settings"]);
    assert_eq!((&sessions["through"]["status"], &sessions["left"]["status"]), (&1.into(), &1.into()));
}

/// The events change nothing of a run; one that did not write them may begin to where it goes on, and the other way round.
#[test]
fn events_change_nothing_of_a_run() {
    let dir = TempDir::new().unwrap();
    train(&dir, "with", "");
    let data = table(&dir);
    let plain = TRAIN.replace(" --tensorboard", "");
    ok(dir.path(), &[words(&plain), vec!["without", "--data", &data]].concat());
    let file = |run: &str, name: &str| fs::read(dir.path().join(run).join(name)).unwrap();
    for name in ["weights.safetensors", "metrics.jsonl"] {
        assert!(file("with", name) == file("without", name), "{name}");
    }
    let config = |run: &str| String::from_utf8(file(run, "config.toml")).unwrap();
    assert!(config("with").contains("tensorboard = true") && !config("without").contains("tensorboard"));
    ok(dir.path(), &words("train --resume without --epochs 4 --tensorboard --quiet"));
    ok(dir.path(), &words("train --resume with --epochs 4 --set train.tensorboard=false --quiet"));
    assert!(file("with", "weights.safetensors") == file("without", "weights.safetensors"));
    assert_eq!([event_files(&dir.path().join("with")).len(), event_files(&dir.path().join("without")).len()], [1, 1]);
    let Some(found) = read(dir.path(), "without") else { return };
    let losses = found["runs"]["."]["scalars"]["step/loss"].as_array().unwrap();
    assert_eq!(losses.iter().map(|point| point[0].as_u64().unwrap()).collect::<Vec<_>>(), [16, 18]);
}

/// A loss that is no longer finite is shown as such, and the run as failed.
#[test]
fn a_run_that_diverged_says_so() {
    let dir = TempDir::new().unwrap();
    table(&dir);
    let args = "train --data npy:x.npy,y.npy --device cpu --batch 16 --epochs 9 --log-every 1 --optimizer sgd --lr 1e38 --quiet \
                --tensorboard --run r";
    let error = fails(dir.path(), 1, &words(args));
    let run = dir.path().join("r");
    assert!(error.contains("became NaN at step 1 "), "{error}");
    let Some(found) = read(dir.path(), "r") else { return };
    let last = lines(run.join("metrics.jsonl")).pop().unwrap();
    assert!(last["loss"].is_string(), "{last}");
    assert_as_logged(&found["runs"]["."], &run, None);
    assert_eq!(found["hparams"]["sessions"]["."]["status"], 2);
    assert_eq!(json(run.join("summary.json"))["stopped_by"], "diverged");
}

/// While the run goes on, what it has told is there to be read.
#[test]
fn events_are_there_while_the_run_goes_on() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("r");
    let mut config = config(&dir);
    config.train.replicas = 1;
    let mut seen = None;
    let mut look = |event: &Event| {
        if let Event::Step(step) = event
            && step.step == 13
        {
            seen = python(dir.path(), "events.py", &["r"]);
        }
        Ok(Control::Continue)
    };
    Prepared::open(config, Place::New(run), |_| ()).unwrap().train(&mut [&mut look]).unwrap();
    let Some(printed) = seen else { return };
    let found: Value = serde_json::from_str(&printed).unwrap();
    let last = |tag: &str| found["runs"]["."]["scalars"][tag].as_array().unwrap().last().unwrap()[0].as_u64().unwrap();
    // Whatever was told before the end of the last epoch.
    assert!(last("evaluation/test_loss") == 11 && last("step/loss") >= 11, "{printed}");
    assert_eq!(found["hparams"]["sessions"]["."]["status"], Value::Null);
}

/// A file that cannot be written ends the run with a line that names it.
#[test]
fn events_that_cannot_be_written_end_the_run() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    fs::create_dir(dir.path().join("r")).unwrap();
    fs::write(dir.path().join("r/replica.0"), "a file").unwrap();
    let error = fails(dir.path(), 2, &[words(TRAIN), vec!["r", "--replicas", "2", "--data", &data]].concat());
    assert!(error.contains("r/replica.0: "), "{error}");
}
