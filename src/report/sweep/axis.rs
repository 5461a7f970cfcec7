//! The axis of a setting, or of a metric, in the pictures of a sweep.

use serde::Serialize;
use serde_json::{Value, json};

use crate::report::curve::{self, range};
use crate::report::overlay::rounds;
use crate::sweep::brief;

/// A setting whose values are so many times apart has a logarithmic axis.
const DECADE: f64 = 10.0;
/// So many values of a setting are all told beside their axis.
const FEW: usize = 8;
/// The least distance between two ticks, the axis being 1.
const APART: f64 = 0.1;
/// With more ticks than these a logarithmic axis has those of powers of ten alone.
const MANY: usize = 9;
/// What an axis reaches beyond its values, as a share of it.
const MARGIN: f64 = 0.05;

/// An axis: it takes values to places, most of them from 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Axis {
    /// The name beside the axis.
    pub name: String,
    pub is_log: bool,
    /// The places that bear a label.
    pub ticks: Vec<Tick>,
    #[serde(skip)]
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tick {
    pub at: f64,
    pub label: String,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Numbers between two ends, or their logarithms.
    Numbers { low: f64, high: f64 },
    /// Words at equal distances.
    Words(Vec<String>),
}

impl Axis {
    /// The axis of a setting by its values, logarithmic where the design or their spread says so; none where all are the same.
    pub fn of_setting(name: &str, values: &[&Value], is_drawn_log: bool) -> Option<Self> {
        let mut words: Vec<String> = Vec::new();
        for word in values.iter().map(|value| value.to_string()) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        if words.len() < 2 {
            return None;
        }
        let Some(mut numbers) = values.iter().map(|value| value.as_f64()).collect::<Option<Vec<f64>>>() else {
            return Some(Self::of_words(name, values));
        };
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        let (low, high) = (numbers[0], numbers[numbers.len() - 1]);
        if low == high {
            return None;
        }
        let is_log = low > 0.0 && (is_drawn_log || high / low >= DECADE);
        let places = if numbers.len() <= FEW { numbers } else { round_numbers(low, high, is_log) };
        Some(Self::of_numbers(name, low, high, is_log, &places))
    }

    /// The axis of a metric by its values; none where there are none.
    pub fn of_metric(name: &str, values: &[f64], is_accuracy: bool) -> Option<Self> {
        let (low, high) = range(values.iter().copied());
        if values.is_empty() {
            return None;
        }
        let is_log = !is_accuracy && low > 0.0 && high / low >= DECADE;
        let (low, high) = if is_log {
            let factor = (high / low).powf(MARGIN);
            (low / factor, high * factor)
        } else {
            let margin = if high > low { MARGIN * (high - low) } else { MARGIN * high.abs().max(1e-9) };
            (low - margin, high + margin)
        };
        Some(Self::of_numbers(name, low, high, is_log, &round_numbers(low, high, is_log)))
    }

    fn of_numbers(name: &str, low: f64, high: f64, is_log: bool, places: &[f64]) -> Self {
        let mut axis = Self { name: name.into(), is_log, ticks: Vec::new(), kind: Kind::Numbers { low, high } };
        for &x in places {
            let at = axis.number(x);
            if axis.ticks.last().is_none_or(|tick| at - tick.at >= APART) {
                axis.ticks.push(Tick { at, label: brief(&json!(x)) });
            }
        }
        axis
    }

    fn of_words(name: &str, values: &[&Value]) -> Self {
        let mut words: Vec<String> = Vec::new();
        for word in values.iter().map(|value| brief(value)) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let last = (words.len() - 1).max(1) as f64;
        let mut ticks: Vec<Tick> = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let at = i as f64 / last;
            if ticks.last().is_none_or(|tick| at - tick.at >= APART) {
                ticks.push(Tick { at, label: word.clone() });
            }
        }
        Self { name: name.into(), is_log: false, ticks, kind: Kind::Words(words) }
    }

    /// The place of a setting's value.
    pub fn place(&self, value: &Value) -> f64 {
        match &self.kind {
            Kind::Numbers { .. } => self.number(value.as_f64().unwrap_or(f64::NAN)),
            Kind::Words(words) => {
                let word = brief(value);
                words.iter().position(|other| *other == word).unwrap_or(0) as f64 / (words.len() - 1).max(1) as f64
            }
        }
    }

    /// The place of a number.
    pub fn number(&self, x: f64) -> f64 {
        let Kind::Numbers { low, high } = self.kind else { return f64::NAN };
        if self.is_log { (x / low).ln() / (high / low).ln() } else { (x - low) / (high - low) }
    }
}

/// Round numbers between two ends.
fn round_numbers(low: f64, high: f64, is_log: bool) -> Vec<f64> {
    if is_log {
        // Between ends that are no whole numbers, which would be the ticks.
        let ticks = curve::ticks(curve::Scale::Log, &[low * (1.0 + 1e-10), high]);
        let powers: Vec<f64> = ticks.iter().copied().filter(|x| (x.log10() - x.log10().round()).abs() < 1e-9).collect();
        if ticks.len() > MANY && powers.len() > 1 { powers } else { ticks }
    } else {
        rounds(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: &[Value], is_drawn_log: bool) -> Option<Axis> {
        Axis::of_setting("x", &values.iter().collect::<Vec<_>>(), is_drawn_log)
    }

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn numbers_have_a_scale_that_fits() {
        let values = [json!(0.1), json!(0.001), json!(0.01), json!(0.1)];
        let log = axis(&values, false).unwrap();
        assert!(log.is_log && (log.place(&values[2]) - 0.5).abs() < 1e-12);
        assert_eq!((log.place(&values[1]), log.place(&values[0])), (0.0, 1.0));
        assert_eq!(labels(&log), ["0.001", "0.01", "0.1"]);
        let linear = axis(&[json!(2), json!(4), json!(3)], false).unwrap();
        assert!(!linear.is_log && linear.place(&json!(3)) == 0.5);
        assert_eq!(labels(&linear), ["2", "3", "4"]);
        assert!(axis(&[json!(2), json!(4)], true).unwrap().is_log);
        // From 0 there is no logarithm.
        assert!(!axis(&[json!(0.0), json!(4e9)], true).unwrap().is_log);
        let many: Vec<Value> = (0..50).map(|i| json!(1e-4 * 1.15f64.powi(i))).collect();
        let drawn = axis(&many, true).unwrap();
        assert_eq!(labels(&drawn), ["1e-4", "2e-4", "5e-4", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05"]);
        let wide = axis(&[&many[..], &[json!(50.0)]].concat(), true).unwrap();
        assert_eq!(labels(&wide), ["1e-4", "0.001", "0.01", "0.1", "1", "10"]);
    }

    #[test]
    fn words_stand_at_equal_distances() {
        let words = axis(&[json!("sgd"), json!([8, 4]), json!("sgd"), json!(3)], false).unwrap();
        assert_eq!((labels(&words), words.place(&json!([8, 4]))), (vec!["sgd", "[8,4]", "3"], 0.5));
        assert!(axis(&[json!("sgd"), json!("sgd")], false).is_none());
        assert!(axis(&[json!(1), json!(1.0)], false).is_none());
    }

    #[test]
    fn a_metric_reaches_to_the_edges_of_its_values() {
        let accuracy = Axis::of_metric("accuracy", &[0.1, 0.9, 0.5], true).unwrap();
        assert!(!accuracy.is_log && (accuracy.number(0.5) - 0.5).abs() < 1e-12 && accuracy.number(0.1) > 0.0);
        let loss = Axis::of_metric("loss", &[0.01, 1.0, 0.1], false).unwrap();
        assert!(loss.is_log && (loss.number(0.1) - 0.5).abs() < 1e-12 && loss.number(1.0) < 1.0);
        let one = Axis::of_metric("loss", &[0.5], false).unwrap();
        assert!((one.number(0.5) - 0.5).abs() < 1e-9 && !one.ticks.is_empty());
        assert!(Axis::of_metric("loss", &[], false).is_none());
    }
}
