//! What the measurements of `thalweg bench` have in common: limits, speeds, and lists of numbers.

use anyhow::Context;
use thalweg::engine::{Engine, Limits, Setup};
use thalweg::explore::Speed;
use thalweg::run::{Config, remember_limits};

use super::{measuring, percent, table, thousands};

/// A line a limit.
pub fn limits_table(limits: &Limits) -> String {
    let line = |name: &str, value: f64, unit: &str| vec![name.to_string(), format!("{value:.1}"), unit.to_string()];
    let mut rows = vec![vec!["limit".into(), String::new(), String::new()]];
    rows.push(line("multiply-adds", limits.flops / 1e9, "GFLOP/s"));
    rows.extend(limits.flops_f16.map(|flops| line("multiply-adds, f16", flops / 1e9, "GFLOP/s")));
    let cooperative = limits.flops_cooperative;
    rows.extend(cooperative.map(|flops| line("multiply-adds, cooperative matrices", flops / 1e9, "GFLOP/s")));
    rows.push(line("copy, read and written", limits.bandwidth / 1e9, "GB/s"));
    rows.push(line("kept in caches, at most", limits.cache / f64::from(1 << 20), "MiB"));
    if limits.submission > 0.0 {
        rows.push(line("dispatch after dispatch", limits.dispatch * 1e6, "µs"));
        rows.push(line("submission and wait", limits.submission * 1e6, "µs"));
    }
    table(&rows)
}

/// Measures what the engine's device can do at most; runs of training tell their share of it from then on.
pub fn measure_limits(engine: &mut dyn Engine) -> anyhow::Result<Limits> {
    let limits = engine.measure_limits()?;
    remember_limits(&engine.describe(), limits);
    Ok(limits)
}

/// Opens the engine of `setup`, with words on it.
pub fn open(config: &Config, setup: Setup) -> anyhow::Result<(Box<dyn Engine>, String)> {
    let (engine, reason) = config.engine(setup, measuring)?;
    let words = format!("{}: {reason}", engine.describe());
    Ok((engine, words))
}

/// What a speed is, in cells: milliseconds a step, samples and GFLOP a second, the share of the limit, MiB.
pub fn speed_cells(speed: &Speed) -> [String; 5] {
    [
        format!("{:.3}", speed.seconds * 1e3),
        thousands(speed.samples_per_second as u64),
        format!("{:.1}", speed.flops / 1e9),
        percent(speed.of_limit),
        format!("{:.1}", speed.bytes as f64 / f64::from(1 << 20)),
    ]
}

/// One line a speed.
pub fn speed_table(speeds: &[Speed]) -> String {
    let header = ["batch", "replicas", "ms a step", "samples/s", "GFLOP/s", "of limit", "MiB"];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(speeds.iter().map(|s| [&[s.batch.to_string(), s.replicas.to_string()][..], &speed_cells(s)].concat()));
    table(&rows)
}

/// `1..8192` as powers of two times the first, or a list with commas.
pub fn numbers(flag: &str, text: &str) -> anyhow::Result<Vec<usize>> {
    let bad = || format!("{flag}: expected numbers above 0, as 1..8192 or 1,32,100, found {text:?}");
    let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
    let numbers: Option<Vec<usize>> = match text.split_once("..") {
        Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| {
            std::iter::successors(Some(from), |n| n.checked_mul(2)).take_while(|&n| n <= to).collect()
        }),
        None => text.split(',').map(number).collect(),
    };
    numbers.filter(|numbers| !numbers.is_empty()).with_context(bad)
}
