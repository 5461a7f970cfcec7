//! `thalweg tour`: its page in a browser, the commands that it shows, and where its own descents end.

use crate::common;

use std::collections::BTreeSet;
use std::path::Path;

use common::program::{fails, json, ok, words};
use common::python::python;
use common::{Tolerance, assert_close};
use serde_json::Value;
use tempfile::TempDir;

/// The words of a command as a shell sees them, without the program's name: what stands in single quotes is one.
fn typed(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
    words.skip(1).map(String::from).collect()
}

fn run(dir: &Path, line: &str, more: &[&str]) -> String {
    assert!(line.starts_with("thalweg "), "{line}");
    let words = typed(line);
    let args: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    ok(dir, &args)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The page's own arithmetic is that of the program up to the rounding of powers, cosines and sums, which hundreds of steps that do not
/// diverge leave below 1e-9.
fn descents_end_where_the_programs_do(dir: &Path, said: &Value) {
    let all = said["ends"].as_array().unwrap();
    assert!(all.len() > 25, "{}", all.len());
    for widget in all {
        let (commands, ends) = (widget["commands"].as_array().unwrap(), widget["ends"].as_array().unwrap());
        assert_eq!(commands.len(), ends.len());
        for (command, end) in commands.iter().zip(ends) {
            let command = command.as_str().unwrap();
            let told: Value = serde_json::from_str(&run(dir, command, &["--json"])).unwrap();
            let last = told["points"].as_array().unwrap().last().unwrap();
            let pair = |w: &Value| [number(&w[0]), number(&w[1])];
            assert_close(command, &pair(end), &pair(&last["w"]), Tolerance { abs: 1e-9, rel: 1e-9 });
        }
    }
}

/// Every command works as it is written, and training again gives the numbers of the page.
fn commands_make_the_same(dir: &Path, said: &Value, data: &Value) {
    let lines = said["commands"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("thalweg descend")).collect();
    let mut seen = BTreeSet::new();
    for line in lines.into_iter().filter(|line| seen.insert(*line)) {
        run(dir, line, &[]);
    }
    assert!(seen.len() > 20, "{seen:?}");
    let told: Value = serde_json::from_str(&ok(dir, &words("eval averaged --json"))).unwrap();
    for (name, row) in [("swa_test_loss", 3), ("snapshots_test_loss", 4)] {
        let loss = number(&told[name]["mean"]);
        let on_page = number(&data["swa"]["rows"][row]["loss"]);
        // Six digits stand in the page.
        assert_close(name, &[loss], &[on_page], Tolerance { abs: 0.0, rel: 1e-5 });
    }
}

/// The data of a page.
fn data(page: &str) -> Value {
    let from = page.split_once("id=\"tour\">").unwrap().1;
    serde_json::from_str(from.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_tour_shows_every_station_and_its_commands_make_the_same() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    assert_eq!(ok(dir, &words("tour --quick --device cpu")), "Written to tour.html\n");
    let page = std::fs::read_to_string(dir.join("tour.html")).unwrap();
    assert!(page.len() < 3 << 20, "{}", page.len());
    let Some(faults) = python(dir, "tour.py", &["tour.html", "said.json"]) else { return };
    assert_eq!(faults.trim(), "");
    assert_eq!(python(dir, "pages.py", &["tour.html"]).unwrap().trim(), "");
    let said = json(dir.join("said.json"));
    descents_end_where_the_programs_do(dir, &said);
    commands_make_the_same(dir, &said, &data(&page));
}

#[test]
fn what_cannot_be_made_is_refused_before_it_is_computed() {
    let dir = TempDir::new().unwrap();
    let refused = |args: &str| fails(dir.path(), 2, &words(args));
    for out in ["nosuch/tour.html", ".", "/"] {
        let error = refused(&format!("tour --quick --out {out}"));
        assert!(error.starts_with("error: --out: expected a file in a folder") && error.contains(out), "{error}");
    }
    let error = refused("tour --quick --device nosuch");
    assert!(error.starts_with("error: train.device: expected auto, cpu, gpu or an adapter"), "{error}");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().filter(|f| f.as_ref().unwrap().path().extension().is_some()).count(),
        0
    );
}
