//! What `thalweg report` shows of predictions, in a browser, and where it can show none.
#![cfg(feature = "cli")]

use crate::common;

use std::fs;
use std::path::Path;

use common::program::{fails, json, npy, ok, program, words};
use common::python::python;
use serde_json::Value;
use tempfile::TempDir;

/// What a report of the run `r` holds of predictions.
fn quality(dir: &Path) -> Value {
    ok(dir, &words("report r --out r.html --json r.json"));
    json(dir.join("r.json"))[0]["quality"].clone()
}

/// A table of three classes with hostile names, and a run on it that leaves averages.
fn classes(dir: &Path) {
    let name = |i: usize| ["</script><b>", "שלום", "\"a\" <!-- &amp;"][i % 3];
    let row = |i: usize| format!("{}.5,{},\"{}\"\n", i * 7 % 11, i * 5 % 13, name(i).replace('"', "\"\""));
    fs::write(dir.join("t.csv"), format!("x,y,label\n{}", (0..120).map(row).collect::<String>())).unwrap();
    let averages = "average={swa={start=20,every=5},ema={decay=0.9},snapshots={max=2,when={start=20,every=20}}}";
    let train =
        "train --data csv:t.csv,target=label --hidden 8 --batch 8 --epochs 6 --device cpu --quiet --run classes";
    ok(dir, &[&words(train)[..], &["--set", averages]].concat());
}

#[test]
fn predictions_are_read_in_a_browser() {
    let dir = TempDir::new().unwrap();
    classes(dir.path());
    ok(dir.path(), &words("train --data synthetic --hidden 16 --epochs 1 --device cpu --quiet --run pictures"));
    let x: Vec<f32> = (0..300 * 2).map(|i| ((i * 29 % 31) as f32 - 15.0) / 10.0).collect();
    let y: Vec<f64> = x.chunks(2).flat_map(|x| [f64::from(x[0]) * 3e4, f64::from(x[1] * x[0]) - 0.25]).collect();
    npy(&dir.path().join("x.npy"), &[300, 2], x);
    npy(&dir.path().join("y.npy"), &[300, 2], y);
    let train = "train --data npy:x.npy,y.npy --loss mse --standardize-targets --hidden 8 --epochs 3 --batch 16";
    ok(dir.path(), &words(&format!("{train} --device cpu --replicas 2 --quiet --run values")));
    let pages = ["classes", "pictures", "values"].map(|run| format!("{run}/report.html"));
    for run in ["classes", "pictures", "values"] {
        ok(dir.path(), &["report", run]);
    }
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let Some(faults) = python(dir.path(), "pages.py", &pages) else { return };
    assert_eq!(faults.trim(), "");
    assert_eq!(python(dir.path(), "quality.py", &pages).unwrap().trim(), "");
}

/// What a report shows is what `eval` and `predict` tell.
#[test]
fn reports_agree_with_evaluations() {
    let dir = TempDir::new().unwrap();
    classes(dir.path());
    fs::rename(dir.path().join("classes"), dir.path().join("r")).unwrap();
    let told = quality(dir.path());
    let error = fails(dir.path(), 2, &words("report r --part test --out test.html"));
    assert_eq!(error, "error: --part: expected one of train, which the data have, found test");
    assert!(!dir.path().join("test.html").exists());
    for set in told["weights"].as_array().unwrap() {
        let name = set["name"].as_str().unwrap();
        let text = ok(dir.path(), &["eval", "r", "--weights", name, "--device", "cpu", "--json"]);
        let of_eval: Value = serde_json::from_str(&text).unwrap();
        let prefix = if name == "last" { String::new() } else { format!("{name}_") };
        assert_eq!(set["loss"], of_eval[format!("{prefix}train_loss")], "{name}");
        assert_eq!(set["accuracy"], of_eval[format!("{prefix}train_accuracy")], "{name}");
        for key in ["confusion", "macro_mean", "weighted_mean", "calibration", "calibration_error"] {
            assert_eq!(set["scores"][key], of_eval[key], "{name}: {key}");
        }
        ok(dir.path(), &["predict", "r", "--weights", name, "--device", "cpu", "--out", "p.jsonl"]);
        let rows = common::program::lines(dir.path().join("p.jsonl"));
        for worst in set["worst"].as_array().unwrap() {
            let sample = &told["worst_samples"][worst["sample"].as_u64().unwrap() as usize];
            let row = &rows[sample["index"].as_u64().unwrap() as usize];
            let class = |class: &Value| told["classes"][class.to_string()].clone();
            assert_eq!(
                [class(&sample["label"]), class(&worst["prediction"])],
                [row["label"].clone(), row["prediction"].clone()]
            );
            let probability = row[format!("p{}", worst["prediction"])].as_f64().unwrap();
            // Told to seven digits.
            assert!((worst["confidence"].as_f64().unwrap() - probability).abs() < 1e-6, "{worst} {row}");
        }
    }
}

/// Without data a report shows the rest, and says what is missing.
#[test]
fn a_report_without_data_has_no_predictions() {
    let dir = TempDir::new().unwrap();
    classes(dir.path());
    fs::rename(dir.path().join("classes"), dir.path().join("r")).unwrap();
    fs::remove_file(dir.path().join("t.csv")).unwrap();
    let output = program(dir.path(), &words("report r --out r.html --json r.json")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.starts_with("warning: no predictions are shown: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let document = &json(dir.path().join("r.json"))[0];
    assert!(document.get("quality").is_none() && document["warnings"][0].as_str().unwrap().contains("t.csv"));
    fails(dir.path(), 2, &words("eval r"));
}
