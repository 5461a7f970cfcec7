//! The runs that lie in a folder, and what each of them says of itself in short.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};
use thalweg::run::{Lines, each_line, read_config, read_summary};
use toml::Table;

/// How deep runs are looked for, and how many folders and runs are looked at.
const MOST_DEPTH: usize = 8;
const MOST_FOLDERS: usize = 20_000;
const MOST_RUNS: usize = 5_000;

/// The runs in a folder.
#[derive(Default)]
pub struct Runs {
    pub found: Vec<Run>,
    /// What was passed over, a line each.
    pub notes: Vec<String>,
}

/// A run in a folder.
pub struct Run {
    /// The path of its folder below the one that was searched, with `/` between the parts; `.` for that one itself.
    pub name: String,
    pub dir: PathBuf,
    /// What is wrong with its folder, if anything.
    pub problem: Option<String>,
    /// What it says of itself.
    summary: Map<String, Value>,
}

impl Runs {
    /// Looks for runs in `dir` and the folders below, none of which is entered by a link.
    pub fn find(dir: &Path) -> Self {
        let mut runs = Self::default();
        let (mut left, mut folders) = (vec![(dir.to_path_buf(), String::new())], 0);
        while let Some((dir, name)) = left.pop() {
            folders += 1;
            if folders > MOST_FOLDERS || runs.found.len() == MOST_RUNS {
                runs.notes.push(format!("only {} runs in {folders} folders were looked at", runs.found.len()));
                break;
            }
            let entries = match entries(&dir) {
                Ok(entries) => entries,
                Err(error) => {
                    runs.notes.push(format!("{}: {error}", dir.display()));
                    continue;
                }
            };
            if entries.iter().any(|entry| entry.file_name() == "config.toml") {
                runs.found.push(Run::read(dir, name, &entries));
                continue;
            }
            for entry in entries {
                let path = entry.path();
                let below = entry.file_name().to_string_lossy().into_owned();
                let below = if name.is_empty() { below } else { format!("{name}/{below}") };
                let kind = entry.file_type();
                if kind.as_ref().is_ok_and(fs::FileType::is_symlink) && path.is_dir() {
                    runs.notes.push(format!("{below} is a link, which is not followed"));
                } else if kind.is_ok_and(|kind| kind.is_dir()) && below.matches('/').count() < MOST_DEPTH {
                    left.push((path, below));
                }
            }
        }
        runs.found.sort_by(|a, b| a.name.cmp(&b.name));
        runs
    }

    /// The folders of the runs of these names.
    ///
    /// # Errors
    /// The first name that is no run's here, or what is wrong with the run.
    pub fn folders(&self, names: &[String]) -> Result<Vec<PathBuf>, String> {
        let folder = |name: &String| {
            let run =
                self.found.iter().find(|run| run.name == *name).ok_or_else(|| format!("no run here is {name:?}"))?;
            run.problem.as_ref().map_or_else(|| Ok(run.dir.clone()), |problem| Err(problem.clone()))
        };
        names.iter().map(folder).collect()
    }

    /// As JSON: `runs` and `notes`.
    pub fn to_json(&self) -> Value {
        let run = |run: &Run| {
            let mut entry = run.summary.clone();
            entry.insert("name".into(), json!(run.name));
            entry.insert("problem".into(), json!(run.problem));
            Value::from(entry)
        };
        json!({ "runs": self.found.iter().map(run).collect::<Value>(), "notes": self.notes })
    }
}

/// What lies in a folder, in the order of names.
fn entries(dir: &Path) -> std::io::Result<Vec<DirEntry>> {
    let mut entries = fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

impl Run {
    fn read(dir: PathBuf, name: String, entries: &[DirEntry]) -> Self {
        let name = if name.is_empty() { ".".into() } else { name };
        let link = entries.iter().find(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        let summary = match link {
            Some(link) => Err(format!("{} is a link, which is not followed", link.path().display())),
            None => summary(&dir).map_err(|error| error.to_string()),
        };
        let (summary, problem) = match summary {
            Ok(summary) => (summary, None),
            Err(problem) => (Map::new(), Some(problem)),
        };
        Self { name, dir, problem, summary }
    }
}

/// What a run says of itself: `when` it was written, in seconds since 1970; what it trained, and how; how far it came; by what it
/// `ended`, null while it has not; and its `results`.
fn summary(dir: &Path) -> thalweg::Result<Map<String, Value>> {
    let config = read_config(dir)?;
    let summary = read_summary(dir)?;
    let text = |table: &str, key: &str| config.get(table).and_then(|table| table.get(key)).map(words);
    let (epochs, results) = match &summary {
        Some(summary) => (summary.get("epochs").cloned(), summary.clone()),
        None => {
            let mut last = Map::new();
            each_line(dir, Lines::Epochs, |line| last = line.as_object().cloned().unwrap_or_default())?;
            (last.get("epoch").and_then(Value::as_u64).map(|epoch| json!(epoch + 1)), last)
        }
    };
    let mut entry = Map::new();
    entry.insert("when".into(), json!(written(dir)));
    entry.insert("data".into(), json!(text("data", "source")));
    entry.insert("model".into(), json!(model(&config)));
    entry.insert("optimizer".into(), json!(text("optimizer", "name")));
    entry.insert(
        "lr".into(),
        json!(config.get("optimizer").and_then(|table| table.get("lr")).and_then(toml::Value::as_float)),
    );
    entry.insert("schedule".into(), json!(text("schedule", "name")));
    entry.insert("epochs".into(), json!(epochs.unwrap_or(json!(0))));
    entry.insert("planned".into(), json!(text("train", "epochs")));
    entry.insert("ended".into(), json!(summary.as_ref().and_then(|summary| summary.get("stopped_by"))));
    entry.insert("seconds".into(), json!(summary.as_ref().and_then(|summary| summary.get("seconds"))));
    entry.insert("results".into(), scores(&results).into());
    Ok(entry)
}

/// The widths of the hidden layers and their activation.
fn model(config: &Table) -> Option<String> {
    let model = config.get("model")?;
    let widths: Vec<String> = model.get("hidden")?.as_array()?.iter().map(words).collect();
    Some(format!(
        "{} {}",
        if widths.is_empty() { "linear".into() } else { widths.join("-") },
        words(model.get("activation")?)
    ))
}

fn words(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// The accuracy, or of a regression the loss, of the last weights and each average.
fn scores(results: &Map<String, Value>) -> Map<String, Value> {
    let mut scores = Map::new();
    for average in ["", "swa_", "ema_", "snapshots_", "best_"] {
        let mean = |part: &str, kind: &str| Some(results.get(&format!("{average}{part}_{kind}"))?["mean"].clone());
        for kind in ["accuracy", "loss"] {
            if let Some(mean) = mean("test", kind).or_else(|| mean("validation", kind)) {
                scores.insert(format!("{average}{kind}"), mean);
                break;
            }
        }
    }
    scores
}

/// When a run wrote last, in seconds since 1970.
fn written(dir: &Path) -> Option<u64> {
    let files = ["summary.json", "checkpoint.safetensors", "epochs.jsonl", "config.toml"];
    let times = files.iter().filter_map(|name| fs::metadata(dir.join(name)).ok()?.modified().ok());
    times.max()?.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
