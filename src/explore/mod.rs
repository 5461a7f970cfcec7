//! Programs that show what gradient descent does.
//!
//! | program | it shows |
//! | --- | --- |
//! | [`descend()`] | the way of an optimizer down a [`Surface`] of two parameters, and a [`Verdict`] on it |
//! | [`speed()`], [`reach()`], [`noise_scale()`] | what a batch size costs, and which to [`recommend()`] |
//! | [`critical_batch()`] | the batch size from which on larger ones take hardly fewer steps |
//! | [`curvature`] | eigenvalues, trace and density of the loss's second derivatives, and how far it rises about weights |
//! | [`landscape()`] | loss and accuracy in a [`Section`] through weight space |
//! | [`lr_find()`] | the loss by learning rate, and which rate it suggests |

mod critical;
pub mod curvature;
mod descend;
pub mod landscape;
mod lr_find;
mod speed;
mod surface;
mod target;
mod verdict;

pub use critical::{CriticalBatch, StepsToTarget, critical_batch};
pub use descend::{Descent, MAX_STEPS, Point, Trajectory, descend};
pub use landscape::{Grid, Landscape, Section, landscape};
pub use lr_find::{Range, RatePoint, RateTest, lr_find};
pub use speed::{
    LrRule, Recommendation, Speed, least_seconds, noise_scale, prepare, profile, recommend, speed, with_batch,
};
pub use surface::Surface;
pub use target::{Reached, Spread, Target, Trial, Trials, reach};
pub use verdict::{Verdict, verdict};
