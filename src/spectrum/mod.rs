//! Eigenvalues of symmetric matrices over the parameters, by products with an engine's vectors alone.
//!
//! A matrix is what multiplies a vector of every replica, as [`Engine::curve`] does; all replicas go through the same products
//! side by side, each with a matrix of its own.

mod basis;
mod random;
mod search;
mod trace;

use crate::engine::{Engine, Slot};
use crate::error::{Error, Result};

pub(crate) use basis::{Basis, Ritz};
pub(crate) use random::{Parameters, Random};
pub(crate) use search::{Found, Rule, Search, search};
pub(crate) use trace::{mean_and_error, trace};

/// A symmetric matrix of each replica, as what multiplies a vector with it: `into ← H x`.
pub(crate) type Matrix<'a> = dyn FnMut(&mut dyn Engine, Slot, Slot) -> Result<()> + 'a;

/// Allocates a vector of zeros under the first number that is free.
pub(crate) fn scratch(engine: &mut dyn Engine) -> Result<Slot> {
    let slot = (0..).map(Slot::Scratch).find(|&slot| !engine.has(slot)).unwrap_or(Slot::Scratch(0));
    engine.allocate(slot).map(|()| slot)
}

/// Gives every replica the same values.
pub(crate) fn upload(engine: &mut dyn Engine, slot: Slot, values: &[f64]) -> Result<()> {
    (0..engine.setup().replicas).try_for_each(|r| engine.upload(slot, r, values))
}

/// Refuses numbers that are not finite.
fn check_finite(numbers: &[f64]) -> Result<()> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(replica) => Err(Error::config(
            "curvature",
            format!(
                "expected a loss whose second derivatives are finite, found {} (weights {replica})",
                numbers[replica]
            ),
        )),
    }
}
