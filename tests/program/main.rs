//! What the program promises. One crate for all, since each would link the whole library anew.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod curvature;
mod damage;
mod descend;
mod devices;
mod docs;
mod drivers;
mod export;
mod faults;
mod landscape;
mod moved;
mod output;
mod predict;
mod rates;
mod report;
mod resume;
mod runs;
mod sam;
mod stopping;
mod terminal;
mod trainer;
mod trajectory;
