//! The values of settings that are a number, or a number in words.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schedule::Unit;

/// The batch size: the number of samples of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// A batch of so many samples.
    Size(usize),
    /// The whole training part: batch gradient descent.
    Full,
}

impl Batch {
    /// The number of samples of a step over a training part of `samples`.
    pub(super) fn of(self, samples: usize) -> usize {
        match self {
            Self::Size(size) => size,
            Self::Full => samples,
        }
    }
}

/// A distance within a run: a number of epochs, or of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    /// The number of epochs or steps.
    pub count: u64,
    /// The unit of `count`.
    pub unit: Unit,
}

impl Every {
    /// The number of steps from `steps` to the next multiple of the distance, in epochs of `per_epoch` steps.
    pub(super) fn to_next(self, steps: u64, per_epoch: u64) -> u64 {
        let every = match self.unit {
            Unit::Step => self.count,
            Unit::Epoch => self.count.saturating_mul(per_epoch),
        };
        every - steps % every
    }

    /// Whether so many steps, in epochs of `per_epoch`, are a multiple of the distance.
    pub(super) fn is_at(self, steps: u64, per_epoch: u64) -> bool {
        self.to_next(steps, per_epoch) == self.to_next(0, per_epoch)
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "a number of epochs, or of steps as \"200steps\"",
            number: |count| Self { count, unit: Unit::Epoch },
            parse: |text| {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let count = text[..text.len() - unit.len()].parse().ok()?;
                let unit = match unit.trim() {
                    "step" | "steps" => Unit::Step,
                    "" | "epoch" | "epochs" => Unit::Epoch,
                    _ => return None,
                };
                Some(Self { count, unit })
            },
        })
    }
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.unit {
            Unit::Epoch => serializer.serialize_u64(self.count),
            Unit::Step => serializer.serialize_str(&format!("{}steps", self.count)),
        }
    }
}

/// A distance between checkpoints; none where it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// So many epochs.
    Epochs(u64),
    /// So many steps.
    Steps(u64),
    /// So many seconds of the run.
    Seconds(u64),
}

impl Interval {
    /// Whether there are no checkpoints but where an observer asks.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Epochs(0) | Self::Steps(0) | Self::Seconds(0))
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "a number of epochs, of steps as \"500steps\" or of seconds as \"30s\"",
            number: Self::Epochs,
            parse: |text| {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let count = text[..text.len() - unit.len()].parse().ok()?;
                match unit.trim() {
                    "" | "epoch" | "epochs" => Some(Self::Epochs(count)),
                    "step" | "steps" => Some(Self::Steps(count)),
                    "s" | "second" | "seconds" => Some(Self::Seconds(count)),
                    _ => None,
                }
            },
        })
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Epochs(count) => serializer.serialize_u64(*count),
            Self::Steps(count) => serializer.serialize_str(&format!("{count}steps")),
            Self::Seconds(count) => serializer.serialize_str(&format!("{count}s")),
        }
    }
}

/// A number of bytes, also written with a unit of KiB, MiB or GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Reads a whole number, or a text through `parse`.
struct NumberOr<T> {
    expected: &'static str,
    number: fn(u64) -> T,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for NumberOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<T, E> {
        let number = u64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
        Ok((self.number)(number))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<T, E> {
        Ok((self.number)(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "a number of samples or \"full\"",
            number: |n| Self::Size(n as usize),
            parse: |text| (text == "full").then_some(Self::Full),
        })
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Size(size) => serializer.serialize_u64(*size as u64),
            Self::Full => serializer.serialize_str("full"),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "a number of bytes, as 536870912 or \"512MiB\"",
            number: Self,
            parse: |text| {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
                let factor = match unit.trim() {
                    "" | "B" => 1,
                    "KiB" => 1 << 10,
                    "MiB" => 1 << 20,
                    "GiB" => 1 << 30,
                    _ => return None,
                };
                number.checked_mul(factor).map(Self)
            },
        })
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}
