//! The values of samples, and what the network is to say of them.

use half::f16;

use super::{hash, reserved};
use crate::error::{Error, Result};

/// The features of all samples, sample after sample, as they lie in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Values of one byte, 0 to 255: pixels.
    U8(Vec<u8>),
    /// Values in single precision.
    F32(Vec<f32>),
    /// Values in double precision; a single-precision engine rounds them.
    F64(Vec<f64>),
}

impl Features {
    /// The number of values of all samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the values: `u8`, `f32` or `f64`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }

    /// The value at place `i`, not normalised.
    pub fn get(&self, i: usize) -> f64 {
        match self {
            Self::U8(v) => f64::from(v[i]),
            Self::F32(v) => f64::from(v[i]),
            Self::F64(v) => v[i],
        }
    }

    /// Makes the values f64, which holds those of every other type: what parts of several types have in common.
    pub(super) fn widen(&mut self) {
        *self = Self::F64((0..self.len()).map(|i| self.get(i)).collect());
    }

    /// A hash of the values of one sample of `width` values.
    pub(super) fn row_hash(&self, row: usize, width: usize) -> u64 {
        let range = row * width..(row + 1) * width;
        match self {
            Self::U8(v) => {
                let (words, rest) = v[range].as_chunks();
                let rest = rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
                let all = words.iter().map(|word| u64::from_be_bytes(*word)).fold(1, hash);
                if words.len() * 8 < width { hash(all, rest) } else { all }
            }
            Self::F32(v) => v[range].iter().map(|x| u64::from(x.to_bits())).fold(2, hash),
            Self::F64(v) => v[range].iter().map(|x| x.to_bits()).fold(3, hash),
        }
    }

    /// The features of the samples that `rows` names, of `width` values each.
    fn select(&self, rows: &[u32], width: usize) -> Self {
        fn pick<T: Copy>(values: &[T], rows: &[u32], width: usize) -> Vec<T> {
            rows.iter().flat_map(|&row| &values[row as usize * width..][..width]).copied().collect()
        }
        match self {
            Self::U8(v) => Self::U8(pick(v, rows, width)),
            Self::F32(v) => Self::F32(pick(v, rows, width)),
            Self::F64(v) => Self::F64(pick(v, rows, width)),
        }
    }
}

impl From<Vec<u8>> for Features {
    fn from(values: Vec<u8>) -> Self {
        Self::U8(values)
    }
}

impl From<Vec<f32>> for Features {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<f64>> for Features {
    fn from(values: Vec<f64>) -> Self {
        Self::F64(values)
    }
}

impl From<Vec<f16>> for Features {
    fn from(values: Vec<f16>) -> Self {
        Self::F32(values.into_iter().map(f16::to_f32).collect())
    }
}

/// The targets: what the network is to say of each sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// The class of each sample, counted from 0.
    Labels(Vec<u32>),
    /// The regression targets of each sample, `width` values a sample.
    Values {
        /// The number of values a sample.
        width: usize,
        /// The values, sample after sample: `(len, width)`.
        values: Vec<f64>,
    },
}

impl Targets {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Values { width, values } => values.len() / (*width).max(1),
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A hash of the targets of one sample.
    pub(super) fn row_hash(&self, row: usize) -> u64 {
        match self {
            Self::Labels(labels) => labels[row].into(),
            Self::Values { width, values } => values[row * width..][..*width].iter().map(|y| y.to_bits()).fold(4, hash),
        }
    }

    /// The kind of the targets, as errors name it: `label` or `regression`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Labels(_) => "label",
            Self::Values { .. } => "regression",
        }
    }

    /// The targets as `outputs` values a sample, a label being one-hot.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) fn to_values(&self, outputs: usize) -> Result<Vec<f64>> {
        match self {
            Self::Labels(labels) => {
                let mut values = reserved("the targets", labels.len().checked_mul(outputs))?;
                values.resize(labels.len() * outputs, 0.0);
                for (row, &label) in labels.iter().enumerate() {
                    values[row * outputs + label as usize] = 1.0;
                }
                Ok(values)
            }
            Self::Values { values, .. } => Ok(values.clone()),
        }
    }

    fn select(&self, rows: &[u32]) -> Self {
        match self {
            Self::Labels(labels) => Self::Labels(rows.iter().map(|&row| labels[row as usize]).collect()),
            Self::Values { width, values } => Self::Values {
                width: *width,
                values: rows.iter().flat_map(|&row| &values[row as usize * width..][..*width]).copied().collect(),
            },
        }
    }

    pub(super) fn check_range(&self, name: &str, part: &str, outputs: usize) -> Result<()> {
        match self {
            Self::Labels(labels) => match labels.iter().position(|&label| label as usize >= outputs) {
                Some(row) => Err(Error::data(
                    name,
                    format!(
                        "{part}: expected labels 0 to {}, found {} in sample {row}",
                        outputs.max(1) - 1,
                        labels[row]
                    ),
                )),
                None => Ok(()),
            },
            Self::Values { width, .. } if *width != outputs || outputs == 0 => {
                let outputs = outputs.max(1);
                Err(Error::data(name, format!("{part}: expected {outputs} targets a sample, found {width}")))
            }
            Self::Values { width, values } if values.len() % width != 0 => Err(Error::data(
                name,
                format!("{part}: expected {width} targets a sample, found {} in all", values.len()),
            )),
            Self::Values { .. } => Ok(()),
        }
    }
}

/// The samples of one part.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The features, `len × width` values.
    pub features: Features,
    /// The targets of the `len` samples.
    pub targets: Targets,
    /// The weight of each sample in the loss of training, at least 0 and some above; none where all count alike.
    /// Evaluations count all samples alike.
    pub weights: Option<Vec<f64>>,
}

impl Samples {
    /// Samples with the class of each, counted from 0; `features` has the values of one sample after the other.
    pub fn labelled(features: impl Into<Features>, labels: impl IntoIterator<Item = u32>) -> Self {
        Self { features: features.into(), targets: Targets::Labels(labels.into_iter().collect()), weights: None }
    }

    /// Samples with `width` numbers to be predicted of each; `features` and `values` have those of one sample after the
    /// other. Features stay in the type that they come in, since there are many; targets, f32 or f64, are kept as f64.
    pub fn valued(
        features: impl Into<Features>,
        values: impl IntoIterator<Item = impl Into<f64>>,
        width: usize,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { features: features.into(), targets: Targets::Values { width, values }, weights: None }
    }

    /// The same samples, each with its weight in the loss of training.
    #[must_use]
    pub fn weighted(self, weights: impl IntoIterator<Item = f64>) -> Self {
        Self { weights: Some(weights.into_iter().collect()), ..self }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples that `rows` names.
    pub(super) fn select(&self, rows: &[u32], width: usize) -> Self {
        let weights = self.weights.as_ref().map(|weights| rows.iter().map(|&row| weights[row as usize]).collect());
        Self { features: self.features.select(rows, width), targets: self.targets.select(rows), weights }
    }

    /// The number of samples of each of the `classes` classes; 0 for regression targets.
    pub fn histogram(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        if let Targets::Labels(labels) = &self.targets {
            for &label in labels {
                counts[label as usize] += 1;
            }
        }
        counts
    }

    /// Refuses features or targets of another type than the training part's.
    pub(super) fn check_kind(&self, name: &str, part: &str, train: &Self) -> Result<()> {
        let kinds = [
            ("features", train.features.kind(), self.features.kind()),
            ("targets", train.targets.kind(), self.targets.kind()),
        ];
        for (what, wanted, found) in kinds {
            if wanted != found {
                return Err(Error::data(
                    name,
                    format!("{part}: expected {wanted} {what}, as the training part has, found {found}"),
                ));
            }
        }
        Ok(())
    }

    /// Refuses weights of another number than the samples, below 0, or none of which is above.
    pub(super) fn check_weights(&self, name: &str, part: &str) -> Result<()> {
        let Some(weights) = &self.weights else { return Ok(()) };
        let found = if weights.len() != self.len() {
            format!("expected {} weights, one a sample, found {}", self.len(), weights.len())
        } else if let Some(row) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            format!("expected weights of at least 0, found {} of sample {row}", weights[row])
        } else if weights.iter().all(|&w| w == 0.0) {
            "expected some weights above 0, found none".into()
        } else {
            return Ok(());
        };
        Err(Error::data(name, format!("{part}: {found}")))
    }

    pub(super) fn check_finite(&self, name: &str, part: &str, width: usize) -> Result<()> {
        let bad = match &self.features {
            Features::U8(_) => None,
            Features::F32(v) => v.iter().position(|x| !x.is_finite()),
            Features::F64(v) => v.iter().position(|x| !x.is_finite()),
        };
        if let Some(i) = bad {
            let (row, column, value) = (i / width, i % width, self.features.get(i));
            return Err(Error::data(
                name,
                format!("{part}: expected finite features, found {value} in sample {row}, feature {column}"),
            ));
        }
        if let Targets::Values { width, values } = &self.targets
            && let Some(i) = values.iter().position(|y| !y.is_finite())
        {
            let (row, column, value) = (i / width, i % width, values[i]);
            return Err(Error::data(
                name,
                format!("{part}: expected finite targets, found {value} in sample {row}, target {column}"),
            ));
        }
        Ok(())
    }
}
