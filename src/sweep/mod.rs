//! A sweep: one training under many settings and seeds, and what came of them.
//!
//! | noun | it is |
//! | --- | --- |
//! | [`Design`] | what is swept: a grid of values, points drawn from ranges, seeds; the table `[sweep]` of a configuration |
//! | [`Member`] | one training of a sweep: its number, its settings, its seed |
//! | [`Row`] | what came of a member |
//! | [`Group`] | the members of the same settings, whose seeds give a mean, a deviation and an interval |
//!
//! The folder of a sweep:
//!
//! | file | holds |
//! | --- | --- |
//! | `sweep.toml` | the design, and the configuration that it is over: a configuration file |
//! | `members.jsonl` | a [`Row`] a line, in the order in which members ended |
//! | `members.csv` | the same as a table, in the order of members |
//! | `members/N` | the run of member N, as [`run`](crate::run) writes it; without its weights, where they are not kept |
//! | `best` | a copy of the best member's run, with its weights |

mod axis;
mod crew;
mod deal;
mod design;
mod folder;
mod group;
mod halving;
mod kind;
mod member;
mod range;
#[cfg(feature = "mpi")]
mod ranks;
mod row;
mod run;
mod sobol;
mod table;

pub use axis::Axis;
pub use deal::{Dealt, First, Others};
pub use design::Design;
pub use folder::{Rows, best_dir, is_sweep, make_dir, member_dir, read_design, read_rows, write_design, write_table};
pub use group::{Group, Statistic, groups, ranked};
pub use halving::Halving;
pub use member::Member;
pub use range::{Range, Scale};
pub use row::{HALVED, Row, judged_by, test_metric};
pub use run::{Sweep, Swept, Told};
pub use sobol::{DIMENSIONS, Sobol};
pub use table::{brief, cells, csv, keys, metric_name, short_names};
