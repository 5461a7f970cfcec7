//! Programs that show what gradient descent does.
//!
//! | program | it shows |
//! | --- | --- |
//! | [`descend()`] | the way of an optimizer down a [`Surface`] of two parameters, and a [`Verdict`] on it |

mod descend;
mod surface;
mod verdict;

pub use descend::{Descent, MAX_STEPS, Point, Trajectory, descend};
pub use surface::Surface;
pub use verdict::{Verdict, verdict};
