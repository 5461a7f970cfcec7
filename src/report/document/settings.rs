//! The settings of a run beside the defaults.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::Result;
use crate::run::Config;

/// Every setting of a run, in the order of its file: its key, its value, its default where there is one, and whether they differ.
///
/// # Errors
/// The configuration cannot be written as a table.
pub(in crate::report) fn settings(config: &Config) -> Result<Value> {
    let defaults: BTreeMap<String, Value> = Config::default().flat()?.into_iter().collect();
    let row = |(key, value): (String, Value)| {
        let default = defaults.get(&key);
        // What is left open by default, the data or the machine decided.
        let differs = default.is_some_and(|default| *default != value) || default.is_none() && !is_resolved(&key);
        json!({ "key": key, "value": value, "default": default, "differs": differs })
    };
    Ok(config.flat()?.into_iter().map(row).collect())
}

/// Whether a setting without a default is one that a run itself fills in.
fn is_resolved(key: &str) -> bool {
    matches!(key, "data.classes" | "model.loss" | "train.batch") || key.starts_with("forms.")
}
