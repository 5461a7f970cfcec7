//! Which runs of the program begin, and which go on: their configurations, interruption and resuming.

use crate::common;

use std::path::Path;
use std::process::Command;

use common::program::{fails, json, lines, ok, table, tensors};
use serde_json::Value;
use tempfile::TempDir;
use thalweg::run::Config;

#[test]
fn contradictions_are_refused_before_training() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let refused = |more: &[&str]| {
        let args = ["train", "--data", &data, "--batch", "16", "--epochs", "2", "--device", "cpu", "--run", "r"];
        let error = fails(dir.path(), 2, &[&args[..], more].concat());
        assert!(!dir.path().join("r").exists(), "{more:?}");
        error
    };
    let both = |more: &[&str], fields: [&str; 2]| {
        let error = refused(more);
        assert!(fields.iter().all(|field| error.contains(field)), "{more:?}: {error}");
    };
    both(&["--restore-best"], ["stop.restore_best", "data.validation"]);
    both(&["--patience", "3"], ["stop.patience", "data.validation"]);
    both(&["--set", "average={swa={start=8}}"], ["average.swa", "train.epochs"]);
    both(&["--set", "average={swa={start=2,unit=\"epoch\"}}"], ["average.swa", "train.epochs"]);
    both(&["--set", "average={swa={at=\"minima\"}}"], ["average.swa", "schedule"]);
    both(&["--set", "average={ema={bias_correction=true,warm_up=true}}"], ["average.ema.warm_up", "bias_correction"]);
    let one_cycle = "schedule={name=\"one_cycle\",max_lr=1.0,total_steps=8,pct_start=0.05}";
    both(&["--set", one_cycle], ["schedule.pct_start", "total_steps"]);
    let warm_up = "schedule={name=\"sequential\",milestones=[4],parts=[{name=\"linear\",total_iters=4},{name=\"one_cycle\",max_lr=1.0,pct_start=0.1}]}";
    both(&["--set", warm_up], ["schedule.parts[1].pct_start", "steps"]);
    both(&["--set", "schedule={name=\"multistep\",milestones=[5,3]}"], ["schedule.milestones", "increasing"]);
    both(&["--norm", "batch", "--batch", "1"], ["train.batch", "model.norm"]);
    // 60 samples in batches of 59 leave one over.
    both(&["--norm", "batch", "--batch", "59"], ["train.batch", "drop_last"]);
    both(&["--min-lr", "1", "--lr", "0.1"], ["stop.min_lr", "optimizer.lr"]);
    both(&["--hidden", "none", "--dropout", "0.5"], ["model.dropout", "model.hidden"]);
    both(&["--hidden", "8,4", "--residual"], ["model.residual", "model.hidden"]);
    both(&["--set", "average={lookahead={every=1000}}"], ["average.lookahead.every", "train.epochs"]);
    both(&["--set", "average={swa={after_updates=[3,1000]}}"], ["average.swa.after_updates", "train.epochs"]);
    both(&["--target", "nan", "--metric", "train_loss"], ["stop.target", "number"]);
    both(&["--set", "schedule={name=\"cosine\",unit=\"epochs\"}"], ["schedule.unit", "step or epoch"]);
    both(&["--flip"], ["augment.flip", "table"]);
    both(&["--dropout", "1"], ["model.dropout", "[0, 1)"]);
    let adam = ["--optimizer", "adam", "--schedule", "one_cycle", "--set"];
    both(&[&adam[..], &["schedule.max_momentum=1.0"]].concat(), ["schedule.max_momentum", "[0, 1)"]);
    both(&[&adam[..], &["schedule.base_momentum=1.0"]].concat(), ["schedule.base_momentum", "[0, 1)"]);
    both(&["--patience", "2", "--metric", "swa_test_loss"], ["stop.patience", "average.swa"]);
    both(&["--keep-best", "--metric", "ema_test_loss"], ["stop.keep_best", "average.ema"]);
    both(&["--eval-every", "0steps"], ["train.eval_every", "at least 1"]);
    both(&["--eval-every", "2miles"], ["train.eval_every", "200steps"]);
    both(&["--schedule-epochs", "0"], ["schedule.epochs", "at least 1"]);
    both(&["--set", "schedule={name=\"cosine\",epochs=\"all\"}"], ["schedule.epochs", "number of epochs"]);
    let part =
        |text: &str| format!("schedule={{name=\"sequential\",milestones=[4],parts=[{{name=\"constant\"}},{text}]}}");
    both(&["--set", &part("{name=\"cosine\",tmax=3}")], ["schedule.parts[1].tmax: unknown key", "did you mean t_max?"]);
    both(&["--set", &part("{name=\"cosin\"}")], ["schedule.parts[1].name: ", "cosine"]);
    both(&["--set", &part("{name=\"cosine\",eta_min=\"low\"}")], ["schedule.parts[1].eta_min: ", "low"]);
    both(&["--set", &part("{name=\"cosine_warm_restarts\",t_0=0}")], ["schedule.parts[1].t_0: ", "at least 1"]);
    both(&["--set", "average={ema={decya=0.9}}"], ["average.ema.decya: unknown key", "did you mean decay?"]);
    both(&["--mixup", "-1"], ["augment.mixup", "[0, 1000]"]);
}

/// The recipes that the README tells of are configurations.
#[test]
fn recipes_are_read() {
    for name in ["fashion-mnist", "cifar10"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.toml"));
        let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let config = Config::resolve(table, Vec::new(), Vec::new()).unwrap();
        let kept = usize::from(config.average.swa.is_some()) + usize::from(config.average.ema.is_some());
        let snapshots = config.average.snapshots.as_ref().map_or(0, |snapshots| snapshots.max);
        assert!(config.train.replicas == 4 && kept + snapshots == 7, "{name}: {config:?}");
    }
}

/// What a run leaves must not depend on its interruption: every weight, and every line but for the times in it.
fn assert_same_run(dir: &Path, one: &str, other: &str, files: &[&str]) {
    for file in files {
        assert!(tensors(&dir.join(one).join(file)) == tensors(&dir.join(other).join(file)), "{file}");
    }
    assert_eq!(lines(dir.join(one).join("metrics.jsonl")), lines(dir.join(other).join("metrics.jsonl")));
    let epochs = |run: &str| -> Vec<Value> {
        let mut lines = lines(dir.join(run).join("epochs.jsonl"));
        lines.iter_mut().for_each(|line| {
            let line = line.as_object_mut().unwrap();
            // The best weights are evaluated where a run ends.
            line.retain(|key, _| !key.contains("second") && !key.starts_with("best_") && key != "checksum");
        });
        lines
    };
    assert_eq!(epochs(one), epochs(other));
}

const EVERYTHING: [&str; 5] = [
    "average={swa={start=5,every=3},ema={decay=0.9},snapshots={max=2,when={start=1,unit=\"epoch\"}},lookahead={every=4}}",
    "schedule={name=\"plateau\",factor=0.37,patience=0,threshold=0.5}",
    "model={hidden=[8,8],norm=\"batch\",residual=true,dropout=0.2,activation=\"silu\"}",
    "augment={mixup=0.4,noise=0.1}",
    "stop={metric=\"validation_loss\",keep_best=true}",
];

fn everything<'a>(data: &'a str, device: &'a str, epochs: &'a str) -> Vec<&'a str> {
    let mut args = vec!["train", "--data", data, "--validation", "0.2", "--batch", "12", "--device", device];
    args.extend(["--epochs", epochs, "--replicas", "2", "--log-every", "1", "--quiet"]);
    args.extend(["--optimizer", "adam", "--lr", "0.02"]);
    EVERYTHING.iter().for_each(|set| args.extend(["--set", set]));
    args
}

#[test]
fn a_resumed_run_is_the_run() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for (device, precision) in [("cpu", "f32"), ("cpu", "f64"), ("gpu", "f32"), ("gpu", "mixed")] {
        if device == "gpu" && common::gpu().is_none() {
            return;
        }
        let (through, resumed) = (format!("{device}-{precision}-through"), format!("{device}-{precision}-resumed"));
        let precision = ["--precision", precision, "--run"];
        ok(dir.path(), &[&everything(&data, device, "6")[..], &precision, &[&through]].concat());
        ok(dir.path(), &[&everything(&data, device, "2")[..], &precision, &[&resumed]].concat());
        for epochs in ["3", "6"] {
            ok(dir.path(), &["train", "--resume", &resumed, "--epochs", epochs, "--quiet"]);
        }
        let names =
            ["weights", "weights.swa", "weights.ema", "weights.best", "weights.snapshot.0", "weights.snapshot.1"];
        let mut files: Vec<String> =
            names.iter().flat_map(|name| [0, 1].map(|r| format!("{name}.{r}.safetensors"))).collect();
        files.push("checkpoint.safetensors".into());
        assert_same_run(dir.path(), &through, &resumed, &files.iter().map(String::as_str).collect::<Vec<_>>());
        let lr = |i: usize| lines(dir.path().join(&through).join("epochs.jsonl"))[i]["lr"].as_f64().unwrap();
        assert!(lr(5) < lr(0), "the plateau reduced the rate");
    }
}

/// Its weights are f32, so that a machine without a GPU can evaluate them.
#[test]
fn a_run_in_mixed_precision_is_evaluated_anywhere() {
    if common::gpu().is_none() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &["train", "--data", &data, "--device", "gpu", "--precision", "mixed", "--run", "m", "--quiet"]);
    assert!(lines(dir.path().join("m/metrics.jsonl"))[0]["loss_scales"][0] == 65536.0);
    let loss = |device: &str| {
        let json: Value = serde_json::from_str(&ok(dir.path(), &["eval", "m", "--device", device, "--json"])).unwrap();
        json["train_loss"]["mean"].as_f64().unwrap_or_else(|| panic!("{json}"))
    };
    let (gpu, cpu) = (loss("gpu"), loss("cpu"));
    // Halves have three digits, and the loss is a mean over many samples.
    assert!((gpu - cpu).abs() < 2e-3 * cpu, "{gpu} and {cpu}");
    assert!(
        fails(dir.path(), 2, &["train", "--data", &data, "--device", "cpu", "--precision", "mixed"]).contains("GPU")
    );
}

/// Killed while it runs, and resumed: the process leaves whole files, whenever it dies.
#[test]
fn a_killed_run_goes_on() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--batch", "2", "--device", "cpu", "--quiet", "--hidden", "64,64"];
    let args = [&args[..], &["--schedule", "cosine", "--epochs", "60"]].concat();
    ok(dir.path(), &[&args[..], &["--run", "through"]].concat());
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args([&args[..], &["--run", "killed"]].concat())
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let checkpoint = dir.path().join("killed/checkpoint.safetensors");
    while !checkpoint.exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ok(dir.path(), &["train", "--resume", "killed", "--quiet"]);
    assert_same_run(dir.path(), "through", "killed", &["weights.safetensors"]);
    assert!(fails(dir.path(), 2, &["train", "--resume", "nowhere"]).contains("nowhere"));
}

/// What the checkpoint does not fit is refused by name, and a run that is over stays as it is.
#[test]
fn only_what_goes_on_is_resumed() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--batch", "16", "--epochs", "2", "--device", "cpu", "--quiet", "--run", "r"];
    ok(dir.path(), &args);
    let before = json(dir.path().join("r/summary.json"));
    let refused = |more: &[&str]| fails(dir.path(), 2, &[&["train", "--resume", "r"], more].concat());
    let error = refused(&[]);
    assert!(error.contains("train.epochs: expected more than the 2 that the run has"), "{error}");
    for (more, field) in [
        (["--batch", "8"], "train.batch"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--seed", "1"], "train.seed"),
        (["--normalize", "none"], "data.normalize"),
        (["--hidden", "7"], "model.hidden"),
        (["--validation", "0.1"], "data.validation"),
    ] {
        let error = refused(&[&more[..], &["--epochs", "4"]].concat());
        assert!(error.contains(field) && error.contains("as the run has"), "{error}");
    }
    assert_eq!(json(dir.path().join("r/summary.json")), before);
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "4", "--quiet"]);
    assert_eq!(json(dir.path().join("r/summary.json"))["epochs"], 4);
    assert!(std::fs::read_to_string(dir.path().join("r/config.toml")).unwrap().contains("epochs = 4"));

    // One that ended early goes on only if it is told to end elsewhere.
    let early = ["--validation", "0.3", "--patience", "1", "--set", "stop.min_delta=100.0", "--overwrite"];
    ok(dir.path(), &[&args[..], &["--epochs", "9"], &early].concat());
    assert!(refused(&[]).contains("stop.patience"));
    ok(dir.path(), &["train", "--resume", "r", "--patience", "3", "--quiet"]);
    assert_eq!(json(dir.path().join("r/summary.json"))["epochs"], 4);
}

/// Evaluations by steps, and what hangs on them, go on where they were.
#[test]
fn a_resumed_run_keeps_the_count_of_steps() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for device in ["cpu", "gpu"] {
        if device == "gpu" && common::gpu().is_none() {
            return;
        }
        let (through, resumed) = (format!("{device}-through"), format!("{device}-resumed"));
        // Four steps an epoch.
        let by_steps = ["--eval-every", "3steps", "--metric", "ema_test_loss", "--patience", "9", "--run"];
        ok(dir.path(), &[&everything(&data, device, "6")[..], &by_steps, &[&through]].concat());
        ok(dir.path(), &[&everything(&data, device, "2")[..], &by_steps, &[&resumed]].concat());
        for epochs in ["3", "6"] {
            ok(dir.path(), &["train", "--resume", &resumed, "--epochs", epochs, "--quiet"]);
        }
        let evaluations = |run: &str| -> Vec<Value> {
            let mut lines = lines(dir.path().join(run).join("evaluations.jsonl"));
            lines.iter_mut().for_each(|line| line.as_object_mut().unwrap().retain(|key, _| !key.contains("second")));
            lines
        };
        let steps: Vec<u64> = evaluations(&through).iter().map(|line| line["steps"].as_u64().unwrap()).collect();
        assert_eq!(steps, [3, 6, 9, 15, 18, 21]);
        assert!(evaluations(&through) == evaluations(&resumed), "{device}");
        let weights = |run: &str, name: &str| tensors(&dir.path().join(run).join(name));
        for name in ["weights.0.safetensors", "weights.ema.1.safetensors", "weights.swa.0.safetensors"] {
            assert!(weights(&through, name) == weights(&resumed, name), "{name}");
        }
        assert_eq!(
            lines(dir.path().join(&through).join("metrics.jsonl")),
            lines(dir.path().join(&resumed).join("metrics.jsonl"))
        );
    }
}

/// A small run that was to go on.
fn begun(dir: &TempDir, more: &[&str]) {
    let data = table(dir);
    let args = ["train", "--data", &data, "--validation", "0.3", "--batch", "14", "--device", "cpu", "--quiet"];
    ok(dir.path(), &[&args[..], &["--overwrite", "--run", "r", "--lr", "0.1"], more].concat());
}

fn rates(dir: &TempDir, run: &str) -> Vec<f64> {
    lines(dir.path().join(run).join("epochs.jsonl")).iter().map(|line| line["lr"].as_f64().unwrap()).collect()
}

/// More or fewer epochs move the rates of some schedules: nobody is to find that out afterwards.
#[test]
fn a_schedule_is_not_stretched_without_a_word() {
    let dir = TempDir::new().unwrap();
    let sequence =
        "schedule={name=\"sequential\",milestones=[4],parts=[{name=\"linear\",total_iters=4},{name=\"cosine\"}]}";
    for schedule in [&["--schedule", "one_cycle"][..], &["--schedule", "cosine"], &["--set", sequence]] {
        // Three steps an epoch.
        begun(&dir, &[&["--epochs", "4", "--log-every", "1"], schedule].concat());
        let before = rates(&dir, "r");
        let error = fails(dir.path(), 2, &["train", "--resume", "r", "--epochs", "8"]);
        let last = lines(dir.path().join("r/metrics.jsonl"))[11]["lr"].as_f64().unwrap();
        for part in ["train.epochs: expected 4", "found 8", "step 12", &format!("{last:.6e}"), "--schedule-epochs 4"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(rates(&dir, "r"), before);
        ok(dir.path(), &["train", "--resume", "r", "--epochs", "6", "--schedule-epochs", "4", "--quiet"]);
        assert_eq!(rates(&dir, "r"), [&before[..], &[last; 2]].concat());
        // The choice is kept.
        ok(dir.path(), &["train", "--resume", "r", "--epochs", "7", "--quiet"]);
        assert_eq!(rates(&dir, "r"), [&before[..], &[last; 3]].concat());
        ok(dir.path(), &["train", "--resume", "r", "--epochs", "10", "--schedule-epochs", "10", "--quiet"]);
        assert!(rates(&dir, "r")[7] > 2.0 * last);
    }
    // A run that is to be shorter than it was made for.
    let early = ["--schedule", "cosine", "--patience", "1", "--set", "stop.min_delta=100.0"];
    begun(&dir, &[&["--epochs", "4"], &early[..]].concat());
    let error = fails(dir.path(), 2, &["train", "--resume", "r", "--patience", "9", "--epochs", "3"]);
    assert!(error.contains("expected 4") && error.contains("found 3: the learning rate at step 6"), "{error}");
    ok(dir.path(), &["train", "--resume", "r", "--patience", "9", "--quiet"]);
    assert_eq!(rates(&dir, "r").len(), 4);
    // What does not depend on the length goes on.
    for schedule in [
        "schedule={name=\"exponential\",gamma=0.9}",
        "schedule={name=\"plateau\"}",
        "schedule={name=\"cosine\",t_max=5}",
    ] {
        begun(&dir, &["--epochs", "2", "--set", schedule]);
        ok(dir.path(), &["train", "--resume", "r", "--epochs", "4", "--quiet"]);
    }
}

/// A run may be made for more epochs than it has at first, and is then the longer run.
#[test]
fn a_schedule_may_be_made_for_more_epochs() {
    let dir = TempDir::new().unwrap();
    let averages = "average={swa={at=\"minima\"},snapshots={max=9},ema={}}";
    let sets = ["--set", "schedule={name=\"cosine_warm_restarts\",t_0=2}", "--set", averages, "--schedule-epochs", "5"];
    begun(&dir, &[&["--epochs", "5"], &sets[..]].concat());
    std::fs::rename(dir.path().join("r"), dir.path().join("whole")).unwrap();
    begun(&dir, &[&["--epochs", "3"], &sets[..]].concat());
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "5", "--quiet"]);
    assert_same_run(
        dir.path(),
        "whole",
        "r",
        &["weights.safetensors", "weights.swa.safetensors", "weights.snapshot.6.safetensors"],
    );
}

/// A stretched schedule has its minima elsewhere; SWA stays the mean of all that it sampled.
#[test]
fn averages_at_minima_know_what_they_sampled() {
    let dir = TempDir::new().unwrap();
    let averages = "average={swa={at=\"minima\"},snapshots={max=9}}";
    // Three steps an epoch: the run's end cuts the second period short.
    let sets = ["--set", "schedule={name=\"cosine_warm_restarts\",t_0=4}", "--set", averages];
    begun(&dir, &[&["--epochs", "2"], &sets[..]].concat());
    let error = fails(dir.path(), 2, &["train", "--resume", "r", "--epochs", "4"]);
    assert!(error.contains("train.epochs: expected 2") && error.contains("sampled"), "{error}");
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "3", "--schedule-epochs", "4", "--quiet"]);
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "4", "--quiet"]);
    let values = |file: &str| -> Vec<Vec<f32>> {
        let floats = |bytes: Vec<u8>| bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        tensors(&dir.path().join("r").join(file)).into_iter().map(|(_, bytes)| floats(bytes)).collect()
    };
    // After steps 3, 5 (the first end), 7 and 11.
    let snapshots: Vec<_> = (0..4).map(|i| values(&format!("weights.snapshot.{i}.safetensors"))).collect();
    assert!(!dir.path().join("r/weights.snapshot.4.safetensors").exists());
    for (t, tensor) in values("weights.swa.safetensors").iter().enumerate() {
        for (i, &mean) in tensor.iter().enumerate() {
            let want = snapshots.iter().map(|s| f64::from(s[t][i])).sum::<f64>() / 4.0;
            // Four roundings of numbers of about 1.
            assert!((f64::from(mean) - want).abs() < 8.0 * f64::from(f32::EPSILON), "{mean} {want}");
        }
    }
}

/// What is watched may change when a run goes on: another metric begins anew, and so do best weights that were not kept.
#[test]
fn the_best_begins_anew_where_it_must() {
    let dir = TempDir::new().unwrap();
    let best = || json(dir.path().join("r/summary.json"))["best"].clone();
    let epochs = || lines(dir.path().join("r/epochs.jsonl"));
    let from = |line: usize, key: &str| -> Vec<f64> {
        epochs()[line..].iter().map(|line| line[key]["mean"].as_f64().unwrap()).collect()
    };
    // A loss is below 1, as an accuracy is: one must not be taken for the other.
    begun(&dir, &["--epochs", "3", "--keep-best"]);
    ok(
        dir.path(),
        &["train", "--resume", "r", "--epochs", "9", "--metric", "test_accuracy", "--patience", "5", "--quiet"],
    );
    let highest = from(3, "test_accuracy").into_iter().fold(0.0, f64::max);
    let found = best();
    assert_eq!(
        (&found["metric"], &found["mean"], &found["from_epoch"]),
        (&"test_accuracy".into(), &highest.into(), &3.into())
    );
    assert_eq!(json(dir.path().join("r/summary.json"))["best_test_accuracy"]["mean"], highest);

    // At this rate the loss rises: the best of the later epochs is worse than the first, whose weights nobody kept.
    begun(&dir, &["--epochs", "2", "--patience", "9"]);
    let patience = || lines(dir.path().join("r/epochs.jsonl")).len();
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "5", "--restore-best", "--quiet"]);
    let (found, losses) = (best(), from(2, "validation_loss"));
    assert_eq!((patience(), &found["from_epoch"]), (5, &2.into()));
    let least = losses.into_iter().fold(f64::INFINITY, f64::min);
    assert_eq!(found["mean"], least);
    let evaluated: Value = serde_json::from_str(&ok(dir.path(), &["eval", "r", "--json"])).unwrap();
    assert_eq!(evaluated["validation_loss"]["mean"], least);
}

/// Data that does not fit the checkpoint is refused in a line, in every precision.
#[test]
fn a_run_goes_on_with_its_own_data() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let values = |n: usize| (0..n).map(|i| i as f32 / 10.0).collect::<Vec<f32>>();
    common::program::npy(&dir.path().join("x4.npy"), &[60, 4], values(240));
    common::program::npy(&dir.path().join("xs.npy"), &[50, 3], values(150));
    common::program::npy(
        &dir.path().join("ys.npy"),
        &[50],
        (0..50).map(|i| i64::from(i % 2 == 0)).collect::<Vec<i64>>(),
    );
    let devices: &[(&str, &str)] =
        if common::gpu().is_some() { &[("cpu", "f32"), ("gpu", "f32"), ("gpu", "mixed")] } else { &[("cpu", "f32")] };
    for (device, precision) in devices {
        let args = ["train", "--data", &data, "--epochs", "1", "--batch", "20", "--device", device, "--quiet"];
        ok(dir.path(), &[&args[..], &["--precision", precision, "--overwrite", "--run", "r"]].concat());
        let refused = |data: &str| fails(dir.path(), 2, &["train", "--resume", "r", "--epochs", "2", "--data", data]);
        let error = refused("npy:x4.npy,y.npy");
        assert!(error.contains("expected 3 features, as before, found 4"), "{error}");
        let error = refused("npy:xs.npy,ys.npy");
        assert!(error.contains("expected the data of the run, found other samples"), "{error}");
    }
}

/// Fine-tuning: another run's folder stands for its weights.
#[test]
fn a_run_may_start_from_another() {
    let dir = TempDir::new().unwrap();
    begun(&dir, &["--epochs", "2", "--replicas", "2"]);
    let start = |from: &str, more: &[&str]| {
        let args = ["train", "--data", "npy:x.npy,y.npy", "--device", "cpu", "--quiet", "--overwrite", "--run", "s"];
        ok(dir.path(), &[&args[..], &["--epochs", "1", "--lr", "1e-30", "--init-from", from], more].concat());
    };
    // At this rate no weight moves.
    let same = |one: &str, other: &str| tensors(&dir.path().join(one)) == tensors(&dir.path().join(other));
    start("r", &["--replicas", "2"]);
    assert!(same("r/weights.1.safetensors", "s/weights.1.safetensors"));
    assert!(!same("s/weights.0.safetensors", "s/weights.1.safetensors"));
    start("r", &[]);
    assert!(same("r/weights.0.safetensors", "s/weights.safetensors"));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let error =
        fails(dir.path(), 2, &["train", "--data", "npy:x.npy,y.npy", "--device", "cpu", "--init-from", "empty"]);
    assert!(error.contains("empty: expected the folder of a run with weights"), "{error}");
    let error = fails(dir.path(), 2, &["eval", "empty"]);
    assert!(error.contains("config.toml"), "{error}");
    for file in ["weights.0.safetensors", "weights.1.safetensors", "checkpoint.safetensors"] {
        std::fs::remove_file(dir.path().join("r").join(file)).unwrap();
    }
    let error = fails(dir.path(), 2, &["eval", "r"]);
    assert!(error.contains("--resume") && error.contains("checkpoint"), "{error}");
}

/// What a run writes last is written when it goes on, if it was killed before.
#[test]
fn an_end_that_was_not_written_is() {
    let dir = TempDir::new().unwrap();
    let averages = "average={swa={start=2,every=2},ema={decay=0.9},snapshots={max=2,when={start=2,every=3}}}";
    for more in [&[][..], &["--restore-best"], &["--patience", "1", "--set", "stop.min_delta=100", "--keep-best"]] {
        begun(&dir, &[&["--epochs", "5", "--norm", "batch", "--replicas", "2", "--set", averages], more].concat());
        let run = dir.path().join("r");
        let is_written = |name: &str| name.starts_with("weights") || name == "summary.json";
        let written = || -> std::collections::BTreeMap<String, Vec<u8>> {
            let names = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names
                .filter(|name| is_written(name))
                .map(|name| (name.clone(), std::fs::read(run.join(name)).unwrap()))
                .collect()
        };
        let before = written();
        before.keys().for_each(|name| std::fs::remove_file(run.join(name)).unwrap());
        ok(dir.path(), &["train", "--resume", "r", "--quiet"]);
        let mut after = written();
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        // Of the summary the paces of two processes may differ.
        let numbers = |bytes: &[u8]| {
            let mut summary: Value = serde_json::from_slice(bytes).unwrap();
            ["seconds", "samples_per_second", "of_limit"]
                .iter()
                .for_each(|key| drop(summary.as_object_mut().unwrap().remove(*key)));
            summary
        };
        assert_eq!(numbers(&before["summary.json"]), numbers(&after["summary.json"]));
        after.insert("summary.json".into(), before["summary.json"].clone());
        assert!(before == after, "{more:?}: the same weights");
        // Once it is written, nothing is left to do.
        fails(dir.path(), 2, &["train", "--resume", "r"]);
    }
}

/// A run that went back to its best weights goes on from its last.
#[test]
fn restored_runs_go_on_from_their_last_weights() {
    let dir = TempDir::new().unwrap();
    let train = |epochs: &str| begun(&dir, &["--epochs", epochs, "--restore-best", "--lr", "0.5"]);
    train("6");
    let want = tensors(&dir.path().join("r/checkpoint.safetensors"));
    let restored = tensors(&dir.path().join("r/weights.safetensors"));
    train("3");
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "6", "--quiet"]);
    assert!(tensors(&dir.path().join("r/checkpoint.safetensors")) == want);
    assert!(tensors(&dir.path().join("r/weights.safetensors")) == restored);
}
