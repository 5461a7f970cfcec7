//! `thalweg bench network`: how fast the processes that `mpirun` starts exchange gradients.

use std::process::ExitCode;

use serde_json::json;
use thalweg::mpi::{Ranks, Session, seconds_of_sum};

use super::{say, table, thousands};

#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The numbers of values that are summed, of 4 bytes each.
const COUNTS: [usize; 7] = [1, 1 << 10, 1 << 13, 1 << 16, 1 << 18, 1 << 20, 1 << 22];

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let session = Session::open()?;
    let ranks = session.ranks();
    let seconds: Vec<f64> = COUNTS.iter().map(|&values| seconds_of_sum(&ranks, values)).collect();
    if ranks.rank == 0 {
        tell(&ranks, &seconds, args.json);
    }
    session.finish();
    Ok(ExitCode::SUCCESS)
}

/// Prints what was measured, with the latency (the time of one value) and the bandwidth (of the largest vector) that a model of an
/// exchange needs.
fn tell(ranks: &Ranks, seconds: &[f64], is_json: bool) {
    let latency = seconds[0];
    let sent = |values: usize| 2.0 * (ranks.size - 1) as f64 / ranks.size as f64 * 4.0 * values as f64;
    let last = COUNTS.len() - 1;
    let bandwidth = sent(COUNTS[last]) / (seconds[last] - latency).max(f64::MIN_POSITIVE);
    if is_json {
        let sums: Vec<_> = COUNTS.iter().zip(seconds).map(|(n, s)| json!({ "bytes": 4 * n, "seconds": s })).collect();
        say!("{}", json!({ "ranks": ranks.size, "latency": latency, "bandwidth": bandwidth, "sums": sums }));
        return;
    }
    let mut rows = vec![["bytes", "ms", "sent MB/s"].map(String::from).to_vec()];
    for (&values, &seconds) in COUNTS.iter().zip(seconds) {
        let rate = format!("{:.0}", sent(values) / seconds / 1e6);
        rows.push(vec![thousands(4 * values as u64), format!("{:.3}", 1e3 * seconds), rate]);
    }
    say!("{} rank(s), {} of them on the machine of rank 0\n\n{}", ranks.size, ranks.local_size, table(&rows));
    say!("\nlatency {:.3} ms, bandwidth {:.0} MB/s", 1e3 * latency, bandwidth / 1e6);
}
