//! Too little device memory: the error tells what is needed, and what would fit really does.

use std::sync::Arc;

use crate::common;
use crate::common::small;
use thalweg::Error;
use thalweg::data::{Dataset, Samples};
use thalweg::engine::{Checked, Diagnose, Engine, Setup, Slot};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Mlp, Norm};
use thalweg::sam::Sam;

/// An engine with this budget; none where there is no adapter.
fn open(setup: &Setup, memory: u64) -> Option<thalweg::Result<Checked<GpuEngine>>> {
    let options = Options { memory: Some(memory), ..Options::default() };
    common::gpu().map(|gpu| GpuEngine::new(gpu, setup.clone(), options))
}

fn taken(engine: &impl Diagnose) -> u64 {
    engine.memory().iter().map(|allocation| allocation.bytes).sum()
}

/// The bytes needed, and the advice.
fn refusal(error: Error) -> (u64, String) {
    match error {
        Error::DeviceMemory { needed, advice, .. } => (needed, advice),
        other => panic!("{other}"),
    }
}

/// The number behind `words`.
fn number(text: &str, words: &str) -> Option<u64> {
    let rest = &text[text.find(words)? + words.len()..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Small evaluations, so that the batch decides.
fn setup(norm: Norm, replicas: usize, batch: usize) -> Setup {
    let model = Mlp { norm, ..Mlp::new(small::WIDTHS[0], small::WIDTHS[2]).hidden([64, 64]) };
    Setup { model, replicas, batch, eval_rows: Some(4), ..small::setup() }
}

#[test]
fn what_is_advised_fits_and_nothing_larger_does() {
    let sam = Setup { sam: Some(Sam::default()), ..setup(Norm::None, 2, 96) };
    for setup in [setup(Norm::None, 1, 96), sam, setup(Norm::Batch, 3, 90), setup(Norm::Layer, 4, 1)] {
        let Some(Err(error)) = open(&setup, 0) else { return };
        let (needed, _) = refusal(error);
        let whole = open(&setup, needed).unwrap().unwrap();
        assert!(taken(&whole) <= needed, "{} of {needed}", taken(&whole));
        let mut advised = 0;
        for share in [10, 9, 7, 5, 3, 1] {
            let budget = needed * share / 10 - 1;
            let (again, advice) = refusal(open(&setup, budget).unwrap().err().unwrap());
            assert_eq!(again, needed, "{advice}");
            assert!(advice.starts_with("raise it (train.memory); "), "{advice}");
            let batch = number(&advice, "batch of ").map(|batch| batch as usize);
            let replicas = number(&advice, "fit, or ").or(number(&advice, "(train.memory); "));
            let fit = |setup: &Setup| match open(setup, budget).unwrap() {
                Ok(mut engine) => engine.allocate(Slot::Best).map(|()| taken(&engine)),
                Err(error) => Err(error),
            };
            let one =
                Setup { replicas: if advice.contains("1 replica with") { 1 } else { setup.replicas }, ..setup.clone() };
            if let Some(batch) = batch {
                assert!(fit(&Setup { batch, ..one.clone() }).unwrap() <= budget, "{advice}");
                assert!(fit(&Setup { batch: batch + 1, ..one.clone() }).is_err(), "{advice}");
            }
            if let Some(replicas) = replicas.filter(|_| one.replicas > 1) {
                let replicas = replicas as usize;
                assert!(fit(&Setup { replicas, ..setup.clone() }).unwrap() <= budget, "{advice}");
                assert!(fit(&Setup { replicas: replicas + 1, ..setup.clone() }).is_err(), "{advice}");
            }
            let none = advice.contains("no smaller batch");
            assert!(none || batch.or(replicas.map(|r| r as usize)).is_some(), "{advice}");
            assert!(!none || fit(&Setup { batch: 2, replicas: 1, ..setup.clone() }).is_err(), "{advice}");
            advised += usize::from(!none);
        }
        assert!(advised > 0, "nothing was ever advised");
    }
}

/// Where records lie on the device and take the room of a vector, streaming them makes it.
#[test]
fn streaming_is_advised_where_it_makes_room() {
    let x: Vec<f32> = (0..3000 * 64).map(|i| (i % 17) as f32).collect();
    let train = Samples::labelled(x, (0..3000).map(|i| i % 3));
    let dataset = Dataset::new("many", [64, 1, 1], train, None).unwrap();
    let model = Mlp::new(64, 3).hidden([64]);
    let setup = Setup { batch: 8, eval_rows: Some(8), ..Setup::new(model, Arc::new(dataset)) };
    let Some(resident) = open(&setup, 1 << 40) else { return };
    let mut resident = resident.unwrap();
    assert!(!resident.is_streamed());
    let vector = (resident.layout().len * 4) as u64;
    // Room for all, the best weights, and half a vector.
    let budget = taken(&resident) + vector + vector / 2;
    resident = open(&setup, budget).unwrap().unwrap();
    assert!(!resident.is_streamed());
    resident.allocate(Slot::Best).unwrap();
    let (_, advice) = refusal(resident.allocate(Slot::Scratch(0)).unwrap_err());
    let less = number(&advice, "lower it to ").unwrap_or_else(|| panic!("{advice}"));
    let mut streamed = open(&setup, less).unwrap().unwrap();
    assert!(streamed.is_streamed());
    streamed.allocate(Slot::Best).unwrap();
    streamed.allocate(Slot::Scratch(0)).unwrap();
    assert!(taken(&streamed) <= less);
}

/// Rows of so many replicas that no binding holds them: as many are advised as one does hold.
#[test]
fn as_many_replicas_are_advised_as_a_binding_holds() {
    const ROWS: usize = 512;
    let Some(gpu) = common::gpu() else { return };
    let binding = gpu.description.binding_bytes as usize;
    let model = Mlp::new(small::WIDTHS[0], small::WIDTHS[2]).hidden([binding / (4 * ROWS) / 1000]);
    let row = model.widths[1].next_multiple_of(4) * 4;
    let setup = Setup { model, replicas: 4000, eval_rows: Some(ROWS), ..small::setup() };
    let (_, advice) = refusal(GpuEngine::new(gpu, setup, Options::default()).err().unwrap());
    let replicas = number(&advice, "").unwrap_or_else(|| panic!("{advice}")) as usize;
    assert!(replicas * ROWS * row <= binding && (replicas + 1) * ROWS * row > binding, "{advice}");
}
