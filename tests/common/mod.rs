//! What several tests need.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod files;
pub mod program;
pub mod python;
pub mod serving;
pub mod small;

use std::path::{Path, PathBuf};

use thalweg::event::{Control, Event};
use thalweg::gpu::adapter::{self, Gpu};

/// The adapter that the tests run on: the first, or the one whose number `THALWEG_ADAPTER` gives.
///
/// Without an adapter the test fails if `THALWEG_REQUIRE_GPU` is 1, and otherwise says loudly that it did not run.
pub fn gpu() -> Option<Gpu> {
    let index = std::env::var("THALWEG_ADAPTER").ok().and_then(|i| i.parse().ok()).unwrap_or(0);
    if index < adapter::list().len() {
        return Some(Gpu::open(index).unwrap());
    }
    let required = std::env::var("THALWEG_REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(!required, "THALWEG_REQUIRE_GPU=1, but there is no adapter");
    eprintln!("\n*** NOT RUN: this test needs a GPU or mesa-vulkan-drivers, and found no adapter ***\n");
    None
}

/// A folder of `THALWEG_DATA`. A test that needs it is marked as ignored, so that one which did not run does not pass.
pub fn real_data(folder: &str) -> PathBuf {
    let dir = std::env::var_os("THALWEG_DATA");
    Path::new(&dir.unwrap_or_else(|| panic!("this test needs THALWEG_DATA to name a folder with {folder}")))
        .join(folder)
}

/// An observer that keeps the loss of every step, one list a replica.
pub fn keep(losses: &mut [Vec<f64>]) -> impl FnMut(&Event) -> thalweg::Result<Control> {
    |event| {
        if let Event::Step(step) = event {
            step.replicas.iter().for_each(|m| losses[m.replica].push(m.loss));
        }
        Ok(Control::Continue)
    }
}

/// How far a value may be from the wanted one: `abs + rel · |want|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub abs: f64,
    pub rel: f64,
}

/// How far off a network's output may be that another reader computes in f32: each of its products rounds sums of up to `widest`
/// terms, whose errors add up as in a random walk, to √widest · ε of what is as large as the largest output; activations and
/// norms hand them on to the next layer. Softmax makes none larger.
pub fn rounding(layers: usize, widest: usize, largest: f64) -> f64 {
    layers as f64 * (widest as f64).sqrt() * f64::from(f32::EPSILON) * largest
}

/// Fails with the name, the worst element, both values and the number of elements that are off. NaN is off.
#[track_caller]
pub fn assert_close(name: &str, got: &[f64], want: &[f64], tolerance: Tolerance) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let excess = |i: usize| {
        let bound = tolerance.abs + tolerance.rel * want[i].abs();
        let diff = (got[i] - want[i]).abs();
        if diff <= bound {
            0.0
        } else if diff.is_nan() {
            f64::INFINITY
        } else {
            diff / bound
        }
    };
    let off = (0..got.len()).filter(|&i| excess(i) > 0.0).count();
    if off > 0 {
        let worst = (0..got.len()).max_by(|&i, &j| excess(i).total_cmp(&excess(j))).unwrap();
        panic!(
            "{name}: {off} of {} elements are off; worst is [{worst}]: got {:e}, want {:e}, {tolerance:?}",
            got.len(),
            got[worst],
            want[worst]
        );
    }
}
