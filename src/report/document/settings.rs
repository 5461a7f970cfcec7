//! The settings of a run beside the defaults.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::run::Config;

/// Every setting of a run, in the order of its file: its key, its value, its default where there is one, and whether they differ.
///
/// # Errors
/// The configuration cannot be written as a table.
pub(super) fn settings(config: &Config) -> Result<Value> {
    let defaults: BTreeMap<String, Value> = flat(&Config::default())?.into_iter().collect();
    let row = |(key, value): (String, Value)| {
        let default = defaults.get(&key);
        // What is left open by default, the data or the machine decided.
        let differs = default.is_some_and(|default| *default != value) || default.is_none() && !is_resolved(&key);
        json!({ "key": key, "value": value, "default": default, "differs": differs })
    };
    Ok(flat(config)?.into_iter().map(row).collect())
}

/// Whether a setting without a default is one that a run itself fills in.
fn is_resolved(key: &str) -> bool {
    matches!(key, "data.classes" | "model.loss" | "train.batch") || key.starts_with("forms.")
}

/// The settings with keys of dots: `optimizer.lr`.
fn flat(config: &Config) -> Result<Vec<(String, Value)>> {
    let value = serde_json::to_value(config).map_err(|error| Error::config("config.toml", error.to_string()))?;
    let mut rows = Vec::new();
    spread("", value, &mut rows);
    Ok(rows)
}

fn spread(prefix: &str, value: Value, rows: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                spread(&key, value, rows);
            }
        }
        value => rows.push((prefix.into(), value)),
    }
}
