//! A range that values of a setting are drawn from.

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::error::{Error, Result};

/// The scale on which values of a range are uniform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The value itself is uniform.
    #[default]
    Linear,
    /// The logarithm of the value is uniform; both ends are above 0.
    Log,
}

/// A range that values of a setting are drawn from: `from + u (to − from)`, or on a logarithmic scale `from (to / from)ᵘ`, u being
/// uniform in `[0, 1)`.
///
/// Where both ends are whole numbers and the setting takes no others, a draw is one of `from..=to`: what `from − ½` to `to + ½`
/// gives, rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The setting by its key with dots, as `optimizer.lr`.
    pub key: String,
    /// The lower end.
    pub from: f64,
    /// The upper end, above the lower one.
    pub to: f64,
    /// Whether both ends were written as whole numbers.
    pub is_whole: bool,
    /// The scale on which values are uniform. Default linear.
    pub scale: Scale,
}

/// A range as it stands in a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    from: Value,
    to: Value,
    #[serde(default)]
    scale: Scale,
}

impl Range {
    /// Reads `KEY=LO..HI`, or `KEY=LO..HI:log`.
    ///
    /// # Errors
    /// Another form, ends that are no numbers, or what [`check`](Self::check) refuses.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::config("--range", format!("expected KEY=LO..HI, or KEY=LO..HI:log, found {text:?}"));
        let (key, ends) = text.split_once('=').ok_or_else(bad)?;
        let (ends, scale) = match ends.rsplit_once(':') {
            Some((ends, "log")) => (ends, Scale::Log),
            Some((ends, "linear")) => (ends, Scale::Linear),
            Some(_) => return Err(bad()),
            None => (ends, Scale::Linear),
        };
        let (from, to) = ends.split_once("..").ok_or_else(bad)?;
        if key.split('.').any(|part| part.trim().is_empty()) {
            return Err(bad());
        }
        let end = |text: &str| {
            let text = text.trim();
            text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Float)).map_err(|_| bad())
        };
        Self::of(key.trim(), Written { from: end(from)?, to: end(to)?, scale })
    }

    /// Reads `{ from = LO, to = HI, scale = "log" }`, the value of `key` in a table of ranges.
    ///
    /// # Errors
    /// Another form, or what [`check`](Self::check) refuses.
    pub(super) fn read(key: &str, value: &Value) -> Result<Self> {
        let written = value.clone().try_into().map_err(|error: toml::de::Error| {
            let expected = "expected { from = LO, to = HI }, with scale = \"log\" or without";
            Error::config(
                format!("sweep.range.{key}"),
                format!("{expected}, found {value}: {}", error.message().trim_end()),
            )
        })?;
        Self::of(key, written)
    }

    fn of(key: &str, Written { from, to, scale }: Written) -> Result<Self> {
        let number = |value: &Value| {
            let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
            number.ok_or_else(|| Error::config(key, format!("expected numbers as the ends of a range, found {value}")))
        };
        let is_whole = from.is_integer() && to.is_integer();
        let range = Self { key: key.into(), from: number(&from)?, to: number(&to)?, is_whole, scale };
        range.check()?;
        Ok(range)
    }

    /// The range as it stands in a table.
    pub(super) fn value(&self) -> Value {
        let end = |x: f64| if self.is_whole { Value::Integer(x as i64) } else { Value::Float(x) };
        let ends = [("from", end(self.from)), ("to", end(self.to))].into_iter();
        let scale = (self.scale == Scale::Log).then(|| ("scale", Value::String("log".into())));
        Value::Table(ends.chain(scale).map(|(key, value)| (key.into(), value)).collect())
    }

    /// Refuses ends that are not finite, or in the wrong order, and a logarithmic scale that does not begin above 0.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<()> {
        let Self { key, from, to, scale, .. } = self;
        if !(from < to && from.is_finite() && to.is_finite() && (to - from).is_finite()) {
            return Err(Error::config(
                key,
                format!("expected a range from a number to a larger one, found {from}..{to}"),
            ));
        }
        if *scale == Scale::Log && !(*from > 0.0 && (to / from).is_finite()) {
            let found = format!("expected a range that begins above 0 on a logarithmic scale, found {from}..{to}");
            return Err(Error::config(key, found));
        }
        Ok(())
    }

    /// The value at `u` of `[0, 1)`; a whole one where `is_whole` says so.
    pub fn at(&self, u: f64, is_whole: bool) -> Value {
        let margin = if is_whole { 0.5 } else { 0.0 };
        let (from, to) = (self.from - margin, self.to + margin);
        let x = match self.scale {
            Scale::Linear => from + u * (to - from),
            // The logarithm of the library, so that a design is the same on every machine.
            Scale::Log => from * libm::exp(u * libm::log(to / from)),
        };
        // Rounding may lead out of the range.
        if is_whole {
            Value::Integer((x + 0.5).floor().clamp(self.from, self.to) as i64)
        } else {
            Value::Float(x.clamp(self.from, self.to))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        let range = Range::parse("optimizer.lr=1e-4..1e-1:log").unwrap();
        let (from, to, is_whole, scale) = (1e-4, 1e-1, false, Scale::Log);
        assert_eq!(range, Range { key: "optimizer.lr".into(), from, to, is_whole, scale });
        assert_eq!(Range::read("optimizer.lr", &range.value()).unwrap(), range);
        let range = Range::parse("train.batch = 16..256").unwrap();
        assert!(range.is_whole && range.key == "train.batch" && range.scale == Scale::Linear);
        assert_eq!(Range::read("train.batch", &range.value()).unwrap(), range);
        assert!(!Range::parse("a.b=1..2.0").unwrap().is_whole);
        assert_eq!(Range::parse("a.b=-1..2:linear").unwrap().from, -1.0);
    }

    #[test]
    fn what_is_no_range_is_told() {
        for text in ["a.b", "a.b=1", "a.b=1..", "a.b=x..2", "a.b=1..2:ln", "=1..2", ".b=1..2"] {
            let error = Range::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("--range: expected KEY=LO..HI, or KEY=LO..HI:log, found"), "{text}: {error}");
        }
        let error = |text: &str| Range::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("a.b=0..1:log"),
            "a.b: expected a range that begins above 0 on a logarithmic scale, found 0..1"
        );
        for ends in ["2..1", "1..1", "nan..1", "0..inf", "-1e308..1.7e308"] {
            assert!(error(&format!("a.b={ends}")).starts_with("a.b: expected a range from a number to"), "{ends}");
        }
        let value: Value = toml::from_str::<toml::Table>("x = { from = 1, too = 2 }").unwrap()["x"].clone();
        let error = Range::read("a.b", &value).unwrap_err().to_string();
        assert!(
            error.starts_with("sweep.range.a.b: expected { from = LO, to = HI }") && error.contains("too"),
            "{error}"
        );
    }

    #[test]
    fn values_are_uniform_on_their_scale() {
        let range = |text: &str| Range::parse(text).unwrap();
        let float = |text: &str, u| range(text).at(u, false).as_float().unwrap();
        assert_eq!((float("a.b=1..3", 0.0), float("a.b=1..3", 0.25)), (1.0, 1.5));
        assert!((float("a.b=1e-4..1e-2:log", 0.5) - 1e-3).abs() < 1e-15);
        assert_eq!(float("a.b=1e-4..1e-2:log", 0.0), 1e-4);
        let whole = |text: &str, n: u32| -> Vec<i64> {
            (0..n).map(|i| range(text).at(f64::from(i) / f64::from(n), true).as_integer().unwrap()).collect()
        };
        assert_eq!(whole("a.b=3..5", 6), [3, 3, 4, 4, 5, 5]);
        assert_eq!(whole("a.b=-1..1", 3), [-1, 0, 1]);
        // 1 has the logarithms from ln ½ to ln 1.5: more than half of those up to ln 4.5.
        assert_eq!(whole("a.b=1..4:log", 4), [1, 1, 2, 3]);
        assert_eq!(range("a.b=1..4:log").at(1.0 - f64::EPSILON, true), Value::Integer(4));
    }
}
