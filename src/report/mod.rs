//! Pictures, pages and files of schedules, surfaces, landscapes and runs.

mod batch;
mod contour;
mod csv;
mod curvature;
mod curve;
mod document;
pub mod history;
mod isoline;
mod landscape;
mod marks;
mod overlay;
pub mod page;
mod png;
pub mod quality;
pub mod sweep;
pub mod tour;
mod vtp;

pub use batch::{BatchSize, batch_picture, write_batch_csv};
pub use contour::{Contour, contour};
pub use csv::{check_csv_name, write_csv};
pub use curvature::{write_curvature, write_edge};
pub use curve::{Curve, Panels, Scale, curves};
pub use document::{CURVES, DRAW, document, profile, report, tell_apart, write_documents};
pub use history::History;
pub use landscape::{Pictured, write_landscape};
pub use marks::Mark;
pub use overlay::Overlay;
pub use png::png;
