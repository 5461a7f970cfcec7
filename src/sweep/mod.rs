//! A sweep: one training under many settings and seeds, and what came of them.
//!
//! | noun | it is |
//! | --- | --- |
//! | [`Design`] | what is swept: a grid of values, points drawn from ranges, seeds; the table `[sweep]` of a configuration |
//! | [`Member`] | one training of a sweep: its number, its settings, its seed |

mod axis;
mod design;
mod member;
mod range;
mod sobol;

pub use axis::Axis;
pub use design::Design;
pub use member::Member;
pub use range::{Range, Scale};
pub use sobol::{DIMENSIONS, Sobol};
