//! Pictures of schedules, surfaces and runs, as SVG.

mod contour;
mod curve;
mod isoline;

pub use contour::{Contour, WIDEST, contour};
pub use curve::{Curve, Panels, Scale, curves};
