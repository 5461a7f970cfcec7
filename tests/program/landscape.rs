//! `thalweg landscape`: its files, from run to picture, and what it refuses.
#![cfg(feature = "cli")]

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::cpu::CpuEngine;
use thalweg::data::Part;
use thalweg::engine::{Engine, Precision, Setup, Slot};
use thalweg::export::safetensors as weights;
use thalweg::run::Trained;

use crate::common::program::{fails, json as read_json, ok, program, summary, table, tensors, words};

/// A run on the small table, with averages, and what else is asked for.
fn trained(more: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let averages = "average={swa={start=20,every=7},ema={decay=0.9}}";
    let args = [&["--hidden", "6,6", "--set", averages, "--epochs", "12"][..], &words(more)].concat();
    summary(&dir, &data, &args);
    dir
}

fn landscape(dir: &TempDir, more: &str) -> Value {
    let text = ok(dir.path(), &[&["landscape", "r", "--json", "--device", "cpu"][..], &words(more)].concat());
    serde_json::from_str(&text).unwrap()
}

/// The arrays of an archive: their shapes and numbers.
fn arrays(path: &Path) -> HashMap<String, (Vec<u64>, Vec<f64>)> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut arrays = HashMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let name = file.name().unwrap().strip_suffix(".npy").unwrap().to_string();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let array = npyz::NpyFile::new(&bytes[..]).unwrap();
        let shape = array.shape().to_vec();
        let numbers = array.try_data::<f64>().map(|data| data.map(Result::unwrap).collect());
        arrays.insert(name, (shape, numbers.unwrap_or_default()));
    }
    arrays
}

/// The contract: what another program finds at a point, with the weights that it makes of the run's and the directions.
#[test]
fn others_find_the_same_losses() {
    let dir = trained("");
    let said =
        landscape(&dir, "--plane random --grid 5x4 --radius 1 --samples 25 --part test --seed 3 --exact --out d");
    let file = |name: &str| dir.path().join("d").join(name);
    let names =
        ["landscape.npz", "directions.safetensors", "landscape.csv", "landscape.vtp", "landscape.svg", "landscape.png"];
    let files: Vec<String> = names.iter().map(|name| format!("d/{name}")).collect();
    assert_eq!(said["files"], json!(files));
    assert_eq!(std::fs::read_dir(dir.path().join("d")).unwrap().count(), names.len());
    assert_eq!((&said["seeds"], &said["center"]), (&json!({ "directions": 3, "samples": 3 }), &json!("last")));
    let samples: Vec<u32> = serde_json::from_value(said["samples"].clone()).unwrap();
    assert!(samples.len() == 25 && samples.is_sorted_by(|a, b| a < b) && samples[24] < 60, "{samples:?}");

    let found = arrays(&file("landscape.npz"));
    assert_eq!(found["x"], (vec![5], vec![-1.0, -0.5, 0.0, 0.5, 1.0]));
    assert_eq!((&found["y"].0, &found["loss"].0, &found["accuracy"].0), (&vec![4], &vec![4, 5], &vec![4, 5]));
    let bytes = std::fs::read(file("directions.safetensors")).unwrap();
    let directions = SafeTensors::deserialize(&bytes).unwrap();
    let of_run = tensors(&dir.path().join("r/weights.safetensors"));
    assert_eq!(directions.len(), 2 * of_run.len());
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let trained = Trained::open(&dir.path().join("r"), None, Some("cpu"), |_| {}).unwrap();
    let layout = trained.layout().clone();
    let setup = trained.into_setup().1;
    let dataset = Arc::new(setup.dataset.only(Part::Test, &samples).unwrap());
    let mut engine = CpuEngine::<f32>::new(Setup { dataset, batch: 1, ..setup }).unwrap();
    let mut tensors = layout.unpack(&vec![0.0; layout.len]);
    for (j, &y) in found["y"].1.iter().enumerate() {
        for (i, &x) in found["x"].1.iter().enumerate() {
            for tensor in &mut tensors {
                let of = |axis: &str| floats(directions.tensor(&format!("{axis}.{}", tensor.name)).unwrap().data());
                let (dx, dy) = (of("x"), of("y"));
                let center = floats(&of_run.iter().find(|(name, _)| *name == tensor.name).unwrap().1);
                let at = |k: usize| (y as f32).mul_add(dy[k], (x as f32).mul_add(dx[k], center[k]));
                tensor.values = (0..center.len()).map(|k| f64::from(at(k))).collect();
            }
            engine.upload(Slot::Live, 0, &layout.pack(&tensors).unwrap()).unwrap();
            let value = engine.evaluate(Part::Train, &[Slot::Live]).unwrap()[0];
            assert_eq!((value.loss, value.accuracy), (found["loss"].1[j * 5 + i], found["accuracy"].1[j * 5 + i]));
        }
    }
    let lines = std::fs::read_to_string(file("landscape.csv")).unwrap();
    assert_eq!((lines.lines().next(), lines.lines().count()), (Some("x,y,loss,accuracy"), 21));
    let row: Vec<f64> = lines.lines().nth(7).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    assert_eq!(row, [-0.5, found["y"].1[1], found["loss"].1[6], found["accuracy"].1[6]]);
    assert!(std::fs::read_to_string(file("landscape.vtp")).unwrap().contains("NumberOfPoints=\"20\""));
    let svg = std::fs::read_to_string(file("landscape.svg")).unwrap();
    assert!(svg.contains("loss on 25 test samples") && svg.contains("filter-normalised") && svg.contains("last"));
    assert!(std::fs::read(file("landscape.png")).unwrap().starts_with(b"\x89PNG"));

    // A second time it writes the same bytes, and another seed other directions and samples.
    let bytes = |out: &str| names.map(|name| std::fs::read(dir.path().join(out).join(name)).unwrap());
    landscape(&dir, "--grid 5x4 --samples 25 --part test --seed 3 --exact --out again");
    assert!(bytes("d") == bytes("again"));
    let other = landscape(&dir, "--grid 5x4 --samples 25 --part test --seed 4 --out other");
    assert_ne!(other["samples"], said["samples"]);
    assert_ne!(std::fs::read(dir.path().join("other").join(names[1])).unwrap(), bytes("d")[1]);
}

/// The named points of a plane and of a line have the losses that an evaluation finds.
#[test]
fn named_points_have_their_losses() {
    let dir = trained("");
    let of_eval: Value = serde_json::from_str(&ok(dir.path(), &words("eval r --json --device cpu"))).unwrap();
    let near = |point: &Value, name: &str| {
        let (found, want) = (point["loss"].as_f64().unwrap(), of_eval[name]["mean"].as_f64().unwrap());
        // A point off the origin is rounded to f32 twice on its way; a loss of some units moves by as much, times the weights.
        assert!((found - want).abs() <= 1e-5 * want.max(1.0), "{name}: {found}, not {want}");
    };
    let plane = landscape(&dir, "--plane weights last,swa,ema --part test --grid 6x6");
    for (i, name) in ["test_loss", "swa_test_loss", "ema_test_loss"].into_iter().enumerate() {
        near(&plane["points"][i], name);
    }
    assert_eq!(plane["points"][0]["at"], json!([0.0, 0.0]));
    assert!(dir.path().join("r/landscape/landscape.svg").exists(), "the default folder");
    let line = landscape(&dir, "--line r/weights.safetensors,swa --part test --grid 11 --out line");
    near(&line["points"][0], "test_loss");
    near(&line["points"][1], "swa_test_loss");
    assert!(line["barrier"]["height"].as_f64().unwrap() >= 0.0);
    let found = arrays(&dir.path().join("line/landscape.npz"));
    assert_eq!((&found["loss"].0, &found["x"].0, found.contains_key("y")), (&vec![17], &vec![17], false));
    assert!(!dir.path().join("line/landscape.vtp").exists());
    let said = ok(dir.path(), &words("landscape r --line last,swa --grid 9 --device cpu"));
    assert!(said.contains("barrier") && said.contains("last"), "{said}");
}

/// Batch normalisation: renewed unless told otherwise, and each way said.
#[test]
fn statistics_are_renewed_unless_kept() {
    let dir = trained("--set model.norm=\"batch\"");
    let renewed = landscape(&dir, "--grid 3x3 --samples 20 --out renewed");
    assert_eq!((&renewed["bn"], renewed["renewed_by"].as_array().unwrap().len()), (&json!("renew"), 42));
    let kept = landscape(&dir, "--grid 3x3 --samples 20 --bn keep --out kept");
    assert_eq!((&kept["bn"], &kept["renewed_by"]), (&json!("keep"), &Value::Null));
    let loss = |out: &str| arrays(&dir.path().join(out).join("landscape.npz"))["loss"].1.clone();
    assert!(loss("renewed").iter().zip(loss("kept")).all(|(renewed, kept)| *renewed != kept));
    // Of a batch normalisation statistics do not move.
    let layout = Trained::open(&dir.path().join("r"), None, Some("cpu"), |_| {}).unwrap().layout().clone();
    let found = tensors(&dir.path().join("kept/directions.safetensors"));
    assert_eq!(found.len(), 2 * layout.names().len());
    for (name, bytes) in found.iter().filter(|(name, _)| name.contains("running_") || name.contains("num_batches")) {
        assert!(bytes.iter().all(|&byte| byte == 0), "{name}");
    }
}

/// The run's own way: of a trajectory, or without one of its checkpoints.
#[test]
fn a_path_comes_from_what_the_run_kept() {
    let dir = trained("--keep-checkpoints 50");
    let of_checkpoints = landscape(&dir, "--plane path --grid 4x4 --out checkpoints");
    assert!(of_checkpoints["axes"][0].as_str().unwrap().ends_with("% of the variance"), "{of_checkpoints}");
    let found = arrays(&dir.path().join("checkpoints/landscape.npz"));
    // The first weights, and those after each epoch.
    assert_eq!((&found["path"].0, &found["path_steps"].0), (&vec![13, 2], &vec![13]));
    assert_eq!(found["path"].1[24..], [0.0, 0.0]);
    let layout = Trained::open(&dir.path().join("r"), None, Some("cpu"), |_| {}).unwrap().layout().clone();
    for steps in [0u32, 5, 10] {
        let flat: Vec<f64> = (0..layout.len).map(|i| f64::from((i as u32 * 7 + steps * steps) % 11) / 10.0).collect();
        let path = dir.path().join(format!("r/trajectory.{steps}.safetensors"));
        weights::write(&path, &layout, &flat, Precision::F32).unwrap();
    }
    landscape(&dir, "--plane path --grid 4x4 --out trajectory");
    assert_eq!(arrays(&dir.path().join("trajectory/landscape.npz"))["path"].0, [4, 2], "and the last weights");
}

#[test]
fn what_cannot_be_drawn_is_refused_in_a_line() {
    let dir = trained("--replicas 2");
    let other = TempDir::new().unwrap();
    let data = table(&other);
    summary(&other, &data, &["--hidden", "5", "--epochs", "1"]);
    let foreign = other.path().join("r/weights.safetensors").display().to_string();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let says = |args: &str| fails(dir.path(), 2, &[&["landscape", "r", "--device", "cpu"][..], &words(args)].concat());
    for (args, want) in [
        ("--center best", "expected one of last, swa, ema, which the run has, or a file, found \"best\""),
        ("--plane weights last,swa", "--plane weights: expected three weights, as last,swa,ema, found \"last,swa\""),
        ("--plane weights", "--plane weights: expected three weights behind it"),
        ("--plane weights last,swa,last", "expected three weight vectors that span a plane, found last and last equal"),
        ("last,swa,ema", "weights belong to --plane weights"),
        ("--radius 0", "radius: expected a number above 0, found 0"),
        ("--radius=-1", "radius: expected a number above 0, found -1"),
        ("--radius NaN", "radius: expected a number above 0, found NaN"),
        ("--grid 1x5", "grid: expected 2 to 1000 points along an axis, found 1"),
        ("--grid 0x0", "grid: expected 2 to 1000 points along an axis, found 0"),
        ("--grid 5x99999999", "grid: expected 2 to 1000 points along an axis, found 99999999"),
        ("--grid 5", "--grid: expected two numbers of points as 51x51, found \"5\""),
        ("--samples 0", "samples: expected at least 1, found 0"),
        ("--part nonsense", "--part: expected one of train, validation, test, which the data have, found nonsense"),
        ("--replica 2", "--replica: expected one below 2, found 2"),
        ("--line last", "--line: expected two weights, as last,swa, found \"last\""),
        ("--line last,last", "line: expected two weight vectors, found last and last equal"),
        ("--line last,swa --radius 1", "--radius: expected a plane"),
        ("--plane path --center swa", "--center: expected --plane random or curvature"),
        ("--line last,swa --orthogonal", "--orthogonal: expected --plane random"),
        ("--norm rows", "expected filter, layer or none, found \"rows\""),
        ("--out file", "--out: expected a folder that can be written to, found file"),
        (&format!("--center {foreign}"), "tensor \"4.weight\" is missing"),
        (&format!("--plane weights last,swa,{foreign}"), "tensor \"4.weight\" is missing"),
    ] {
        let error = says(args);
        assert!(error.contains(want), "{args}: {error}");
    }
    assert!(!dir.path().join("r/landscape").exists(), "nothing is left behind");
    assert!(fails(dir.path(), 2, &words("landscape nowhere")).contains("expected the folder of a run"));
    assert_eq!(read_json(dir.path().join("r/summary.json"))["replicas"], 2);
    let second = landscape(&dir, "--replica 1 --grid 3x3 --out second");
    let first = landscape(&dir, "--grid 3x3 --out first");
    assert_ne!(first["points"][0]["loss"], second["points"][0]["loss"]);
}

/// A signal ends it after the points under way, with nothing written.
#[cfg(unix)]
#[test]
fn a_signal_leaves_nothing_behind() {
    let dir = trained("");
    let args = words("landscape r --device cpu --grid 1000x1000 --out d");
    let mut child = program(dir.path(), &args).stderr(std::process::Stdio::null()).spawn().unwrap();
    // The folder is made before the first point is evaluated.
    while !dir.path().join("d").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its time");
        std::thread::yield_now();
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!dir.path().join("d").exists());
}
