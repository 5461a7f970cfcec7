//! The lines of epochs, as a table of which each line is printed when its epoch is over.

use thalweg::engine::Evaluation;
use thalweg::event::{Epoch, Started};
use thalweg::number;
use thalweg::run::Pace;

use super::{WIDTH, percent, thousands, wrap};

/// The columns of the lines: epoch, step and rate, loss and accuracy of each part and average, the speed.
#[derive(Default)]
pub struct EpochTable {
    epochs: u64,
    steps: u64,
    is_classification: bool,
    /// The names of the parts and averages that have a column; those for which there is no room go below the line.
    columns: Vec<&'static str>,
    has_speed: bool,
    has_limit: bool,
}

/// The width of the rate, and of the columns of speed and of its share of the limit, with the space before them.
const RATE: usize = 6;
const SPEED: usize = 2 + 9;
const LIMIT: usize = 2 + 5;

impl EpochTable {
    pub fn new(started: &Started, pace: Pace) -> Self {
        let (data, average) = (&started.setup.dataset, &started.setup.average);
        let wanted = [
            (true, "train"),
            (data.validation.is_some(), "validation"),
            (data.test.is_some(), "test"),
            (average.swa.is_some(), "swa"),
            (average.ema.is_some(), "ema"),
            (average.snapshots.is_some(), "snapshots"),
        ];
        let mut table = Self {
            epochs: started.epochs,
            steps: started.steps,
            is_classification: data.is_classification(),
            ..Self::default()
        };
        let wanted = wanted.into_iter().filter_map(|(is_there, name)| is_there.then_some(name));
        let left = table.left();
        table.columns = wanted.take((WIDTH - left) / (2 + table.part_width())).collect();
        let width = left + table.columns.len() * (2 + table.part_width());
        table.has_speed = width + SPEED <= WIDTH;
        table.has_limit = pace.of_limit(1.0).is_some() && width + SPEED + LIMIT <= WIDTH;
        table
    }

    fn epoch_width(&self) -> usize {
        "epoch".len().max(2 * self.epochs.to_string().len() + 1)
    }

    fn step_width(&self) -> usize {
        "step".len().max(self.steps.to_string().len())
    }

    /// The width of what stands left of the parts.
    fn left(&self) -> usize {
        self.epoch_width() + 2 + self.step_width() + 2 + RATE
    }

    /// The width of a loss and an accuracy; of a loss alone, that of the longest name.
    fn part_width(&self) -> usize {
        if self.is_classification { 6 + 1 + 6 } else { "validation".len() }
    }

    /// Two lines: the parts, and what their numbers are.
    pub fn heading(&self) -> String {
        let (epoch, step, part) = (self.epoch_width(), self.step_width(), self.part_width());
        let mut first = " ".repeat(self.left());
        let mut second = format!("{:>epoch$}  {:>step$}  {:<RATE$}", "epoch", "step", "lr");
        for name in &self.columns {
            // Names stand left over two numbers, and right over one.
            first += &if self.is_classification { format!("  {name:<part$}") } else { format!("  {name:>part$}") };
            second += &if self.is_classification { "    loss    acc".into() } else { format!("  {:>part$}", "loss") };
        }
        second += if self.has_speed { "  samples/s" } else { "" };
        second += if self.has_limit { "  limit" } else { "" };
        format!("{}\n{second}\n", first.trim_end())
    }

    /// The line of an epoch, or of a part of it, with the evaluations of its parts by name, and below it those without a column.
    pub fn line(&self, epoch: &Epoch, parts: &[(&str, &[Evaluation])], pace: Pace) -> String {
        let (width, step_width) = (self.epoch_width(), self.step_width());
        let of_all = format!("{}/{}", epoch.epoch + 1, self.epochs);
        let lr = format!("{:.1e}", epoch.lr);
        let mut line = format!("{of_all:>width$}  {:>step_width$}  {lr:<RATE$}", epoch.steps);
        for column in &self.columns {
            let part = parts.iter().find(|(name, _)| name == column);
            let cell = part.map_or(String::new(), |(_, evaluations)| self.cell(evaluations));
            line += &format!("  {cell:>width$}", width = self.part_width());
        }
        if self.has_speed {
            line += &format!("  {:>9}", thousands(epoch.samples_per_second as u64));
        }
        if self.has_limit {
            line += &format!("  {:>5}", pace.of_limit(epoch.samples_per_second).map_or(String::new(), percent));
        }
        let rest = parts.iter().filter(|(name, _)| !self.columns.contains(name));
        let mut rest: Vec<String> =
            rest.map(|(name, evaluations)| format!("{name} {}", self.cell(evaluations))).collect();
        rest.extend(
            epoch.is_restored.then(|| "validation and test are those of the best weights, restored".to_string()),
        );
        let below = if rest.is_empty() { String::new() } else { wrap("\n       ", &rest.join(", ")) };
        line.trim_end().to_string() + &below
    }

    /// The mean loss of the replicas, and their mean accuracy.
    fn cell(&self, evaluations: &[Evaluation]) -> String {
        let mean = |f: fn(&Evaluation) -> f64| number::mean(&evaluations.iter().map(f).collect::<Vec<_>>());
        let loss = in_six(mean(|e| e.loss));
        if self.is_classification { format!("{loss:>6} {:>6.4}", mean(|e| e.accuracy)) } else { loss }
    }
}

/// A number in six characters, with at most four decimals.
pub fn in_six(value: f64) -> String {
    let decimals = (0..=4).rev().map(|decimals| format!("{value:.decimals$}"));
    decimals.into_iter().find(|text| text.len() <= 6).unwrap_or_else(|| format!("{value:.1e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_width() {
        let shown = [0.28946, 12.3456, 123.456, 1234.5678, 9e10, 0.0, f64::NAN, 9.99996].map(in_six);
        assert_eq!(shown, ["0.2895", "12.346", "123.46", "1234.6", "9.0e10", "0.0000", "NaN", "10.000"]);
    }
}
