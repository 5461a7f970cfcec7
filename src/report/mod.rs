//! Pictures and files of schedules, surfaces, landscapes and runs.

mod contour;
mod curve;
mod isoline;
mod landscape;
mod marks;
mod png;
mod vtp;

pub use contour::{Contour, contour};
pub use curve::{Curve, Panels, Scale, curves};
pub use landscape::{Pictured, write_landscape};
pub use marks::Mark;
pub use png::png;
