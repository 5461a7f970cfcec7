//! Running the program, and reading what it leaves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

const SHADER_CACHE: &str = "MESA_SHADER_CACHE_DIR";

/// The program in a folder, not yet started.
pub fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    // What is measured on the adapter stays with the test; what Mesa compiles for it all tests share.
    command.args(args).current_dir(dir).env("XDG_CACHE_HOME", dir).env("HOME", dir);
    if std::env::var_os(SHADER_CACHE).is_none() {
        command.env(SHADER_CACHE, env!("CARGO_TARGET_TMPDIR"));
    }
    command
}

pub fn thalweg(dir: &Path, args: &[&str]) -> Output {
    program(dir, args).output().unwrap()
}

/// Every command that has none below it, as its words, and what `--help` says of it.
pub fn commands() -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut left = vec![Vec::<String>::new()];
    while let Some(command) = left.pop() {
        let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = ok(Path::new("."), &args);
        match help.split_once("\nCommands:\n") {
            Some((_, below)) => {
                let names = below.split("\n\n").next().unwrap().lines().filter_map(|line| line.strip_prefix("  "));
                let names = names.filter_map(|line| line.split(' ').next()).filter(|n| !n.is_empty() && *n != "help");
                left.extend(names.map(|name| [&command[..], &[name.to_string()]].concat()));
            }
            None => found.push((command, help)),
        }
    }
    found
}

/// The arguments on a command line without quotes.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Runs and expects success; returns what was printed.
#[track_caller]
pub fn ok(dir: &Path, args: &[&str]) -> String {
    let output = thalweg(dir, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs and expects one line of error and exit status `status`; returns the line.
#[track_caller]
pub fn fails(dir: &Path, status: i32, args: &[&str]) -> String {
    let output = thalweg(dir, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: {text}");
    errors[0].to_string()
}

/// A small table of two classes: the sign of the first column.
pub fn table(dir: &TempDir) -> String {
    let path = |name: &str| dir.path().join(name);
    let values: Vec<f32> = (0..60 * 3).map(|i| ((i * 29 % 31) as f32 - 15.0) / 10.0).collect();
    let labels: Vec<i64> = values.chunks(3).map(|row| i64::from(row[0] > 0.0)).collect();
    npy(&path("x.npy"), &[60, 3], values);
    npy(&path("y.npy"), &[60], labels);
    "npy:x.npy,y.npy,x.npy,y.npy".into()
}

pub fn npy<T: npyz::AutoSerialize>(path: &Path, shape: &[u64], values: Vec<T>) {
    use npyz::WriterBuilder;
    let file = std::fs::File::create(path).unwrap();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
    writer.extend(values).unwrap();
    writer.finish().unwrap();
}

pub fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn lines(path: PathBuf) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn tensors(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    tensors.sort();
    tensors
}

/// Trains on the small table; returns the summary.
pub fn summary(dir: &TempDir, data: &str, more: &[&str]) -> Value {
    let args = ["train", "--data", data, "--validation", "0.3", "--batch", "8", "--device", "cpu", "--quiet"];
    let args = [&args[..], &["--optimizer", "sgd", "--lr", "0.5", "--epochs", "40", "--overwrite", "--run", "r"], more];
    ok(dir.path(), &args.concat());
    json(dir.path().join("r/summary.json"))
}
