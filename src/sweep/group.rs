//! The seeds of each setting, taken together.

use std::collections::HashMap;

use serde_json::{Map, Value};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::member::SEED;
use super::row::{HALVED, Row};
use crate::number::{deviation, mean};
use crate::stop::Metric;

/// The members of a sweep that have the same settings, and differ in their seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<'a> {
    /// Their settings, by their keys, but for the seed.
    pub settings: Map<String, Value>,
    /// What came of them, in the order of their numbers, at least one.
    pub rows: Vec<&'a Row>,
}

/// A metric over the seeds of one setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// The number of seeds that it is taken over: those that did not fail and have a finite value.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation, with n − 1; 0 of a single one.
    pub deviation: f64,
    /// Half the width of the 95 % confidence interval of the mean, `t s / √n`, t being the 0.975 quantile of Student's distribution
    /// with n − 1 degrees of freedom; none of a single value.
    pub interval: Option<f64>,
}

impl Statistic {
    /// The statistic of values; none where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        let quantile = (n > 1).then(|| StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()).flatten();
        let deviation = deviation(values);
        let interval = quantile.map(|t| t.inverse_cdf(0.975) * deviation / (n as f64).sqrt());
        (n > 0).then(|| Self { n, mean: mean(values), deviation, interval })
    }
}

impl Group<'_> {
    /// The number of seeds.
    pub fn seeds(&self) -> usize {
        self.rows.len()
    }

    /// The numbers of the members: `4`, `4-7`, or `4,9` and `4,..,9` where others are between them.
    pub fn members(&self) -> String {
        let numbers: Vec<u64> = self.rows.iter().map(|row| row.member).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        match numbers.len() {
            1 => first.to_string(),
            _ if numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) => format!("{first}-{last}"),
            2 => format!("{first},{last}"),
            _ => format!("{first},..,{last}"),
        }
    }

    /// The number of seeds that came to nothing: that failed, or have no finite value.
    pub fn failures(&self, metric: Metric) -> usize {
        self.seeds() - self.values(metric).len()
    }

    /// The statistic of a metric; none where no seed has a value.
    pub fn statistic(&self, metric: Metric) -> Option<Statistic> {
        Statistic::of(&self.values(metric))
    }

    /// Whether successive halving left its members behind.
    pub fn is_left_behind(&self) -> bool {
        self.rows.iter().any(|row| row.ended == HALVED)
    }

    fn values(&self, metric: Metric) -> Vec<f64> {
        self.rows.iter().filter_map(|row| row.score(metric)).collect()
    }
}

/// The groups of rows that have the same settings, in the order of their first members.
pub fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places = HashMap::new();
    for row in rows {
        let mut settings = row.settings.clone();
        settings.shift_remove(SEED);
        let place = *places.entry(Value::Object(settings.clone()).to_string()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { settings, rows: vec![row] }),
        }
    }
    groups
}

/// The groups of rows, the best first: by the mean of the metric, the highest of an accuracy, the lowest of a loss. Those of which a
/// seed failed come behind all others, since a mean of the rest would flatter them, and before them those that successive halving left
/// behind, whose training was shorter; those without a value are last.
pub fn ranked(rows: &[Row], metric: Metric) -> Vec<Group<'_>> {
    let sign = if metric.is_accuracy() { -1.0 } else { 1.0 };
    let cost = |group: &Group| group.statistic(metric).map_or(f64::INFINITY, |statistic| sign * statistic.mean);
    let key = |group: &Group| (group.failures(metric) > 0, group.is_left_behind(), cost(group));
    let mut keyed: Vec<_> = groups(rows).into_iter().map(|group| (key(&group), group)).collect();
    keyed.sort_by(|((a, c, x), _), ((b, d, y), _)| a.cmp(b).then(c.cmp(d)).then(x.total_cmp(y)));
    keyed.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(member: u64, lr: f64, test_accuracy: f64, ended: &str) -> Row {
        let settings = [("optimizer.lr".to_string(), json!(lr))].into_iter().collect();
        Row { member, settings, test_accuracy: Some(test_accuracy), ended: ended.into(), ..Row::default() }
    }

    /// Of 2, 4, 4, 4, 5, 5, 7, 9 the mean is 5, the squares of the differences add up to 32, and t₇ at 0.975 is 2.364624.
    #[test]
    fn intervals_are_those_of_student() {
        let statistic = Statistic::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((statistic.n, statistic.mean), (8, 5.0));
        assert!((statistic.deviation - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((statistic.interval.unwrap() - 2.364_624_3 * (32.0f64 / 56.0).sqrt()).abs() < 1e-6, "{statistic:?}");
        // Of 1 and 3: s = √2, and t₁ at 0.975 is 12.706205.
        let two = Statistic::of(&[1.0, 3.0]).unwrap();
        assert!((two.interval.unwrap() - 12.706_205).abs() < 1e-5, "{two:?}");
        let one = Statistic::of(&[0.5]).unwrap();
        assert_eq!((one.n, one.mean, one.deviation, one.interval), (1, 0.5, 0.0, None));
        assert_eq!(Statistic::of(&[]), None);
    }

    #[test]
    fn seeds_of_a_setting_are_taken_together() {
        let rows = [
            row(0, 0.1, 0.5, "epochs"),
            row(1, 0.2, 0.75, "epochs"),
            row(2, 0.1, 0.7, "epochs"),
            row(3, 0.2, 0.1, "diverged"),
            row(4, 0.2, f64::NAN, "epochs"),
        ];
        let groups = groups(&rows);
        assert_eq!(groups.iter().map(Group::members).collect::<Vec<_>>(), ["0,2", "1,..,4"]);
        let told: Vec<_> = groups.iter().map(|group| (group.seeds(), group.failures(Metric::TestAccuracy))).collect();
        assert_eq!(told, [(2, 0), (3, 2)]);
        let [low, high] = [0, 1].map(|i| groups[i].statistic(Metric::TestAccuracy).unwrap());
        assert!((low.mean - 0.6).abs() < 1e-12 && (low.deviation - 0.02f64.sqrt()).abs() < 1e-12);
        assert_eq!((high.n, high.mean), (1, 0.75));
        assert_eq!((groups[0].statistic(Metric::TestLoss), groups[0].failures(Metric::TestLoss)), (None, 2));
        // A seed that is swept is no other setting.
        let seeded = |seed: u64| Row {
            settings: [("train.seed".to_string(), json!(seed))].into_iter().collect(),
            ..Row::default()
        };
        assert_eq!(super::groups(&[seeded(1), seeded(2)]).len(), 1);
    }

    #[test]
    fn the_best_comes_first() {
        let rows = [
            row(0, 0.1, 0.5, "epochs"),
            row(1, 0.2, 0.9, "epochs"),
            row(2, 0.2, 0.9, "diverged"),
            row(3, 0.3, 0.6, "epochs"),
            row(4, 0.4, f64::NAN, "diverged"),
            row(5, 0.5, 0.6, "epochs"),
        ];
        let order = |rows: &[Row], metric| -> Vec<u64> {
            ranked(rows, metric).iter().map(|group| group.rows[0].member).collect()
        };
        assert_eq!(order(&rows, Metric::TestAccuracy), [3, 5, 0, 1, 4]);
        let losses = rows.map(|row| Row { test_loss: row.test_accuracy, ..row });
        assert_eq!(order(&losses, Metric::TestLoss), [0, 3, 5, 1, 4]);
    }
}
