//! The curves of a run as one table.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use csv::Writer;
use serde_json::Value;

use crate::disk::write_whole;
use crate::error::{Error, Result};
use crate::run::{Lines, Logged, each_line, logged_curves};

/// A row of the table.
struct Row {
    step: u64,
    epoch: u64,
    curve: String,
    /// The number of the replica; none where the value is that of the whole run.
    replica: Option<usize>,
    value: f64,
}

/// Writes every value of the log of the run in `dir` as CSV, one a row: `step,epoch,curve,replica,value`. The file appears whole or
/// not at all.
///
/// Curves of steps come first, then those of evaluations, each in the order of steps. A step is the number of updates before;
/// `replica` is empty where the value is that of the whole run, and so is `value` where it is NaN.
///
/// # Errors
/// Another extension than `.csv`, a log that cannot be read, a file that cannot be written.
pub fn write_csv(dir: &Path, path: &Path) -> Result<()> {
    check_csv_name(path)?;
    let mut writer = Writer::from_writer(Vec::new());
    let mut written = writer.write_record(["step", "epoch", "curve", "replica", "value"]);
    each_line(dir, Lines::Metrics, |line| {
        let mut rows = rows(Lines::Metrics, line).into_iter();
        if written.is_ok() {
            written = rows.try_for_each(|row| row.write(&mut writer));
        }
    })?;
    let mut evaluated = Vec::new();
    for file in [Lines::Evaluations, Lines::Epochs] {
        each_line(dir, file, |line| evaluated.extend(rows(file, line)))?;
    }
    evaluated.sort_by_key(|row| row.step);
    // The end of an epoch may have been evaluated as a step too.
    let mut seen = HashSet::new();
    evaluated.retain(|row| seen.insert((row.step, row.curve.clone(), row.replica)));
    let bytes = written
        .and_then(|()| evaluated.into_iter().try_for_each(|row| row.write(&mut writer)))
        .map_err(io::Error::from)
        .and_then(|()| writer.into_inner().map_err(csv::IntoInnerError::into_error));
    write_whole(path, &bytes.map_err(Error::io(path))?)
}

/// Refuses a file that is not named `.csv`.
///
/// # Errors
/// Another extension.
pub fn check_csv_name(path: &Path) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "csv") {
        return Ok(());
    }
    Err(Error::config("--csv", format!("expected a file named .csv, found {}", path.display())))
}

/// The rows of a line; none of one that says no step.
fn rows(file: Lines, line: &Value) -> Vec<Row> {
    let step = if file == Lines::Metrics { &line["step"] } else { &line["steps"] };
    let (Some(step), Some(epoch)) = (step.as_u64(), line["epoch"].as_u64()) else { return Vec::new() };
    let of_curve = |Logged { curve, values, is_of_replicas }: Logged| {
        let row = |(r, value)| Row { step, epoch, curve: curve.into(), replica: is_of_replicas.then_some(r), value };
        values.into_iter().enumerate().map(row).collect::<Vec<_>>()
    };
    logged_curves(file, line).into_iter().flat_map(of_curve).collect()
}

impl Row {
    fn write(&self, writer: &mut Writer<Vec<u8>>) -> csv::Result<()> {
        let replica = self.replica.map_or(String::new(), |r| r.to_string());
        let value = if self.value.is_nan() { String::new() } else { self.value.to_string() };
        writer.write_record([&self.step.to_string(), &self.epoch.to_string(), &self.curve, &replica, &value])
    }
}
