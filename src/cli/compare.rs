//! `thalweg compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Map, Value, json};
use thalweg::run::{self, Config};

use super::{WIDTH, percent, say, table, thousands};

#[derive(clap::Args)]
pub struct Args {
    /// The runs' folders
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print {runs}, an array of {run, config, summary}: the keys that differ, and summary.json, null if unfinished
    #[arg(long)]
    json: bool,
}

/// A run that is compared.
struct Run {
    name: String,
    /// Its resolved settings by their keys, `optimizer.lr` and so on.
    config: Map<String, Value>,
    /// Its summary; none if it is unfinished.
    summary: Option<Map<String, Value>>,
}

/// A key, and each run's value.
type Row = Vec<String>;

/// What stands where a run lacks a key.
const MISSING: &str = "-";
/// So many runs are columns; more are rows.
const MOST_COLUMNS: usize = 3;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut runs = args.runs.iter().map(|dir| Run::read(dir)).collect::<anyhow::Result<Vec<_>>>()?;
    let same: Vec<String> = runs[0]
        .config
        .iter()
        .filter(|(key, value)| runs.iter().all(|run| run.config.get(*key) == Some(value)))
        .map(|(key, _)| key.clone())
        .collect();
    runs.iter_mut().for_each(|run| run.config.retain(|key, _| !same.contains(key)));
    if args.json {
        let line = |run: &Run| json!({ "run": run.name, "config": run.config, "summary": run.summary });
        say!("{:#}", json!({ "runs": runs.iter().map(line).collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    let settings = rows(&runs, |run| Some(&run.config), |_, value| text(value));
    if settings.is_empty() {
        say!("The configurations are the same.\n");
    }
    let mut results = rows(&runs, |run| run.summary.as_ref(), result);
    results.retain(tells);
    say!("{}", show(&runs, &settings, &results));
    for run in runs.iter().filter(|run| run.summary.is_none()) {
        say!("\n{} is unfinished: it has no summary.json yet.", run.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a result is worth a line: a word that all share is not, nor the sentence that a diverged run says of itself.
fn tells(row: &Row) -> bool {
    let mut cells = row[1..].iter().filter(|cell| *cell != MISSING);
    let first = cells.next();
    let is_number = first.is_some_and(|cell| cell.starts_with(|c: char| c.is_ascii_digit()));
    row[0] != "diverged" && (is_number || cells.any(|cell| Some(cell) != first))
}

impl Run {
    fn read(dir: &Path) -> anyhow::Result<Self> {
        let name = dir.display().to_string();
        let file = run::read_config(dir)?;
        let config = Config::resolve(file, Vec::new(), Vec::new()).with_context(|| name.clone())?;
        let config = Config { forms: Default::default(), ..config }.flat()?.into_iter().collect();
        Ok(Self { name, config, summary: run::read_summary(dir)? })
    }
}

/// A row for each key that any run has, [`MISSING`] where a run lacks it.
fn rows(
    runs: &[Run],
    of: impl Fn(&Run) -> Option<&Map<String, Value>>,
    show: impl Fn(&str, &Value) -> String,
) -> Vec<Row> {
    let mut keys: Vec<&String> = Vec::new();
    for key in runs.iter().filter_map(&of).flat_map(Map::keys) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let cell =
        |run: &Run, key: &str| of(run).and_then(|map| map.get(key)).map_or(MISSING.into(), |value| show(key, value));
    keys.iter()
        .map(|key| [key.to_string()].into_iter().chain(runs.iter().map(|run| cell(run, key))).collect())
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// An entry of a summary: a number by what it counts, or the mean of the replicas with its deviation or its epoch.
fn result(key: &str, value: &Value) -> String {
    if let Some(mean) = value.get("mean") {
        let number = |value: &Value| value.as_f64().map_or_else(|| text(value), |v| format!("{v:.4}"));
        let several = value["replicas"].as_array().is_some_and(|replicas| replicas.len() > 1);
        let deviation = if several { format!(" ± {}", number(&value["deviation"])) } else { String::new() };
        let epoch = value["epoch"].as_u64().map_or(String::new(), |epoch| format!(", epoch {}", epoch + 1));
        return format!("{}{deviation}{epoch}", number(mean));
    }
    match (value.as_u64(), value.as_f64()) {
        (Some(count), _) => thousands(count),
        (_, Some(share)) if key == "of_limit" => percent(share),
        (_, Some(per_second)) if key == "samples_per_second" => thousands(per_second as u64),
        (_, Some(number)) => format!("{number:.1}"),
        _ => text(value),
    }
}

/// The runs side by side where they are few and fit, else one below the other, in as many tables as the width asks for.
fn show(runs: &[Run], settings: &[Row], results: &[Row]) -> String {
    let names = || runs.iter().map(|run| run.name.clone());
    let header: Row = [String::new()].into_iter().chain(names()).collect();
    let gap = if settings.is_empty() { Vec::new() } else { vec![Row::new()] };
    let wide = table(&[&[header], settings, &gap, results].concat());
    if runs.len() <= MOST_COLUMNS && wide.lines().all(|line| line.chars().count() <= WIDTH) {
        return wide;
    }
    let mut names: Vec<Row> = [vec!["run".into()]].into_iter().chain(names().map(|name| vec![name])).collect();
    let first = names.clone();
    let mut tables = Vec::new();
    for row in settings.iter().chain(results) {
        let with: Vec<Row> =
            names.iter().zip(row).map(|(cells, cell)| [&cells[..], std::slice::from_ref(cell)].concat()).collect();
        let fits = table(&with).lines().all(|line| line.chars().count() <= WIDTH);
        if !fits && names[0].len() > 1 {
            tables.push(table(&names));
            names =
                first.iter().zip(row).map(|(cells, cell)| [&cells[..], std::slice::from_ref(cell)].concat()).collect();
        } else {
            names = with;
        }
    }
    tables.push(table(&names));
    tables.join("\n\n")
}
