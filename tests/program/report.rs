//! `thalweg report`: pages that are read in a browser.

use crate::common;

use std::fs;
use std::path::Path;

use common::program::{fails, json, lines, npy, ok, table, words};
use common::python::python;
use serde_json::Value;
use tempfile::TempDir;
use thalweg::engine::StepMetrics;
use thalweg::event::{Event, Observer, StepReport};
use thalweg::progress::Progress;
use thalweg::run::Log;
use thalweg::schedule::Rate;

/// What is wrong with pages, a line each.
fn faults(dir: &Path, pages: &[&str]) -> Option<String> {
    python(dir, "pages.py", pages).map(|printed| printed.trim().to_string())
}

/// Trains `r` on the small table, with all that a report shows.
fn full_run(dir: &TempDir) {
    let data = table(dir);
    let train = format!(
        "train --data {data} --validation 0.2 --hidden 8 --batch 8 --device cpu --epochs 12 --replicas 2 --quiet --run r \
         --optimizer sgd --lr 0.2 --log-every 1 --curvature every=2 --clip-norm 1 --keep-best"
    );
    let mut args = words(&train);
    args.extend([
        "--schedule",
        "cosine_warm_restarts",
        "--set",
        "schedule.t_0=24",
        "--set",
        "average.swa={start=4,unit=\"epoch\"}",
    ]);
    ok(dir.path(), &args);
}

/// The document of a report.
fn document(dir: &Path, runs: &[&str]) -> Vec<Value> {
    let args = [&["report"], runs, &["--out", "page.html", "--json", "page.json"]].concat();
    ok(dir, &args);
    json(dir.join("page.json")).as_array().unwrap().clone()
}

fn curve<'a>(document: &'a Value, name: &str) -> &'a Value {
    let curves = document["history"]["curves"].as_array().unwrap();
    curves.iter().find(|curve| curve["name"] == name).unwrap_or_else(|| panic!("{name} is no curve"))
}

fn kinds(document: &Value) -> Vec<(&str, u64)> {
    let marks = document["history"]["marks"].as_array().unwrap();
    marks.iter().map(|mark| (mark["kind"].as_str().unwrap(), mark["step"].as_u64().unwrap())).collect()
}

#[test]
fn a_report_shows_what_the_run_wrote() {
    let dir = TempDir::new().unwrap();
    full_run(&dir);
    let run = dir.path().join("r");
    let document = &document(dir.path(), &["r"])[0];
    let metrics = lines(run.join("metrics.jsonl"));
    let (losses, norms) = (curve(document, "loss"), curve(document, "grad_norm"));
    assert_eq!(losses["x"].as_array().unwrap().len(), metrics.len());
    let is_near = |got: &Value, want: f64| (got.as_f64().unwrap() - want).abs() <= 1e-5 * want.abs();
    for (i, line) in metrics.iter().enumerate() {
        assert!(is_near(&losses["mean"][i], line["loss"].as_f64().unwrap()), "{i}");
        assert!(is_near(&norms["mean"][i], line["grad_norm"].as_f64().unwrap()), "{i}");
        // Of two replicas, mean ∓ deviation lie √2 times as far apart as the two values.
        let of = |r: usize| line["losses"][r].as_f64().unwrap();
        let width = losses["high"][i].as_f64().unwrap() - losses["low"][i].as_f64().unwrap();
        assert!((width - 2f64.sqrt() * (of(0) - of(1)).abs()).abs() <= 2e-5 * of(0).max(of(1)), "{i}");
    }
    let epochs = lines(run.join("epochs.jsonl"));
    for (name, epoch) in [("test_accuracy", 11), ("swa_test_loss", 11), ("swa_validation_loss", 11)] {
        let of_epoch = epochs[epoch][name]["mean"].as_f64().unwrap();
        assert!(is_near(curve(document, name)["mean"].as_array().unwrap().last().unwrap(), of_epoch), "{name}");
    }
    let axis = &document["history"]["axis"];
    let seconds: f64 = epochs.iter().map(|line| line["seconds"].as_f64().unwrap()).sum();
    assert!(is_near(axis["seconds"].as_array().unwrap().last().unwrap(), seconds));
    assert_eq!(*axis["samples"].as_array().unwrap().last().unwrap(), 12 * 48);

    let marks = kinds(document);
    let steps = |kind: &str| marks.iter().filter(|mark| mark.0 == kind).map(|mark| mark.1).collect::<Vec<_>>();
    // Six steps an epoch, SWA from the fifth epoch on, and restarts every 24 steps.
    assert_eq!(steps("swa"), (4..12).map(|epoch| 6 * (epoch + 1)).collect::<Vec<u64>>());
    assert_eq!(steps("restart"), [24, 48]);
    assert_eq!(steps("end"), [72]);
    assert_eq!(steps("best"), [json(run.join("summary.json"))["best"]["steps"].as_u64().unwrap()]);

    let settings = document["settings"].as_array().unwrap();
    let differs =
        |key: &str| settings.iter().find(|row| row["key"] == key).map(|row| row["differs"].as_bool().unwrap());
    assert_eq!(differs("optimizer.lr"), Some(true));
    assert_eq!(differs("train.order"), Some(false));
    assert!(document["machine"].as_str().unwrap().contains("thalweg"));
}

#[test]
fn a_report_reads_well_in_a_browser() {
    let dir = TempDir::new().unwrap();
    full_run(&dir);
    ok(dir.path(), &words("landscape r --grid 9x9 --samples 20"));
    ok(dir.path(), &words("curvature r --samples 20 --top 2"));
    ok(dir.path(), &words("report r --profile"));
    ok(dir.path(), &words("train --data synthetic --hidden 16 --epochs 2 --device cpu --quiet --run s"));
    ok(dir.path(), &words("report r s --out both.html"));
    let Some(faults) = faults(dir.path(), &["r/report.html", "both.html"]) else { return };
    assert_eq!(faults, "");
    let asked = python(dir.path(), "report.py", &["r/report.html", "both.html"]).unwrap();
    assert_eq!(asked.trim(), "");
}

/// The checks of pages find what they are for.
#[test]
fn faults_of_pages_are_found() {
    let dir = TempDir::new().unwrap();
    let page = r##"<!doctype html><title>t</title><h1>t</h1><p style="color: #999; background: #fff">pale</p>
        <div style="width: 500px; height: 9px; background: red"></div><img src="http://127.0.0.1:9/x.png">
        <figure class="chart" data-points="0"><h3>Empty</h3></figure><button tabindex="-1">far</button>
        <script>console.error("oh"); undefined_name();</script>"##;
    fs::write(dir.path().join("bad.html"), page).unwrap();
    let Some(faults) = faults(dir.path(), &["bad.html"]) else { return };
    for fault in [
        "pale: P.null \"pale\"",
        "wide: DIV.null",
        "request: http://127.0.0.1:9/x.png",
        "an image that is not there",
        "Empty: a chart without marks",
        "Tab does not come to <button",
        "console: oh",
        "error: undefined_name is not defined",
    ] {
        assert!(faults.contains(fault), "{fault} is not in\n{faults}");
    }
}

/// What the log of a run of `steps` steps holds, of losses that `loss` gives.
fn long_log(run: &Path, steps: u64, loss: impl Fn(u64) -> f64) {
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    let mut log = Log::open(run, 1, true, 0, &Progress::default()).unwrap();
    for step in 0..steps {
        let metrics = StepMetrics { replica: 0, step, loss: loss(step), correct: 3, ..StepMetrics::default() };
        let report =
            StepReport { step, epoch: 0, rows: 8, rate: Rate { lr: 0.1, momentum: 0.0 }, replicas: &[metrics] };
        log.on(&Event::Step(&report)).unwrap();
    }
    log.on(&Event::Saving).unwrap();
}

#[test]
fn hostile_runs_have_small_whole_pages() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Class names that would end a script, and no test part.
    let rows: String =
        (0..40).map(|i| format!("{},{},\"{}\"\n", i % 7, i % 5, ["</script><b>", "<!--", "a \"b\""][i % 3])).collect();
    fs::write(path("t.csv"), format!("x,y,label\n{rows}")).unwrap();
    let train = "train --data csv:t.csv,target=label --hidden 8 --batch 8 --device cpu --quiet";
    ok(dir.path(), &words(&format!("{train} --epochs 3 --run names")));
    // A folder with a name that would.
    ok(dir.path(), &[&words(train)[..], &["--epochs", "1", "--batch", "40", "--run", "<script>alert(1)<x>"]].concat());
    // Losses that are not finite.
    fails(dir.path(), 1, &words(&format!("{train} --optimizer sgd --lr 1e30 --epochs 9 --log-every 1 --run nan")));
    // A million steps, of which one is far above and one far below all others.
    ok(dir.path(), &words(&format!("{train} --epochs 1 --run long")));
    let extreme = |step| match step {
        123_457 => 77.0,
        876_543 => -55.0,
        _ => 1.0 + (step as f64 / 5e4).sin() / 2.0,
    };
    long_log(&path("long"), 1_000_000, extreme);

    let runs = ["names", "<script>alert(1)<x>", "nan", "long"];
    for run in runs {
        ok(dir.path(), &["report", run, "--out", &format!("{run}.html")]);
        let size = fs::metadata(path(&format!("{run}.html"))).unwrap().len();
        assert!(size < 5_000_000, "{run}: {size} bytes");
    }
    let document = &document(dir.path(), &["long"])[0];
    let losses = curve(document, "loss")["mean"].as_array().unwrap();
    assert!(losses.contains(&77.into()) && losses.contains(&(-55).into()) && losses.len() < 3000, "{}", losses.len());
    assert_eq!(*curve(document, "loss")["x"].as_array().unwrap().last().unwrap(), 999_999);
    let pages: Vec<String> = runs.map(|run| format!("{run}.html")).to_vec();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    if let Some(faults) = faults(dir.path(), &pages) {
        assert_eq!(faults, "");
    }
}

#[test]
fn what_cannot_be_reported_is_told() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let error = fails(dir.path(), 2, &words("report nothing"));
    assert!(error.contains("nothing"), "{error}");
    ok(dir.path(), &words(&format!("train --data {data} --hidden 8 --epochs 1 --device cpu --quiet --run r")));
    let error = fails(dir.path(), 2, &words("report r --out no/page.html"));
    assert!(error.contains("--out: expected a file in a folder that is there, found no/page.html"), "{error}");
    let error = fails(dir.path(), 2, &words("report r --out r"));
    assert!(error.contains("r: expected a file or nothing in its place, found a folder"), "{error}");
    npy(&dir.path().join("r/epochs.jsonl"), &[3], vec![1i64, 2, 3]);
    ok(dir.path(), &words("report r"));
    fs::write(dir.path().join("r/config.toml"), "train = 3").unwrap();
    let error = fails(dir.path(), 2, &words("report r"));
    assert!(error.contains("config.toml"), "{error}");
}
