//! Runs whose data lies elsewhere: evaluated and resumed from any folder, with data that moved, and in the way in which
//! they read their own.

use crate::common;

use std::path::Path;

use common::program::{fails, json, npy, ok, table};
use serde_json::Value;
use tempfile::TempDir;

fn evaluation(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(dir, &[&["eval"], args, &["--device", "cpu", "--json"]].concat())).unwrap()
}

#[test]
fn a_run_is_read_from_any_folder_and_its_data_may_move() {
    let dir = TempDir::new().unwrap();
    let (data, other) = (table(&dir), TempDir::new().unwrap());
    let args = ["train", "--data", &data, "--validation", "0.3", "--epochs", "2", "--batch", "7", "--device", "cpu"];
    ok(dir.path(), &[&args[..], &["--quiet", "--run", "r"]].concat());
    let run = dir.path().join("r").display().to_string();
    let config = std::fs::read_to_string(dir.path().join("r/config.toml")).unwrap();
    assert!(config.contains(&dir.path().join("x.npy").display().to_string()), "{config}");

    let want = evaluation(dir.path(), &["r"]);
    assert!(want["validation_loss"]["mean"].is_f64(), "{want}");
    assert_eq!(evaluation(other.path(), &[&run]), want);
    ok(other.path(), &["train", "--resume", &run, "--epochs", "3", "--quiet"]);
    let want = evaluation(dir.path(), &["r"]);

    for name in ["x.npy", "y.npy"] {
        std::fs::rename(dir.path().join(name), other.path().join(name)).unwrap();
    }
    for command in [vec!["eval", "r"], vec!["train", "--resume", "r", "--epochs", "4"]] {
        let error = fails(dir.path(), 2, &command);
        assert!(error.contains("x.npy") && error.contains("--data SOURCE"), "{error}");
    }
    // The same samples are held out, and the names of parts stay.
    assert_eq!(evaluation(other.path(), &[&run, "--data", &data]), want);
    ok(other.path(), &["train", "--resume", &run, "--data", &data, "--epochs", "4", "--quiet"]);
    evaluation(dir.path(), &["r"]);
    // Of other data nothing is held out.
    npy(&other.path().join("x1.npy"), &[2, 3], vec![1f32; 6]);
    npy(&other.path().join("y1.npy"), &[2], vec![1i64; 2]);
    let new = evaluation(other.path(), &[&run, "--data", "npy:x1.npy,y1.npy"]);
    assert!(new.get("validation_loss").is_none(), "{new}");
    // A run goes on with its own alone.
    npy(&other.path().join("x.npy"), &[60, 3], (0..180u8).map(f32::from).collect());
    let error = fails(other.path(), 2, &["train", "--resume", &run, "--data", &data, "--epochs", "5"]);
    assert!(error.contains("expected the data of the run, found other samples in npy:x.npy"), "{error}");
    npy(&other.path().join("x.npy"), &[60, 2], vec![1f32; 120]);
    let error = fails(other.path(), 2, &["train", "--resume", &run, "--data", &data, "--epochs", "6"]);
    assert!(error.contains("expected 3 features, as before, found 2"), "{error}");
}

/// Labels from 1 and words are mapped, written down, told, and read so again.
#[test]
fn a_run_keeps_how_it_read_its_data() {
    let dir = TempDir::new().unwrap();
    let rows: String = (0..40).map(|i| format!("{i},{}\n", ["low", "high"][usize::from(i >= 20)])).collect();
    std::fs::write(dir.path().join("t.csv"), format!("a,kind\n{rows}")).unwrap();
    let train = ["--epochs", "60", "--lr", "0.01", "--batch", "10", "--device", "cpu", "--overwrite", "--run", "r"];
    let text = ok(dir.path(), &[&["train", "--data", "csv:t.csv,target=kind"], &train[..]].concat());
    assert!(text.contains("note    labels high, low are classes 0 to 1"), "{text}");
    let kept = json(dir.path().join("r/encoding.json"));
    assert_eq!(kept["classes"], serde_json::json!(["high", "low"]));

    // One class alone, of which another reading would make class 0.
    std::fs::write(dir.path().join("low.csv"), "kind,a\nlow,1\nlow,2\n").unwrap();
    let low = evaluation(dir.path(), &["r", "--data", "csv:low.csv,target=kind"]);
    assert_eq!(low["data_accuracy"]["mean"], 1.0, "{low}");
    assert_eq!(evaluation(dir.path(), &["r", "--data", "csv:low.csv"]), low);

    npy(&dir.path().join("x.npy"), &[40, 1], (0..40).map(f64::from).collect());
    npy(&dir.path().join("y.npy"), &[40], (0..40).map(|i| 1.0 + f64::from(u8::from(i >= 20))).collect());
    let args = [&["train", "--data", "npy:x.npy,y.npy"], &train[..]].concat();
    assert!(fails(dir.path(), 2, &args).contains("--loss cross_entropy"));
    let text = ok(dir.path(), &[&args[..], &["--loss", "cross_entropy"]].concat());
    assert!(text.contains("labels 1, 2 are classes 0 to 1"), "{text}");
    npy(&dir.path().join("x2.npy"), &[2, 1], vec![38f64, 39.]);
    npy(&dir.path().join("y2.npy"), &[2], vec![2f64, 2.]);
    assert_eq!(evaluation(dir.path(), &["r", "--data", "npy:x2.npy,y2.npy"])["data_accuracy"]["mean"], 1.0);
    // What the configuration records says the same again.
    let again = ok(dir.path(), &["train", "r/config.toml", "--run", "again"]);
    assert!(again.contains("labels 1, 2 are classes 0 to 1"), "{again}");
}

/// Without the record of how its data was read nobody guesses.
#[test]
fn a_folder_without_that_record_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &["train", "--data", &data, "--epochs", "1", "--device", "cpu", "--quiet", "--run", "r"]);
    std::fs::remove_file(dir.path().join("r/encoding.json")).unwrap();
    for args in [
        &["eval", "r"][..],
        &["predict", "r", "--out", "p.csv"],
        &["train", "--resume", "r", "--epochs", "2"],
        &["train", "--data", &data, "--init-from", "r", "--run", "n"],
    ] {
        let error = fails(dir.path(), 2, args);
        assert!(error.contains("r/encoding.json: No such file"), "{error}");
    }
}
