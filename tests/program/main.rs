//! What the program promises. One crate for all, since each would link the whole library anew.

#[path = "../common/mod.rs"]
mod common;

mod batch;
mod commands;
mod curvature;
mod damage;
mod dashboard;
mod descend;
mod devices;
mod docs;
mod drivers;
mod export;
mod faults;
mod landscape;
mod live;
mod moved;
mod output;
mod pictures;
mod predict;
mod quality;
mod rates;
mod report;
mod resume;
mod runs;
mod sam;
mod stopping;
mod sweep;
mod sweep_report;
mod tensorboard;
mod terminal;
mod tour;
mod trainer;
mod trajectory;
mod view;
