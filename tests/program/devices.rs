//! The program on the adapters of this machine: what it lists, chooses and says.

use crate::common;

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use common::program::{ok, table, words};

/// Runs the program without a session's folder, and with these variables besides.
fn without_session(dir: &TempDir, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(args).current_dir(dir).env("XDG_CACHE_HOME", dir.path()).env("HOME", dir.path());
    command.env_remove("XDG_RUNTIME_DIR").env_remove("NODEVICE_SELECT").envs(variables.iter().copied());
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Mesa complains where no session has a folder of its own; a good run says nothing on standard error.
#[test]
fn a_good_run_is_silent_on_standard_error() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    if common::gpu().is_none() {
        return;
    }
    let line = format!("train --data {data} --hidden 4 --batch 16 --epochs 1 --device gpu --quiet --run r");
    for args in [words(&line), vec!["devices"], vec!["eval", "r"]] {
        let output = without_session(&dir, &[], &args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{args:?}");
    }
}

#[test]
fn adapters_are_listed_with_what_they_are() {
    let dir = TempDir::new().unwrap();
    if common::gpu().is_none() {
        return;
    }
    let list: Value = serde_json::from_str(&ok(dir.path(), &["devices", "--json"])).unwrap();
    for adapter in list.as_array().unwrap() {
        assert!(adapter["conforms"].is_boolean() && adapter["remarks"].is_array(), "{adapter}");
        assert!(adapter["binding_bytes"].as_u64().unwrap() < 1 << 31, "{adapter}");
    }
    assert!(ok(dir.path(), &["devices"]).contains("--device auto takes "));
}

/// wgpu's environment variables are honoured.
#[test]
fn the_environment_chooses_an_adapter() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let Some(gpu) = common::gpu() else { return };
    let line = format!("train --data {data} --epochs 1 --batch 16 --dry-run --device");
    let dry = |variables: &[(&str, &str)], device: &str| {
        let output = without_session(&dir, variables, &[&words(&line)[..], &[device]].concat());
        (stdout(&output), stderr(&output))
    };
    let (text, _) = dry(&[("WGPU_ADAPTER_NAME", &gpu.description.name.to_uppercase())], "auto");
    assert!(text.contains("named by WGPU_ADAPTER_NAME"), "{text}");
    let (text, _) = dry(&[("WGPU_ADAPTER_NAME", "no such")], "auto");
    assert!(text.contains("CPU engine") && text.contains("no adapter of the name in WGPU_ADAPTER_NAME"), "{text}");
    let (_, error) = dry(&[("WGPU_BACKEND", "gl")], "gpu");
    assert!(error.contains("no adapter found among WGPU_BACKEND=gl"), "{error}");
    let (text, _) = dry(&[("WGPU_BACKEND", "gl")], "auto");
    assert!(text.contains("CPU engine"), "{text}");
}

/// A step is profiled on an adapter with a clock, without that one is named; where none is, the program says so.
#[test]
fn a_step_is_profiled_where_there_is_a_clock() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let bench = format!("bench step --profile --data {data} --hidden 4 --batch 16 --json");
    let profile = |variables: &[(&str, &str)], more: &[&str]| -> Value {
        let output = without_session(&dir, variables, &[&words(&bench)[..], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    for (variables, more) in [(&[][..], &["--device", "cpu"][..]), (&[("WGPU_BACKEND", "gl")], &[])] {
        let none = profile(variables, more);
        assert!(none["profile"].as_array().unwrap().is_empty(), "{none}");
        assert!(none["no_profile"].as_str().unwrap().contains("has no clock"), "{none}");
    }
    let Some(gpu) = common::gpu() else { return };
    if gpu.description.features.contains(&"timestamps") {
        let some = profile(&[], &[]);
        assert!(!some["profile"].as_array().unwrap().is_empty() && some["no_profile"].is_null(), "{some}");
    }
}

/// A recorded form that the adapter does not have is dropped with a word, and the run goes on.
#[test]
fn a_recorded_form_that_does_not_work_is_dropped_with_a_word() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    if common::gpu().is_none() {
        return;
    }
    let line = format!("train --data {data} --hidden 4 --batch 16 --epochs 1 --device gpu --no-tune --quiet --run");
    ok(dir.path(), &[&words(&line)[..], &["r"]].concat());
    let config = dir.path().join("r/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let record = text.lines().find(|line| line.starts_with("\"linear 16x3x4\"")).unwrap();
    std::fs::write(&config, text.replace(record, "\"linear 16x3x4\" = \"cooperative-16 64x8x32x1x1\"")).unwrap();
    for args in [
        &["train", "r/config.toml", "--quiet", "--run", "again"][..],
        &["train", "--resume", "r", "--epochs", "2", "-q"],
    ] {
        let output = without_session(&dir, &[], args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let warnings = stderr(&output);
        assert_eq!(warnings.lines().count(), 1, "{warnings}");
        assert!(warnings.starts_with("warning: linear_cooperative on "), "{warnings}");
        assert!(warnings.contains("cooperative-16 64x8x32x1x1") && warnings.contains("linear 16x3x4"), "{warnings}");
    }
}
