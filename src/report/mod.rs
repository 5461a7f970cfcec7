//! Pictures of schedules, surfaces and runs, as SVG.

mod contour;
mod curvature;
mod curve;
mod isoline;
mod overlay;

pub use contour::{Contour, WIDEST, contour};
pub use curvature::{write_curvature, write_edge};
pub use curve::{Curve, Panels, Scale, curves};
pub use overlay::Overlay;
