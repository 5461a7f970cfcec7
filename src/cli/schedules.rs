//! The list of schedules, read out of the documentation of [`Schedule`](thalweg::schedule::Schedule), where each is defined.

use super::wrap;

const SOURCE: &str = include_str!("../schedule/mod.rs");

/// Every schedule: its name, what it does with its formula, and each argument with its default.
pub fn list() -> String {
    let body = SOURCE.split_once("pub enum Schedule {\n").map_or("", |(_, rest)| rest);
    let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
    let mut text =
        wrap("", "lr is the optimizer's rate, and t the step from 0, or the epoch with schedule.unit=epoch.") + "\n";
    let mut words = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("/// ") {
            words.push(more);
        } else if let Some((variant, _)) = line.split_once(" {") {
            text += &format!("\n{}{}\n", snake(variant), wrap("\n    ", &plain(&words.join(" "))));
            words.clear();
        } else if let Some((key, _)) = line.split_once(": ").filter(|_| !line.starts_with("#[")) {
            text += &wrap(&format!("    {key:<15}  "), &plain(&words.join(" ")));
            text += "\n";
            words.clear();
        }
    }
    text
}

/// `OneCycle` as `one_cycle`.
fn snake(name: &str) -> String {
    let parts = name.chars().enumerate().map(|(i, c)| match c.is_uppercase() && i > 0 {
        true => format!("_{}", c.to_lowercase()),
        false => c.to_lowercase().to_string(),
    });
    parts.collect()
}

/// The text without the marks of code and of links.
fn plain(text: &str) -> String {
    text.replace("[`", "").replace("`]", "").replace('`', "")
}
