//! From what stands for the targets in files to classes or numbers.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::encoding::{Encoding, Hints, TargetKind};
use super::{MOST_CLASSES, Targets};
use crate::error::{Error, Result};

/// The targets of one part as they stand in its file.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// Classes counted from 0, as the format promises.
    Labels(Vec<u32>),
    /// Numbers, `width` a sample.
    Numbers { width: usize, values: Vec<f64>, kind: NumberKind },
    /// Words, one a sample.
    Texts(Vec<String>),
}

/// What the file says of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberKind {
    /// They are integers or truth values: labels.
    Integer,
    /// They are floats: targets, unless all are whole.
    Float,
    /// They are text: labels if they look like it.
    Written,
}

/// The most classes that numbers in text are taken to be without a word of the user.
const MOST_UNASKED: f64 = 100.0;

impl Raw {
    /// The targets out of words: numbers, if `number` reads all of them.
    pub fn of_texts(texts: Vec<String>, number: impl Fn(&str) -> Option<f64>) -> Self {
        let values: Option<Vec<f64>> = texts.iter().map(|text| number(text)).collect();
        match values {
            Some(values) => Self::Numbers { width: 1, values, kind: NumberKind::Written },
            None => Self::Texts(texts),
        }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Numbers { width, values, .. } => values.len() / width,
            Self::Texts(texts) => texts.len(),
        }
    }

    /// The numbers of a sample; none for labels and words.
    fn width(&self) -> usize {
        if let Self::Numbers { width, .. } = self { *width } else { 0 }
    }
}

/// The targets of all parts of a data set, and how they are to be taken: the kind, the number of outputs, and what stands for
/// each class.
///
/// # Errors
/// Numbers that may be labels or targets, labels that are none, parts that do not agree.
pub(super) fn decide(parts: &[(&Path, &Raw)], hints: &Hints) -> Result<Encoding> {
    let (place, first) = parts[0];
    for (other, raw) in &parts[1..] {
        let (wanted, found) = (first.width().max(1), raw.width().max(1));
        if wanted != found {
            let kind = if wanted == 1 { "label".to_string() } else { format!("{wanted}") };
            let text = format!("test: expected {kind} targets, as the training part has, found {found} a sample");
            return Err(Error::data(other, text));
        }
    }
    let labels = |labels: Vec<String>, outputs| {
        Ok(Encoding { targets: Some(TargetKind::Labels), outputs, labels, ..Encoding::default() })
    };
    if parts.iter().any(|(_, raw)| matches!(raw, Raw::Texts(_))) {
        let names: BTreeSet<String> = parts.iter().flat_map(|(_, raw)| words(raw)).collect();
        if hints.targets == Some(TargetKind::Values) {
            return Err(Error::data(place, format!("expected numbers as targets, found {:?}", names.first())));
        }
        let outputs = hints.classes.unwrap_or(names.len());
        return labels(names.into_iter().collect(), outputs);
    }
    if let Raw::Numbers { width, .. } = first {
        let is_values = is_values(parts, *width, hints)?;
        if is_values {
            let (targets, outputs) = (Some(TargetKind::Values), *width);
            return Ok(Encoding { targets, outputs, ..Encoding::default() });
        }
        if *width > 1 {
            return labels(Vec::new(), hints.classes.unwrap_or(*width));
        }
    }
    let codes = codes(parts, hints.classes)?;
    let shown = if codes.is_empty() { largest(parts) as usize + 1 } else { codes.len() };
    labels(codes, hints.classes.unwrap_or(shown))
}

/// Whether numbers are regression targets, not labels.
fn is_values(parts: &[(&Path, &Raw)], width: usize, hints: &Hints) -> Result<bool> {
    let has = |kind: NumberKind| parts.iter().any(|(_, raw)| matches!(raw, Raw::Numbers { kind: k, .. } if *k == kind));
    let stray = |is_right: fn(&[f64]) -> bool| {
        parts.iter().find_map(|(place, raw)| {
            let Raw::Numbers { width, values, .. } = raw else { return None };
            let row = values.chunks(*width).position(|row| !is_right(row))?;
            Some((place, row, &values[row * width..][..*width]))
        })
    };
    let refuse = |wanted: &str, (place, row, found): (&&Path, usize, &[f64])| {
        let found: Vec<String> = found.iter().take(8).map(ToString::to_string).collect();
        Err(Error::data(place, format!("expected {wanted}, found {} in row {row}", found.join(", "))))
    };
    let wants_labels = hints.targets == Some(TargetKind::Labels) || hints.classes.is_some();
    if width > 1 {
        return match stray(is_one_hot) {
            None => Ok(!has(NumberKind::Integer) && !wants_labels && hints.targets == Some(TargetKind::Values)),
            Some(stray) if has(NumberKind::Integer) || wants_labels => {
                refuse("one label a row, or a single 1 among zeros", stray)
            }
            Some(_) => Ok(true),
        };
    }
    if has(NumberKind::Integer) && !has(NumberKind::Float) {
        // Integers that cannot be labels may be targets, if that is what the loss wants.
        return Ok(hints.targets == Some(TargetKind::Values) && codes(parts, None).is_err());
    }
    if let Some(stray) = stray(|row| row[0].fract() == 0.0) {
        return if wants_labels { refuse("whole numbers as labels", stray) } else { Ok(true) };
    }
    match hints.targets {
        _ if wants_labels => Ok(false),
        Some(kind) => Ok(kind == TargetKind::Values),
        None if has(NumberKind::Written) && look_like_classes(parts) => Ok(false),
        None => {
            let text = "expected integer labels or fractional targets, found whole numbers, which may be either: \
                        --loss cross_entropy or --classes takes them for labels, --loss mse for targets";
            Err(Error::data(parts[0].0, text))
        }
    }
}

fn is_one_hot(row: &[f64]) -> bool {
    row.iter().all(|&y| y == 0.0 || y == 1.0) && row.iter().sum::<f64>() == 1.0
}

/// Every target that is one number.
fn numbers<'a>(parts: &'a [(&Path, &Raw)]) -> impl Iterator<Item = f64> + 'a {
    parts.iter().flat_map(|(_, raw)| -> Box<dyn Iterator<Item = f64> + 'a> {
        match raw {
            Raw::Labels(labels) => Box::new(labels.iter().map(|&label| f64::from(label))),
            Raw::Numbers { values, .. } => Box::new(values.iter().copied()),
            Raw::Texts(_) => Box::new(std::iter::empty()),
        }
    })
}

fn largest(parts: &[(&Path, &Raw)]) -> f64 {
    numbers(parts).fold(0.0, f64::max)
}

/// Whether whole numbers are 0, 1, ..., or 1, 2, ..., without a gap and not many, or -1 and 1.
fn look_like_classes(parts: &[(&Path, &Raw)]) -> bool {
    let distinct: BTreeSet<i64> = numbers(parts).map(|y| y as i64).collect();
    let (least, most) = (distinct.first().copied().unwrap_or(0), distinct.last().copied().unwrap_or(0));
    let is_gapless = distinct.len() as i64 == most - least + 1 && matches!(least, 0 | 1);
    distinct.iter().eq(&[-1, 1]) || (is_gapless && distinct.len() > 1 && (most as f64) < MOST_UNASKED)
}

/// What stands for each class where labels are not counted from 0: those from 1 on, and -1 and 1.
fn codes(parts: &[(&Path, &Raw)], classes: Option<usize>) -> Result<Vec<String>> {
    if parts.iter().any(|(_, raw)| matches!(raw, Raw::Labels(_))) {
        return Ok(Vec::new());
    }
    let (least, most) = (numbers(parts).fold(f64::INFINITY, f64::min), largest(parts));
    if least == -1.0 && numbers(parts).all(|y| y.abs() == 1.0) {
        return Ok(vec!["-1".into(), "1".into()]);
    }
    for (place, raw) in parts {
        let Raw::Numbers { values, .. } = raw else { continue };
        if let Some(row) = values.iter().position(|y| !(0.0..MOST_CLASSES as f64).contains(y)) {
            let (most, found) = (MOST_CLASSES - 1, values[row]);
            let text = format!("expected labels 0 to {most}, found {found} in row {row}; --loss mse takes targets");
            return Err(Error::data(place, text));
        }
    }
    let is_from_one = least == 1.0 && most >= 2.0 && classes.is_none_or(|classes| classes as f64 == most);
    Ok(if is_from_one { (1..=most as u32).map(|label| label.to_string()).collect() } else { Vec::new() })
}

/// The targets as words.
fn words(raw: &Raw) -> Vec<String> {
    match raw {
        Raw::Labels(labels) => labels.iter().map(ToString::to_string).collect(),
        Raw::Numbers { values, .. } => values.iter().map(ToString::to_string).collect(),
        Raw::Texts(texts) => texts.clone(),
    }
}

/// The targets of one part, read as `encoding` says.
///
/// # Errors
/// A label that is none of its classes, or rows of another kind.
pub(super) fn decode(place: &Path, raw: &Raw, encoding: &Encoding) -> Result<Targets> {
    let stray = |row: usize, found: &str, wanted: &str| {
        Error::data(place, format!("expected {wanted}, found {found} in row {row}"))
    };
    let label = |row: usize, y: f64| match y {
        y if y.fract() == 0.0 && (0.0..MOST_CLASSES as f64).contains(&y) => Ok(y as u32),
        y => Err(stray(row, &y.to_string(), &format!("labels 0 to {}", encoding.outputs.max(1) - 1))),
    };
    match raw {
        Raw::Labels(labels) => Ok(Targets::Labels(labels.clone())),
        Raw::Numbers { width, values, .. } if encoding.targets == Some(TargetKind::Values) => {
            Ok(Targets::Values { width: *width, values: values.clone() })
        }
        Raw::Numbers { width, values, .. } if *width > 1 => {
            let class = |(row, y): (usize, &[f64])| match y.iter().position(|&y| y == 1.0) {
                Some(class) if is_one_hot(y) => Ok(class as u32),
                _ => Err(stray(row, "other numbers", "a single 1 among zeros")),
            };
            Ok(Targets::Labels(values.chunks(*width).enumerate().map(class).collect::<Result<_>>()?))
        }
        Raw::Numbers { values, .. } if encoding.labels.is_empty() => {
            Ok(Targets::Labels(values.iter().enumerate().map(|(row, &y)| label(row, y)).collect::<Result<_>>()?))
        }
        Raw::Texts(texts) if encoding.labels.is_empty() => Err(stray(0, &texts[0], "numbers")),
        Raw::Numbers { .. } | Raw::Texts(_) => {
            let classes: HashMap<&str, u32> = encoding.labels.iter().map(String::as_str).zip(0..).collect();
            let class = |(row, word): (usize, String)| match classes.get(word.as_str()) {
                Some(&class) => Ok(class),
                None => Err(stray(row, &word, &format!("one of the labels {}", encoding.labels.join(", ")))),
            };
            Ok(Targets::Labels(words(raw).into_iter().enumerate().map(class).collect::<Result<_>>()?))
        }
    }
}
