//! Starting ranks, and reading what a run leaves.

use std::path::Path;
use std::process::{Command, Output};

use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::common::program::{npy, program, words};

/// `mpirun` with so many ranks of the program in a folder, not yet started; each rank has one of `lines` for arguments, or the
/// last.
pub fn mpirun(dir: &Path, ranks: usize, lines: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    let like = program(dir, &[]);
    command.current_dir(dir).env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    // Containers may not read each other's memory, and then say so.
    command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg("--oversubscribe");
    for (i, line) in lines.iter().enumerate() {
        let count = if i + 1 < lines.len() { 1 } else { ranks - i };
        let part = ["-n", &count.to_string()].map(String::from);
        command.args([":"].iter().filter(|_| i > 0)).args(part).arg(like.get_program()).args(words(line));
    }
    command
}

/// Trains on so many ranks and expects success; returns what was printed.
#[track_caller]
pub fn trains(dir: &Path, ranks: usize, line: &str) -> String {
    trains_by(dir, ranks, "data", line)
}

/// The same in another mode.
#[track_caller]
pub fn trains_by(dir: &Path, ranks: usize, mode: &str, line: &str) -> String {
    let output = mpirun(dir, ranks, &[&format!("train {line} --distributed {mode}")]).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{ranks} ranks, {line}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What ranks said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The values of a file of weights, tensor after tensor.
pub fn values(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |view: safetensors::tensor::TensorView| -> Vec<f64> {
        let data = view.data();
        match view.dtype() {
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            other => panic!("{other:?}"),
        }
    };
    tensors.into_iter().flat_map(|(_, view)| of(view)).collect()
}

/// A table of three classes, 101 samples of 12 features, in a folder; with targets of two values and weights of the samples too.
pub fn table() -> TempDir {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let features: Vec<f32> = (0..101 * 12).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
    let labels: Vec<i64> = features.chunks(12).map(|x| i64::from(x[0] + x[1] > 0.0) + i64::from(x[2] > 0.5)).collect();
    let targets: Vec<f32> = features.chunks(12).flat_map(|x| [x[0] - x[3], x[5]]).collect();
    npy(&path("x.npy"), &[101, 12], features);
    npy(&path("y.npy"), &[101], labels);
    npy(&path("t.npy"), &[101, 2], targets);
    npy(&path("w.npy"), &[101], (0..101).map(|i| 0.5 + (i % 7) as f32).collect());
    dir
}

/// The flags of a small run on that table: 11 steps an epoch, whose last has one sample.
pub const SMALL: &str = "--data npy:x.npy,y.npy,x.npy,y.npy --hidden 16,8 --batch 10 --epochs 3 --device cpu --quiet";
