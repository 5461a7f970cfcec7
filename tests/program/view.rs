//! The runs of a folder in a browser.

use crate::common;

use std::fs;
use std::path::Path;

use common::program::{fails, ok, table, words};
use common::python::python;
use common::serving::Serving;
use serde_json::Value;
use tempfile::TempDir;

/// A name that runs a script where it is not written as text.
const HOSTILE: &str = "<img src=x onerror=document.title='taken'>&amp;'\"";

/// A folder with runs of many kinds in `all`, and one beside it.
fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = |more: &str| {
        let line = format!("train --data {data} --hidden 8 --batch 20 --device cpu --quiet {more}");
        ok(dir.path(), &words(&line));
    };
    train("--run all/a --epochs 2 --lr 0.01");
    train("--run all/deep/er/b --epochs 3 --optimizer sgd --lr 0.5 --set average.swa.start=1");
    train("--run outside --epochs 1");
    let all = dir.path().join("all");
    copy(&all.join("a"), &all.join(HOSTILE));
    copy(&all.join("a"), &all.join("going on"));
    fs::remove_file(all.join("going on/summary.json")).unwrap();
    copy(&all.join("a"), &all.join("altered"));
    let config = fs::read_to_string(all.join("altered/config.toml")).unwrap();
    fs::write(all.join("altered/config.toml"), config.replace("lr = 0.01", "lr = 0.02")).unwrap();
    copy(&all.join("a"), &all.join("torn"));
    fs::write(all.join("torn/summary.json"), "{").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(dir.path().join("outside"), all.join("link")).unwrap();
        copy(&all.join("a"), &all.join("lured"));
        fs::remove_file(all.join("lured/metrics.jsonl")).unwrap();
        symlink(dir.path().join("outside/metrics.jsonl"), all.join("lured/metrics.jsonl")).unwrap();
    }
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn runs_are_listed() {
    let dir = folder();
    let list: Value = serde_json::from_str(&ok(dir.path(), &["view", "all", "--json"])).unwrap();
    let runs = list["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(names, [HOSTILE, "a", "altered", "deep/er/b", "going on", "lured", "torn"]);
    let run = |name: &str| runs.iter().find(|run| run["name"] == name).unwrap();
    let a = run("a");
    assert!(a["data"].as_str().unwrap().starts_with("npy:") && a["model"] == "8 relu", "{a}");
    assert_eq!((&a["optimizer"], &a["lr"], &a["epochs"]), (&"adamw".into(), &0.01.into(), &2.into()));
    assert_eq!((&a["ended"], &a["planned"], &a["problem"]), (&"epochs".into(), &"2".into(), &Value::Null));
    let summary = common::program::json(dir.path().join("all/a/summary.json"));
    assert_eq!(a["results"]["accuracy"], summary["test_accuracy"]["mean"]);
    assert!(run("deep/er/b")["results"]["swa_accuracy"].as_f64().is_some());
    // One that is not over has what its last epoch left.
    let going = run("going on");
    assert_eq!((&going["ended"], &going["epochs"], &going["seconds"]), (&Value::Null, &2.into(), &Value::Null));
    assert_eq!(going["results"]["accuracy"], summary["test_accuracy"]["mean"]);
    for (name, problem) in [
        ("altered", "config.toml"),
        ("torn", "summary.json"),
        ("lured", "metrics.jsonl is a link, which is not followed"),
    ] {
        assert!(run(name)["problem"].as_str().unwrap().contains(problem), "{}", run(name));
    }
    assert_eq!(list["notes"][0], "link is a link, which is not followed");

    // A run's own folder is a list of one.
    let list: Value = serde_json::from_str(&ok(dir.path(), &["view", "all/a", "--json"])).unwrap();
    assert_eq!(list["runs"][0]["name"], ".");
    assert!(fails(dir.path(), 2, &["view", "nowhere"]).contains("nowhere: expected a folder with runs, found none"));
}

#[test]
fn names_lead_nowhere_else() {
    let dir = folder();
    let view = Serving::start(dir.path(), &["view", "all", "--port", "0"]);
    let report = |names: &str| view.get(&format!("/report?token=@&{names}"));
    let (status, _, page) = report("run=a&run=deep%2Fer%2Fb");
    assert!(status == 200 && page.contains("2 runs"), "{status}");
    assert_eq!(report("run=%3Cimg+src%3Dx+onerror%3Ddocument.title%3D%27taken%27%3E%26amp%3B%27%22").0, 200);
    let outside = dir.path().join("outside");
    for name in [
        "../outside",
        "..%2Foutside",
        "%2e%2e%2foutside",
        "a/../a",
        "./a",
        "a/",
        "link",
        "deep",
        "",
        "/",
        "a%00",
        "outside",
        outside.to_str().unwrap(),
    ] {
        assert_eq!(report(&format!("run=a&run={name}")).0, 404, "{name}");
    }
    for name in ["altered", "torn", "lured"] {
        let (status, _, text) = report(&format!("run={name}"));
        assert!(status == 404 && !text.contains("<!doctype"), "{name}: {text}");
    }
    assert_eq!(report("").0, 400);
    assert_eq!(report(&"run=a&".repeat(21)).0, 400);
    for target in
        ["/a?token=@", "/outside/config.toml?token=@", "/../outside/config.toml?token=@", "/%2e%2e/outside?token=@"]
    {
        assert_eq!(view.get(target).0, 404, "{target}");
    }
    assert_eq!(view.get("/").0, 403);
    assert_eq!(view.ask(&["GET /?token=@ HTTP/1.1", "Host: example.org"]).0, 403);
    assert_eq!(view.post("/report").0, 405);
    // A run that has begun since is there, too.
    copy(&dir.path().join("all/a"), &dir.path().join("all/new"));
    assert_eq!(report("run=new").0, 200);
}

/// In a browser: the list is searched, sorted and compared, and no name is more than text.
#[test]
fn a_browser_compares_runs() {
    let dir = folder();
    let Some(printed) = python(dir.path(), "view.py", &["all"]) else { return };
    assert!(printed.ends_with("all is as it should be\n"), "{printed}");
}
