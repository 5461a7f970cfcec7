//! How far the kernels reach: the widest layers that dispatches and loops have room for, and the largest features.

use std::iter::{once, repeat};

use super::adapter::Gpu;
use super::forms::MOST_SLICES;
use super::grid::MOST_ROUNDS;
use super::kernels::{LANES, MOST_GROUPS, NORM_COLUMNS, loss_lanes};
use crate::engine::{Setup, stride};
use crate::error::{Error, Result};
use crate::model::Norm;

/// Refuses layers, passes and features beyond what the kernels can do on the device.
///
/// # Errors
/// The first that is too wide or too long, with what may be.
pub(super) fn check(gpu: &Gpu, setup: &Setup) -> Result<()> {
    if setup.is_mixed() {
        setup.dataset.check_normalized(half::f16::MAX.to_f64())?;
    }
    check_widths(setup, gpu.lanes())?;
    if gpu.description.hardware { Ok(()) } else { check_loops(setup, |rows| loss_lanes(gpu, rows)) }
}

/// Refuses layers so wide that a kernel would need more workgroups side by side than any device has.
fn check_widths(setup: &Setup, lanes: u32) -> Result<()> {
    // Side by side is an invocation for each vec4 of the samples, and of a product's result; where the sums are those of
    // columns, a workgroup for four vec4s.
    let of_layers = if setup.model.norm == Norm::None { lanes } else { NORM_COLUMNS };
    let widths = &setup.model.widths;
    for (layer, (&width, lanes)) in widths.iter().zip(once(LANES).chain(repeat(of_layers))).enumerate() {
        let most = 4 * lanes as usize * MOST_GROUPS as usize;
        if width > most {
            let what = if layer == 0 { "features of a sample" } else { "outputs of a layer (model.hidden)" };
            return Err(Error::config("model", format!("expected at most {most} {what} on a GPU, found {width}")));
        }
    }
    Ok(())
}

/// Refuses what takes more rounds of a loop than a software driver goes before it leaves it.
fn check_loops(setup: &Setup, lanes: impl Fn(usize) -> u32) -> Result<()> {
    let beyond = |what: &str, most: usize, found: usize| {
        let why = "whose loops end early; use --device cpu";
        Error::config(
            "train.device",
            format!("expected at most {most} {what} on a software adapter, {why}; found {found}"),
        )
    };
    let (features, most) = (setup.model.inputs(), 4 * MOST_ROUNDS * MOST_SLICES as usize);
    if features > most {
        return Err(beyond("features of a sample", most, features));
    }
    let rows = setup.most_in_pass();
    if rows > MOST_ROUNDS {
        return Err(beyond("samples of a step", MOST_ROUNDS, rows));
    }
    // An invocation of the loss goes three times through every row that it takes.
    let outputs = setup.model.outputs();
    let rows = setup.room();
    let most = 4 * (MOST_ROUNDS / (3 * rows.div_ceil(lanes(rows) as usize)));
    if stride(outputs) > most {
        return Err(beyond("outputs", most, outputs));
    }
    Ok(())
}
