//! The program on the adapters of this machine: what it lists, chooses and says.

use crate::common;

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use thalweg::data::{Features, Part};
use thalweg::engine::{Diagnose, Engine, Gradient, LossScale, Precision, Setup, Slot, Step, initialize};
use thalweg::event::{Control, Event};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Init, Norm};
use thalweg::plan::Plan;
use thalweg::schedule::Rate;
use thalweg::train::Trainer;
use thalweg::{Error, Result};

use common::program::{ok, table, words};
use common::small;

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
    let output = without_session(&dir, &[], &["train", "r/config.toml", "--quiet", "--run", "again"]);
    let warnings = stderr(&output);
    assert!(output.status.success() && warnings.lines().count() == 1, "{warnings}");
    assert!(warnings.starts_with("warning: linear_cooperative on "), "{warnings}");
    assert!(warnings.contains("cooperative-16 64x8x32x1x1") && warnings.contains("linear 16x3x4"), "{warnings}");
    // A run that goes on has its forms from its checkpoint.
    std::fs::write(&config, &text).unwrap();
    let output = without_session(&dir, &[], &["train", "--resume", "r", "--epochs", "2", "-q"]);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
}

fn is_lost<T>(result: Result<T>) -> bool {
    match result {
        Err(Error::DeviceLost(_)) => true,
        Err(error) => panic!("{error}"),
        Ok(_) => false,
    }
}

/// A device that is lost between two steps ends the training with an error of its own.
#[test]
fn a_device_lost_in_training_is_an_error_of_its_own() {
    for after in [0, 5, 17] {
        let Some(gpu) = common::gpu() else { return };
        let engine = GpuEngine::new(gpu, small::setup(), Options::default()).unwrap();
        let device = engine.device().unwrap();
        let mut trainer = Trainer::new(Box::new(engine), Plan { epochs: 10, ..Plan::default() }).unwrap();
        let mut destroys = |event: &Event| {
            if let Event::Step(step) = event
                && step.step == after
            {
                device.destroy();
            }
            Ok(Control::Continue)
        };
        let error = (0..10).find_map(|_| trainer.epoch_with(&mut destroys).err()).unwrap();
        assert!(matches!(error, Error::DeviceLost(_)), "after step {after}: {error}");
        assert!(error.to_string().starts_with("device: lost: it was destroyed; "), "{error}");
        assert!(is_lost(trainer.engine().download(Slot::Live, 0)), "after step {after}");
    }
}

/// A folder of caches that cannot be written, or a home folder that is not there, is done without, silently.
#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    if common::gpu().is_none() {
        return;
    }
    std::fs::write(dir.path().join("file"), "").unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (file, home) = (path("file"), path("file/home"));
    for (i, caches) in [&file, ""].into_iter().enumerate() {
        let line = format!("train --data {data} --hidden 4 --batch 16 --epochs 1 --device gpu --quiet --run r{i}");
        // Mesa has a cache of its own, and says where it cannot be.
        let variables = [("XDG_CACHE_HOME", caches), ("HOME", &home), ("MESA_SHADER_CACHE_DISABLE", "true")];
        let output = without_session(&dir, &variables, &words(&line));
        assert!(output.status.success(), "{caches}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{caches}");
    }
}

/// Remembered forms that are no forms, or that no workgroup holds, are refused before anything is compiled.
#[test]
fn remembered_forms_beyond_every_device_are_refused() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    if common::gpu().is_none() {
        return;
    }
    let line = format!("train --data {data} --hidden 4 --batch 16 --epochs 1 --device gpu --quiet --run");
    ok(dir.path(), &[&words(&line)[..], &["measured"]].concat());
    let cache = dir.path().join("thalweg/kernels.json");
    let all: Value = serde_json::from_slice(&std::fs::read(&cache).unwrap()).unwrap();
    let most = u32::MAX;
    for (i, form) in
        [format!("plain {most}x{most}x{most}x{most}x{most}"), "staged 0x0x0x0x0".into(), "no form at all".into()]
            .into_iter()
            .enumerate()
    {
        let mut absurd = all.clone();
        for products in absurd.as_object_mut().unwrap().values_mut() {
            products.as_object_mut().unwrap().values_mut().for_each(|measured| measured["form"] = form.clone().into());
        }
        std::fs::write(&cache, absurd.to_string()).unwrap();
        let run = format!("r{i}");
        let output = without_session(&dir, &[], &[&words(&line)[..], &[&run]].concat());
        assert!(output.status.success(), "{form}: {}", stderr(&output));
        assert!(stderr(&output).lines().all(|line| line.starts_with("warning: ")), "{form}: {}", stderr(&output));
        let config = std::fs::read_to_string(dir.path().join(run).join("config.toml")).unwrap();
        assert!(!config.contains(&form), "{form}");
    }
}

/// Whether a call of the engine tells that the device is lost.
type Call<'a> = &'a dyn Fn(&mut dyn Engine) -> bool;

/// Once the device is lost, every call says so, the first as well as those after it, in either precision.
#[test]
fn every_call_tells_that_the_device_is_lost() {
    let model = thalweg::model::Mlp { norm: Norm::Batch, ..small::setup().model };
    let setup = Setup { clip_norm: Some(1.0), model, ..small::setup() };
    let step = Step { first: 0, rows: 16, rates: vec![Rate { lr: 0.1, momentum: 0.9 }], ..Step::default() };
    let calls: [(&str, Call); 18] = [
        ("run", &|e| is_lost(e.run(std::slice::from_ref(&step)).and_then(|_| e.wait()))),
        ("wait", &|e| is_lost(e.wait())),
        ("gradient", &|e| is_lost(e.gradient(&step, Gradient::OfStep))),
        ("plain gradient", &|e| is_lost(e.gradient(&step, Gradient::Plain))),
        ("update", &|e| is_lost(e.update(&step))),
        ("evaluate", &|e| is_lost(e.evaluate(Part::Test, &[Slot::Live]))),
        ("ensemble", &|e| is_lost(e.evaluate(Part::Test, &[Slot::Live, Slot::Live]))),
        ("predict", &|e| is_lost(e.predict(&Features::F32(vec![0.0; 15]), &[Slot::Live]))),
        ("download", &|e| is_lost(e.download(Slot::Live, 0))),
        ("upload", &|e| is_lost(e.upload(Slot::Live, 0, &vec![0.0; e.layout().len]))),
        ("set_order", &|e| is_lost(e.set_order(&[(0..small::N as u32).collect()]))),
        ("copy", &|e| is_lost(e.copy(Slot::Live, Slot::Gradient))),
        ("axpy", &|e| is_lost(e.axpy(&[1.0], Slot::Gradient, Slot::Live))),
        ("dot", &|e| is_lost(e.dot(Slot::Live, Slot::Live))),
        ("allocate", &|e| is_lost(e.allocate(Slot::Best))),
        ("renew_statistics", &|e| is_lost(e.renew_statistics(Slot::Live, std::slice::from_ref(&step)))),
        ("measure_limits", &|e| is_lost(e.measure_limits())),
        ("profile", &|e| is_lost(e.profile(&step))),
    ];
    for precision in [Precision::F32, Precision::Mixed] {
        let Some(gpu) = common::gpu() else { return };
        let mut engine = GpuEngine::new(gpu, Setup { precision, ..setup.clone() }, Options::default()).unwrap();
        initialize(&mut engine, Init::Kaiming).unwrap();
        engine.set_order(&[(0..small::N as u32).collect()]).unwrap();
        engine.run(std::slice::from_ref(&step)).unwrap();
        let device = engine.device().unwrap();
        device.destroy();
        // It is lost once the steps under way have ended.
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        for (name, call) in calls.iter().chain(&calls) {
            assert!(call(&mut engine), "{name} in {precision:?}");
        }
        let scales = [LossScale { next: 1.0, steps: 0 }];
        assert!(precision == Precision::F32 || is_lost(engine.set_loss_scales(&scales)));
    }
}

/// No engine is opened on a lost device, and no form is blamed for it.
#[test]
fn no_engine_is_opened_on_a_lost_device() {
    let tell = |tuning: thalweg::gpu::Tuning| {
        if let thalweg::gpu::Tuning::Dropped(text) = tuning {
            panic!("{text}");
        }
    };
    for measure in [false, true] {
        let Some(gpu) = common::gpu() else { return };
        gpu.device().destroy();
        let options = Options { measure, tell: Some(tell), ..Options::default() };
        assert!(is_lost(GpuEngine::new(gpu, small::setup(), options)), "measure {measure}");
    }
}
