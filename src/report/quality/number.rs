//! Numbers and names as they stand in the object.

use serde_json::{Value, json};

/// The most characters of a name.
const MOST_CHARACTERS: usize = 80;

/// A number to seven digits, which single precision has.
pub fn rounded(value: f64) -> Value {
    json!(format!("{value:.6e}").parse::<f64>().ok().filter(|value| value.is_finite()))
}

/// A name, of which the end is cut off where it is very long.
pub fn shortened(name: &str) -> String {
    match name.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}
