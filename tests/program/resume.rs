//! Runs that were left, killed or damaged go on with the bits of one that went through.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thalweg::event::{Control, Ended, Event};
use thalweg::run::{Config, Interval, Place, Prepared};

use common::program::{fails, json, lines, npy, ok, table, thalweg};

/// Whatever meets a position within an epoch: averages, a plateau, batch normalisation, dropout, mixup, the best weights of
/// evaluations by steps, lookahead, two replicas.
const EVERYTHING: &str = r#"
average = { swa = { start = 5, every = 3 }, ema = { decay = 0.9 }, snapshots = { max = 2, when = { start = 1, unit = "epoch" } }, lookahead = { every = 4 } }
schedule = { name = "plateau", factor = 0.37, patience = 0, threshold = 0.5 }
model = { hidden = [8, 8], norm = "batch", residual = true, dropout = 0.2, activation = "silu" }
augment = { mixup = 0.4, noise = 0.1 }
stop = { metric = "ema_validation_loss", keep_best = true }
optimizer = { name = "adam", lr = 0.02 }
[train]
batch = 7
epochs = 5
replicas = 2
log_every = 1
eval_every = "3steps"
trajectory_every = "4steps"
"#;

/// The configuration in `text`, on the small table in `dir`.
fn config(dir: &TempDir, text: &str, device: &str) -> Config {
    table(dir);
    let mut config = Config::resolve(text.parse().unwrap(), Vec::new(), Vec::new()).unwrap();
    let [x, y] = ["x.npy", "y.npy"].map(|name| dir.path().join(name).display().to_string());
    config.data.source = format!("npy:{x},{y},{x},{y}");
    config.data.validation = 0.2;
    config.train.device = device.into();
    config
}

/// All that a run leaves, by the file's name, without the times in it; without what says how often it was interrupted.
fn left(run: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    for entry in fs::read_dir(run).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name().into_string().unwrap())).unwrap();
        // A device that was once measured has a limit, which a resumed run does not tell.
        let is_timeless = |key: &str| !key.contains("second") && key != "of_limit";
        let timeless = |value: &mut Value| value.as_object_mut().unwrap().retain(|key, _| is_timeless(key));
        let bytes = if name == "summary.json" {
            let mut summary = json(path);
            timeless(&mut summary);
            summary.to_string().into_bytes()
        } else if name.ends_with(".jsonl") {
            let mut lines = lines(path);
            lines.iter_mut().for_each(timeless);
            lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
        } else {
            fs::read(path).unwrap()
        };
        if !name.starts_with("checkpoint") {
            files.insert(name, bytes);
        }
    }
    files
}

#[track_caller]
fn assert_left_alike(one: &Path, other: &Path) {
    let (one, other) = (left(one), left(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
        assert!(*bytes == other[name], "{name}:\n{}\n{}", show(bytes), show(&other[name]));
    }
}

/// A run that is left at any step, again and again, is the run that went through: on every engine, in every precision.
#[test]
fn a_run_that_is_left_anywhere_goes_on() {
    let cases = [
        ("cpu", "f32", false),
        ("cpu", "f64", true),
        ("gpu", "f32", false),
        ("gpu", "mixed", false),
        ("gpu", "mixed", true),
    ];
    for (device, precision, ascends) in cases {
        if device == "gpu" && common::gpu().is_none() {
            return;
        }
        let dir = TempDir::new().unwrap();
        let text = EVERYTHING.to_string() + &format!("precision = \"{precision}\"\n");
        let text = if ascends { text.replace("lr = 0.02", "lr = 0.02, sam = { rho = 0.1 }") } else { text };
        let config = config(&dir, &text, device);
        let [through, left] = ["through", "left"].map(|name| dir.path().join(name));
        let whole = Prepared::open(config, Place::New(through.clone()), |_| ()).unwrap();
        let mut config = whole.config().clone();
        whole.train(&mut []).unwrap();
        config.train.checkpoint_every = Interval::Epochs(0);
        let mut place = Place::New(left.clone());
        // 35 steps, left after at least so many of them.
        for at in [0, 3, 6, 7, 20, 34] {
            let mut leave = |event: &Event| match event {
                Event::Step(step) if step.step >= at => Ok(Control::Interrupt),
                _ => Ok(Control::Continue),
            };
            // Twice as soon as it has begun again, and once so that nobody hears of it.
            let mut leave_at_once = |event: &Event| match event {
                Event::Started(_) => Ok(Control::Interrupt),
                _ => Ok(Control::Continue),
            };
            let mut fail = |event: &Event| match event {
                Event::Evaluated(_) | Event::Step(_) => Err(thalweg::Error::Device("unplugged".into())),
                _ => Ok(Control::Continue),
            };
            let finished = Prepared::open(config.clone(), place, |_| ()).unwrap().train(&mut [&mut leave]).unwrap();
            assert_eq!(finished.ended, Ended::Interrupted);
            assert!(left.join("checkpoint.safetensors").exists() && !left.join("summary.json").exists());
            place = Place::Resume(left.clone());
            let again = || Prepared::open(config.clone(), Place::Resume(left.clone()), |_| ()).unwrap();
            again().train(&mut [&mut leave_at_once]).unwrap();
            again().train(&mut [&mut leave_at_once]).unwrap();
            if at < 34 {
                again().train(&mut [&mut fail]).unwrap_err();
            }
        }
        config.train.checkpoint_every = Interval::Epochs(1);
        Prepared::open(config, place, |_| ()).unwrap().train(&mut []).unwrap();
        assert_left_alike(&through, &left);
    }
}

/// Checkpoints at steps, by the clock and on demand change nothing of the run, and the newest are kept.
#[test]
fn checkpoints_may_be_anywhere() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, EVERYTHING, "cpu");
    let open = |config: &Config, name: &str| {
        Prepared::open(config.clone(), Place::New(dir.path().join(name)), |_| ()).unwrap()
    };
    open(&config, "epochs").train(&mut []).unwrap();
    config.train.checkpoint_every = Interval::Steps(4);
    config.train.keep_checkpoints = 3;
    let mut written = Vec::new();
    let mut note = |event: &Event| {
        if let Event::Checkpoint(at) = event {
            written.push((at.epochs, at.steps));
        }
        Ok(Control::Continue)
    };
    open(&config, "steps").train(&mut [&mut note]).unwrap();
    assert_eq!(written, [(0, 4), (1, 8), (1, 12), (2, 16), (2, 20), (3, 24), (4, 28), (4, 32), (5, 35)]);
    let mut names: Vec<String> = fs::read_dir(dir.path().join("steps"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("checkpoint"))
        .collect();
    names.sort();
    assert_eq!(names, ["checkpoint.28.safetensors", "checkpoint.32.safetensors", "checkpoint.safetensors"]);

    config.train.checkpoint_every = Interval::Epochs(0);
    config.train.keep_checkpoints = 1;
    let mut written = Vec::new();
    let mut ask = |event: &Event| match event {
        Event::Step(step) if step.step == 9 => Ok(Control::Save),
        Event::Checkpoint(at) => {
            written.push(at.steps);
            Ok(Control::Continue)
        }
        _ => Ok(Control::Continue),
    };
    open(&config, "asked").train(&mut [&mut ask]).unwrap();
    assert!(written.len() == 1 && (10..=14).contains(&written[0]), "{written:?}");

    // By the clock, which never ticks at the same step: it suffices that it does.
    config.train.checkpoint_every = Interval::Seconds(1);
    config.train.epochs = 1_000_000;
    let mut leave = |event: &Event| match event {
        Event::Checkpoint(_) => Ok(Control::Interrupt),
        _ => Ok(Control::Continue),
    };
    let finished = open(&config, "seconds").train(&mut [&mut leave]).unwrap();
    assert_eq!(finished.ended, Ended::Interrupted);
    for name in ["steps", "asked"] {
        let of = |name: &str| {
            let mut left = left(&dir.path().join(name));
            left.remove("config.toml");
            left
        };
        assert!(of("epochs") == of(name), "{name}");
    }
}

/// Starts a run or its resumption, and kills it after so long; returns whether it was over before.
fn kill(dir: &Path, args: &[&str], after: Duration) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(args)
        .current_dir(dir)
        .env("XDG_CACHE_HOME", dir)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let is_over = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    is_over
}

/// Kills a run so many times at random moments, of its first start, of resumptions, while checkpoints are written.
fn killed(times: usize, device: &str) {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, EVERYTHING, device);
    (config.train.epochs, config.train.checkpoint_every) = (150, Interval::Steps(5));
    fs::write(dir.path().join("c.toml"), toml::to_string(&config).unwrap()).unwrap();
    ok(dir.path(), &["train", "c.toml", "--quiet", "--run", "through"]);
    let (mut kills, mut runs, mut state) = (0, 0, 1u64);
    while kills < times {
        runs += 1;
        let run = format!("killed{runs}");
        let mut args = vec!["train", "c.toml", "--quiet", "--run", &run];
        // Some runs are killed often, some once.
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if kill(dir.path(), &args, Duration::from_millis(1 + (state >> 33) % 500)) {
                break;
            }
            kills += 1;
            args = if dir.path().join(&run).join("config.toml").exists() {
                vec!["train", "--resume", &run, "--quiet"]
            } else {
                vec!["train", "c.toml", "--quiet", "--run", &run]
            };
        }
        let is_over = dir.path().join(&run).join("summary.json").exists();
        if !is_over {
            ok(dir.path(), &args);
        }
        assert_left_alike(&dir.path().join("through"), &dir.path().join(&run));
        let parts = fs::read_dir(dir.path().join(&run)).unwrap().flatten();
        assert!(parts.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part")).count() == 0);
    }
}

#[test]
fn a_killed_run_is_the_run() {
    killed(10, "cpu");
}

/// `cargo test --test program resume:: -- --ignored long_`
#[test]
#[ignore = "minutes"]
fn long_a_run_killed_a_hundred_times_is_the_run() {
    killed(100, "cpu");
    killed(20, "gpu");
}

/// A signal leaves the run after a step, with a checkpoint and the status that shells know; a second one ends it at once.
#[cfg(unix)]
#[test]
fn signals_leave_a_run_that_goes_on() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--device", "cpu", "--batch", "1", "--hidden", "64", "--log-every", "1"];
    let args = [&args[..], &["--epochs", "40", "--set", "average={ema={}}"]].concat();
    ok(dir.path(), &[&args[..], &["--run", "through", "--quiet"]].concat());
    let end = |child: &std::process::Child, signal: &str| {
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    };
    for (signal, status) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let run = format!("left{status}");
        let spawn = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
            command.args(args).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        // Long enough that it is never over before.
        let long = [&args[..], &["--set", "train.epochs=1000000", "--run", &run, "--schedule-epochs", "40"]].concat();
        let child = spawn(&long);
        let log = dir.path().join(&run).join("epochs.jsonl");
        while fs::metadata(&log).map_or(0, |file| file.len()) == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        end(&child, signal);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(&format!("thalweg train --resume {run} goes on")), "{text}");
        let run = dir.path().join(&run);
        assert!(run.join("checkpoint.safetensors").exists() && !run.join("summary.json").exists());
        let steps = lines(run.join("metrics.jsonl")).len();
        assert!(steps > 0);
        if steps < 40 * 60 {
            ok(dir.path(), &["train", "--resume", run.to_str().unwrap(), "--epochs", "40", "--quiet"]);
            let weights = |run: &Path| fs::read(run.join("weights.ema.safetensors")).unwrap();
            assert!(weights(&run) == weights(&dir.path().join("through")));
            let metrics = |run: &Path| fs::read(run.join("metrics.jsonl")).unwrap();
            assert!(metrics(&run) == metrics(&dir.path().join("through")));
        }
    }
}

/// What the parent ignores, as `nohup` does, the process ignores.
#[cfg(unix)]
#[test]
fn signals_that_are_ignored_stay_so() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let line = format!(
        "trap '' HUP; exec {} train --data {data} --device cpu --batch 1 --quiet --epochs 1000000 --run r",
        env!("CARGO_BIN_EXE_thalweg")
    );
    let mut child =
        Command::new("sh").args(["-c", &line]).current_dir(dir.path()).stderr(Stdio::null()).spawn().unwrap();
    while !dir.path().join("r/checkpoint.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    for signal in ["-HUP", "-TERM"] {
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// The first weights of a run are those that it began with, whatever became of the file that they came from.
#[test]
fn a_run_killed_before_its_first_checkpoint_has_its_first_weights() {
    let dir = TempDir::new().unwrap();
    let config = config(&dir, EVERYTHING, "cpu");
    let train = |config: &Config, run: &str| {
        Prepared::open(config.clone(), Place::New(dir.path().join(run)), |_| ()).unwrap().train(&mut []).unwrap();
    };
    train(&config, "first");
    let from = dir.path().join("from.safetensors");
    fs::copy(dir.path().join("first/weights.0.safetensors"), &from).unwrap();
    let mut config = config;
    config.model.init_from = Some(from.clone());
    train(&config, "through");
    let mut fail = |event: &Event| match event {
        Event::Step(_) => Err(thalweg::Error::Device("unplugged".into())),
        _ => Ok(Control::Continue),
    };
    let run = dir.path().join("r");
    Prepared::open(config.clone(), Place::New(run.clone()), |_| ()).unwrap().train(&mut [&mut fail]).unwrap_err();
    assert!(!run.join("checkpoint.safetensors").exists());
    fs::remove_file(&from).unwrap();
    Prepared::open(config, Place::Resume(run.clone()), |_| ()).unwrap().train(&mut []).unwrap();
    assert_left_alike(&dir.path().join("through"), &run);
}

/// A second signal ends the process where it is, in the middle of an evaluation that takes seconds.
#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_process_at_once() {
    let dir = TempDir::new().unwrap();
    table(&dir);
    let rows = 40_000;
    npy(&dir.path().join("t.npy"), &[rows, 3], vec![0.5f32; 3 * rows as usize]);
    npy(&dir.path().join("u.npy"), &[rows], vec![0i64; rows as usize]);
    let args = ["train", "--data", "npy:x.npy,y.npy,t.npy,u.npy", "--device", "cpu", "--quiet", "--run", "r"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args([&args[..], &["--hidden", "1024,1024,1024"]].concat())
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    while !dir.path().join("r/config.toml").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(300));
    let end = |signal: &str| Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    end("-INT");
    std::thread::sleep(Duration::from_millis(50));
    end("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!dir.path().join("r/checkpoint.safetensors").exists());
}

/// What two processes would write at once, one writes, and the other is told so; a process that has died holds nothing.
#[test]
fn one_process_at_a_time_writes_a_run() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--device", "cpu", "--batch", "1", "--quiet", "--epochs", "1000000"];
    let args = [&args[..], &["--run", "r"]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg")).args(&args).current_dir(dir.path()).spawn().unwrap();
    while !dir.path().join("r/checkpoint.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let before = fs::read(dir.path().join("r/config.toml")).unwrap();
    let replace = [&args[..], &["--overwrite"]].concat();
    for args in [&replace[..], &["train", "--resume", "r", "--quiet"]] {
        let error = fails(dir.path(), 2, args);
        assert!(error.contains("--run: expected a run that no other process trains now, found one in r"), "{error}");
    }
    assert!(fails(dir.path(), 2, &args).contains("--overwrite"));
    // Reading disturbs nobody.
    ok(dir.path(), &["eval", "r"]);
    assert!(child.try_wait().unwrap().is_none(), "the run goes on");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read(dir.path().join("r/config.toml")).unwrap(), before);
    ok(
        dir.path(),
        &[
            &["train", "--data", &data, "--device", "cpu", "--quiet", "--run", "r", "--overwrite"][..],
            &["--epochs", "2"],
        ]
        .concat(),
    );

    // Of several that start at the same instant one has the folder.
    let children: Vec<_> = (0..6)
        .map(|seed: u32| {
            let seed = seed.to_string();
            let args = ["train", "--data", &data, "--device", "cpu", "--quiet", "--run", "same", "--seed", &seed];
            Command::new(env!("CARGO_BIN_EXE_thalweg"))
                .args(args)
                .current_dir(dir.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let statuses: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == Some(0)).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|&status| matches!(status, Some(0 | 2))), "{statuses:?}");
    let config: toml::Table = fs::read_to_string(dir.path().join("same/config.toml")).unwrap().parse().unwrap();
    let seed = config["train"]["seed"].as_integer().unwrap().to_string();
    ok(dir.path(), &["train", "--data", &data, "--device", "cpu", "--quiet", "--run", "alone", "--seed", &seed]);
    let weights = |run: &str| fs::read(dir.path().join(run).join("weights.safetensors")).unwrap();
    assert!(weights("same") == weights("alone"));
}

/// A run is gone on with as it was, or not at all: settings that were edited and data that changed are told.
#[test]
fn what_changed_since_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--device", "cpu", "--batch", "16", "--quiet", "--epochs", "3", "--run", "r"];
    ok(dir.path(), &args);
    let path = dir.path().join("r/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let refused = |edit: [&str; 2]| {
        let edited = text.replace(edit[0], edit[1]);
        assert!(edited != text, "{edit:?}");
        fs::write(&path, edited).unwrap();
        let error = fails(dir.path(), 2, &["train", "--resume", "r", "--epochs", "5"]);
        let evaluated = fails(dir.path(), 2, &["eval", "r"]);
        assert!(evaluated.contains("r/config.toml: expected what the run wrote"), "{evaluated}");
        fs::write(&path, &text).unwrap();
        error
    };
    for (edit, key) in [
        (["lr = 0.001", "lr = 0.002"], "optimizer.lr: expected 0.001, as the run has, found 0.002"),
        (["batch = 16", "batch = 17"], "train.batch: expected 16, as the run has, found 17"),
        (["seed = 0", "seed = 5"], "seed: expected 0, as the run has, found 5"),
        (["\"relu\"", "\"gelu\""], "model.activation: expected \"relu\", as the run has, found \"gelu\""),
    ] {
        let error = refused(edit);
        assert!(error.contains(key), "{error}");
    }
    // Of the test part too.
    let x = fs::read(dir.path().join("x.npy")).unwrap();
    fs::write(dir.path().join("t.npy"), &x).unwrap();
    let apart = ["train", "--data", "npy:x.npy,y.npy,t.npy,y.npy", "--device", "cpu", "--quiet", "--epochs", "2"];
    ok(dir.path(), &[&apart[..], &["--run", "t"]].concat());
    let mut other = x.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(dir.path().join("t.npy"), &other).unwrap();
    let error = fails(dir.path(), 2, &["train", "--resume", "t", "--epochs", "3"]);
    assert!(error.contains("t.npy") && error.contains("as the run has") && error.contains("--init-from"), "{error}");
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "5", "--quiet"]);
}

/// Another device is allowed, and said.
#[test]
fn another_device_is_said() {
    if common::gpu().is_none() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &["train", "--data", &data, "--device", "cpu", "--quiet", "--epochs", "1", "--run", "r"]);
    let output = thalweg(dir.path(), &["train", "--resume", "r", "--epochs", "2", "--device", "gpu"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("note") && text.contains("the run was on CPU engine"), "{text}");
}
