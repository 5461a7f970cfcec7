//! Sharpness-aware minimisation, as the program takes it.

use crate::common;

use common::program::{fails, lines, ok, table, words};
use tempfile::TempDir;
use thalweg::run::{Config, read_config};
use thalweg::sam::Sam;

const TRAIN: &str =
    "train --batch 10 --epochs 2 --hidden 4 --device cpu --log-every 1 --quiet --optimizer sgd --lr 0.5 --run";

/// The flags are keys of the run's configuration, in a file of one's own too, and with them it is another run, whose first step
/// has the same loss.
#[test]
fn the_flags_are_keys() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    std::fs::write(dir.path().join("sam.toml"), "[optimizer]\nname = \"sgd\"\nsam = { rho = 0.2, adaptive = true }\n")
        .unwrap();
    let mut losses = Vec::new();
    for (name, more, want) in [
        ("none", "", None),
        ("plain", "--sam 0.2", Some(Sam { rho: 0.2, adaptive: false })),
        ("adaptive", "--sam 0.2 --sam-adaptive", Some(Sam { rho: 0.2, adaptive: true })),
        ("default", "--sam-adaptive", Some(Sam { rho: 0.05, adaptive: true })),
        ("set", "--set optimizer.sam={}", Some(Sam::default())),
        ("file", "sam.toml", Some(Sam { rho: 0.2, adaptive: true })),
        ("over", "sam.toml --sam 1", Some(Sam { rho: 1.0, adaptive: true })),
    ] {
        ok(dir.path(), &[words(TRAIN), vec![name, "--data", &data], words(more)].concat());
        let run = dir.path().join(name);
        let config = Config::resolve(read_config(&run).unwrap(), Vec::new(), Vec::new()).unwrap();
        assert_eq!(config.optimizer.sam, want, "{name}");
        let of_steps: Vec<f64> =
            lines(run.join("metrics.jsonl")).iter().map(|line| line["loss"].as_f64().unwrap()).collect();
        losses.push(of_steps);
    }
    assert!(losses.iter().all(|of| of[0] == losses[0][0]), "the loss of a step is that of its weights");
    let mut last: Vec<u64> = losses.iter().map(|of| of[11].to_bits()).collect();
    assert_eq!(last[2], last[5], "a flag and a file say the same");
    last.sort_unstable();
    last.dedup();
    assert_eq!(last.len(), losses.len() - 1, "{losses:?}");
    // A run goes on as it began.
    let said = fails(dir.path(), 2, &words("train --resume plain --sam 0.3 --epochs 3 --quiet"));
    assert!(said.contains("optimizer.sam.rho: expected 0.2, as the run has, found 0.3"), "{said}");
    ok(dir.path(), &words("train --resume plain --sam 0.2 --epochs 3 --quiet"));
}

/// One line each, and no folder.
#[test]
fn no_length_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for (more, want) in [
        ("--sam 0", "error: optimizer.sam.rho: expected a positive number"),
        ("--sam -0.1", "error: optimizer.sam.rho: expected a positive number"),
        ("--sam nan", "error: optimizer.sam.rho: expected a positive number"),
        ("--set optimizer.sam=0.05", "error: optimizer.sam: expected a table as { rho = 0.05 }, found 0.05"),
        ("--set optimizer.sam.roh=1", "error: optimizer.sam.roh: unknown key, expected one of rho, adaptive"),
    ] {
        let said = fails(dir.path(), 2, &[words(TRAIN), vec!["r", "--data", &data], words(more)].concat());
        assert!(said.starts_with(want), "{more}: {said}");
        assert!(!dir.path().join("r").exists(), "{more}");
    }
    let said = fails(dir.path(), 2, &words("descend --surface bowl --set optimizer.sam={}"));
    assert!(said.contains("optimizer.sam: expected none"), "{said}");
}
