//! Batch size against throughput, and against the steps and seconds to a target, as a picture and as a table.

use std::path::Path;

use csv::Writer;

use super::csv::check_csv_name;
use super::curve::{Curve, Panels, Scale};
use crate::disk::write_whole;
use crate::error::{Error, Result};
use crate::explore::{CriticalBatch, Reached, Speed, Trial, Trials};

/// The places of a fitted curve.
const PLACES: usize = 64;

/// What was measured at one batch size.
#[derive(Clone, Debug)]
pub struct BatchSize {
    /// The speed of its steps.
    pub speed: Speed,
    /// The learning rate that was taken for it.
    pub lr: f64,
    /// The trainings to a target; none where none was asked for.
    pub trials: Option<Trials>,
}

/// Draws batch size against throughput as SVG, and, where there was a target, against steps and seconds to it: means over the seeds
/// that reached it, with bars of their deviation, and the fitted curve between its two asymptotes, which are perfect scaling and
/// the maximum of data parallelism. `notes` are written below: what the picture was measured on.
///
/// # Errors
/// What cannot be drawn.
pub fn batch_picture(sizes: &[BatchSize], critical: Option<&CriticalBatch>, notes: Vec<String>) -> Result<String> {
    // By size, in whatever order they were measured.
    let mut sizes: Vec<&BatchSize> = sizes.iter().collect();
    sizes.sort_by_key(|size| size.speed.batch);
    let speed = |name: &str, value: &dyn Fn(&Speed) -> f64| Curve {
        name: name.into(),
        points: sizes.iter().map(|size| (size.speed.batch as f64, value(&size.speed))).collect(),
        ..Curve::default()
    };
    let mut curves =
        vec![speed("samples a second", &|s| s.samples_per_second), speed("ms a step", &|s| s.seconds * 1e3)];
    if sizes.iter().any(|size| size.trials.as_ref().is_some_and(|trials| trials.reached().next().is_some())) {
        let steps = to_target("steps to target", &sizes, |r| r.steps as f64);
        let beside = critical.map_or(Vec::new(), |critical| asymptotes(critical, &steps.points));
        curves.extend([Curve { beside, ..steps }, to_target("seconds to target", &sizes, |r| r.seconds)]);
    }
    let title = "batch size against throughput and time to target";
    let panels = Panels {
        title: if curves.len() > 2 { title } else { "batch size against throughput" },
        by: "batch",
        scale: Scale::Log,
        curves,
        mark: critical.and_then(|c| Some((c.batch?, "critical batch size"))),
        band: critical.map(|c| (c.low.unwrap_or(0.0), c.high.unwrap_or(f64::INFINITY))),
        notes,
        ..Panels::default()
    };
    panels.svg()
}

/// The means over seeds by batch size, with their deviations; a gap where no seed reached the target.
fn to_target(name: &str, sizes: &[&BatchSize], of: fn(&Reached) -> f64) -> Curve {
    let spread = |size: &&BatchSize| size.trials.as_ref().and_then(|trials| trials.spread(of));
    let point = |size: &&BatchSize| (size.speed.batch as f64, spread(size).map_or(f64::NAN, |spread| spread.mean));
    Curve {
        name: name.into(),
        points: sizes.iter().map(point).collect(),
        bars: sizes.iter().map(|size| spread(size).map_or(0.0, |spread| spread.deviation)).collect(),
        scale: Scale::Log,
        ..Curve::default()
    }
}

/// The fitted curve over the range of the points, and what it comes close to at its ends.
fn asymptotes(critical: &CriticalBatch, points: &[(f64, f64)]) -> Vec<(String, Vec<(f64, f64)>)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let place = |i: usize| first.0 * (last.0 / first.0).powf(i as f64 / (PLACES - 1) as f64);
    let line = |name: &str, f: &dyn Fn(f64) -> f64| {
        (name.to_string(), (0..PLACES).map(|i| (place(i), f(place(i)))).collect::<Vec<_>>())
    };
    vec![
        line("fit: S_min (1 + B_crit / B)", &|batch| critical.steps(batch)),
        line("perfect scaling: S_min B_crit / B", &|batch| critical.least_samples / batch),
        line("maximal data parallelism: S_min", &|_| critical.least_steps),
    ]
}

/// Writes every training to a target as CSV, a row a batch size and seed:
/// `batch,lr,seed,ended,reached,steps,epochs,samples,seconds,resolution`, after `notes` in lines that begin with `#`. The file appears
/// whole or not at all.
///
/// `ended` is why a training ended, `reached` whether it came to the target, `seconds` are those of its steps without evaluation, and
/// `resolution` is the number of steps from one evaluation to the next. What was not reached has no steps, epochs, samples and
/// seconds.
///
/// # Errors
/// Another extension than `.csv`, or a file that cannot be written.
pub fn write_batch_csv(path: &Path, sizes: &[BatchSize], notes: &[String]) -> Result<()> {
    check_csv_name(path)?;
    let mut text: Vec<u8> = notes.iter().flat_map(|note| format!("# {note}\n").into_bytes()).collect();
    let mut writer = Writer::from_writer(&mut text);
    let columns = ["batch", "lr", "seed", "ended", "reached", "steps", "epochs", "samples", "seconds", "resolution"];
    let rows = sizes.iter().flat_map(|size| size.trials.iter().flat_map(|trials| &trials.trials).map(|t| row(size, t)));
    let mut written = writer.write_record(columns);
    for row in rows {
        written = written.and_then(|()| writer.write_record(row));
    }
    written.map_err(std::io::Error::from).and_then(|()| writer.flush()).map_err(Error::io(path))?;
    drop(writer);
    write_whole(path, &text)
}

fn row(size: &BatchSize, trial: &Trial) -> [String; 10] {
    let of = |value: fn(&Reached) -> String| trial.reached.as_ref().map_or(String::new(), value);
    [
        size.speed.batch.to_string(),
        size.lr.to_string(),
        trial.seed.to_string(),
        trial.ended.name().into(),
        trial.reached.is_some().to_string(),
        of(|r| r.steps.to_string()),
        of(|r| r.epochs.to_string()),
        of(|r| r.samples.to_string()),
        of(|r| r.seconds.to_string()),
        trial.resolution.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ended;

    fn size(batch: usize, steps: &[u64]) -> BatchSize {
        let trial = |&steps: &u64| {
            let reached = Reached { steps, epochs: 0.5, samples: steps * batch as u64, seconds: 1.0 };
            let reached = (steps > 0).then_some(reached);
            Trial { seed: 3, ended: if steps > 0 { Ended::Target } else { Ended::Epochs }, reached, resolution: 7 }
        };
        let speed =
            Speed { batch, replicas: 1, seconds: 1e-3, samples_per_second: 1e3, flops: 0.0, of_limit: 0.0, bytes: 0 };
        let trials = Some(Trials { batch, trials: steps.iter().map(trial).collect() });
        BatchSize { speed, lr: 0.1, trials }
    }

    /// Sizes in any order; one that no seed reached has a place on the axis and no marker, and an open interval ends with the axis.
    #[test]
    fn a_picture_shows_what_was_reached() {
        let sizes = [size(64, &[20, 30]), size(16, &[90, 80]), size(32, &[0, 0])];
        let critical = CriticalBatch {
            batch: Some(40.0),
            low: Some(20.0),
            high: None,
            least_steps: 10.0,
            least_samples: 1000.0,
            deviation: 0.1,
            is_missed: false,
        };
        let svg = batch_picture(&sizes, Some(&critical), vec!["on a machine".into()]).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3 + 3 + 2 + 2, "{svg}");
        assert!(
            ["critical batch size", "perfect scaling", "steps to target", "on a machine"]
                .iter()
                .all(|w| svg.contains(w))
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let without = [BatchSize { trials: None, ..size(8, &[]) }];
        let svg = batch_picture(&without, None, Vec::new()).unwrap();
        assert_eq!((svg.matches("<circle").count(), svg.contains("to target")), (2, false), "{svg}");
    }

    #[test]
    fn a_training_has_a_row() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("b.csv");
        write_batch_csv(&path, &[size(16, &[90, 0])], &["one".into(), "two, three".into()]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["# one", "# two, three"]);
        assert_eq!(lines[3..], ["16,0.1,3,target,true,90,0.5,1440,1,7", "16,0.1,3,epochs,false,,,,,7"]);
        assert!(write_batch_csv(&dir.path().join("b.txt"), &[], &[]).is_err());
    }
}
