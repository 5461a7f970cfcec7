//! Pictures of schedules and runs, as SVG.

mod curve;

pub use curve::{Curve, curves};
