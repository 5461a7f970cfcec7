//! `thalweg export`: networks that onnxruntime runs, and curves as CSV.

use crate::common;

use std::collections::HashMap;
use std::path::Path;

use common::program::{fails, lines, npy, ok, table, words};
use common::python::python;
use common::rounding;
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::engine::StepMetrics;
use thalweg::event::{Event, Observer, StepReport};
use thalweg::progress::Progress;
use thalweg::run::Log;
use thalweg::schedule::Rate;

/// What `predict` says of the samples of a file, its columns from this one on, as the file `NAME.npy`.
fn predicted(dir: &Path, name: &str, run: &str, more: &str, first: &str) {
    let out = format!("{name}.csv");
    ok(dir, &words(&format!("predict {run} --device cpu --out {out} {more}")));
    let text = std::fs::read_to_string(dir.join(out)).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let skipped = header.split(',').position(|column| column == first).unwrap();
    let rows: Vec<Vec<f64>> =
        rows.lines().map(|row| row.split(',').skip(skipped).map(|cell| cell.parse().unwrap()).collect()).collect();
    npy(&dir.join(format!("{name}.npy")), &[rows.len() as u64, rows[0].len() as u64], rows.concat());
}

/// Lets onnxruntime compare models with what was predicted for `x.npy`.
#[track_caller]
fn check(dir: &Path, cases: &[Value]) {
    std::fs::write(dir.join("cases.json"), json!(cases).to_string()).unwrap();
    if let Some(printed) = python(dir, "run_onnx.py", &["cases.json"]) {
        assert_eq!(printed.trim(), format!("{} models", cases.len()));
    }
}

#[test]
fn models_say_what_predict_says() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let averages = "average={swa={start=20,every=5},ema={decay=0.9},snapshots={max=2,when={start=20,every=20}}}";
    let mut args =
        words("train --device cpu --quiet --epochs 10 --batch 8 --hidden 16,16 --activation gelu --norm batch");
    args.extend(["--residual", "--validation", "0.2", "--keep-best", "--run", "r", "--data", &data, "--set", averages]);
    ok(dir.path(), &args);
    let mut cases = Vec::new();
    for weights in ["last", "swa", "ema", "best", "snapshots"] {
        predicted(dir.path(), weights, "r", &format!("--weights {weights}"), "p0");
        let model = format!("{weights}.onnx");
        let said = ok(dir.path(), &words(&format!("export r --onnx {model} --softmax --weights {weights}")));
        assert_eq!(said, format!("the {weights} weights in {model}: input (batch, 3) -> probabilities (batch, 2)\n"));
        // Logits that tell two classes apart stay below 16.
        let bound = rounding(3, 16, 16.0);
        cases.push(json!({
            "model": model, "input": "x.npy", "want": format!("{weights}.npy"), "output": "probabilities", "bound": bound,
            "metadata": { "weights": weights },
        }));
    }
    check(dir.path(), &cases);
    // One snapshot, or a file, is a network by itself; and neither samples nor an engine's device are asked for.
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    for file in ["x.npy", "y.npy"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    ok(dir.path(), &words("export r --onnx again.onnx --softmax"));
    assert_eq!(read("again.onnx"), read("last.onnx"));
    ok(dir.path(), &words("export r --onnx one.onnx --weights snapshot.1"));
    std::fs::rename(dir.path().join("r/weights.snapshot.1.safetensors"), dir.path().join("snapshot.1")).unwrap();
    ok(dir.path(), &words("export r --onnx file.onnx --weights snapshot.1"));
    assert_eq!(read("one.onnx"), read("file.onnx"));
}

#[test]
fn a_regression_answers_in_its_units_and_classes_have_names() {
    let dir = TempDir::new().unwrap();
    let x: Vec<f32> = (0..80 * 2).map(|i| ((i * 29 % 31) as f32 - 15.0) / 10.0).collect();
    let y: Vec<f64> = x.chunks(2).map(|row| 3e5 + 5e4 * f64::from(row[0]) - 2e4 * f64::from(row[1])).collect();
    npy(&dir.path().join("x.npy"), &[80, 2], x);
    npy(&dir.path().join("y.npy"), &[80], y);
    let train = "train --data npy:x.npy,y.npy --device cpu --quiet --epochs 5 --hidden 8 --standardize-targets --run r";
    ok(dir.path(), &words(train));
    predicted(dir.path(), "want", "r", "", "prediction");
    ok(dir.path(), &words("export r --onnx r.onnx"));
    let rows: String =
        (0..40).map(|i| format!("{},{},{}\n", i % 7, ["red", "blue"][i % 2], ["no", "yes"][i % 2])).collect();
    std::fs::write(dir.path().join("t.csv"), format!("size,colour,answer\n{rows}")).unwrap();
    ok(
        dir.path(),
        &words("train --data csv:t.csv,target=answer --device cpu --quiet --epochs 3 --hidden 8 --run named"),
    );
    let encoded: Vec<f32> = (0..40).flat_map(|i| [(i % 7) as f32, (i % 2) as f32, ((i + 1) % 2) as f32]).collect();
    npy(&dir.path().join("encoded.npy"), &[40, 3], encoded);
    predicted(dir.path(), "named", "named", "", "p0");
    ok(dir.path(), &words("export named --onnx named.onnx --softmax"));
    let metadata = json!({ "classes": r#"["no","yes"]"#, "features": r#"["size","colour=blue","colour=red"]"# });
    check(
        dir.path(),
        &[
            json!({ "model": "r.onnx", "input": "x.npy", "want": "want.npy", "output": "output", "bound": rounding(2, 8, 4e5) }),
            json!({
                "model": "named.onnx", "input": "encoded.npy", "want": "named.npy", "output": "probabilities",
                "bound": rounding(2, 8, 16.0), "metadata": metadata,
            }),
        ],
    );
    let error = fails(dir.path(), 2, &words("export r --onnx s.onnx --softmax"));
    assert!(error.starts_with("error: --softmax: expected a network that was trained by cross-entropy"), "{error}");
    let error = fails(dir.path(), 2, &words("export named --csv t.csv"));
    assert_eq!(error, "error: --csv: expected another file than those of the data, found t.csv");
    assert!(!dir.path().join("s.onnx").exists());
}

#[test]
fn a_replica_is_the_run_with_its_seed() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = format!("train --data {data} --device cpu --quiet --epochs 2 --batch 8 --hidden 8");
    ok(dir.path(), &words(&format!("{train} --seed 3 --replicas 2 --checkpoint-every 1 --run two")));
    ok(dir.path(), &words(&format!("{train} --seed 4 --run one")));
    let said = ok(dir.path(), &words("export two --onnx two.onnx --replica 1"));
    assert!(said.starts_with("the last weights of replica 1 in two.onnx: input"), "{said}");
    ok(dir.path(), &words("export one --onnx one.onnx"));
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("two.onnx"), read("one.onnx"));
    // A run that was interrupted has its checkpoint.
    std::fs::remove_file(dir.path().join("two/summary.json")).unwrap();
    let said = ok(dir.path(), &words("export two --onnx two.onnx --replica 1"));
    assert!(said.contains("of the checkpoint after epoch 2, step 16 in two.onnx"), "{said}");
    assert_eq!(read("two.onnx"), read("one.onnx"));
}

#[test]
fn what_cannot_be_exported_is_told() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &words(&format!("train --data {data} --hidden 8 --epochs 1 --device cpu --quiet --run r")));
    for (args, wanted) in [
        ("r", "the following required arguments were not provided: --onnx <FILE.onnx>"),
        ("r --csv c.csv --softmax", "the following required arguments were not provided: --onnx <FILE.onnx>"),
        ("r --onnx net.pt", "--onnx: expected a file named .onnx, found net.pt"),
        ("r --csv c.txt --onnx net.onnx", "--csv: expected a file named .csv, found c.txt"),
        ("r --onnx no/net.onnx", "--onnx: expected a file in a folder that is there, found no/net.onnx"),
        ("r --onnx net.onnx --replica 1", "--replica: expected one below 1, found 1"),
        (
            "r --onnx net.onnx --weights swa",
            "weights: expected one of last, which the run has, or a file, found \"swa\"",
        ),
        ("r --onnx net.onnx --weights snapshots", "--weights: expected one of last, which the run has"),
        ("nothing --onnx net.onnx", "nothing: expected the folder of a run, found no config.toml in it"),
    ] {
        let error = fails(dir.path(), 2, &[&["export"], &words(args)[..]].concat());
        assert!(error.contains(wanted), "{args}: {error}");
    }
    let left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.ends_with("onnx") || name.ends_with("csv")).collect();
    assert_eq!(left, [""; 0]);
}

/// The values of a CSV file by step, curve and replica, each once; and the curves' names in the order of their first rows.
fn curves(path: &Path) -> HashMap<(u64, String, String), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = text.lines();
    assert_eq!(rows.next(), Some("step,epoch,curve,replica,value"));
    let mut all = HashMap::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for row in rows {
        let [step, _, curve, replica, value] = row.split(',').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let step = step.parse().unwrap();
        assert!(last.insert(curve.into(), step).is_none_or(|before| before <= step), "{curve} goes back to {step}");
        let before = all.insert((step, curve.to_string(), replica.to_string()), value.to_string());
        assert!(before.is_none(), "twice: {row}");
    }
    all
}

#[test]
fn curves_have_every_value_of_the_log() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = "--validation 0.2 --hidden 8 --batch 8 --device cpu --epochs 4 --quiet --optimizer sgd --lr 0.2 --log-every 1 \
                 --clip-norm 1 --curvature every=2 --eval-every 3steps";
    for (run, replicas) in [("one", 1), ("two", 2)] {
        ok(dir.path(), &words(&format!("train --data {data} {train} --replicas {replicas} --run {run}")));
        ok(dir.path(), &words(&format!("export {run} --csv {run}.csv")));
        let all = curves(&dir.path().join(format!("{run}.csv")));
        let mut found = 0;
        let mut is_there = |step: &Value, curve: &str, replica: &str, value: &Value| {
            let text = &all[&(step.as_u64().unwrap(), curve.into(), replica.into())];
            assert_eq!(text.parse::<f64>().unwrap(), value.as_f64().unwrap(), "{curve} at {step}");
            found += 1;
        };
        let run = dir.path().join(run);
        for line in lines(run.join("metrics.jsonl")) {
            for (curve, each) in [("loss", "losses"), ("accuracy", "accuracies"), ("curvature", "curvatures")] {
                if replicas == 2 && !line[each].is_null() {
                    (0..2).for_each(|r| is_there(&line["step"], curve, &r.to_string(), &line[each][r]));
                } else if !line[curve].is_null() {
                    is_there(&line["step"], curve, "0", &line[curve]);
                }
            }
            ["lr", "momentum", "grad_norm"].iter().for_each(|curve| is_there(&line["step"], curve, "", &line[*curve]));
        }
        let (within, epochs) = (lines(run.join("evaluations.jsonl")), lines(run.join("epochs.jsonl")));
        for line in within.iter().chain(&epochs) {
            for (curve, value) in line.as_object().unwrap().iter().filter(|(_, value)| value["replicas"].is_array()) {
                (0..replicas).for_each(|r| is_there(&line["steps"], curve, &r.to_string(), &value["replicas"][r]));
            }
        }
        for line in &epochs {
            ["seconds", "samples_per_second"]
                .iter()
                .for_each(|curve| is_there(&line["steps"], curve, "", &line[*curve]));
        }
        assert_eq!(found, all.len(), "nothing else");
    }
}

#[test]
fn losses_that_are_not_finite_are_written_as_such() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &words(&format!("train --data {data} --hidden 8 --epochs 1 --device cpu --quiet --run r")));
    let run = dir.path().join("r");
    std::fs::remove_file(run.join("metrics.jsonl")).unwrap();
    let mut log = Log::open(&run, 1, true, 0, &Progress::default()).unwrap();
    for (step, loss) in [1.5, f64::INFINITY, f64::NAN].into_iter().enumerate() {
        let step = step as u64;
        let metrics = [StepMetrics { step, loss, ..StepMetrics::default() }];
        let rate = Rate { lr: 0.1, momentum: 0.0 };
        log.on(&Event::Step(&StepReport { step, epoch: 0, rows: 8, rate, replicas: &metrics })).unwrap();
    }
    log.on(&Event::Saving).unwrap();
    ok(dir.path(), &words("export r --csv r.csv"));
    let all = curves(&dir.path().join("r.csv"));
    assert_eq!([0, 1, 2].map(|step| all[&(step, "loss".into(), "0".into())].as_str()), ["1.5", "inf", ""]);
}
