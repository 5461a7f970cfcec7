//! Damaged files are told from intact ones: every single changed bit of what decides a run.

use crate::common;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use thalweg::engine::{Layout, Precision};
use thalweg::export::safetensors;
use thalweg::model::Mlp;
use thalweg::run::Checkpoint;

use common::program::{fails, lines, ok, table, tensors, thalweg};

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// A run of three epochs of four steps, with two checkpoints.
fn trained(dir: &TempDir) {
    let data = table(dir);
    let args = ["train", "--data", &data, "--device", "cpu", "--batch", "16", "--quiet", "--run", "r"];
    ok(dir.path(), &[&args[..], &["--epochs", "3", "--hidden", "16", "--log-every", "1"]].concat());
}

/// Changes one bit after the other and calls `check` with its number.
fn flip(path: &Path, times: usize, mut check: impl FnMut(usize)) {
    let bytes = fs::read(path).unwrap();
    let mut numbers = Numbers(3);
    for _ in 0..times {
        let bit = numbers.below(8 * bytes.len());
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, changed).unwrap();
        check(bit);
    }
    fs::write(path, bytes).unwrap();
}

/// Of a thousand changed bits of the newest checkpoint each is told, and the one before is used.
#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let dir = TempDir::new().unwrap();
    trained(&dir);
    let run = dir.path().join("r");
    let steps = |warnings: &mut Vec<String>| Checkpoint::newest(&run, warnings).unwrap().unwrap().steps;
    assert_eq!(steps(&mut Vec::new()), 12);
    flip(&run.join("checkpoint.safetensors"), 1000, |bit| {
        let mut warnings = Vec::new();
        assert_eq!(steps(&mut warnings), 8, "bit {bit}");
        assert!(warnings.len() == 1 && warnings[0].contains("r/checkpoint.safetensors: expected"), "{warnings:?}");
    });
    // The program says so, and comes to the same end.
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "5", "--quiet"]);
    fs::rename(&run, dir.path().join("want")).unwrap();
    trained(&dir);
    let newest = run.join("checkpoint.safetensors");
    let intact = fs::read(&newest).unwrap();
    for bytes in [&intact[..intact.len() / 2], b"no", b""] {
        fs::write(&newest, bytes).unwrap();
        let evaluation = thalweg(dir.path(), &["eval", "r"]);
        assert!(evaluation.status.success(), "the run has ended, and needs none");
    }
    let output = thalweg(dir.path(), &["train", "--resume", "r", "--epochs", "5", "--quiet"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.lines().count() == 1, "{text}");
    assert!(text.starts_with("warning: r/checkpoint.safetensors: expected a checkpoint of this run, found"), "{text}");
    let checkpoint = |run: &str| tensors(&dir.path().join(run).join("checkpoint.safetensors"));
    assert!(checkpoint("r") == checkpoint("want"));
    for file in ["weights.safetensors", "metrics.jsonl"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("r") == read("want"), "{file}");
    }
    // Without an intact one nothing is done.
    for entry in fs::read_dir(&run).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("checkpoint") {
            fs::write(entry.path(), "no").unwrap();
        }
    }
    let error = fails(dir.path(), 2, &["train", "--resume", "r", "--epochs", "6"]);
    assert!(error.contains("no other is left; its config.toml begins the run anew"), "{error}");
}

/// Of a thousand changed bits of weights each is told; those of others, without a checksum, are read.
#[test]
fn damaged_weights_are_told() {
    let dir = TempDir::new().unwrap();
    trained(&dir);
    let path = dir.path().join("r/weights.safetensors");
    let layout = Layout::new(&Mlp::new(3, 2).hidden([16]));
    let read = || safetensors::read(&path, &layout, Precision::F32);
    read().unwrap();
    flip(&path, 1000, |bit| assert!(read().is_err(), "bit {bit}"));
    read().unwrap();

    let intact = fs::read(&path).unwrap();
    let mut damaged = intact.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, &damaged).unwrap();
    let data = table(&dir);
    for args in [
        &["eval", "r"][..],
        &["predict", "r", "--out", "p.csv"],
        &["train", "--data", &data, "--device", "cpu", "--hidden", "16", "--init-from", "r", "--run", "n"],
    ] {
        let error = fails(dir.path(), 2, args);
        assert!(error.contains("r/weights.safetensors: expected a safetensors file, found a damaged one"), "{error}");
    }
    assert!(!dir.path().join("n").exists() && !dir.path().join("p.csv").exists());
    // As PyTorch writes them.
    let file = ::safetensors::SafeTensors::deserialize(&intact).unwrap();
    fs::write(&path, ::safetensors::serialize(file.tensors(), None).unwrap()).unwrap();
    ok(dir.path(), &["eval", "r"]);
}

/// Configuration, normalisation and encoding decide what a run's weights mean.
#[test]
fn damaged_descriptions_are_told() {
    let dir = TempDir::new().unwrap();
    trained(&dir);
    for name in ["config.toml", "normalization.json", "encoding.json"] {
        let path = dir.path().join("r").join(name);
        let bytes = fs::read(&path).unwrap();
        let mut numbers = Numbers(5);
        let cuts = [0, bytes.len() / 2, bytes.len() - 3].map(|length| bytes[..length].to_vec());
        let flipped = (0..12).map(|_| {
            let (mut changed, bit) = (bytes.clone(), numbers.below(8 * bytes.len()));
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        });
        for changed in flipped.chain(cuts) {
            fs::write(&path, &changed).unwrap();
            let error = fails(dir.path(), 2, &["eval", "r"]);
            assert!(error.contains(&format!("r/{name}: expected")), "{error}");
        }
        fs::write(&path, &bytes).unwrap();
        ok(dir.path(), &["eval", "r"]);
    }
}

/// A torn line is the trace of a kill; an altered one is left out with a warning, and takes no other with it.
#[test]
fn damaged_lines_are_left_out() {
    let dir = TempDir::new().unwrap();
    trained(&dir);
    let path = dir.path().join("r/metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let want = lines(path.clone());
    assert_eq!(want.len(), 12);
    let resumed = |text: &str, epochs: &str| {
        fs::write(&path, text).unwrap();
        let output = thalweg(dir.path(), &["train", "--resume", "r", "--epochs", epochs, "--quiet"]);
        assert!(output.status.success());
        (lines(path.clone()), String::from_utf8(output.stderr).unwrap())
    };
    let (found, said) = resumed(&(text.clone() + "{\"step\":12,\"epo"), "4");
    assert_eq!((&found[..12], found.len(), said.as_str()), (&want[..], 16, ""));

    let altered = text.replacen("\"step\":4,\"epoch\":1,\"lr\":0.001", "\"step\":4,\"epoch\":1,\"lr\":0.002", 1);
    assert!(altered != text);
    let (found, said) = resumed(&altered, "5");
    let steps: Vec<u64> = found.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    let kept: Vec<u64> = (0..12).filter(|&step| step != 4).chain(16..20).collect();
    assert_eq!(steps, kept, "the lines of the fourth epoch were taken away");
    assert!(said.contains("warning: r/metrics.jsonl: 1 damaged line(s) are left out"), "{said}");
}
