//! Standard output that is full, that nobody reads any more, or that is closed: every command says so, and none panics.
#![cfg(target_os = "linux")]

use crate::common;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::program::{commands, npy, ok, program, table, words};
use tempfile::TempDir;

/// Every command, with little to do, and what is printed in another way. `data fetch` has nothing to print before it
/// has fetched an archive of the true checksum, which takes a network.
fn all(data: &str) -> Vec<String> {
    let of_data = format!("--data {data} --hidden 8 --batch 20 --device cpu");
    let lines = [
        format!("train {of_data} --epochs 2"),
        format!("train {of_data} --dry-run"),
        format!("sweep {of_data} --epochs 1 --grid optimizer.lr=0.1,0.2 --run s"),
        "eval r".into(),
        "eval r --json".into(),
        "predict r --out said.csv".into(),
        "predict pictures 1.png".into(),
        "export r --onnx net.onnx --csv curves.csv".into(),
        "landscape r --grid 3x3 --samples 9".into(),
        "landscape r --grid 3x3 --samples 9 --json".into(),
        "curvature r --samples 9 --top 2".into(),
        "curvature r --samples 9 --top 2 --json".into(),
        "compare r r".into(),
        "compare r r --json".into(),
        "view . --json".into(),
        "report r".into(),
        "report r r --out both.html".into(),
        "verify --device cpu --json --junit checks.xml".into(),
        format!("lr-find {of_data} --steps 20"),
        "bench adapter --device cpu".into(),
        format!("bench step {of_data}"),
        format!("bench batch {of_data} --batches 8,16"),
        format!("bench batch {of_data} --batches 8,16 --to 0.5 --seeds 2 --csv times.csv"),
        format!("bench population {of_data} --counts 1,2"),
        "schedule --steps 9".into(),
        "schedule --steps 9 --json".into(),
        "schedule --list".into(),
        "descend --surface bowl --steps 9".into(),
        "descend --surface bowl --steps 9 --json".into(),
        "tour --quick --device cpu".into(),
        "devices".into(),
        "devices --json".into(),
        format!("data info {data}"),
        "shader".into(),
        "shader sgd".into(),
        "shader --out shaders".into(),
        "--version".into(),
        "--help".into(),
        "train -h".into(),
    ];
    let own = cfg!(feature = "mpi").then(|| "bench network".into());
    lines.into_iter().chain(own).collect()
}

/// A folder with the small table and a run on it, `r`, and a picture and a run on pictures, `pictures`.
fn folder() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &words(&format!("train --data {data} --hidden 8 --epochs 1 --device cpu --quiet --run r")));
    npy(&dir.path().join("images.npy"), &[2, 2, 2], (0..8).collect::<Vec<u8>>());
    npy(&dir.path().join("labels.npy"), &[2], vec![0i64, 1]);
    ok(dir.path(), &words("train --data npy:images.npy,labels.npy --epochs 1 --device cpu --quiet --run pictures"));
    image::GrayImage::new(2, 2).save(dir.path().join("1.png")).unwrap();
    (dir, data)
}

fn run(dir: &Path, line: &str, stdout: impl Into<Stdio>) -> Output {
    program(dir, &words(line)).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads.
fn broken() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn every_command_is_tried() {
    let tried = all("d");
    let is_tried = |command: &[String]| {
        let start = command.join(" ");
        tried.iter().any(|line| line.starts_with(&start))
    };
    let (with, without): (BTreeSet<Vec<String>>, _) =
        commands().into_iter().map(|(command, _)| command).partition(|command| is_tried(command));
    assert!(with.len() > 12, "{with:?}");
    assert_eq!(without, BTreeSet::from([vec!["data".to_string(), "fetch".to_string()]]));
}

#[test]
fn a_full_output_is_an_error() {
    let (dir, data) = folder();
    for line in all(&data) {
        let output = run(dir.path(), &line, full());
        let said = String::from_utf8(output.stderr).unwrap();
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(last.starts_with("error: standard output: No space left on device"), "{line}: {said}");
        assert_eq!(said.matches("error: ").count(), 1, "{line}: {said}");
    }
    assert!(dir.path().join("runs/1/summary.json").exists(), "the run is complete");
    assert!(dir.path().join("checks.xml").exists() && dir.path().join("said.csv").exists());

    // A command that fails has its own status and its own line.
    let output = run(dir.path(), "train --steps", full());
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("standard output"));
    let diverging = format!("train --data {data} --optimizer sgd --lr 1e30 --device cpu --epochs 9");
    let output = run(dir.path(), &diverging, full());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.matches("error: ").count()), (Some(1), 1), "{said}");
}

#[test]
fn an_output_that_nobody_reads_ends_a_command_quietly() {
    let (dir, data) = folder();
    for line in all(&data) {
        let output = run(dir.path(), &line, broken());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {said}");
        if line.starts_with("train --data") || line.starts_with("sweep") {
            assert!(said.starts_with("warning: standard output: Broken pipe") && said.lines().count() == 1, "{said}");
        } else {
            assert_eq!(said, "", "{line}");
        }
    }
    // Files are written all the same.
    assert!(dir.path().join("runs/1/summary.json").exists(), "the run is complete");
    for (line, file) in [
        (format!("bench batch --data {data} --hidden 8 --device cpu --batches 8,16"), "batch.svg"),
        (format!("lr-find --data {data} --hidden 8 --device cpu --steps 20"), "rates.svg"),
        ("schedule --steps 9".into(), "schedule.svg"),
    ] {
        assert!(run(dir.path(), &format!("{line} --svg {file}"), broken()).status.success(), "{line}");
        assert!(dir.path().join(file).exists(), "{line}");
    }
    assert!(["checks.xml", "shaders/sgd.wgsl", "times.csv"].iter().all(|file| dir.path().join(file).exists()));
}

/// Standard output closed, and standard error full or closed.
#[test]
fn a_closed_output_changes_no_status() {
    let (dir, data) = folder();
    let status = |line: &str, redirected: &str| {
        let shell = format!("\"$0\" {line} {redirected}");
        let mut command = Command::new("sh");
        command.args(["-c", &shell, env!("CARGO_BIN_EXE_thalweg")]).current_dir(dir.path());
        command.env("XDG_CACHE_HOME", dir.path()).status().unwrap().code()
    };
    // What is measured and verified prints no otherwise than the rest.
    for line in all(&data).iter().filter(|line| !line.starts_with("bench") && !line.starts_with("verify")) {
        assert_eq!(status(line, ">&- 2>/dev/full"), Some(0), "{line}");
    }
    assert_eq!(status(&format!("train --data {data} --device cpu --epochs 1"), ">&- 2>&-"), Some(0));
    for redirected in ["2>&-", "2>/dev/full", ">&- 2>&-"] {
        assert_eq!(status("train --no-such-flag", redirected), Some(2), "{redirected}");
    }
}
