//! What came of a sweep, as pictures and as a page.

mod axis;
mod parallel;
mod slices;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use axis::Axis;

use super::document::{SETTINGS, name, settings};
use super::page::Page;
use crate::disk::write_whole;
use crate::error::Result;
use crate::run::number;
use crate::stop::Metric;
use crate::sweep::{
    Design, Group, Row, Scale, brief, judged_by, keys, metric_name, ranked, read_design, read_rows, short_names,
    test_metric,
};

/// The most settings of a picture or a page.
const MOST: usize = 500;
const SCRIPTS: [&str; 3] = [include_str!("../page/plot.js"), SETTINGS, include_str!("../page/sweep.js")];

/// A sweep as it is shown: its settings, best first, each with its seeds, and where they stand on the axes of pictures.
///
/// As JSON it is what a page shows, and `thalweg report --json` writes:
///
/// | key | holds |
/// | --- | --- |
/// | `name` | the folder's name |
/// | `metric`, `is_accuracy` | what settings are judged by, and whether more of it is better |
/// | `members`, `failed`, `tried` | the number of members that ended, of those that failed among them, and of settings |
/// | `names` | the keys of the settings that are swept |
/// | `axes` | for each of them that takes several values its `name`, `is_log`, its `ticks` and the `column` of `names`; then, where there are values, that of the metric in `value` |
/// | `groups` | the settings, best first, at most 500: `members`, `values` and `labels` by `names`, `places` by `axes`, `seeds`, `failed`, `mean`, `deviation`, `interval`, `test`, the place `at` of the mean, its `share` from worst 0 to best 1, and the `points` of the seeds |
/// | `joins` | for each of `axes` the groups that differ in it alone, in its order |
/// | `settings` | the settings that the sweep is over, as those of a run |
/// | `notes` | what a reader should know, in words |
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    name: String,
    metric: String,
    is_accuracy: bool,
    members: usize,
    failed: usize,
    tried: usize,
    names: Vec<String>,
    axes: Vec<SettingAxis>,
    value: Option<Axis>,
    groups: Vec<Tried>,
    joins: Vec<Vec<Vec<usize>>>,
    settings: Value,
    notes: Vec<String>,
}

/// The axis of a setting.
#[derive(Clone, Debug, Serialize)]
struct SettingAxis {
    column: usize,
    #[serde(flatten)]
    axis: Axis,
}

/// One setting, and its seeds.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    members: String,
    values: Vec<Value>,
    labels: Vec<String>,
    places: Vec<f64>,
    seeds: usize,
    failed: usize,
    mean: Option<f64>,
    deviation: Option<f64>,
    interval: Option<f64>,
    test: Option<f64>,
    at: Option<f64>,
    share: Option<f64>,
    points: Vec<Point>,
}

/// One seed of a setting.
#[derive(Clone, Debug, Serialize)]
struct Point {
    member: u64,
    seed: u64,
    value: Option<Value>,
    at: Option<f64>,
    epochs: u64,
    ended: String,
}

impl Sweep {
    /// The sweep in `dir`, as far as its members have ended.
    ///
    /// # Errors
    /// A file of the folder is missing, damaged or altered.
    pub fn read(dir: &Path) -> Result<Self> {
        let (design, base) = read_design(dir)?;
        let (rows, damaged) = read_rows(dir)?;
        let mut sweep = Self::of(&name(dir), &design, &rows);
        sweep.settings = settings(&base)?;
        if damaged > 0 {
            sweep.notes.push(format!("{damaged} lines of members.jsonl are damaged, and left out."));
        }
        let planned = design.members(&base)?.len();
        if rows.len() < planned {
            sweep.notes.push(format!("{} of {planned} members have ended so far.", rows.len()));
        }
        Ok(sweep)
    }

    /// The sweep of this name and design by what came of its members.
    fn of(name: &str, design: &Design, rows: &[Row]) -> Self {
        let metric = judged_by(rows);
        let groups = ranked(rows, metric);
        let keys: Vec<&str> =
            keys(rows).into_iter().filter(|key| groups.iter().any(|group| group.settings.contains_key(*key))).collect();
        let axes: Vec<SettingAxis> = keys
            .iter()
            .zip(short_names(&keys))
            .enumerate()
            .filter_map(|(column, (key, name))| {
                let values: Vec<&Value> = rows.iter().filter_map(|row| row.settings.get(*key)).collect();
                let is_drawn_log = design.ranges.iter().any(|range| range.key == *key && range.scale == Scale::Log);
                Some(SettingAxis { column, axis: Axis::of_setting(name, &values, is_drawn_log)? })
            })
            .collect();
        let values: Vec<f64> = rows.iter().filter_map(|row| row.score(metric)).collect();
        let title = metric_name(metric).replace('_', " ");
        let value = Axis::of_metric(&title, &values, metric.is_accuracy());
        let (tried, failed) = (groups.len(), groups.iter().map(|group| group.failures(metric)).sum());
        let shown = &groups[..tried.min(MOST)];
        let mut sweep = Self {
            name: name.into(),
            metric: title,
            is_accuracy: metric.is_accuracy(),
            members: rows.len(),
            failed,
            tried,
            names: keys.iter().map(ToString::to_string).collect(),
            groups: shown.iter().map(|group| Tried::of(group, metric, &keys, &axes, value.as_ref())).collect(),
            joins: Vec::new(),
            axes,
            value,
            settings: Value::Null,
            notes: Vec::new(),
        };
        if tried > MOST {
            sweep.notes.push(format!("Of {tried} settings the {MOST} best are shown; members.csv has all."));
        }
        sweep.share_out();
        sweep.joins = (0..sweep.axes.len()).map(|axis| sweep.joined(axis)).collect();
        sweep
    }

    /// Says of each group where between the worst and the best mean its own is.
    fn share_out(&mut self) {
        let places: Vec<f64> = self.groups.iter().filter_map(|group| group.at).collect();
        let (low, high) = super::curve::range(places.into_iter());
        for group in &mut self.groups {
            let (worst, best) = if self.is_accuracy { (low, high) } else { (high, low) };
            group.share = group.at.map(|at| if high > low { (at - worst) / (best - worst) } else { 1.0 });
        }
    }

    /// The groups with means that differ in the setting of an axis alone, in its order.
    fn joined(&self, axis: usize) -> Vec<Vec<usize>> {
        let mut lines: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let column = self.axes[axis].column;
        for (i, group) in self.groups.iter().enumerate().filter(|(_, group)| group.at.is_some()) {
            let others = group.values.iter().enumerate().filter(|(other, _)| *other != column);
            let key: Vec<String> = others.map(|(_, value)| value.to_string()).collect();
            lines.entry(key.join("\n")).or_default().push(i);
        }
        let place = |i: &usize| self.groups[*i].places[axis];
        let mut lines: Vec<Vec<usize>> = lines.into_values().filter(|line| line.len() > 1).collect();
        lines.iter_mut().for_each(|line| line.sort_by(|a, b| place(a).total_cmp(&place(b))));
        lines
    }

    /// The sweep as JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The page of the sweep: its table, its pictures, its settings.
    pub fn page(&self) -> Page {
        let page = Page::new(format!("Sweep {}", self.name)).data("sweep", self.to_json());
        SCRIPTS.into_iter().fold(page, Page::script)
    }

    /// Draws `parallel.svg`, every setting as a line across its axes, and `slices.svg`, the metric by each setting, into the folder
    /// `dir`. Returns their paths; none where no setting takes several values, or no member has a metric.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_pictures(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let Some(value) = self.value.as_ref().filter(|_| !self.axes.is_empty()) else { return Ok(Vec::new()) };
        let texts = [("parallel.svg", parallel::svg(self, value)?), ("slices.svg", slices::svg(self, value)?)];
        let write = |(name, text): (&str, String)| {
            let path = dir.join(name);
            write_whole(&path, text.as_bytes()).map(|()| path)
        };
        texts.into_iter().map(write).collect()
    }
}

impl Tried {
    fn of(group: &Group, metric: Metric, keys: &[&str], axes: &[SettingAxis], value: Option<&Axis>) -> Self {
        let values: Vec<Value> = keys.iter().map(|key| group.settings.get(*key).cloned().unwrap_or_default()).collect();
        let statistic = group.statistic(metric);
        let test = test_metric(metric).and_then(|test| group.statistic(test));
        let place = |x: f64| value.map(|axis| axis.number(x));
        let point = |row: &&Row| Point {
            member: row.member,
            seed: row.seed,
            value: row.metric(metric).map(number),
            at: row.score(metric).and_then(place),
            epochs: row.epochs,
            ended: row.ended.clone(),
        };
        Self {
            members: group.members(),
            labels: values.iter().map(brief).collect(),
            places: axes.iter().map(|SettingAxis { column, axis }| axis.place(&values[*column])).collect(),
            seeds: group.seeds(),
            failed: group.failures(metric),
            mean: statistic.map(|of| of.mean),
            deviation: statistic.filter(|of| of.n > 1).map(|of| of.deviation),
            interval: statistic.and_then(|of| of.interval),
            test: test.map(|of| of.mean),
            at: statistic.and_then(|of| place(of.mean)),
            share: None,
            points: group.rows.iter().map(point).collect(),
            values,
        }
    }
}
