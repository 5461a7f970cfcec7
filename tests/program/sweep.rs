//! `thalweg sweep`: many trainings on one device, each of which is what it would be by itself.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use common::program::{fails, json, npy, ok, program, table, words};
use serde_json::Value;
use tempfile::TempDir;

/// 48 samples in batches of 10: five steps an epoch, the last of eight samples.
const BASE: &str = "--validation 0.2 --batch 10 --hidden 6 --dropout 0.2 --label-smoothing 0.1 --noise 0.1 --clip-norm 2 \
                    --optimizer sgd --momentum 0.9 --norm batch --set average.swa={start=3}";

fn sweep(dir: &Path, data: &str, more: &str) -> String {
    ok(dir, &[words("sweep --data"), vec![data], words(BASE), words(more)].concat())
}

/// The lines of a file without what depends on the clock.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        for key in ["seconds", "samples_per_second", "checksum", "of_limit"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value
    };
    text.lines().map(line).collect()
}

/// The rows of `members.csv` by the names of their columns, without what depends on the clock.
fn rows(dir: &Path) -> Vec<Vec<(String, String)>> {
    let mut reader = csv::Reader::from_path(dir.join("members.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| -> Vec<(String, String)> {
        let cells = header.iter().zip(&record).map(|(name, cell)| (name.to_string(), cell.to_string()));
        cells.filter(|(name, _)| name != "seconds").collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

fn cell<'a>(row: &'a [(String, String)], name: &str) -> &'a str {
    &row.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {row:?}")).1
}

/// Fails unless a member left what `train` with `flags` leaves, all files of weights included.
#[track_caller]
fn is_alone(dir: &Path, member: &Path, flags: &[&str]) {
    let alone = dir.join("alone");
    ok(dir, &[&words("train --quiet --overwrite --run alone")[..], flags].concat());
    assert_eq!(lines(&member.join("epochs.jsonl")), lines(&alone.join("epochs.jsonl")), "{flags:?}");
    assert_eq!(lines(&member.join("metrics.jsonl")), lines(&alone.join("metrics.jsonl")), "{flags:?}");
    let weights = |dir: &Path| -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("weights")).collect();
        names.sort();
        names
    };
    assert!(weights(&alone).len() >= 2 && weights(member) == weights(&alone), "{flags:?}");
    for name in weights(&alone) {
        assert!(fs::read(member.join(&name)).unwrap() == fs::read(alone.join(&name)).unwrap(), "{flags:?}: {name}");
    }
}

/// Constants, schedules, widths, batches and seeds, on each engine: some members share an engine and others do not.
#[test]
fn members_equal_separate_runs() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for device in ["cpu", "gpu"] {
        let run = format!("swept-{device}");
        let more = format!(
            "--device {device} --epochs 3 --seeds 2 --grid optimizer.lr=0.05,0.2 --grid schedule.name=constant,cosine \
             --grid train.batch=10,16 --keep-weights --population 3 --quiet --run {run}"
        );
        assert_eq!(sweep(dir.path(), &data, &more), "");
        let all = rows(&dir.path().join(&run));
        assert_eq!(all.len(), 16);
        for (number, row) in all.iter().enumerate().step_by(3) {
            let of = |name: &str| cell(row, name);
            let flags = format!(
                "--device {device} --epochs 3 --seed {} --lr {} --schedule {} --batch {}",
                of("seed"),
                of("optimizer.lr"),
                of("schedule.name"),
                of("train.batch")
            );
            let flags = [vec!["--data", &data], words(BASE), words(&flags)].concat();
            let member = dir.path().join(&run).join(format!("members/{number}"));
            is_alone(dir.path(), &member, &flags);
            let last = lines(&member.join("epochs.jsonl")).pop().unwrap();
            let accuracy: f64 = of("test_accuracy").parse().unwrap();
            assert_eq!(Some(accuracy), last["test_accuracy"]["mean"].as_f64(), "{row:?}");
            assert_eq!((of("member"), of("epochs"), of("ended")), (&*number.to_string(), "3", "epochs"));
        }
        // The best by its validation part, whose weights are there to be used.
        let best = &dir.path().join(&run).join("best");
        assert!(json(best.join("summary.json"))["test_accuracy"]["mean"].is_f64());
        assert!(ok(dir.path(), &["eval", best.to_str().unwrap()]).contains("accuracy"));
    }
}

/// The best third goes on; whoever stays behind is what a run is after so many epochs, and nobody is trained again.
#[test]
fn bad_settings_leave_their_place() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let more = "--device cpu --epochs 7 --halving 1,3 --seeds 2 --random 9 --range optimizer.lr=1e-4..1:log --keep-weights \
                --population 5 --run halved";
    let told = sweep(dir.path(), &data, more);
    assert!(told.contains("compare 18 members after epoch 1; 6 go on"), "{told}");
    assert!(told.contains("compare 6 members after epoch 3; 2 go on"), "{told}");
    let table = told.lines().skip_while(|line| !line.starts_with("members"));
    let epochs: Vec<&str> = table.skip(1).take(9).map(|line| words(line)[3]).collect();
    assert_eq!(epochs, ["7", "3", "3", "1", "1", "1", "1", "1", "1"], "{told}");
    let run = dir.path().join("halved");
    let all = rows(&run);
    let count = |epochs: &str, ended: &str| {
        all.iter().filter(|row| (cell(row, "epochs"), cell(row, "ended")) == (epochs, ended)).count()
    };
    assert_eq!((count("1", "halved"), count("3", "halved"), count("7", "epochs")), (12, 4, 2));
    for (number, row) in all.iter().enumerate() {
        let flags = format!("--device cpu --epochs 7 --seed {} --lr {}", cell(row, "seed"), cell(row, "optimizer.lr"));
        let flags = [vec!["--data", &data], words(BASE), words(&flags)].concat();
        let member = run.join(format!("members/{number}"));
        if cell(row, "ended") == "epochs" {
            is_alone(dir.path(), &member, &flags);
        } else if number % 5 == 0 {
            ok(dir.path(), &[&words("train --quiet --overwrite --run alone")[..], &flags].concat());
            let (own, alone) = (lines(&member.join("epochs.jsonl")), lines(&dir.path().join("alone/epochs.jsonl")));
            assert_eq!(own.len().to_string(), cell(row, "epochs"));
            assert_eq!(own, alone[..own.len()]);
        }
    }
    // Those that went on were the best of those compared: by the validation part, settings by their seeds.
    let mean = |pair: &[Vec<(String, String)>], epoch: usize| -> f64 {
        let accuracy = |row: &Vec<(String, String)>| {
            let epochs = lines(&run.join(format!("members/{}/epochs.jsonl", cell(row, "member"))));
            epochs[epoch]["validation_accuracy"]["mean"].as_f64().unwrap()
        };
        pair.iter().map(accuracy).sum::<f64>() / 2.0
    };
    let is_left = |pair: &[Vec<(String, String)>], epochs: &str| cell(&pair[0], "epochs") == epochs;
    let worst_survivor =
        all.chunks(2).filter(|pair| !is_left(pair, "1")).map(|pair| mean(pair, 0)).fold(f64::INFINITY, f64::min);
    let best_left = all.chunks(2).filter(|pair| is_left(pair, "1")).map(|pair| mean(pair, 0)).fold(0.0, f64::max);
    assert!(worst_survivor >= best_left, "{worst_survivor} {best_left}");
}

#[test]
fn a_member_that_diverges_ends_alone() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let told = sweep(dir.path(), &data, "--device cpu --epochs 2 --grid optimizer.lr=0.1,1e30 --seeds 2 --run s");
    assert!(told.contains("member  2 diverged: seed 0, optimizer.lr=1e+30"), "{told}");
    let all = rows(&dir.path().join("s"));
    let ended: Vec<&str> = all.iter().map(|row| cell(row, "ended")).collect();
    assert_eq!(ended, ["epochs", "epochs", "diverged", "diverged"]);
    assert_eq!((cell(&all[2], "test_accuracy"), cell(&all[0], "epochs")), ("", "2"));
    // Only the best keeps its weights.
    let has_weights = |path: &str| dir.path().join("s").join(path).join("weights.safetensors").exists();
    let kept = (0..4).filter(|i| has_weights(&format!("members/{i}"))).count();
    assert_eq!((kept, has_weights("best")), (1, true));
}

/// Waits until members have logged epochs, `n` lines in all.
fn wait_for_epochs(run: &Path, n: usize) {
    let begin = Instant::now();
    let logged = || {
        let members = fs::read_dir(run.join("members")).into_iter().flatten().flatten();
        let count = |path: &Path| fs::read_to_string(path.join("epochs.jsonl")).map_or(0, |text| text.lines().count());
        members.map(|member| count(&member.path())).sum::<usize>()
    };
    while logged() < n {
        assert!(begin.elapsed() < Duration::from_secs(120), "no member gets on");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Killed, or asked to end, and resumed: the rows are those of a sweep that went through.
#[cfg(unix)]
#[test]
fn a_sweep_goes_on_where_it_was_left() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let common = "--device cpu --epochs 40 --grid optimizer.lr=0.01,0.05,0.1 --seeds 2 --population 4 --halving 10,2";
    sweep(dir.path(), &data, &format!("{common} --quiet --run whole"));
    for (name, signal) in [("killed", libc::SIGKILL), ("asked", libc::SIGINT)] {
        let run = dir.path().join(name);
        let flags = format!("{common} --quiet --set train.checkpoint_every=2 --run {name}");
        let args = [words("sweep --data"), vec![&*data], words(BASE), words(&flags)].concat();
        let mut left = 0;
        let mut child = program(dir.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
        for n in [3, 45, 90] {
            wait_for_epochs(&run, n);
            // SAFETY: sends a signal to a child that has not been waited for.
            unsafe { libc::kill(child.id() as i32, signal) };
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            if signal == libc::SIGINT && output.status.code() == Some(130) {
                assert!(text.contains("thalweg sweep --resume asked goes on"), "{text}");
            }
            left += usize::from(!output.status.success());
            child =
                program(dir.path(), &["sweep", "--quiet", "--resume", name]).stderr(Stdio::piped()).spawn().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(left > 0, "the sweep was over before it could be left");
        assert_eq!(rows(&run), rows(&dir.path().join("whole")), "{name}");
        let best = |run: &Path| fs::read(run.join("best/weights.safetensors")).unwrap();
        assert!(best(&run) == best(&dir.path().join("whole")), "{name}");
    }
}

/// Targets that are numbers have no accuracy, and the best has the lowest loss.
#[test]
fn a_regression_is_swept_by_its_loss() {
    let dir = TempDir::new().unwrap();
    let values: Vec<f32> = (0..40 * 2).map(|i| (i * 29 % 31) as f32 / 10.0).collect();
    let targets: Vec<f32> = values.chunks(2).map(|row| row[0] - row[1]).collect();
    npy(&dir.path().join("x.npy"), &[40, 2], values);
    npy(&dir.path().join("y.npy"), &[40], targets);
    let args = "sweep --data npy:x.npy,y.npy --loss mse --validation 0.25 --epochs 3 --device cpu --grid optimizer.lr=1e-5,1e-2 --run s";
    let told = ok(dir.path(), &words(args));
    assert!(told.contains("Best first by validation loss") && told.contains("val. loss"), "{told}");
    let all = rows(&dir.path().join("s"));
    assert_eq!(cell(&all[0], "validation_accuracy"), "");
    let loss = |row: &[(String, String)]| cell(row, "validation_loss").parse::<f64>().unwrap();
    assert!(loss(&all[1]) < loss(&all[0]));
}

/// A design may stand in the file, and flags come over it; the folder's `sweep.toml` sweeps the same again.
#[test]
fn a_design_may_be_a_table() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let text = format!(
        "[data]\nsource = \"{data}\"\n[train]\nepochs = 1\ndevice = \"cpu\"\n[sweep]\nseeds = 2\n\
         grid.\"optimizer.lr\" = [0.1, 0.2]\ngrid.model.hidden = [[4], [4, 4]]\n"
    );
    fs::write(dir.path().join("design.toml"), text).unwrap();
    ok(dir.path(), &words("sweep design.toml --quiet --run a --grid optimizer.lr=0.3"));
    let first = rows(&dir.path().join("a"));
    assert_eq!(first.len(), 4);
    assert_eq!((cell(&first[0], "optimizer.lr"), cell(&first[3], "model.hidden")), ("0.3", "[4,4]"));
    ok(dir.path(), &words("sweep a/sweep.toml --quiet --run b"));
    assert_eq!(rows(&dir.path().join("b")), first);
    // One that is over has nothing left to do.
    ok(dir.path(), &words("sweep --quiet --resume a"));
    assert_eq!(rows(&dir.path().join("a")), first);
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let said = |more: &str| {
        fails(dir.path(), 2, &[words("sweep --device cpu --run s --data"), vec![&data], words(more)].concat())
    };
    assert!(said("--grid optimizer.lrr=1,2").contains("optimizer.lrr: "), "{}", said("--grid optimizer.lrr=1,2"));
    assert!(said("--grid optimizer.lr=1,fast").contains("optimizer.lr"), "{}", said("--grid optimizer.lr=1,fast"));
    assert!(said("--grid optimizer.momentum=0.5").contains("in member 0 (optimizer.momentum=0.5)"));
    assert!(said("--grid train.batch=10,1000").contains("train.batch: expected 1 to 60 samples"));
    assert!(said("--seeds 0").contains("sweep.seeds: expected at least 1, found 0"));
    assert!(said("--replicas 2").contains("train.replicas: expected 1, since every member is a training of its own"));
    assert!(said("--seconds 3").contains("stop.seconds: expected none in a sweep"));
    assert!(said("--halving 3,1 --epochs 9").contains("sweep.halving.eta: expected at least 2, found 1"));
    assert!(said("--halving x").contains("--halving: expected EPOCHS or EPOCHS,ETA, found x"));
    assert!(said("--population 0").contains("--population: expected at least 1, found 0"));
    assert!(!dir.path().join("s").exists(), "nothing is left of what was refused");
    ok(dir.path(), &[words("sweep --device cpu --quiet --epochs 1 --run s --data"), vec![&data]].concat());
    assert!(said("").contains("--run: expected a folder without a sweep, found s/sweep.toml; --overwrite replaces it"));
    ok(
        dir.path(),
        &[words("sweep --device cpu --quiet --epochs 1 --seeds 2 --overwrite --run s --data"), vec![&data]].concat(),
    );
    assert_eq!(rows(&dir.path().join("s")).len(), 2);
    fs::create_dir_all(dir.path().join("mine/members")).unwrap();
    let mine = fails(dir.path(), 2, &[words("sweep --device cpu --overwrite --run mine --data"), vec![&data]].concat());
    assert!(mine.contains("expected a folder without a sweep, found mine/members"), "{mine}");
    let none = fails(dir.path(), 2, &words("sweep --resume mine"));
    assert!(none.contains("expected the folder of a sweep, found no sweep.toml in it"), "{none}");
}
