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
    /// Words, one a sample, and the number that each says; NaN where it says none.
    Texts { texts: Vec<String>, values: Vec<f64> },
}

/// What the file says of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberKind {
    /// They are integers or truth values: labels.
    Integer,
    /// They are floats: targets, unless all are whole.
    Float,
}

/// The most classes that numbers in text are taken to be without a word of the user, and integers where targets are wanted.
const MOST_UNASKED: f64 = 100.0;

/// The most names that an error lists.
const MOST_LISTED: usize = 8;

impl Raw {
    /// The targets out of words, of which `number` reads those that are numbers.
    pub fn of_texts(texts: Vec<String>, number: impl Fn(&str) -> Option<f64>) -> Self {
        let values = texts.iter().map(|text| number(text).unwrap_or(f64::NAN)).collect();
        Self::Texts { texts, values }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Numbers { width, values, .. } => values.len() / (*width).max(1),
            Self::Texts { texts, .. } => texts.len(),
        }
    }

    /// The numbers of a sample, and those of all; none for labels.
    fn numbers(&self) -> Option<(usize, &[f64])> {
        match self {
            Self::Labels(_) => None,
            Self::Numbers { width, values, .. } => Some((*width, values)),
            Self::Texts { values, .. } => Some((1, values)),
        }
    }

    /// The first sample whose word is no number.
    fn stray_word(&self) -> Option<usize> {
        self.numbers()?.1.iter().position(|y| y.is_nan())
    }

    /// The target of a sample, as it stands in the file.
    fn word(&self, row: usize) -> String {
        match self {
            Self::Labels(labels) => labels[row].to_string(),
            Self::Numbers { values, .. } => values[row].to_string(),
            Self::Texts { texts, .. } => texts[row].clone(),
        }
    }
}

/// The targets of all parts of a data set, and how they are to be taken: the kind, the number of outputs, and what stands for
/// each class.
///
/// # Errors
/// Numbers that may be labels or targets, labels that are none, parts that do not agree.
pub(super) fn decide(parts: &[(&Path, &Raw)], hints: &Hints) -> Result<Encoding> {
    let first = parts[0].1;
    for (other, raw) in &parts[1..] {
        let width = |raw: &Raw| raw.numbers().map_or(1, |(width, _)| width);
        let (wanted, found) = (width(first), width(raw));
        if wanted != found {
            let kind = if wanted == 1 { "label".to_string() } else { format!("{wanted}") };
            let text = format!("test: expected {kind} targets, as the training part has, found {found} a sample");
            return Err(Error::data(other, text));
        }
    }
    let labels = |labels: Vec<String>, outputs| {
        Ok(Encoding { targets: Some(TargetKind::Labels), outputs, labels, ..Encoding::default() })
    };
    if let Some((place, raw, row)) = parts.iter().find_map(|(place, raw)| Some((place, raw, raw.stray_word()?))) {
        if hints.targets == Some(TargetKind::Values) {
            let text = format!("expected numbers as targets, found {:?} in row {row}", raw.word(row));
            return Err(Error::data(place, text));
        }
        let words = parts.iter().flat_map(|(_, raw)| (0..raw.len()).map(|row| raw.word(row)));
        let names: BTreeSet<String> = words.collect();
        let outputs = hints.classes.unwrap_or(names.len());
        return labels(names.into_iter().collect(), outputs);
    }
    if let Some((width, _)) = first.numbers() {
        let is_values = is_values(parts, width, hints)?;
        if is_values {
            let (targets, outputs) = (Some(TargetKind::Values), width);
            return Ok(Encoding { targets, outputs, ..Encoding::default() });
        }
        if width > 1 {
            return labels(Vec::new(), hints.classes.unwrap_or(width));
        }
    }
    let codes = codes(parts, hints.classes)?;
    let shown = if codes.is_empty() { largest(parts) as usize + 1 } else { codes.len() };
    labels(codes, hints.classes.unwrap_or(shown))
}

/// Refuses integers that were taken for labels without a word of the user, if they make more classes than there are samples:
/// they may be amounts.
///
/// # Errors
/// There are such; the text asks.
pub(super) fn check_unasked(parts: &[(&Path, &Raw)], hints: &Hints, encoding: &Encoding) -> Result<()> {
    let samples: usize = parts.iter().map(|(_, raw)| raw.len()).sum();
    let is_asked = hints.targets.is_some() || hints.classes.is_some();
    match parts[0] {
        (place, Raw::Numbers { width: 1, .. }) if !is_asked && (1..encoding.outputs).contains(&samples) => {
            let text = format!(
                "expected labels or targets, found integers up to {} in {samples} samples, which may be either: \
                 --loss mse takes them for targets, --classes {} for labels",
                largest(parts),
                encoding.outputs
            );
            Err(Error::data(place, text))
        }
        _ => Ok(()),
    }
}

/// Whether numbers are regression targets, not labels.
fn is_values(parts: &[(&Path, &Raw)], width: usize, hints: &Hints) -> Result<bool> {
    let has = |kind: NumberKind| parts.iter().any(|(_, raw)| matches!(raw, Raw::Numbers { kind: k, .. } if *k == kind));
    let are_written = parts.iter().any(|(_, raw)| matches!(raw, Raw::Texts { .. }));
    let stray = |is_right: fn(&[f64]) -> bool| {
        parts.iter().find_map(|(place, raw)| {
            let (width, values) = raw.numbers()?;
            let row = values.chunks(width).position(|row| !is_right(row))?;
            Some((place, row, &values[row * width..][..width]))
        })
    };
    let refuse = |wanted: &str, (place, row, found): (&&Path, usize, &[f64])| {
        let found: Vec<String> = found.iter().take(MOST_LISTED).map(ToString::to_string).collect();
        let text = format!("expected {wanted}, found {} in row {row}; --loss mse takes targets", found.join(", "));
        Err(Error::data(place, text))
    };
    let wants_labels = hints.targets == Some(TargetKind::Labels) || hints.classes.is_some();
    let wants_values = hints.targets == Some(TargetKind::Values) && !wants_labels;
    if width > 1 {
        return match stray(is_one_hot) {
            None => Ok(!has(NumberKind::Integer) && wants_values),
            Some(stray) if wants_labels || (has(NumberKind::Integer) && !wants_values) => {
                refuse("one label a row, or a single 1 among zeros", stray)
            }
            Some(_) => Ok(true),
        };
    }
    if has(NumberKind::Integer) && !has(NumberKind::Float) {
        return Ok(wants_values && !look_like_classes(parts));
    }
    if let Some(stray) = stray(|row| row[0].fract() == 0.0) {
        return if wants_labels { refuse("whole numbers as labels", stray) } else { Ok(true) };
    }
    match hints.targets {
        _ if wants_labels => Ok(false),
        Some(kind) => Ok(kind == TargetKind::Values),
        None if are_written && look_like_classes(parts) => Ok(false),
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
            Raw::Numbers { values, .. } | Raw::Texts { values, .. } => Box::new(values.iter().copied()),
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
    let is_gapless = matches!(least, 0 | 1) && distinct.len() as i64 - 1 == most - least;
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
        let Some((_, values)) = raw.numbers() else { continue };
        if let Some(row) = values.iter().position(|y| !(0.0..MOST_CLASSES as f64).contains(y)) {
            let (most, found) = (MOST_CLASSES - 1, values[row]);
            let text = format!("expected labels 0 to {most}, found {found} in row {row}; --loss mse takes targets");
            return Err(Error::data(place, text));
        }
    }
    let is_from_one = least == 1.0 && most >= 2.0 && classes.is_none_or(|classes| classes as f64 == most);
    Ok(if is_from_one { (1..=most as u32).map(|label| label.to_string()).collect() } else { Vec::new() })
}

/// The targets of one part, read as `encoding` says.
///
/// # Errors
/// A label that is none of its classes, or rows of another kind.
pub(super) fn decode(place: &Path, raw: &Raw, encoding: &Encoding) -> Result<Targets> {
    let stray = |row: usize, found: &str, wanted: &str| {
        Error::data(place, format!("expected {wanted}, found {found} in row {row}"))
    };
    if let Raw::Labels(labels) = raw {
        return Ok(Targets::Labels(labels.clone()));
    }
    let (width, values) = raw.numbers().unwrap_or((1, &[]));
    if encoding.targets == Some(TargetKind::Values) {
        return match raw.stray_word() {
            Some(row) => Err(stray(row, &raw.word(row), "numbers")),
            None => Ok(Targets::Values { width, values: values.to_vec() }),
        };
    }
    let labels: Result<Vec<u32>> = if width > 1 {
        let class = |(row, y): (usize, &[f64])| match y.iter().position(|&y| y == 1.0) {
            Some(class) if is_one_hot(y) => Ok(class as u32),
            _ => Err(stray(row, "other numbers", "a single 1 among zeros")),
        };
        values.chunks(width).enumerate().map(class).collect()
    } else if encoding.labels.is_empty() {
        let wanted = format!("labels 0 to {}", encoding.outputs.max(1) - 1);
        let class = |(row, &y): (usize, &f64)| match y {
            y if y.fract() == 0.0 && (0.0..MOST_CLASSES as f64).contains(&y) => Ok(y as u32),
            _ => Err(stray(row, &raw.word(row), &wanted)),
        };
        values.iter().enumerate().map(class).collect()
    } else {
        let classes: HashMap<&str, u32> = encoding.labels.iter().map(String::as_str).zip(0..).collect();
        // Where all labels are numbers, 01 and 1.0 are the label 1; where some are words, each is what it says.
        let are_numbers = are_numbers(&encoding.labels);
        let class = |row: usize| {
            let word = raw.word(row);
            let number = || classes.get(values[row].to_string().as_str()).filter(|_| are_numbers);
            let wanted = || format!("one of the labels {}", listed(&encoding.labels));
            classes.get(word.as_str()).or_else(number).copied().ok_or_else(|| stray(row, &word, &wanted()))
        };
        (0..raw.len()).map(class).collect()
    };
    Ok(Targets::Labels(labels?))
}

/// Whether all labels are numbers, not names.
pub(super) fn are_numbers(labels: &[String]) -> bool {
    labels.iter().all(|label| label.parse::<f64>().is_ok())
}

/// Names in an error: the first few of them, and how many there are.
pub(super) fn listed(names: &[String]) -> String {
    match names.get(..MOST_LISTED) {
        Some(first) if names.len() > MOST_LISTED => format!("{}, ... ({} in all)", first.join(", "), names.len()),
        _ => names.join(", "),
    }
}
