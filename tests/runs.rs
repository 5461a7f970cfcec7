//! Which runs of the program begin, and which go on: their configurations, interruption and resuming.

mod common;

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
    both(&["--set", warm_up], ["schedule.pct_start", "steps"]);
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
            line.retain(|key, _| !key.contains("second") && !key.starts_with("best_"));
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
    std::fs::write(&checkpoint, "no").unwrap();
    let error = fails(dir.path(), 2, &["train", "--resume", "killed", "--epochs", "61"]);
    assert!(error.contains("checkpoint.safetensors: expected a checkpoint of this run"), "{error}");
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
