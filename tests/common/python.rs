//! Other programs' readers of what the program writes: Python's packages, and Chromium.

use std::path::Path;
use std::process::Command;

/// Runs `tests/python/SCRIPT` in a folder, with the program's path in `THALWEG`; returns what it printed.
///
/// The interpreter is that of `THALWEG_PYTHON`, which `tests/python.sh` makes with all that the scripts import. Without one the test says
/// loudly that it did not run.
#[track_caller]
pub fn python(dir: &Path, script: &str, args: &[&str]) -> Option<String> {
    let Some(python) = std::env::var_os("THALWEG_PYTHON") else {
        eprintln!("\n*** NOT RUN: this test needs THALWEG_PYTHON, an interpreter that tests/python.sh makes ***\n");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut command = Command::new(python);
    command.arg(&script).args(args).current_dir(dir).env("THALWEG", env!("CARGO_BIN_EXE_thalweg"));
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {args:?}: {printed}{said}", script.display());
    Some(printed.into_owned())
}
