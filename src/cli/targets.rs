//! What `thalweg bench batch --to` says of the trainings towards a target, and of the critical batch size.

use serde_json::{Value, json};
use thalweg::explore::{CriticalBatch, Trials};

use super::percent;

/// The columns of the table and their widths; deviations are there with several seeds.
const COLUMNS: [(&str, usize); 8] =
    [("batch", 5), ("reached", 7), ("steps", 8), ("±", 7), ("epochs", 7), ("±", 6), ("seconds", 8), ("±", 7)];
/// The share of a time to the target from which on one evaluation is coarse.
const COARSE: f64 = 0.1;

/// Cells right-aligned in columns of these widths.
pub fn line<'a>(cells: &[String], columns: impl IntoIterator<Item = &'a (&'a str, usize)>) -> String {
    let cells = cells.iter().zip(columns).map(|(cell, (_, width))| format!("{cell:>width$}"));
    cells.collect::<Vec<_>>().join("  ")
}

/// The columns for so many seeds.
fn columns(seeds: usize) -> Vec<(&'static str, usize)> {
    COLUMNS.into_iter().filter(|(name, _)| seeds > 1 || *name != "±").collect()
}

/// The heading of the table.
pub fn heading(seeds: usize) -> String {
    let columns = columns(seeds);
    let names: Vec<String> = columns.iter().map(|(name, _)| name.to_string()).collect();
    line(&names, &columns)
}

/// The line of a batch size: means over the seeds that reached the target.
pub fn row(trials: &Trials) -> String {
    let seeds = trials.trials.len();
    let mut cells = vec![trials.batch.to_string(), reached(trials)];
    let spreads =
        [(trials.spread(|r| r.steps as f64), 0), (trials.spread(|r| r.epochs), 2), (trials.spread(|r| r.seconds), 2)];
    for (spread, digits) in spreads {
        let show = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        cells.push(show(spread.map(|spread| spread.mean)));
        // One seed that reached it has no deviation.
        cells.extend((seeds > 1).then(|| show(spread.filter(|_| trials.reached().count() > 1).map(|s| s.deviation))));
    }
    line(&cells, &columns(seeds))
}

/// `3/4`: how many seeds reached the target.
fn reached(trials: &Trials) -> String {
    format!("{}/{}", trials.reached().count(), trials.trials.len())
}

/// The trainings at a batch size as JSON: each, and means and deviations over those that reached the target.
pub fn object(trials: &Trials) -> Value {
    json!({
        "trials": trials.trials,
        "reached": trials.reached().count(),
        "steps": trials.spread(|r| r.steps as f64),
        "epochs": trials.spread(|r| r.epochs),
        "samples": trials.spread(|r| r.samples as f64),
        "seconds": trials.spread(|r| r.seconds),
    })
}

/// The sizes at which some seeds did not reach the target, if there are any.
pub fn failures(all: &[&Trials]) -> Option<String> {
    let failed: Vec<String> = all
        .iter()
        .filter(|trials| !trials.all_reached())
        .map(|trials| format!("{} ({})", trials.batch, reached(trials)))
        .collect();
    let words = "not every seed reached the target, and means are of those that did, at batch size";
    (!failed.is_empty()).then(|| format!("{words} {}", failed.join(", ")))
}

/// How coarse the times are, where that is worth a word.
pub fn resolution(all: &[&Trials]) -> Option<String> {
    let share = |trials: &&Trials| {
        let resolution = trials.trials.first()?.resolution;
        // More often than after each step nobody can look.
        Some(resolution as f64 / trials.spread(|r| r.steps as f64)?.mean).filter(|_| resolution > 1)
    };
    let worst = all.iter().filter_map(share).fold(0.0, f64::max);
    let words = "of a time to the target, which may have been reached so much earlier; more --evaluations tell";
    (worst > COARSE).then(|| format!("one evaluation is up to {} {words}", percent(worst)))
}

/// The critical batch size with its interval, and what follows from it.
pub fn critical(fit: &CriticalBatch) -> String {
    let best = |batch: Option<f64>| batch.map_or(String::new(), |batch| format!(" (best fit {})", short(batch)));
    let open = "these steps leave the other end open";
    let mut words = match (fit.low, fit.batch, fit.high) {
        (Some(low), Some(batch), Some(high)) => {
            format!("{}, at 95 % within {} to {}", short(batch), short(low), short(high))
        }
        (Some(low), batch, _) => format!("at least {} at 95 %{}; {open}", short(low), best(batch)),
        (None, batch, Some(high)) => format!("at most {} at 95 %{}; {open}", short(high), best(batch)),
        (None, ..) => "not determined: any fits these steps".into(),
    };
    if fit.low.is_some()
        && fit.high.is_some()
        && let Some([perfect, maximal]) = fit.regimes()
    {
        words += &format!(
            "; least steps {}, least samples {}; by the curve scaling is perfect up to {}, returns diminish up to {}, and then no \
             batch size takes many fewer steps",
            short(fit.least_steps),
            short(fit.least_samples),
            short(perfect),
            short(maximal)
        );
    }
    if fit.is_missed {
        words += "; the means miss the curve by more than their seeds scatter, for which the interval allows";
    }
    words
}

/// A number that was fitted, to three digits.
fn short(number: f64) -> String {
    let unit = 10f64.powf(number.log10().floor() - 2.0);
    if number < 10.0 { format!("{number:.1}") } else { format!("{:.0}", (number / unit).round() * unit) }
}

#[cfg(test)]
mod tests {
    use thalweg::event::Ended;
    use thalweg::explore::{Reached, Trial};

    use super::*;

    fn trials(steps: &[u64]) -> Trials {
        let trial = |&steps: &u64| {
            let reached = Reached { steps, epochs: steps as f64 / 100.0, samples: 8 * steps, seconds: steps as f64 };
            let reached = (steps > 0).then_some(reached);
            Trial { seed: 0, ended: Ended::Target, reached, resolution: 10 }
        };
        Trials { batch: 8, trials: steps.iter().map(trial).collect() }
    }

    #[test]
    fn failures_are_counted_and_means_are_of_the_rest() {
        let rows = |steps: &[u64]| row(&trials(steps)).split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!(rows(&[100, 0, 200, 300]), ["8", "3/4", "200", "100", "2.00", "1.00", "200.00", "100.00"]);
        assert_eq!(rows(&[0, 100]), ["8", "1/2", "100", "-", "1.00", "-", "100.00", "-"]);
        assert_eq!(rows(&[0, 0])[1..4], ["0/2", "-", "-"]);
        assert_eq!(rows(&[100]), ["8", "1/1", "100", "1.00", "100.00"]);
        for seeds in [1, 4] {
            assert_eq!(heading(seeds).chars().count(), row(&trials(&vec![100; seeds])).chars().count());
        }
        let [all, some] = [trials(&[100, 200]), trials(&[100, 0])];
        assert!(failures(&[&all, &some]).unwrap().ends_with("8 (1/2)") && failures(&[&all]).is_none());
        assert!(resolution(&[&trials(&[150])]).is_none());
        assert!(resolution(&[&trials(&[150]), &trials(&[50])]).unwrap().contains("up to 20 %"));
    }

    #[test]
    fn an_open_interval_is_said_to_be_open() {
        let fit = |low, batch, high| CriticalBatch {
            batch,
            low,
            high,
            least_steps: 500.0,
            least_samples: 1e5,
            deviation: 0.1,
            is_missed: false,
        };
        let both = critical(&fit(Some(150.0), Some(200.0), Some(270.0)));
        assert!(
            both.starts_with("200, at 95 % within 150 to 270")
                && both.contains("perfect up to 22,")
                && both.contains("samples 100000"),
            "{both}"
        );
        assert!(critical(&fit(Some(150.0), Some(200.0), None)).starts_with("at least 150 at 95 % (best fit 200)"));
        assert!(critical(&fit(Some(150.0), None, None)).starts_with("at least 150 at 95 %;"));
        assert!(critical(&fit(None, Some(2.0), Some(4.25))).starts_with("at most 4.2 at 95 % (best fit 2.0)"));
        assert!(critical(&fit(None, Some(2.0), None)).starts_with("not determined"));
        assert!(critical(&CriticalBatch { is_missed: true, ..fit(None, None, None) }).contains("miss the curve"));
    }
}
