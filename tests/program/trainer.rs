//! The loop and its observers: in what portions a run is taken changes no bit, and whoever watches may end it.

use crate::common;

use common::program::{fails, json, lines, ok, table};
use common::small::{N, on_each_engine, setup};
use tempfile::TempDir;
use thalweg::average::{Average, Sampling};
use thalweg::engine::{Engine, Setup, Slot};
use thalweg::event::{Control, Ended, Epoch, Event, Observer};
use thalweg::model::Init;
use thalweg::plan::Plan;
use thalweg::run::{Config, Place, Prepared};
use thalweg::schedule::{Schedule, Unit};
use thalweg::stop::Stop;
use thalweg::train::Trainer;
use thalweg::{Error, Optimizer};

const EPOCHS: u64 = 3;
/// 96 samples in batches of 16.
const STEPS: u64 = EPOCHS * 6;

fn averaged() -> Setup {
    let swa = Sampling::Listed { after_updates: vec![4, 9, 10, 17] };
    Setup { average: Average { swa: Some(swa), ..Average::default() }, ..setup() }
}

fn trainer(engine: Box<dyn Engine>) -> Trainer {
    let plan = Plan { epochs: EPOCHS, schedule: Schedule::cosine(), ..Plan::default() };
    let mut trainer = Trainer::new(engine, plan).unwrap();
    trainer.init(Init::Pytorch).unwrap();
    trainer
}

/// An epoch but for its times.
fn timeless(epoch: &Epoch) -> Epoch {
    Epoch { seconds: 0.0, samples_per_second: 0.0, ..epoch.clone() }
}

/// The weights that a run leaves, its losses, and its epochs, when it is taken as `take` does.
fn trace(
    engine: Box<dyn Engine>,
    take: &dyn Fn(&mut Trainer, &mut dyn Observer),
) -> (Vec<Vec<f64>>, Vec<f64>, Vec<Epoch>) {
    let mut trainer = trainer(engine);
    let (mut losses, mut epochs) = (Vec::new(), Vec::new());
    let mut watch = |event: &Event| {
        match event {
            Event::Step(step) => losses.push(step.replicas[0].loss),
            Event::Epoch(epoch) => epochs.push(timeless(epoch)),
            _ => {}
        }
        Ok(Control::Continue)
    };
    take(&mut trainer, &mut watch);
    assert_eq!((trainer.ended(), trainer.steps_taken()), (Some(Ended::Epochs), STEPS));
    let weights = [Slot::Live, Slot::Swa].map(|slot| trainer.engine().download(slot, 0).unwrap());
    (weights.to_vec(), losses, epochs)
}

#[test]
fn a_run_may_be_taken_in_any_portions() {
    let whole = |t: &mut Trainer, o: &mut dyn Observer| t.run_with(o).unwrap();
    let epochs = |t: &mut Trainer, o: &mut dyn Observer| while t.epoch_with(o).unwrap().is_some() {};
    let singly = |t: &mut Trainer, o: &mut dyn Observer| while t.advance_with(1, o).unwrap() == 1 {};
    let unevenly = |t: &mut Trainer, o: &mut dyn Observer| {
        assert_eq!(t.advance_with(4, o).unwrap(), 4);
        assert_eq!(t.steps_taken(), 4);
        assert_eq!(t.epoch_with(o).unwrap().unwrap().epoch, 0);
        assert_eq!(t.advance_with(7, o).unwrap(), 7);
        assert_eq!(t.progress().epoch, 2);
        assert_eq!(t.advance_with(100, o).unwrap(), STEPS - 13);
    };
    // Every engine of one precision and kind with itself.
    let mut traces: Vec<Vec<_>> = Vec::new();
    for take in [&whole as &dyn Fn(&mut Trainer, &mut dyn Observer), &epochs, &singly, &unevenly] {
        let all = std::cell::RefCell::new(Vec::new());
        on_each_engine(&averaged(), |engine, _| all.borrow_mut().push(trace(engine, take)));
        traces.push(all.into_inner());
    }
    for other in &traces[1..] {
        assert!(*other == traces[0], "portions change a run");
    }
    assert_eq!((traces[0][0].1.len(), traces[0][0].2.len()), (STEPS as usize, EPOCHS as usize));
}

/// Evaluations that are counted in steps come where they are due, in whatever portions the run is taken, and change no bit of
/// the weights; the losses of training are those since the last one.
#[test]
fn evaluations_by_steps_change_no_bit() {
    let by_steps = |engine: Box<dyn Engine>, portion: u64| {
        let plan = Plan { epochs: EPOCHS, eval_every: 4, eval_unit: Unit::Step, ..Plan::default() };
        let mut trainer = Trainer::new(engine, Plan { schedule: Schedule::cosine(), ..plan }).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let (mut losses, mut seen) = (Vec::new(), Vec::new());
        let mut watch = |event: &Event| {
            match event {
                Event::Step(step) => losses.push(step.replicas[0].loss),
                Event::Evaluated(epoch) => seen.push(timeless(epoch)),
                Event::Epoch(epoch) => assert_eq!(epoch.test.is_some(), epoch.steps == 12 || epoch.steps == 18),
                _ => {}
            }
            Ok(Control::Continue)
        };
        while trainer.advance_with(portion, &mut watch).unwrap() > 0 {}
        assert_eq!(seen.iter().map(|epoch| epoch.steps).collect::<Vec<_>>(), [4, 8, 16]);
        for epoch in &seen {
            let steps = &losses[epoch.steps as usize - 4..epoch.steps as usize];
            // Batches of 16 in which losses are summed, a division more.
            assert!((epoch.train[0].loss - steps.iter().sum::<f64>() / 4.0).abs() < 1e-14);
            assert!(epoch.test.is_some() && epoch.epoch == (epoch.steps - 1) / 6);
        }
        let weights = [Slot::Live, Slot::Swa].map(|slot| trainer.engine().download(slot, 0).unwrap());
        (weights.to_vec(), losses, seen)
    };
    let all = |portion: u64| {
        let all = std::cell::RefCell::new(Vec::new());
        on_each_engine(&averaged(), |engine, _| all.borrow_mut().push(by_steps(engine, portion)));
        all.into_inner()
    };
    let (whole, singly) = (all(STEPS), all(1));
    assert!(whole == singly, "portions change a run");
    let through = std::cell::RefCell::new(Vec::new());
    let run = |t: &mut Trainer, o: &mut dyn Observer| t.run_with(o).unwrap();
    on_each_engine(&averaged(), |engine, _| through.borrow_mut().push(trace(engine, &run)));
    for (by_steps, by_epochs) in whole.iter().zip(through.into_inner()) {
        assert!(by_steps.0 == by_epochs.0 && by_steps.1 == by_epochs.1, "evaluations change a run");
    }
}

/// "Stop when the loss has not improved for so many iterations": patience counts evaluations, here steps.
#[test]
fn patience_may_count_steps() {
    on_each_engine(&setup(), |engine, _| {
        let metric = thalweg::stop::Metric::TrainLoss;
        let stop = Stop { metric, patience: Some(3), min_delta: 100.0, restore_best: true, ..Stop::default() };
        let plan = Plan { stop, eval_every: 1, eval_unit: Unit::Step, ..Plan::default() };
        let mut trainer = Trainer::new(engine, plan).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let mut losses = vec![Vec::new()];
        let epoch = trainer.epoch_with(&mut common::keep(&mut losses)).unwrap().unwrap();
        assert_eq!((trainer.ended(), epoch.steps, trainer.progress().epoch), (Some(Ended::Patience), 4, 0));
        let least = losses[0].iter().copied().fold(f64::INFINITY, f64::min);
        // A mean over one step: a product and a quotient more.
        let best = trainer.progress().watch.best.unwrap().0;
        assert!((best - least).abs() < 1e-14, "{best} {least}");
        assert!(epoch.test.is_some() && trainer.epoch().unwrap().is_none());
    });
}

/// Whoever is told of an evaluation within an epoch may end the run, whose best weights may be those of an average.
#[test]
fn the_best_weights_may_be_those_of_an_average() {
    let ema = serde_json::from_value(serde_json::json!({ "decay": 0.6 })).unwrap();
    let model = thalweg::Mlp { norm: thalweg::model::Norm::Batch, ..setup().model };
    let average = Average { ema: Some(ema), ..Average::default() };
    on_each_engine(&Setup { average, model, ..setup() }, |engine, _| {
        let metric = thalweg::stop::Metric::EmaTestLoss;
        let stop = Stop { metric, keep_best: true, ..Stop::default() };
        let plan = Plan { stop, eval_every: 4, eval_unit: Unit::Step, ..Plan::default() };
        let mut trainer = Trainer::new(engine, plan).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let mut stop = StopAt(|event| matches!(event, Event::Evaluated(epoch) if epoch.steps == 4), Vec::new());
        let epoch = trainer.epoch_with(&mut stop).unwrap().unwrap();
        assert_eq!((trainer.ended(), epoch.steps, epoch.is_best), (Some(Ended::Asked), 4, true));
        let own = |t: &mut Trainer, slot| t.engine().evaluate(thalweg::data::Part::Test, &[slot]).unwrap();
        let best = own(&mut trainer, Slot::Best);
        assert_eq!(best[0].loss, trainer.progress().watch.best.unwrap().0);
        assert_eq!(best, own(&mut trainer, Slot::Ema));
        assert_ne!(best, own(&mut trainer, Slot::Live));
    });
}

/// Each event in its place, and each observer of several is told of it.
#[test]
fn observers_are_told_in_order() {
    on_each_engine(&averaged(), |engine, _| {
        let (mut first, mut second) = (Vec::new(), 0);
        let mut note = |event: &Event| {
            first.push(match event {
                Event::Started(started) => {
                    assert_eq!((started.steps, started.first_step, started.epochs), (STEPS, 0, EPOCHS));
                    "started".to_string()
                }
                Event::Step(step) => format!("step {} of epoch {}", step.step, step.epoch),
                Event::Averaged(sample) => format!("averaged {}", sample.step),
                Event::Evaluated(epoch) => format!("evaluated after {}", epoch.steps),
                Event::Epoch(epoch) => format!("epoch {}", epoch.epoch),
                Event::Ended(ended) => format!("ended {}", ended.name()),
                other => panic!("{other:?}"),
            });
            Ok(Control::Continue)
        };
        let mut count = |_: &Event| {
            second += 1;
            Ok(Control::Continue)
        };
        let mut both: Vec<&mut dyn Observer> = vec![&mut note, &mut count];
        trainer(engine).run_with(&mut both).unwrap();
        let mut want = vec!["started".to_string()];
        for step in 0..STEPS {
            want.push(format!("step {step} of epoch {}", step / 6));
            want.extend([4, 9, 10, 17].contains(&step).then(|| format!("averaged {step}")));
            want.extend((step % 6 == 5).then(|| format!("epoch {}", step / 6)));
        }
        want.push("ended epochs".into());
        assert_eq!(first, want);
        assert_eq!(second, want.len());
    });
}

/// Which event ends a run.
type When = fn(&Event) -> bool;

/// Ends a run at the first such event, and remembers the steps that it is told.
struct StopAt(When, Vec<u64>);

impl Observer for StopAt {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        if let Event::Step(step) = event {
            self.1.push(step.step);
        }
        Ok(if self.0(event) { Control::Stop } else { Control::Continue })
    }
}

/// A request is answered before another submission; the run then ends as any other: evaluated, with its best weights.
#[test]
fn an_observer_may_end_the_run() {
    let mut large = averaged();
    large.batch = 1;
    large.average = Average::default();
    let cases: [(&str, When); 4] = [
        ("started", |event| matches!(event, Event::Started(_))),
        ("step", |event| matches!(event, Event::Step(step) if step.step == 70)),
        ("epoch", |event| matches!(event, Event::Epoch(epoch) if epoch.epoch == 0)),
        ("last step", |event| matches!(event, Event::Step(step) if step.step == N as u64 - 1)),
    ];
    for (name, at) in cases {
        on_each_engine(&large, |engine, _| {
            let at_once = engine.steps_at_once() as u64;
            let stop = Stop { metric: thalweg::stop::Metric::TestLoss, restore_best: true, ..Stop::default() };
            let plan = Plan { epochs: 5, stop, ..Plan::default() };
            let mut trainer = Trainer::new(engine, plan).unwrap();
            trainer.init(Init::Pytorch).unwrap();
            let mut observer = StopAt(at, Vec::new());
            let mut last = None;
            while let Some(epoch) = trainer.epoch_with(&mut observer).unwrap() {
                last = Some(epoch);
            }
            let (last, seen) = (last.unwrap(), observer.1.len() as u64);
            assert_eq!(trainer.ended(), Some(Ended::Asked), "{name}");
            assert_eq!(last.steps, seen, "{name}: all steps that were taken are told");
            // Two submissions may be under way when the metrics of the first come back.
            let most = match name {
                "started" => at_once,
                "step" => 70 + 4 * at_once,
                _ => N as u64,
            };
            assert!(seen <= most, "{name}: {seen} steps of {at_once} at once");
            assert!(last.test.is_some() && last.means.iter().any(|mean| mean.name == "best"), "{name}");
            let live = trainer.engine().download(Slot::Live, 0).unwrap();
            assert_eq!(live, trainer.engine().download(Slot::Best, 0).unwrap(), "{name}");
            assert!(trainer.epoch().unwrap().is_none());
        });
    }
}

/// A small run on the table of two classes.
fn config(dir: &TempDir) -> Config {
    table(dir);
    let mut config = Config::default();
    let [x, y] = ["x.npy", "y.npy"].map(|name| dir.path().join(name).display().to_string());
    config.data.source = format!("npy:{x},{y},{x},{y}");
    config.model.hidden = vec![8];
    config.train.device = "cpu".into();
    config.train.batch = Some(thalweg::run::Batch::Size(16));
    config.train.epochs = 4;
    config.train.log_every = 1;
    config.optimizer = Optimizer::adam(0.02).into();
    config
}

/// What the program writes, the function does.
#[test]
fn a_run_is_a_function() {
    let dir = TempDir::new().unwrap();
    let config = config(&dir);
    let place = || Place::New(dir.path().join("library"));
    let finished = Prepared::open(config.clone(), place(), |_| ()).unwrap().train(&mut []).unwrap();
    assert_eq!((finished.ended, finished.outcome.last.steps), (Ended::Epochs, 16));
    let program = dir.path().join("library/config.toml").display().to_string();
    ok(dir.path(), &["train", &program, "--run", "program", "--quiet"]);
    for file in ["config.toml", "metrics.jsonl", "normalization.json", "weights.safetensors"] {
        let read = |run: &str| std::fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("library") == read("program"), "{file}");
    }
    let error = Prepared::open(config, place(), |_| ()).err().unwrap();
    assert!(error.to_string().contains("--overwrite"), "{error}");
}

/// An observer that fails ends the run with its error; what was written before is whole, and the run goes on from there.
#[test]
fn an_observer_that_fails_ends_the_run_with_its_error() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("r");
    let mut full = |event: &Event| match event {
        Event::Step(step) if step.step == 10 => {
            Err(Error::Io { path: "page".into(), reason: std::io::Error::other("no space left") })
        }
        _ => Ok(Control::Continue),
    };
    let config = config(&dir);
    let error =
        Prepared::open(config.clone(), Place::New(run.clone()), |_| ()).unwrap().train(&mut [&mut full]).unwrap_err();
    assert_eq!(error.to_string(), "page: no space left");
    assert_eq!(lines(run.join("epochs.jsonl")).len(), 2);
    assert!(run.join("checkpoint.safetensors").exists() && !run.join("summary.json").exists());
    // It is evaluated by its checkpoint.
    let evaluation: serde_json::Value = serde_json::from_str(&ok(dir.path(), &["eval", "r", "--json"])).unwrap();
    assert_eq!(evaluation["test_loss"], lines(run.join("epochs.jsonl"))[1]["test_loss"]);
    assert_eq!((&evaluation["checkpoint_epochs"], evaluation.get("best_test_loss")), (&2.into(), None));
    let text = ok(dir.path(), &["eval", "r"]);
    assert!(text.contains("checkpoint after epoch 2") && text.contains("train --resume r"), "{text}");

    Prepared::open(config.clone(), Place::Resume(run.clone()), |_| ()).unwrap().train(&mut []).unwrap();
    Prepared::open(config, Place::New(dir.path().join("whole")), |_| ()).unwrap().train(&mut []).unwrap();
    let read = |folder: &str, file: &str| std::fs::read(dir.path().join(folder).join(file)).unwrap();
    for file in ["weights.safetensors", "metrics.jsonl"] {
        assert!(read("r", file) == read("whole", file), "{file}");
    }
}

/// A checkpoint is told when it is there, and whoever is told may end the run, which then can go on.
#[test]
fn a_run_that_was_asked_to_end_goes_on() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("r");
    let mut stop = |event: &Event| {
        Ok(match event {
            Event::Checkpoint(written) => {
                assert!(written.path.exists());
                if written.epochs == 2 { Control::Stop } else { Control::Continue }
            }
            _ => Control::Continue,
        })
    };
    // It is told a step or some later.
    let mut config = config(&dir);
    config.train.epochs = 200;
    let open = |place| Prepared::open(config.clone(), place, |_| ()).unwrap();
    let finished = open(Place::New(run.clone())).train(&mut [&mut stop]).unwrap();
    assert_eq!(finished.ended, Ended::Asked);
    assert_eq!(json(run.join("summary.json"))["stopped_by"], "asked");
    open(Place::Resume(run.clone())).train(&mut []).unwrap();
    open(Place::New(dir.path().join("whole"))).train(&mut []).unwrap();
    let weights = |folder: &str| std::fs::read(dir.path().join(folder).join("weights.safetensors")).unwrap();
    assert!(weights("r") == weights("whole"));
}

/// A run's own configuration repeats its bits on the adapter, although other forms have been measured since: the record of
/// its forms is part of it.
#[test]
fn a_recorded_run_repeats_its_bits() {
    let Some(gpu) = common::gpu() else { return };
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    // Long sums of few outputs, whose forms add up in several orders.
    let args = ["--data", &data, "--hidden", "300,7", "--batch", "16", "--epochs", "2", "--device", "gpu", "--quiet"];
    ok(dir.path(), &[&["train"][..], &args, &["--run", "first"]].concat());
    let config: toml::Table = std::fs::read_to_string(dir.path().join("first/config.toml")).unwrap().parse().unwrap();
    let forms = config["forms"]["products"].as_table().unwrap().clone();
    assert_eq!(config["forms"]["adapter"].as_str(), Some(gpu.description.to_string().as_str()));
    assert!(forms.len() >= 8, "{forms:?}");

    // Another cache: every product in the form that splits each sum most.
    let cache = dir.path().join("thalweg/kernels.json");
    let mut known: serde_json::Value = json(cache.clone());
    let products = known.as_object_mut().unwrap().values_mut().next().unwrap().as_object_mut().unwrap();
    let mut changed = 0;
    for (key, choice) in products.iter_mut() {
        let sliced = if key.starts_with("linear_dw") { "plain 1x2x8x1x1" } else { "plain 4x1x8x8x1" };
        changed += usize::from(choice["form"] != sliced);
        choice["form"] = sliced.into();
    }
    assert!(changed > 0);
    std::fs::write(&cache, known.to_string()).unwrap();

    let weights = |run: &str| std::fs::read(dir.path().join(run).join("weights.safetensors")).unwrap();
    ok(dir.path(), &["train", "first/config.toml", "--run", "again", "--quiet"]);
    assert!(weights("again") == weights("first"), "a recorded run has other bits");
    let read = |run: &str| std::fs::read_to_string(dir.path().join(run).join("config.toml")).unwrap();
    assert_eq!(read("again"), read("first"));
    // A record of another adapter is not taken.
    let foreign = read("first").replace(&gpu.description.to_string(), "another adapter");
    std::fs::write(dir.path().join("foreign.toml"), foreign).unwrap();
    ok(dir.path(), &["train", "foreign.toml", "--run", "foreign", "--quiet"]);
    assert!(read("foreign").contains(&gpu.description.to_string()));
    let form = forms.values().next().unwrap().as_str().unwrap();
    std::fs::write(dir.path().join("bad.toml"), read("first").replace(form, "unheard of")).unwrap();
    assert!(fails(dir.path(), 2, &["train", "bad.toml"]).contains("forms.products: expected a form as"));
}

/// Whoever ends the run after an epoch that was not evaluated gets it evaluated, and its weights are the best there are.
#[test]
fn a_run_that_ends_before_its_first_evaluation_has_best_weights() {
    on_each_engine(&setup(), |engine, _| {
        let stop = Stop { metric: thalweg::stop::Metric::TestLoss, restore_best: true, ..Stop::default() };
        let mut trainer = Trainer::new(engine, Plan { epochs: 5, eval_every: 2, stop, ..Plan::default() }).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let mut stop = StopAt(|event| matches!(event, Event::Epoch(_)), Vec::new());
        let epoch = trainer.epoch_with(&mut stop).unwrap().unwrap();
        assert_eq!((trainer.ended(), epoch.is_best), (Some(Ended::Asked), true));
        let own = trainer.engine().evaluate(thalweg::data::Part::Test, &[Slot::Live]).unwrap();
        assert_eq!(epoch.test, Some(own));
        assert!(trainer.engine().norm(Slot::Live).unwrap()[0] > 0.0);
    });
}

/// The steps of an epoch that was cut short count as those of a whole one.
#[test]
fn steps_are_counted_to_the_end_of_a_run_that_is_cut() {
    on_each_engine(&averaged(), |engine, _| {
        let mut trainer = trainer(engine);
        assert_eq!(trainer.advance(3).unwrap(), 3);
        trainer.stop_soon();
        assert!(trainer.step().unwrap());
        assert_eq!((trainer.steps_taken(), trainer.ended()), (4, Some(Ended::Asked)));
        assert!(!trainer.step().unwrap());
    });
    on_each_engine(&averaged(), |engine, _| {
        let mut trainer = trainer(engine);
        let mut stop = StopAt(|event| matches!(event, Event::Step(step) if step.step == 4), Vec::new());
        assert_eq!(trainer.advance_with(STEPS, &mut stop).unwrap(), stop.1.len() as u64);
        assert_eq!(trainer.steps_taken(), stop.1.len() as u64);
    });
}

/// After an error the run is over; from a checkpoint it goes on as if nothing had been, even where the device had taken steps
/// that nobody heard of.
#[test]
fn a_trainer_goes_on_after_an_error() {
    let large = Setup { batch: 1, ..averaged() };
    on_each_engine(&large, |engine, _| {
        let slots = engine.slots();
        let mut trainer = trainer(engine);
        trainer.epoch().unwrap();
        let progress = trainer.progress().clone();
        let held: Vec<Vec<f64>> = slots.iter().map(|&slot| trainer.engine().download(slot, 0).unwrap()).collect();
        let mut whole = Vec::new();
        let mut told = |event: &Event| {
            if let Event::Step(step) = event {
                whole.push((step.step, step.replicas[0].loss));
            }
            Ok(Control::Continue)
        };
        trainer.epoch_with(&mut told).unwrap();

        let restore = |trainer: &mut Trainer| {
            slots.iter().zip(&held).for_each(|(&slot, held)| trainer.engine().upload(slot, 0, held).unwrap());
            trainer.resume(progress.clone()).unwrap();
        };
        restore(&mut trainer);
        let mut fails = |event: &Event| match event {
            Event::Step(step) if step.step == N as u64 + 3 => Err(thalweg::Error::Device("full".into())),
            _ => Ok(Control::Continue),
        };
        assert!(trainer.epoch_with(&mut fails).is_err());
        assert_eq!(trainer.ended(), Some(Ended::Failed));
        assert!(trainer.epoch().unwrap().is_none());

        restore(&mut trainer);
        let mut again = Vec::new();
        let mut told = |event: &Event| {
            if let Event::Step(step) = event {
                again.push((step.step, step.replicas[0].loss));
            }
            Ok(Control::Continue)
        };
        trainer.epoch_with(&mut told).unwrap();
        assert_eq!(again, whole);
    });
}

/// What a caller runs on the engine between two steps is not taken for the run's.
#[test]
fn a_caller_may_run_steps_in_between() {
    on_each_engine(&averaged(), |engine, _| {
        let mut trainer = trainer(engine);
        trainer.step().unwrap();
        let rates = vec![thalweg::schedule::Rate { lr: 0.1, momentum: 0.9 }];
        let own = thalweg::engine::Step { index: 1000, first: 0, rows: 16, rates, ..Default::default() };
        trainer.engine().run(&[own]).unwrap();
        assert!(trainer.step().unwrap());
    });
}
