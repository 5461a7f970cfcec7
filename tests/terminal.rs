//! What the program shows on a terminal of eighty columns.

mod common;

use common::program::{fails, json, ok, table, words};
use serde_json::Value;
use tempfile::TempDir;

/// Fails if a line is wider than a terminal.
#[track_caller]
fn fits(text: &str) {
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than 80 columns:\n{}", wide.join("\n"));
}

/// The line of a table that begins with `key`, as its cells.
#[track_caller]
fn cells<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
    let line = line.unwrap_or_else(|| panic!("no line {key}:\n{text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect()
}

#[test]
fn runs_are_compared() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = |more: &str| {
        let line = format!("train --data {data} --hidden 8 --batch 20 --epochs 2 --device cpu --quiet {more}");
        ok(dir.path(), &words(&line));
    };
    train("--run a --lr 0.01");
    train("--run b --lr 0.1 --schedule cosine --replicas 2");
    train("--run c --optimizer sgd --lr 0.1 --momentum 0.9");
    std::fs::remove_file(dir.path().join("c/summary.json")).unwrap();

    let text = ok(dir.path(), &["compare", "a", "b", "c"]);
    fits(&text);
    assert_eq!(cells(&text, "optimizer.lr"), ["0.01", "0.1", "0.1"]);
    assert_eq!(cells(&text, "optimizer.name"), ["adamw", "adamw", "sgd"]);
    assert_eq!(cells(&text, "optimizer.momentum"), ["-", "-", "0.9"]);
    assert_eq!(cells(&text, "schedule.name"), ["constant", "cosine", "constant"]);
    assert!(!text.contains("train.batch"), "{text}");
    let summary = json(dir.path().join("a/summary.json"));
    let shown = format!("{:.4}", summary["test_loss"]["mean"].as_f64().unwrap());
    let losses = cells(&text, "test_loss");
    assert!(losses[0] == shown && losses[1].contains('±') && losses[2] == "-", "{text}");
    assert_eq!(cells(&text, "epochs"), ["2", "2", "-"]);
    assert!(text.contains("c is unfinished"), "{text}");

    let compared: Value = serde_json::from_str(&ok(dir.path(), &["compare", "a", "b", "c", "--json"])).unwrap();
    let runs = compared["runs"].as_array().unwrap();
    assert_eq!(runs[1]["config"]["optimizer.lr"], 0.1);
    assert!(runs[0]["config"].get("train.batch").is_none() && runs[2]["summary"].is_null());
    assert_eq!(runs[0]["summary"], summary);
    assert!(ok(dir.path(), &["compare", "a", "a"]).contains("The configurations are the same."));

    // More than three are rows.
    let text = ok(dir.path(), &["compare", "a", "b", "a", "b", "a"]);
    fits(&text);
    assert_eq!(text.lines().filter(|line| line.starts_with("a ")).count() % 3, 0, "{text}");

    let none = fails(dir.path(), 2, &["compare", "a", "nowhere"]);
    assert!(none.contains("nowhere: expected the folder of a run"), "{none}");
    assert!(fails(dir.path(), 2, &["compare", "a"]).contains("<RUN>"));
}
