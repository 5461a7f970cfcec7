//! One axis of a grid: a setting, and the values that it takes.

use toml::Value;

use crate::error::{Error, Result};
use crate::run::setting;

/// An axis of a grid: a setting and the values that it takes one after the other.
///
/// ```
/// use thalweg::sweep::Axis;
///
/// let axis = Axis::parse("model.hidden=[256, 128],[512]")?;
/// assert_eq!((axis.key.as_str(), axis.values.len()), ("model.hidden", 2));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The setting by its key with dots, as `optimizer.lr`; a whole table, as `optimizer`, takes tables.
    pub key: String,
    /// The values, in the order in which they are tried.
    pub values: Vec<Value>,
}

impl Axis {
    /// Reads `KEY=VALUE,VALUE,...`. Commas within brackets, braces and quotes belong to a value, which is TOML; one that is not is
    /// taken for text.
    ///
    /// # Errors
    /// No `=`, no key before it, or nothing in the place of a value.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::config("--grid", format!("expected KEY=VALUE,VALUE,..., found {text:?}"));
        let (key, values) = text.split_once('=').ok_or_else(bad)?;
        let values = split(values);
        if key.trim().is_empty() || values.iter().any(|value| value.trim().is_empty()) {
            return Err(bad());
        }
        let values =
            values.iter().map(|value| Ok(setting(&format!("{key}={}", value.trim()))?.1)).collect::<Result<_>>();
        Ok(Self { key: key.trim().into(), values: values.map_err(|_| bad())? })
    }
}

/// The parts of a text between commas, but for those in brackets, braces and quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote, mut is_escaped) = (Vec::new(), 0, 0i32, None, false);
    for (i, c) in text.char_indices() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            // Only between double quotes does a backslash escape, as in TOML.
            Some('"') if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..i]);
                    start = i + 1;
                }
                _ => {}
            },
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_brackets_and_quotes_belong_to_a_value() {
        let values = |text: &str| Axis::parse(text).unwrap().values;
        let list = |numbers: &[i64]| Value::Array(numbers.iter().map(|&n| n.into()).collect());
        let word = |text: &str| Value::String(text.into());
        assert_eq!(values("optimizer.lr=0.01, 1e-3"), [Value::Float(0.01), Value::Float(1e-3)]);
        assert_eq!(values("model.hidden=[256,128],[512],[]"), [list(&[256, 128]), list(&[512]), list(&[])]);
        assert_eq!(values("schedule.name=cosine,constant"), [word("cosine"), word("constant")]);
        assert_eq!(
            values(r#"data.source="csv:a,b.csv",'c:\,',"\"d,""#),
            [word("csv:a,b.csv"), word(r"c:\,"), word("\"d,")]
        );
        let tables = values(r#"optimizer={name="sgd",lr=0.1},{name="adam",betas=[0.8,0.9]}"#);
        assert_eq!((tables.len(), tables[1]["betas"].as_array().unwrap().len()), (2, 2));
        assert_eq!(values("train.batch=32,\"full\",full"), [32.into(), word("full"), word("full")]);
    }

    #[test]
    fn what_is_no_axis_is_told() {
        for text in ["optimizer.lr", "=1", "optimizer.lr=", "optimizer.lr=1,,2", "optimizer.lr=1,", "a..b=1", " =3"] {
            let error = Axis::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("--grid: expected KEY=VALUE,VALUE,..., found {text:?}"));
        }
    }
}
