//! `thalweg predict` and `thalweg eval`: what a trained run says of samples, and how good it is.

use crate::common;

use std::path::Path;

use common::program::{fails, json, npy, ok, table, words};
use serde_json::Value;
use tempfile::TempDir;

/// Trains on the small table with averages.
fn trained() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let averages = "average={swa={start=20,every=5},ema={decay=0.9},snapshots={max=2,when={start=20,every=20}}}";
    let mut args = words("train --device cpu --quiet --epochs 10 --batch 8 --optimizer sgd --lr 0.5 --run r");
    args.extend(["--data", &data, "--set", averages]);
    ok(dir.path(), &args);
    (dir, data)
}

fn evaluation(dir: &TempDir, more: &[&str]) -> Value {
    serde_json::from_str(&ok(dir.path(), &[&["eval", "r", "--device", "cpu", "--json"], more].concat())).unwrap()
}

/// A CSV file's rows, as numbers; an empty cell is NaN.
fn csv(path: &Path) -> (String, Vec<Vec<f64>>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(String::from);
    let header = lines.next().unwrap();
    let number = |cell: &str| if cell.is_empty() { f64::NAN } else { cell.parse().unwrap() };
    (header, lines.map(|line| line.split(',').map(number).collect()).collect())
}

#[test]
fn predictions_agree_with_the_evaluation_in_every_format_and_of_all_weights() {
    let (dir, _) = trained();
    let mut seen = Vec::new();
    for weights in ["last", "swa", "ema", "snapshots"] {
        for extension in ["csv", "jsonl", "npy"] {
            let out = format!("p.{extension}");
            let args = ["predict", "r", "--part", "test", "--device", "cpu", "--weights", weights, "--out", &out];
            let said = ok(dir.path(), &args);
            assert_eq!(said, format!("60 predictions of the {weights} weights for the test part in {out}\n"));
        }
        let (header, rows) = csv(&dir.path().join("p.csv"));
        assert_eq!(header, "index,label,prediction,p0,p1");
        let of_eval = evaluation(&dir, &["--weights", weights]);
        assert_eq!(of_eval["scored"], serde_json::json!({ "part": "test", "weights": weights }));
        let name = if weights == "last" { "test_accuracy".into() } else { format!("{weights}_test_accuracy") };
        let right = rows.iter().filter(|row| row[1] == row[2]).count();
        assert_eq!(right as f64 / 60.0, (of_eval[name]["mean"].as_f64().unwrap() * 1e6).round() / 1e6);
        let cell = |t: f64, p: f64| rows.iter().filter(|row| row[1] == t && row[2] == p).count();
        let confusion = serde_json::json!([[cell(0., 0.), cell(0., 1.)], [cell(1., 0.), cell(1., 1.)]]);
        assert_eq!(of_eval["confusion"], confusion);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row[0], i as f64);
            assert!((row[3] + row[4] - 1.0).abs() < 1e-6 && (row[4] > row[3]) == (row[2] == 1.0), "{row:?}");
        }
        let text = std::fs::read_to_string(dir.path().join("p.jsonl")).unwrap();
        for (line, row) in text.lines().zip(&rows) {
            let object: Value = serde_json::from_str(line).unwrap();
            let keys = ["index", "label", "prediction", "p0", "p1"];
            assert_eq!(keys.map(|key| object[key].as_f64().unwrap()).to_vec(), *row);
        }
        let bytes = std::fs::read(dir.path().join("p.npy")).unwrap();
        let last = f64::from_le_bytes(bytes[bytes.len() - 8..].try_into().unwrap());
        assert_eq!(last, rows[59][4]);
        seen.push(rows);
    }
    assert!(seen[1..].iter().all(|rows| *rows != seen[0]), "other weights say other things");
}

#[test]
fn evaluation_tells_class_by_class() {
    let (dir, _) = trained();
    let of_test = evaluation(&dir, &[]);
    assert_eq!(of_test["per_class"].as_array().unwrap().len(), 2);
    let support: u64 = of_test["per_class"].as_array().unwrap().iter().map(|c| c["support"].as_u64().unwrap()).sum();
    assert_eq!(support, 60);
    assert!(of_test["calibration_error"].as_f64().unwrap() < 0.5 && of_test.get("top5_accuracy").is_none());
    let of_train = evaluation(&dir, &["--part", "train"]);
    // The test part is the training part once more.
    assert_eq!(of_train["confusion"], of_test["confusion"]);
    let text = ok(dir.path(), &words("eval r --device cpu"));
    for wanted in ["precision", "expected calibration error", "true \\ said", "test part, last weights"] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("device")), "{text}");
    let error = fails(dir.path(), 2, &words("eval r --weights best"));
    assert_eq!(error, "error: --weights: expected one of last, swa, ema, snapshots, which the run has, found \"best\"");
    let error = fails(dir.path(), 2, &words("predict r --part tset --out p.csv"));
    assert_eq!(error, "error: --part: expected one of train, test, which the data have, found tset");
    let error = fails(dir.path(), 2, &words("predict r --part validation --out p.csv"));
    assert_eq!(error, "error: --part: expected one of train, test, which the data have, found validation");
    let error = fails(dir.path(), 2, &words("predict r --out p.txt"));
    assert_eq!(error, "error: --out: expected a file named .csv, .jsonl or .npy, found p.txt");
    assert!(!dir.path().join("p.csv").exists() && !dir.path().join("p.txt").exists());
}

/// Prices around 3e5 with a spread of 1e5, which a linear model explains.
fn prices(dir: &Path) {
    let x: Vec<f32> = (0..200 * 2).map(|i| ((i * 29 % 31) as f32 - 15.0) / 10.0).collect();
    let price = |row: &[f32]| 3e5 + 5e4 * f64::from(row[0]) - 2e4 * f64::from(row[1]);
    let y: Vec<f64> = x.chunks(2).map(price).collect();
    npy(&dir.join("x.npy"), &[200, 2], x);
    npy(&dir.join("y.npy"), &[200], y);
}

#[test]
fn standardised_targets_are_learned_and_come_back_in_their_units() {
    let dir = TempDir::new().unwrap();
    prices(dir.path());
    let flags =
        "train --data npy:x.npy,y.npy --validation 0.2 --device cpu --quiet --hidden none --optimizer sgd --lr 0.1";
    let train = format!("{flags} --epochs 30 --batch 16 --standardize-targets --run r");
    ok(dir.path(), &words(&train));
    let summary = json(dir.path().join("r/summary.json"));
    assert!(summary["validation_loss"]["mean"].as_f64().unwrap() < 1e-6, "{summary}");
    let scaling = &json(dir.path().join("r/normalization.json"))["targets"];
    assert!((scaling["mean"][0].as_f64().unwrap() - 3e5).abs() < 3e4, "{scaling}");

    let scores = evaluation(&dir, &[]);
    assert!(scores["rmse"].as_f64().unwrap() < 100.0 && scores["r2"].as_f64().unwrap() > 0.9999, "{scores}");
    assert!(scores["mae"].as_f64().unwrap() > 0.0 && scores.get("confusion").is_none());
    // The run's own scaling, whatever the statistics of new data.
    let data = ["--data", "npy:x.npy,y.npy"];
    ok(dir.path(), &[&words("predict r --device cpu --out p.csv")[..], &data].concat());
    let (header, rows) = csv(&dir.path().join("p.csv"));
    assert_eq!((header.as_str(), rows.len()), ("index,target,prediction", 200));
    assert!(rows.iter().all(|row| (row[1] - row[2]).abs() < 300.0 && row[1] > 1e5), "{rows:?}");

    ok(dir.path(), &[&words("train --resume r --quiet --epochs 31")[..]].concat());
    let again = evaluation(&dir, &[]);
    assert!(again["rmse"].as_f64().unwrap() < 100.0, "{again}");
    table(&dir);
    let error = fails(dir.path(), 2, &words("train --data npy:x.npy,y.npy --device cpu --standardize-targets"));
    let found = "error: data.standardize_targets: expected regression targets, found labels; --loss mse takes numbers";
    assert!(error.starts_with(found), "{error}");
}

#[test]
fn several_targets_have_a_column_each() {
    let dir = TempDir::new().unwrap();
    prices(dir.path());
    let y: Vec<f64> = (0..400).map(|i| (i % 7) as f64).collect();
    npy(&dir.path().join("y.npy"), &[200, 2], y);
    let train =
        "train --data npy:x.npy,y.npy --device cpu --quiet --epochs 1 --replicas 2 --standardize-targets --run r";
    ok(dir.path(), &words(train));
    ok(dir.path(), &words("predict r --device cpu --out p.csv"));
    assert_eq!(csv(&dir.path().join("p.csv")).0, "index,target0,target1,prediction0,prediction1");
    let scores = evaluation(&dir, &[]);
    assert_eq!(scores["per_target"].as_array().unwrap().len(), 2);
}

#[test]
fn weights_come_from_flags() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    npy(&dir.path().join("y.npy"), &[60], (0..60).map(|i| i64::from(i % 5 == 0)).collect());
    npy(&dir.path().join("w.npy"), &[60], (0..60).map(|i| f64::from(i % 3)).collect());
    let run = |name: &str, more: &str| {
        let args = words("train --device cpu --quiet --epochs 3 --batch 8 --validation 0.2");
        let more = words(more);
        ok(dir.path(), &[&args[..], &["--data", &data, "--run", name], &more].concat());
        std::fs::read(dir.path().join(name).join("weights.safetensors")).unwrap()
    };
    let plain = run("plain", "");
    let all = [
        run("classes", "--class-weights 1,4"),
        run("balanced", "--class-weights balanced"),
        run("samples", "--sample-weights w.npy"),
        run("mse", "--class-weights 1,4 --loss mse"),
        run("both", "--class-weights 1,4 --sample-weights w.npy"),
    ];
    for (i, weights) in all.iter().enumerate() {
        assert!(*weights != plain && !all[..i].contains(weights), "{i}");
    }
    assert_eq!(run("ones", "--class-weights 1,1 --loss mse"), run("none", "--loss mse"));
    let config = std::fs::read_to_string(dir.path().join("both/config.toml")).unwrap();
    assert!(config.contains("class_weights = [1.0, 4.0]") && config.contains("weights = \""), "{config}");
    // A run is resumed with its weights, and evaluated without.
    std::fs::copy(dir.path().join("w.npy"), dir.path().join("kept.npy")).unwrap();
    std::fs::remove_file(dir.path().join("w.npy")).unwrap();
    ok(dir.path(), &words("eval both --device cpu"));
    let error = fails(dir.path(), 2, &words("train --resume both --epochs 4"));
    assert!(error.contains("w.npy"), "{error}");
    for (flag, wanted) in [
        ("--class-weights 1,2,3", "model.class_weights: expected 2, one a class, found 3"),
        ("--class-weights 1,two", "--class-weights: expected balanced, or numbers as 1,2.5,1, found \"1,two\""),
        ("--sample-weights x.npy", "x.npy: expected numbers in one dimension, found shape [60, 3]"),
    ] {
        let error = fails(dir.path(), 2, &[&words("train --device cpu --data")[..], &[&data], &words(flag)].concat());
        assert!(error.contains(wanted), "{error}");
    }
}

/// What is predicted has no targets yet, and classes bear the names that stand in the files.
#[test]
fn predictions_need_no_targets_and_speak_of_classes_as_the_files_do() {
    let dir = TempDir::new().unwrap();
    table(&dir);
    let signs: Vec<i64> = (0..60).map(|i| if (i * 87 % 31) > 15 { 1 } else { -1 }).collect();
    npy(&dir.path().join("y.npy"), &[60], signs);
    ok(dir.path(), &words("train --data npy:x.npy,y.npy --device cpu --quiet --epochs 20 --batch 8 --lr 0.05 --run r"));
    let predict = |out: &str, data: &str| ok(dir.path(), &words(&format!("predict r {data} --device cpu --out {out}")));
    predict("own.csv", "");
    predict("other.csv", "--data npy:x.npy");
    let (header, own) = csv(&dir.path().join("own.csv"));
    let (_, other) = csv(&dir.path().join("other.csv"));
    assert_eq!(header, "index,label,prediction,p0,p1");
    for (own, other) in own.iter().zip(&other) {
        assert!(other[1].is_nan() && [-1.0, 1.0].contains(&own[1]) && own[2..] == other[2..], "{own:?} {other:?}");
        assert_eq!(own[2], if own[4] > own[3] { 1.0 } else { -1.0 });
    }
    predict("other.jsonl", "--data npy:x.npy --part train");
    assert!(
        std::fs::read_to_string(dir.path().join("other.jsonl")).unwrap().starts_with("{\"index\":0,\"label\":null,")
    );
    let error = fails(dir.path(), 2, &words("predict r --data npy:x.npy --part test --out p.csv"));
    assert_eq!(error, "error: npy:x.npy: expected a test part, found none");
    let error = fails(dir.path(), 2, &words("eval r --data npy:x.npy"));
    assert!(error.contains("expected targets beside the features"), "{error}");

    let rows = |n: usize| (0..n).map(|i| format!("{},{}", i % 7, ["red", "blue"][i % 2])).collect::<Vec<_>>();
    let labelled: String =
        rows(40).iter().enumerate().map(|(i, row)| format!("{row},{}\n", ["no", "yes"][i % 2])).collect();
    std::fs::write(dir.path().join("t.csv"), format!("size,colour,answer\n{labelled}")).unwrap();
    std::fs::write(dir.path().join("new.csv"), "colour,size\nblue,3\nred,4\n").unwrap();
    ok(dir.path(), &words("train --data csv:t.csv,target=answer --device cpu --quiet --epochs 30 --lr 0.05 --run w"));
    ok(dir.path(), &words("predict w --data csv:new.csv --device cpu --out said.csv"));
    let said = std::fs::read_to_string(dir.path().join("said.csv")).unwrap();
    let answers: Vec<&str> = said.lines().skip(1).map(|line| line.split(',').nth(2).unwrap()).collect();
    assert_eq!(answers, ["yes", "no"], "{said}");
    ok(dir.path(), &words("predict w --data csv:new.csv --device cpu --out said.npy"));
    let text = String::from_utf8_lossy(&std::fs::read(dir.path().join("said.npy")).unwrap()).to_string();
    assert!(text.contains("('prediction', '<U3')"), "{text}");
}

/// A part of the run's own data is that of the run, wherever it lies, and a row's index is its place in the file.
#[test]
fn held_out_samples_keep_their_places() {
    let dir = TempDir::new().unwrap();
    table(&dir);
    ok(dir.path(), &words("train --data npy:x.npy,y.npy --validation 0.25 --device cpu --quiet --epochs 3 --run r"));
    let predict = |args: &str| {
        ok(dir.path(), &words(&format!("predict r --device cpu --out p.csv {args}")));
        csv(&dir.path().join("p.csv")).1
    };
    let held = predict("--part validation");
    let trained = predict("--part train");
    std::fs::create_dir(dir.path().join("moved")).unwrap();
    for name in ["x.npy", "y.npy"] {
        std::fs::rename(dir.path().join(name), dir.path().join("moved").join(name)).unwrap();
    }
    let data = "--data npy:moved/x.npy,moved/y.npy";
    assert_eq!(predict(&format!("{data} --part validation")), held);
    let all = predict(data);
    assert_eq!((held.len(), trained.len(), all.len()), (15, 45, 60));
    for row in held.iter().chain(&trained) {
        assert_eq!(*row, all[row[0] as usize], "the same sample by its place");
    }
    // What is read is not written over, and nothing is left where nothing can be written.
    let error = fails(dir.path(), 2, &words(&format!("predict r {data} --out moved/x.npy")));
    assert!(error.contains("expected another file than those of the data, found moved/x.npy"), "{error}");
    std::fs::create_dir(dir.path().join("d.csv")).unwrap();
    let error = fails(dir.path(), 2, &words(&format!("predict r {data} --out d.csv")));
    assert!(error.starts_with("error: d.csv: "), "{error}");
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains(".part")), "{names:?}");
    let error = fails(dir.path(), 2, &words("predict moved --out q.csv"));
    assert_eq!(error, "error: moved: expected the folder of a run, found no config.toml in it");
}

/// A run that starts from another reads and scales its data as that one did.
#[test]
fn weights_of_a_run_keep_their_meaning() {
    let dir = TempDir::new().unwrap();
    let x: Vec<f32> = (0..90).map(|i| (i % 3) as f32 * 2.0 - 2.0).collect();
    npy(&dir.path().join("x.npy"), &[90, 1], x);
    npy(&dir.path().join("y.npy"), &[90], (0..90).map(|i| i64::from(i % 3) + 1).collect());
    // Two of the three classes, whose features have another mean.
    npy(&dir.path().join("x2.npy"), &[40, 1], (0..40).map(|i| (i % 2) as f32 * 2.0).collect());
    npy(&dir.path().join("y2.npy"), &[40], (0..40).map(|i| i64::from(i % 2) + 2).collect());
    ok(dir.path(), &words("train --data npy:x.npy,y.npy --device cpu --quiet --epochs 60 --lr 0.05 --run a"));
    let args = "train --data npy:x2.npy,y2.npy --device cpu --quiet --epochs 1 --lr 1e-30 --init-from a --run b";
    ok(dir.path(), &words(args));
    assert_eq!(json(dir.path().join("b/summary.json"))["train_accuracy"]["mean"], 1.0);
    let text = ok(dir.path(), &words("eval a --device cpu"));
    assert!(text.contains("0: 1") && text.contains("2: 3"), "classes by what stands for them: {text}");
    // From any folder.
    let config = std::fs::read_to_string(dir.path().join("b/config.toml")).unwrap();
    let init = config.lines().find(|line| line.starts_with("init_from")).unwrap();
    assert!(init.contains(&dir.path().join("a").display().to_string()), "{init}");
    // Images of another shape with as many pixels are others.
    npy(&dir.path().join("im.npy"), &[20, 2, 8], (0..320).map(|i| (i % 251) as u8).collect());
    npy(&dir.path().join("im2.npy"), &[20, 4, 4], (0..320).map(|i| (i % 251) as u8).collect());
    npy(&dir.path().join("yi.npy"), &[20], (0..20).map(|i| i64::from(i % 2)).collect());
    ok(dir.path(), &words("train --data npy:im.npy,yi.npy --device cpu --quiet --epochs 1 --run im"));
    let error = fails(dir.path(), 2, &words("predict im --data npy:im2.npy --out p.csv"));
    assert_eq!(error, "error: im2.npy: expected images of 1x2x8, as before, found images of 1x4x4");
}
