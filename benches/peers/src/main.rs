//! thalweg beside what one would use instead: the same network, batch and data, alternating in one run.
//!
//! `cargo run --release -- --help` lists the options. For each network, batch size and kind of device, all peers are
//! built, checked against thalweg's losses and warmed up; then each has one turn of about 0.3 s in every round.

mod args;
mod check;
mod child;
mod measure;
mod peers;
mod report;
mod serve;
mod task;

use std::process::ExitCode;

use anyhow::{Context, Result};

use args::Options;
use peers::GROUPS;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match args::parse(std::env::args().skip(1))? {
        args::Task::Help => println!("{}", args::HELP),
        args::Task::Serve(peer, network, rows) => serve::serve(peer, network, rows),
        args::Task::Measure(options) => measure_all(&options)?,
    }
    Ok(())
}

fn measure_all(options: &Options) -> Result<()> {
    let only_json = options.json.as_deref() == Some("-");
    let mut all = Vec::new();
    for &network in &options.networks {
        for group in GROUPS {
            let peers: Vec<&str> = group.peers.iter().copied().filter(|peer| options.peers.contains(peer)).collect();
            if peers.is_empty() {
                continue;
            }
            let mut cells = Vec::new();
            for &rows in &options.batches {
                eprintln!("{network}, {}, batch {rows}", group.device);
                cells.extend(measure::measure(group, &peers, network, rows, options.rounds));
            }
            if !only_json {
                println!("{}", report::table(&cells));
            }
            all.extend(cells);
        }
    }
    let json = report::json(&all);
    match options.json.as_deref() {
        None => {}
        Some("-") => println!("{json:#}"),
        Some(file) => {
            std::fs::write(file, format!("{json:#}\n")).with_context(|| format!("{file} cannot be written"))?
        }
    }
    Ok(())
}
