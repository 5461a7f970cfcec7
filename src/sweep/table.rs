//! The results of a sweep as tables: one to read, and one for other programs.

use std::collections::BTreeSet;
use std::io;

use csv::Writer;
use serde_json::Value;

use super::group::{Group, Statistic, ranked};
use super::member::SEED;
use super::row::{Row, test_metric};
use crate::error::{Error, Result};
use crate::stop::Metric;

/// The least characters of a column of settings that is made narrower.
const NARROW: usize = 6;
/// The spaces between two columns.
const GAP: usize = 2;
/// The metrics of a member, as columns.
const METRICS: [Metric; 5] =
    [Metric::TestAccuracy, Metric::TestLoss, Metric::ValidationAccuracy, Metric::ValidationLoss, Metric::TrainLoss];

/// The keys of the settings that any of the rows has, in the order of the alphabet.
pub fn keys(rows: &[Row]) -> Vec<&str> {
    let keys: BTreeSet<&str> = rows.iter().flat_map(|row| row.settings.keys()).map(String::as_str).collect();
    keys.into_iter().collect()
}

/// The shortest ends of keys that tell them apart: `lr` of `optimizer.lr`.
pub fn short_names<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    let ends = |key: &'a str| key.rmatch_indices('.').map(move |(at, _)| &key[at + 1..]).chain([key]);
    let is_own = |key: &str, end: &str| {
        keys.iter().all(|other| *other == key || !(*other == end || other.ends_with(&format!(".{end}"))))
    };
    keys.iter().map(|key| ends(key).find(|end| is_own(key, end)).unwrap_or(key)).collect()
}

/// A value of a setting in few characters: text without quotes, a number in four digits.
pub fn brief(value: &Value) -> String {
    match (value, value.as_f64()) {
        (Value::String(text), _) => text.clone(),
        (_, Some(number)) if !value.is_u64() && !value.is_i64() => digits(number),
        _ => value.to_string(),
    }
}

/// A number in at most four digits.
fn digits(x: f64) -> String {
    let rounded = format!("{x:.3e}");
    let (mantissa, power) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    match power.parse().unwrap_or(0) {
        power if (-3..6).contains(&power) => rounded.parse().map_or(rounded.clone(), |x: f64| x.to_string()),
        power => format!("{}e{power}", mantissa.trim_end_matches('0').trim_end_matches('.')),
    }
}

/// A metric in four decimals; one that is small or large in four digits.
fn decimals(x: f64) -> String {
    beside(x, x)
}

/// A deviation as the mean beside it is written, or in four digits where that would leave nothing of it.
fn beside(mean: f64, x: f64) -> String {
    let is_plain = mean == 0.0 || (1e-3..1e4).contains(&mean.abs());
    if is_plain && (x == 0.0 || x.abs() >= 5e-5) { format!("{x:.4}") } else { digits(x) }
}

/// The cells of a table of settings, best first by `metric`, under a header: the numbers of the members, the settings by the shortest
/// names that tell them apart, the seeds and how many of them failed, the mean of the metric, its deviation and half the width of
/// its 95 % interval over the seeds where there are several, and where it is one of validation the mean on the test part.
///
/// At most `most` settings are shown. With two spaces between columns a line has at most `width` characters: settings are cut short
/// for it, and the last of them left out.
pub fn cells(rows: &[Row], metric: Metric, most: usize, width: usize) -> Vec<Vec<String>> {
    let groups = ranked(rows, metric);
    let keys: Vec<&str> = keys(rows).into_iter().filter(|key| *key != SEED).collect();
    let shown = &groups[..groups.len().min(most)];
    let results = columns(&groups, metric);
    let result = |column: &Column| -> Vec<String> {
        [column.name.clone()].into_iter().chain(shown.iter().map(|group| (column.cell)(group))).collect()
    };
    let mut results: Vec<Vec<String>> = results.iter().map(result).collect();
    let members = results.remove(0);
    let setting = |(key, name): (&&str, &str)| -> Vec<String> {
        let cells = shown.iter().map(|group| group.settings.get(*key).map_or("-".into(), brief));
        [name.to_string()].into_iter().chain(cells).collect()
    };
    let mut settings: Vec<Vec<String>> = keys.iter().zip(short_names(&keys)).map(setting).collect();
    let fixed: usize = results.iter().chain([&members]).map(|column| wide(column) + GAP).sum();
    fit(&mut settings, width.saturating_sub(fixed - GAP));
    let columns: Vec<Vec<String>> = [members].into_iter().chain(settings).chain(results).collect();
    (0..=shown.len()).map(|i| columns.iter().map(|column| column[i].clone()).collect()).collect()
}

/// A column of results.
struct Column<'a> {
    name: String,
    cell: Box<dyn Fn(&Group) -> String + 'a>,
}

/// The numbers of the members, and the columns behind the settings.
fn columns<'a>(groups: &[Group], metric: Metric) -> Vec<Column<'a>> {
    fn column<'a>(name: &str, cell: impl Fn(&Group) -> String + 'a) -> Column<'a> {
        Column { name: name.into(), cell: Box::new(cell) }
    }
    let statistic = |of: Metric, show: fn(Statistic) -> Option<String>| {
        move |group: &Group| group.statistic(of).and_then(show).unwrap_or("-".into())
    };
    let mut columns = vec![column("members", |group| group.members())];
    let has_seeds = groups.iter().any(|group| group.seeds() > 1);
    let has_failures = groups.iter().any(|group| group.failures(metric) > 0);
    if has_seeds {
        columns.push(column("seeds", |group| group.seeds().to_string()));
    }
    if has_failures {
        columns.push(column("failed", move |group| group.failures(metric).to_string()));
    }
    if groups.iter().any(Group::is_left_behind) {
        let most = |group: &Group| group.rows.iter().map(|row| row.epochs).max().unwrap_or(0);
        columns.push(column("epochs", move |group| most(group).to_string()));
    }
    let title = |metric: Metric| {
        metric_name(metric).replace('_', " ").replace("validation", "val.").replace("accuracy", "acc.")
    };
    columns.push(column(&title(metric), statistic(metric, |of| Some(decimals(of.mean)))));
    if has_seeds {
        columns.push(column("deviation", statistic(metric, |of| (of.n > 1).then(|| beside(of.mean, of.deviation)))));
        columns.push(column("95 %", statistic(metric, |of| Some(format!("±{}", beside(of.mean, of.interval?))))));
    }
    if let Some(test) = test_metric(metric).filter(|test| groups.iter().any(|group| group.statistic(*test).is_some())) {
        columns.push(column(&title(test), statistic(test, |of| Some(decimals(of.mean)))));
    }
    columns
}

/// The name of a metric, as the configuration has it.
pub fn metric_name(metric: Metric) -> String {
    serde_json::to_value(metric).ok().and_then(|name| name.as_str().map(String::from)).unwrap_or_default()
}

/// The characters of the widest cell.
fn wide(column: &[String]) -> usize {
    column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0)
}

/// Cuts cells short until the columns take at most `width`, each with the gap before it; columns that still do not fit are left out
/// from the end.
fn fit(columns: &mut Vec<Vec<String>>, width: usize) {
    let mut widths: Vec<usize> = columns.iter().map(|column| wide(column)).collect();
    while widths.iter().map(|w| w + GAP).sum::<usize>() > width {
        match widths.iter_mut().filter(|w| **w > NARROW).max() {
            Some(widest) => *widest -= 1,
            None => drop(widths.pop()),
        }
    }
    columns.truncate(widths.len());
    for (column, &width) in columns.iter_mut().zip(&widths) {
        for cell in column.iter_mut().filter(|cell| cell.chars().count() > width) {
            *cell = cell.chars().take(width - 1).chain(['…']).collect();
        }
    }
}

/// All members as CSV, one a row: `member`, a column a swept setting under its key, `seed`, `epochs`, `steps`, `seconds`, the metrics
/// `test_accuracy`, `test_loss`, `validation_accuracy`, `validation_loss` and `train_loss`, and `ended`. A metric that is not there is
/// an empty field, one that is not finite `NaN`, `inf` or `-inf`; a list is written as JSON.
///
/// # Errors
/// Out of memory.
pub fn csv(rows: &[Row]) -> Result<String> {
    let keys = keys(rows);
    let mut writer = Writer::from_writer(Vec::new());
    let metrics = METRICS.map(metric_name);
    let names = [&["member"], &keys[..], &["seed", "epochs", "steps", "seconds"]].concat();
    let header = names.into_iter().chain(metrics.iter().map(String::as_str)).chain(["ended"]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let record = |row: &Row| -> Vec<String> {
        let settings = keys.iter().map(|key| row.settings.get(*key).map_or(String::new(), text));
        let counts = [row.seed.to_string(), row.epochs.to_string(), row.steps.to_string(), row.seconds.to_string()];
        let metrics = METRICS.iter().map(|metric| row.metric(*metric).map_or(String::new(), |value| value.to_string()));
        [row.member.to_string()]
            .into_iter()
            .chain(settings)
            .chain(counts)
            .chain(metrics)
            .chain([row.ended.clone()])
            .collect()
    };
    let written =
        writer.write_record(header).and_then(|()| rows.iter().try_for_each(|row| writer.write_record(record(row))));
    let bytes =
        written.map_err(io::Error::from).and_then(|()| writer.into_inner().map_err(csv::IntoInnerError::into_error));
    let bytes = bytes.map_err(Error::io("members.csv".as_ref()))?;
    String::from_utf8(bytes).map_err(|error| Error::data("members.csv", error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A row of two settings, one of which holds a comma and the other a quote.
    fn row(member: u64, lr: f64, hidden: Value, accuracy: Option<f64>, ended: &str) -> Row {
        let settings = [("model.hidden".to_string(), hidden), ("optimizer.lr".to_string(), json!(lr))];
        Row {
            member,
            settings: settings.into_iter().collect(),
            seed: member % 2,
            epochs: 3,
            steps: 30,
            seconds: 0.5,
            test_accuracy: accuracy,
            ended: ended.into(),
            ..Row::default()
        }
    }

    #[test]
    fn the_file_for_other_programs_is_whole() {
        let rows = [
            Row { test_loss: Some(f64::NAN), ..row(0, 1e-5, json!([8, 4]), Some(0.5), "epochs") },
            Row { train_loss: Some(f64::INFINITY), ..row(1, 0.25, json!("a \"b\""), None, "diverged") },
        ];
        assert_eq!(
            csv(&rows).unwrap(),
            "member,model.hidden,optimizer.lr,seed,epochs,steps,seconds,test_accuracy,test_loss,validation_accuracy,\
             validation_loss,train_loss,ended\n\
             0,\"[8,4]\",0.00001,0,3,30,0.5,0.5,NaN,,,,epochs\n\
             1,\"a \"\"b\"\"\",0.25,1,3,30,0.5,,,,,inf,diverged\n"
        );
    }

    #[test]
    fn names_are_as_short_as_can_be() {
        let keys = ["augment.pad", "data.seed", "optimizer", "optimizer.lr", "schedule.lr", "train.seed"];
        assert_eq!(short_names(&keys), ["pad", "data.seed", "optimizer", "optimizer.lr", "schedule.lr", "train.seed"]);
        assert_eq!(short_names(&["optimizer.sam.rho", "optimizer.lr"]), ["rho", "lr"]);
        assert_eq!(short_names(&["a", "b.a"]), ["a", "b.a"]);
    }

    #[test]
    fn values_are_told_in_few_characters() {
        let told = |value: Value| brief(&value);
        assert_eq!(told(json!(0.1)), "0.1");
        assert_eq!(told(json!(0.012_345_678)), "0.01235");
        assert_eq!(told(json!(1.0)), "1");
        assert_eq!(told(json!(1.234_5e-5)), "1.234e-5");
        assert_eq!(told(json!(1e-10)), "1e-10");
        assert_eq!(told(json!(-123_456.7)), "-123500");
        assert_eq!((told(json!(128_001)), told(json!([256, 128]))), ("128001".into(), "[256,128]".into()));
        assert_eq!(
            (told(json!("sgd")), told(json!(false)), told(json!(0.0))),
            ("sgd".into(), "false".into(), "0".into())
        );
    }

    #[test]
    fn a_deviation_is_written_as_its_mean() {
        assert_eq!(["0.9000", "0.0009"], [decimals(0.9), beside(0.9, 9e-4)]);
        assert_eq!(["1.234e-4", "2e-6"], [decimals(1.234e-4), beside(1.234e-4, 2e-6)]);
        assert_eq!([beside(0.9, 1e-5), beside(0.9, 0.0)], ["1e-5", "0.0000"]);
    }

    #[test]
    fn the_table_has_the_best_first() {
        let rows = [
            row(0, 0.1, json!([8]), Some(0.25), "epochs"),
            row(1, 0.1, json!([8]), Some(0.75), "epochs"),
            row(2, 0.2, json!([8]), Some(0.5), "epochs"),
            row(3, 0.2, json!([8]), Some(0.625), "epochs"),
            row(4, 0.4, json!([8]), None, "diverged"),
            row(5, 0.4, json!([8]), Some(0.9), "epochs"),
        ];
        let lines = cells(&rows, Metric::TestAccuracy, 9, 100);
        assert_eq!(lines[0], ["members", "hidden", "lr", "seeds", "failed", "test acc.", "deviation", "95 %"]);
        // s = 0.125 / √2, and t₁ at 0.975 is 12.706205: 0.0625 of it; of 0.25 and 0.75 four times as much.
        assert_eq!(lines[1], ["2-3", "[8]", "0.2", "2", "0", "0.5625", "0.0884", "±0.7941"]);
        assert_eq!(lines[2], ["0-1", "[8]", "0.1", "2", "0", "0.5000", "0.3536", "±3.1766"]);
        assert_eq!(lines[3], ["4-5", "[8]", "0.4", "2", "1", "0.9000", "-", "-"]);
        assert_eq!((lines.len(), cells(&rows, Metric::TestAccuracy, 2, 100).len()), (4, 3));
        let validated = rows.map(|row| Row { validation_accuracy: row.test_accuracy, ..row });
        let lines = cells(&validated[..1], Metric::ValidationAccuracy, 9, 100);
        assert_eq!(lines[0], ["members", "hidden", "lr", "val. acc.", "test acc."]);
    }

    #[test]
    fn a_wide_table_is_cut() {
        let settings = (0..12).map(|i| (format!("table{i}.key_number_{i}"), json!("x".repeat(30))));
        let rows = [Row { settings: settings.collect(), test_accuracy: Some(0.5), ..Row::default() }];
        for width in [40, 80, 100] {
            let lines = cells(&rows, Metric::TestAccuracy, 9, width);
            let widths =
                (0..lines[0].len()).map(|c| wide(&lines.iter().map(|line| line[c].clone()).collect::<Vec<_>>()));
            let total: usize = widths.map(|w| w + GAP).sum();
            assert!(total - GAP <= width && lines[0].last().unwrap() == "test acc.", "{width}: {lines:?}");
            assert!(cells(&[], Metric::TestAccuracy, 9, width).len() == 1, "a header");
            assert!(lines[1][1].ends_with('…') && total + NARROW + GAP > width, "{width}: {lines:?}");
        }
    }
}
