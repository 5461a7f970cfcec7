//! `thalweg report` of a sweep's folder.

use crate::common;

use std::fs;
use std::path::Path;

use common::program::{fails, json, ok, words};
use common::python::python;
use serde_json::Value;
use tempfile::TempDir;
use thalweg::run::Config;
use thalweg::sweep::{Design, Member, Row, Rows, write_design, write_table};
use toml::Table;

/// A sweep of three settings, one of words, one of numbers and one that is drawn, in the folder `s`; the highest rate diverges.
const DESIGN: &str = r#"
    [sweep]
    seeds = 3
    random = 4
    [sweep.grid]
    "optimizer.name" = ["sgd", "adamw"]
    "optimizer.lr" = [0.01, 0.1, 1.0]
    [sweep.range]
    "optimizer.weight_decay" = { from = 1e-5, to = 1e-2, scale = "log" }
"#;

/// The accuracy of a member: the highest of the best rate and the least decay, a little another for every seed.
fn accuracy(member: &Member) -> f64 {
    let number = |i: usize| member.settings[i].1.as_float().unwrap();
    let rate = if number(0) == 0.1 { 0.9 } else { 0.8 };
    rate + 0.001 * member.seed as f64 - number(2)
}

fn row(member: &Member) -> Row {
    let has_diverged = member.settings[0].1.as_float() == Some(1.0) && member.seed > 0;
    let loss = if has_diverged { f64::NAN } else { 1.0 - accuracy(member) };
    let (ended, epochs) = if has_diverged { ("diverged", 1) } else { ("epochs", 3) };
    Row {
        epochs,
        steps: 10 * epochs,
        test_accuracy: (!has_diverged).then(|| accuracy(member)),
        test_loss: Some(loss),
        ended: ended.into(),
        ..Row::new(member).unwrap()
    }
}

/// Writes the sweep, and returns its rows.
fn sweep(dir: &Path, design: &str, row: impl Fn(&Member) -> Row) -> Vec<Row> {
    fs::create_dir(dir).unwrap();
    let mut file: Table = design.parse().unwrap();
    let design = Design::take(&mut file).unwrap();
    let base = Config::resolve(file, Vec::new(), Vec::new()).unwrap();
    write_design(dir, &design, &base).unwrap();
    let rows: Vec<Row> = design.members(&base).unwrap().iter().map(row).collect();
    let mut file = Rows::open(dir).unwrap();
    rows.iter().try_for_each(|row| file.add(row)).unwrap();
    write_table(dir, &rows).unwrap();
    rows
}

fn document(dir: &Path) -> Value {
    ok(dir, &words("report s --json s.json"));
    json(dir.join("s.json"))[0].clone()
}

#[test]
fn a_sweep_has_a_page_and_pictures() {
    let dir = TempDir::new().unwrap();
    let rows = sweep(&dir.path().join("s"), DESIGN, row);
    let found = document(dir.path());
    assert_eq!(
        (&found["metric"], &found["members"], &found["failed"]),
        (&"test accuracy".into(), &72.into(), &16.into())
    );
    let groups = found["groups"].as_array().unwrap();
    assert_eq!((groups.len(), &found["tried"]), (24, &24.into()));
    // Two optimizers share each place: the best rate, and the least of the decays that were drawn.
    let decay = |row: &Row| row.settings["optimizer.weight_decay"].as_f64().unwrap();
    let least = rows.iter().map(decay).fold(1.0, f64::min);
    assert_eq!((&groups[0]["values"][0], &groups[0]["values"][2]), (&0.1.into(), &least.into()));
    assert_eq!((&groups[0]["share"], &groups[0]["seeds"], &groups[0]["failed"]), (&1.0.into(), &3.into(), &0.into()));
    assert!((groups[0]["mean"].as_f64().unwrap() - (0.901 - least)).abs() < 1e-9);
    // Of 0, 1 and 2 thousandths the deviation is one, and t₂ at 0.975 is 4.302653.
    assert!((groups[0]["interval"].as_f64().unwrap() - 0.004_302_653 / 3f64.sqrt()).abs() < 1e-8);
    assert!(groups[16..].iter().all(|group| group["failed"] == 2 && group["values"][0] == 1.0));
    let axes = found["axes"].as_array().unwrap();
    let is_log: Vec<_> = axes.iter().map(|axis| axis["is_log"].as_bool().unwrap()).collect();
    assert_eq!(is_log, [true, false, true]);
    // The grid joins three rates of each optimizer and decay, and two optimizers of each rate and decay.
    let joins: Vec<Vec<usize>> = found["joins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lines| lines.as_array().unwrap().iter().map(|line| line.as_array().unwrap().len()).collect())
        .collect();
    assert_eq!(joins, [vec![3; 8], vec![2; 12], vec![4; 6]]);

    let picture = |name: &str| fs::read_to_string(dir.path().join("s").join(name)).unwrap();
    let (lines, slices) = (picture("parallel.svg"), picture("slices.svg"));
    for text in ["weight_decay (log)", "lr (log)", "adamw", "test accuracy", "failed"] {
        assert!(lines.contains(text), "{text}");
    }
    // A dot each member that did not fail, in each of three panels.
    assert_eq!(slices.matches("<circle").count(), 3 * (72 - 16));
    assert!(![&lines, &slices].iter().any(|svg| svg.contains("NaN") || svg.contains("inf")));
}

#[test]
fn a_sweep_reads_well_in_a_browser() {
    let dir = TempDir::new().unwrap();
    sweep(&dir.path().join("s"), DESIGN, row);
    ok(dir.path(), &words("report s"));
    // One without seeds, of one setting, with text that would end a script; one that has not begun; one that failed altogether.
    let hostile = "[sweep]\ngrid.\"data.source\" = [\"</script><b>\", \"<!--\", \"a, b\"]";
    sweep(&dir.path().join("hostile"), hostile, |member| Row {
        validation_loss: Some(0.5 + member.number as f64),
        test_loss: Some(1.0),
        ended: "epochs".into(),
        ..Row::new(member).unwrap()
    });
    let failed = |member: &Member| Row { ended: "failed".into(), ..Row::new(member).unwrap() };
    sweep(&dir.path().join("failed"), "[sweep]\nseeds = 2\ngrid.\"train.epochs\" = [1, 2]", failed);
    sweep(&dir.path().join("new"), "[sweep]\nseeds = 2", failed);
    fs::remove_file(dir.path().join("new/members.jsonl")).unwrap();
    for name in ["hostile", "failed", "new"] {
        ok(dir.path(), &["report", name]);
    }
    let pages = ["s/report.html", "hostile/report.html", "failed/report.html", "new/report.html"];
    let Some(faults) = python(dir.path(), "pages.py", &pages) else { return };
    assert_eq!(faults.trim(), "");
    assert_eq!(python(dir.path(), "sweep.py", &["s/report.html"]).unwrap().trim(), "");
}

#[test]
fn what_is_no_sweep_alone_is_told() {
    let dir = TempDir::new().unwrap();
    sweep(&dir.path().join("s"), DESIGN, row);
    let error = fails(dir.path(), 2, &words("report s s"));
    assert!(error.contains("s: expected runs, or one sweep alone, found a sweep beside others"), "{error}");
    let error = fails(dir.path(), 2, &words("report s --profile"));
    assert!(error.contains("--profile: expected a run, found the sweep s"), "{error}");
    let path = dir.path().join("s/sweep.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("seeds = 3", "seeds = 2")).unwrap();
    let error = fails(dir.path(), 2, &words("report s"));
    assert!(error.contains("sweep.toml: expected what the run wrote, found a damaged or altered file"), "{error}");
}
