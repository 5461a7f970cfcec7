//! What a report says of predictions, against scikit-learn (`tests/golden/quality.py`) and against the data.
#![cfg(feature = "report")]

use crate::common;

use std::path::Path;

use base64::Engine as _;
use common::files::{npy, write};
use common::{Tolerance, assert_close};
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::engine::{Layout, Precision, Tensor};
use thalweg::export::safetensors;
use thalweg::report::quality::quality;
use thalweg::run::{Config, Place, Prepared, Trained};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/quality.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn labels(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

/// Trains one epoch on the CPU in the folder `r`, as settings say.
fn train(dir: &TempDir, settings: &str) {
    let own = "train.device = 'cpu'\ntrain.epochs = 1\n";
    let config = Config::resolve((own.to_string() + settings).parse().unwrap(), vec![], vec![]).unwrap();
    Prepared::open(config, Place::New(dir.path().join("r")), |_| ()).unwrap().train(&mut []).unwrap();
}

fn open(dir: &TempDir) -> Trained {
    Trained::open(&dir.path().join("r"), None, None, |_| ()).unwrap()
}

/// A run whose network says what the features are: what it says of a sample is known, to the bit in f64.
fn echo(dir: &TempDir, settings: &str) -> Trained {
    let own = "model.hidden = []\ndata.normalize = 'none'\ntrain.precision = 'f64'\n";
    train(dir, &(own.to_string() + settings));
    let file = dir.path().join("r/weights.safetensors");
    set_weight(&file, &open(dir), Precision::F64, |unit, input| f64::from(unit == input));
    open(dir)
}

/// Replaces the weights of a network without hidden layers.
fn set_weight(file: &Path, run: &Trained, precision: Precision, weight: impl Fn(usize, usize) -> f64) {
    let layout: &Layout = run.layout();
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let values = match shape[..] {
            [units, inputs] => {
                (0..units).flat_map(|unit| (0..inputs).map(move |i| (unit, i))).map(|(u, i)| weight(u, i)).collect()
            }
            _ => vec![0.0; shape[0]],
        };
        Tensor { name, shape, values }
    };
    let tensors: Vec<Tensor> = layout.names().into_iter().map(tensor).collect();
    safetensors::write(file, layout, &layout.pack(&tensors).unwrap(), precision).unwrap();
}

/// The data set of two arrays, features and targets.
fn arrays<T: npyz::AutoSerialize, U: npyz::AutoSerialize>(
    dir: &TempDir,
    shape: &[u64],
    x: Vec<T>,
    y: Vec<U>,
    width: u64,
) -> String {
    let of_targets = if width == 1 { vec![shape[0]] } else { vec![shape[0], width] };
    let (x, y) = (npy(dir, "x.npy", shape, x), npy(dir, "y.npy", &of_targets, y));
    format!("data.source = 'npy:{x},{y}'\n")
}

/// The width, the height and the pixels, byte by byte, of each picture of a sheet that holds `count`.
fn pictures(sheet: &Value, count: usize) -> Vec<Vec<u8>> {
    let text = sheet["png"].as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap();
    let channels = picture.color().channel_count() as usize;
    let [width, height, columns] = ["width", "height", "columns"].map(|key| sheet[key].as_u64().unwrap() as usize);
    assert_eq!(
        (picture.width() as usize, picture.height() as usize),
        (columns * width, count.div_ceil(columns) * height)
    );
    let (line, all) = (columns * width * channels, picture.into_bytes());
    let row = |i: usize, y: usize| {
        &all[(i / columns * height + y) * line + i % columns * width * channels..][..width * channels]
    };
    (0..count).map(|i| (0..height).flat_map(|y| row(i, y)).copied().collect()).collect()
}

/// Some dozens of roundings in f64.
const CLOSE: Tolerance = Tolerance { abs: 1e-13, rel: 1e-13 };

#[test]
fn classes_are_scored_as_scikit_learn_scores_them() {
    for case in golden()["classes"].as_array().unwrap() {
        let (z, labels, dir) = (numbers(&case["z"]), labels(&case["labels"]), TempDir::new().unwrap());
        let classes = z.len() / labels.len();
        let data = arrays(&dir, &[labels.len() as u64, classes as u64], z, labels, 1);
        let object = quality(&mut echo(&dir, &format!("{data}data.classes = {classes}")), None).unwrap();
        assert_eq!([&object["part"], &object["kind"], &object["loss"]], ["train", "classes", "cross_entropy"]);
        let last = &object["weights"][0];
        let mean = |key: &str| last[key]["mean"].as_f64();
        let close = |name: &str, got: f64, want: &Value| assert_close(name, &[got], &[want.as_f64().unwrap()], CLOSE);
        close("loss", mean("loss").unwrap(), &case["loss"]);
        close("accuracy", mean("accuracy").unwrap(), &case["accuracy"]);
        assert_eq!(mean("top5_accuracy"), case["top5"].as_f64().filter(|_| classes > 5));
        close("calibration error", mean("calibration_error").unwrap(), &case["calibration_error"]);
        let scores = &last["scores"];
        close("calibration error of all", scores["calibration_error"].as_f64().unwrap(), &case["calibration_error"]);
        assert_eq!(scores["confusion"], case["confusion"]);
        for key in ["precision", "recall", "f1", "support"] {
            let each: Value = scores["per_class"].as_array().unwrap().iter().map(|class| class[key].clone()).collect();
            assert_close(key, &numbers(&each), &numbers(&case[key]), CLOSE);
        }
        for (mean, want) in [("macro_mean", "macro"), ("weighted_mean", "weighted")] {
            let means: Value = ["precision", "recall", "f1"].iter().map(|key| scores[mean][key].clone()).collect();
            assert_close(mean, &numbers(&means), &numbers(&case[want]), CLOSE);
        }
        let bins = scores["calibration"].as_array().unwrap();
        let of = |key: &str| -> Value { bins.iter().map(|bin| bin[key].clone()).collect() };
        assert_eq!(of("count"), case["bin_counts"]);
        for (key, want) in [("accuracy", "bin_accuracy"), ("confidence", "bin_confidence")] {
            // scikit-learn leaves out bins without predictions.
            let filled: Vec<f64> = numbers(&of(key)).into_iter().filter(|value| !value.is_nan()).collect();
            assert_close(key, &filled, &numbers(&case[want]), CLOSE);
        }
    }
}

#[test]
fn values_are_scored_as_scikit_learn_scores_them() {
    for case in golden()["values"].as_array().unwrap() {
        let (targets, predicted, dir) =
            (numbers(&case["targets"]), numbers(&case["predicted"]), TempDir::new().unwrap());
        let width = case["width"].as_u64().unwrap();
        let samples = targets.len() as u64 / width;
        let data = arrays(&dir, &[samples, width], predicted.clone(), targets.clone(), width);
        let object = quality(&mut echo(&dir, &format!("{data}model.loss = 'mse'\noptimizer.lr = 1e-9")), None).unwrap();
        assert_eq!(object["kind"], "values");
        let per_target = object["weights"][0]["per_target"].as_array().unwrap();
        for key in ["rmse", "mae", "r2"] {
            let each: Vec<f64> = per_target.iter().map(|target| target[key].as_f64().unwrap()).collect();
            let want = numbers(&case[key]);
            assert_close(key, &each, &want, CLOSE);
            let mean = object["weights"][0][key]["mean"].as_f64().unwrap();
            assert_close(key, &[mean], &[want.iter().sum::<f64>() / width as f64], CLOSE);
        }
        for (j, target) in per_target.iter().enumerate() {
            let counts = numbers(&target["residuals"]["counts"]);
            assert_eq!(counts.iter().sum::<f64>(), samples as f64);
            assert_eq!(target["residuals"]["edges"].as_array().unwrap().len(), counts.len() + 1);
            let mut points: Vec<(f64, f64)> = numbers(&target["points"]["target"])
                .into_iter()
                .zip(numbers(&target["points"]["prediction"]))
                .collect();
            let column = |rows: &[f64]| rows.iter().skip(j).step_by(width as usize).copied().collect::<Vec<_>>();
            let mut want: Vec<(f64, f64)> = column(&targets).into_iter().zip(column(&predicted)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            want.sort_by(|a, b| a.0.total_cmp(&b.0));
            let flat = |points: &[(f64, f64)]| points.iter().flat_map(|p| [p.0, p.1]).collect::<Vec<_>>();
            // Points are told to seven digits.
            assert_close("points", &flat(&points), &flat(&want), Tolerance { abs: 0.0, rel: 5e-7 });
        }
    }
}

/// Targets whose ends, and those of the predictions and of the residuals, are single samples among many.
#[test]
fn many_points_are_thinned_without_losing_extremes() {
    let n = 50_000;
    let target = |i: usize| {
        if i == 17 {
            -900.0
        } else if i == 18 {
            900.0
        } else {
            (i % 100) as f64
        }
    };
    let predicted = |i: usize| match i {
        30_001 => -700.0,
        30_002 => 950.0,
        _ => target(i) + (i % 7) as f64 - 3.0,
    };
    let dir = TempDir::new().unwrap();
    let data = arrays(&dir, &[n as u64, 1], (0..n).map(predicted).collect(), (0..n).map(target).collect(), 1);
    let object = quality(&mut echo(&dir, &format!("{data}model.loss = 'mse'\noptimizer.lr = 1e-9")), None).unwrap();
    let points = &object["weights"][0]["per_target"][0]["points"];
    let (targets, predictions) = (numbers(&points["target"]), numbers(&points["prediction"]));
    assert!(targets.len() <= 2000 && targets.len() > 1900, "{}", targets.len());
    let ends = |values: &[f64]| {
        [values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max)]
    };
    let residuals: Vec<f64> = targets.iter().zip(&predictions).map(|(y, predicted)| predicted - y).collect();
    let all = |f: &dyn Fn(usize) -> f64| ends(&(0..n).map(f).collect::<Vec<_>>());
    assert_eq!(ends(&targets), all(&target));
    assert_eq!(ends(&predictions), all(&predicted));
    assert_eq!(ends(&residuals), all(&|i| predicted(i) - target(i)));
    assert_eq!(numbers(&object["weights"][0]["per_target"][0]["residuals"]["counts"]).iter().sum::<f64>(), n as f64);
}

/// Which samples are shown, in which order, with whose picture, and what is predicted for them.
#[test]
fn the_worst_samples_are_those_of_the_highest_loss() {
    let (n, channels, dir) = (200usize, 3usize, TempDir::new().unwrap());
    let pixel = |sample: usize, i: usize| ((sample * sample * 31 + i * i * 17 + sample * i * 7) % 251) as u8;
    let x: Vec<u8> = (0..n).flat_map(|sample| (0..12).map(move |i| pixel(sample, i))).collect();
    let label = |sample: usize| sample % 4;
    let y: Vec<i64> = (0..n).map(|sample| label(sample) as i64).collect();
    let data = arrays(&dir, &[n as u64, channels as u64, 2, 2], x, y, 1);
    echo(&dir, &data);
    // z_c = pixel c / 50, of the red channel.
    let file = dir.path().join("r/weights.safetensors");
    set_weight(&file, &open(&dir), Precision::F64, |unit, input| if unit == input { 0.02 } else { 0.0 });
    let mut run = open(&dir);
    let object = quality(&mut run, None).unwrap();
    let probabilities = |sample: usize| {
        let mut z: Vec<f64> = (0..4).map(|c| f64::from(pixel(sample, c)) / 50.0).collect();
        thalweg::loss::softmax(&mut z, 4);
        z
    };
    let loss = |sample: usize| -probabilities(sample)[label(sample)].ln();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| loss(b).total_cmp(&loss(a)).then(a.cmp(&b)));
    let worst = object["weights"][0]["worst"].as_array().unwrap();
    assert_eq!(worst.len(), 24);
    let samples = object["worst_samples"].as_array().unwrap();
    let shown = pictures(&object["worst_pictures"], samples.len());
    for (prediction, &want) in worst.iter().zip(&order) {
        let place = prediction["sample"].as_u64().unwrap() as usize;
        let p = probabilities(want);
        let predicted = thalweg::score::largest(&p);
        assert_eq!(samples[place], json!({ "index": want, "label": label(want) }));
        assert_eq!(prediction["prediction"], predicted);
        let told = ["confidence", "probability", "loss"].map(|key| prediction[key].as_f64().unwrap());
        assert_close(
            "prediction",
            &told,
            &[p[predicted], p[label(want)], loss(want)],
            Tolerance { abs: 0.0, rel: 1e-6 },
        );
        let interleaved: Vec<u8> = (0..4).flat_map(|i| (0..3).map(move |c| pixel(want, c * 4 + i))).collect();
        assert_eq!(shown[place], interleaved, "sample {want}");
    }
}

/// Rows of the weight as pictures: the largest norms first, 0 in the middle, the largest magnitude at the end of the scale.
#[test]
fn filters_are_rows_of_the_weight() {
    let (n, dir) = (40usize, TempDir::new().unwrap());
    let x: Vec<u8> = (0..n * 6).map(|i| (i * 7 % 255) as u8).collect();
    let data = arrays(&dir, &[n as u64, 1, 2, 3], x, (0..n).map(|i| (i % 3) as i64).collect(), 1);
    echo(&dir, &data);
    let rows = [[0.0, 0.1, -0.1, 0.0, 0.05, 0.0], [2.0, -4.0, 0.0, 1.0, 0.0, 0.0], [0.0; 6]];
    let file = dir.path().join("r/weights.safetensors");
    set_weight(&file, &open(&dir), Precision::F64, |unit, input| rows[unit][input]);
    let object = quality(&mut open(&dir), None).unwrap();
    let filters = &object["weights"][0]["filters"];
    assert_eq!(filters["units"], json!([1, 0, 2]));
    assert_close(
        "norms",
        &numbers(&filters["norms"]),
        &[21f64.sqrt(), 0.0225f64.sqrt(), 0.0],
        Tolerance { abs: 0.0, rel: 1e-6 },
    );
    // Levels of −7 to 7 about the middle: half of the largest magnitude is 3.5 of them, which is rounded away from 0.
    let grey = |level: f64| ((level + 7.0) * 255.0 / 14.0).round() as u8;
    let shown = pictures(filters, 3);
    assert_eq!(shown[0], [4.0, -7.0, 0.0, 2.0, 0.0, 0.0].map(grey));
    assert_eq!(shown[1], [0.0, 7.0, -7.0, 0.0, 4.0, 0.0].map(grey));
    assert_eq!(shown[2], [128; 6]);
}

/// Tables: values by the names of their columns, categories as words, and the weights by feature.
#[test]
fn tables_are_told_by_their_columns() {
    let dir = TempDir::new().unwrap();
    let row = |i: usize| format!("{}.5,{},{}\n", i % 9, ["red", "</script>", "blue"][i % 3], ["no", "yes"][i / 2 % 2]);
    let text: String = std::iter::once("size,colour,bought\n".to_string()).chain((0..60).map(row)).collect();
    let file = write(&dir, "t.csv", text);
    train(&dir, &format!("data.source = 'csv:{file},target=bought'\nmodel.hidden = [5]\ndata.validation = 0.5"));
    let object = quality(&mut open(&dir), None).unwrap();
    assert_eq!(
        [&object["part"], &object["columns"], &object["column_count"]],
        [&json!("validation"), &json!(["size", "colour"]), &json!(2)]
    );
    assert_eq!(object["classes"], json!({ "0": "no", "1": "yes" }));
    for sample in object["worst_samples"].as_array().unwrap() {
        let i = sample["index"].as_u64().unwrap() as usize;
        let (size, colour) = ((i % 9) as f64 + 0.5, ["red", "</script>", "blue"][i % 3]);
        assert_eq!(sample["values"], json!([size, colour]));
        assert_eq!(sample["label"], i / 2 % 2);
    }
    let filters = &object["weights"][0]["filters"];
    let mut names: Vec<&str> =
        filters["features"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["colour = </script>", "colour = blue", "colour = red", "size"]);
    assert_eq!([filters["weights"].as_array().unwrap().len(), filters["weights"][0].as_array().unwrap().len()], [5, 4]);
    assert!(object.get("worst_pictures").is_none());
}

/// Everything that a report of pictures carries at most: five sets of weights that disagree, and pictures of noise.
#[test]
fn pictures_of_many_weights_stay_small() {
    let (n, width, dir) = (300u64, 3 * 32 * 32, TempDir::new().unwrap());
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let x: Vec<u8> = (0..n as usize * width).map(|_| noise()).collect();
    let data = arrays(&dir, &[n, 3, 32, 32], x, (0..n as i64).map(|i| i % 10).collect(), 1);
    let averages = "[average]\nswa = { start = 0, every = 1 }\nema = { decay = 0.9 }\n";
    let snapshots = "snapshots = { max = 2, when = { start = 0, every = 5 } }\n";
    train(
        &dir,
        &format!(
            "{data}data.validation = 0.3\ntrain.batch = 16\nstop.keep_best = true\nmodel.hidden = [128]\n{averages}{snapshots}"
        ),
    );
    let object = quality(&mut open(&dir), None).unwrap();
    let names: Vec<&str> =
        object["weights"].as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["last", "swa", "ema", "best", "snapshots"]);
    let bytes = object.to_string().len();
    println!("{bytes} bytes");
    assert!(bytes < 300_000, "{bytes} bytes");
    for set in object["weights"].as_array().unwrap() {
        assert!(set["worst"].as_array().unwrap().len() >= 6, "{set}");
        assert_eq!(set["filters"].is_null(), set["name"] == "snapshots");
    }
}

/// So many classes that a matrix and a table of them all would be megabytes; the network knows two of them.
#[test]
fn many_classes_are_told_in_short() {
    let (n, classes, dir) = (400u64, 10_000, TempDir::new().unwrap());
    let x: Vec<f32> = (0..n * 2).map(|i| (i % 2) as f32).collect();
    let data = arrays(&dir, &[n, 2], x, (0..n as i64).map(|i| i * 25 % 9_990).collect(), 1);
    train(&dir, &format!("{data}data.classes = {classes}\nmodel.hidden = []\ndata.normalize = 'none'"));
    let file = dir.path().join("r/weights.safetensors");
    set_weight(&file, &open(&dir), Precision::F32, |unit, input| f64::from(u8::from(unit == 25 && input == 1)));
    let object = quality(&mut open(&dir), None).unwrap();
    let scores = &object["weights"][0]["scores"];
    assert_eq!([&object["class_count"], &scores["confusion"]], [&json!(classes), &json!([])]);
    let shown = scores["per_class"].as_array().unwrap();
    assert!(shown.len() == 50 && shown.iter().all(|class| class["f1"] == 0.0 && class["support"] != 0));
    assert_eq!(object["weights"][0]["confused"][0], json!({ "label": 0, "prediction": 25, "count": 1 }));
    assert!(object["classes"].as_object().unwrap().len() < 200);
    assert_eq!(object["classes"]["25"], "25");
    let bytes = object.to_string().len();
    assert!(bytes < 100_000, "{bytes} bytes");
}

/// Weights that are numbers, and predictions that are none.
#[test]
fn predictions_that_are_no_numbers_are_counted() {
    let dir = TempDir::new().unwrap();
    let data = arrays(
        &dir,
        &[20, 2],
        (0..40).map(|i| (i / 2 % 2) as f32 * 10.0).collect(),
        (0..20).map(|i| i % 2).collect::<Vec<i64>>(),
        1,
    );
    train(&dir, &format!("{data}model.hidden = []\ndata.normalize = 'none'"));
    let file = dir.path().join("r/weights.safetensors");
    // 10 · 3e38 is infinite in f32, and two of them of either sign are no number.
    set_weight(&file, &open(&dir), Precision::F32, |_, input| if input == 0 { 3e38 } else { -3e38 });
    let object = quality(&mut open(&dir), None).unwrap();
    let last = &object["weights"][0];
    assert_eq!(last["not_finite"], 10);
    assert!(last["loss"]["mean"].is_string() && last["scores"]["calibration_error"].is_null());
    let worst = last["worst"].as_array().unwrap();
    assert!(worst[..10].iter().all(|one| one["loss"].is_null() && one["confidence"].is_null()), "{worst:?}");
    assert!(worst[10..].iter().all(|one| one["loss"].as_f64().unwrap() > 0.6), "{worst:?}");
    let data = arrays(&dir, &[20, 1], vec![10f32; 20], vec![1.5; 20], 1);
    let settings = format!("{data}model.hidden = []\ndata.normalize = 'none'\nmodel.loss = 'mse'\noptimizer.lr = 1e-9");
    std::fs::remove_dir_all(dir.path().join("r")).unwrap();
    train(&dir, &settings);
    set_weight(&file, &open(&dir), Precision::F32, |_, _| 3e38);
    let object = quality(&mut open(&dir), None).unwrap();
    assert_eq!(object["weights"][0]["not_finite"], 20);
    assert_eq!(object["weights"][0]["per_target"][0]["points"], json!({ "target": [], "prediction": [] }));
}

/// One sample of one class, whose name is long and runs from right to left.
#[test]
fn one_sample_is_enough() {
    let dir = TempDir::new().unwrap();
    let name = "שלום".repeat(50);
    let row = |label: &str| format!("1.5,{label}\n");
    let train_file = write(&dir, "train.csv", format!("x,kind\n{}{}", row(&name), row("b")));
    let test_file = write(&dir, "test.csv", format!("x,kind\n{}", row(&name)));
    train(&dir, &format!("data.source = 'csv:{train_file},test={test_file},target=kind'\nmodel.hidden = []"));
    let object = quality(&mut open(&dir), None).unwrap();
    assert_eq!([&object["part"], &object["samples"]], [&json!("test"), &json!(1)]);
    let names = object["classes"].as_object().unwrap();
    assert!(names.values().any(|name| name.as_str().unwrap().chars().count() == 81), "{names:?}");
    let last = &object["weights"][0];
    assert_eq!(last["worst"].as_array().unwrap().len(), 1);
    assert_eq!(last["scores"]["macro_mean"]["support"], 1);
    let error = quality(&mut open(&dir), Some("validation")).unwrap_err().to_string();
    assert_eq!(error, "--part: expected one of train, test, which the data have, found validation");
    assert_eq!(quality(&mut open(&dir), Some("train")).unwrap()["samples"], 2);
}

/// Each replica has its numbers; what they predict counts together.
#[test]
fn replicas_count_together() {
    let dir = TempDir::new().unwrap();
    let x: Vec<f32> = (0..120).map(|i| (i * 29 % 31) as f32 / 10.0).collect();
    let data = arrays(&dir, &[60, 2], x, (0..60).map(|i| i * 7 % 3).collect::<Vec<i64>>(), 1);
    train(&dir, &format!("{data}train.replicas = 3\nmodel.hidden = [4]"));
    let object = quality(&mut open(&dir), None).unwrap();
    let last = &object["weights"][0];
    assert_eq!(object["replicas"], 3);
    for key in ["loss", "accuracy", "calibration_error"] {
        assert_eq!(last[key]["replicas"].as_array().unwrap().len(), 3, "{key}");
    }
    let counts: Vec<f64> = last["scores"]["confusion"].as_array().unwrap().iter().flat_map(numbers).collect();
    assert_eq!(counts.iter().sum::<f64>(), 180.0);
    let right = counts[0] + counts[4] + counts[8];
    assert_close("accuracy", &[right / 180.0], &[last["accuracy"]["mean"].as_f64().unwrap()], CLOSE);
}
