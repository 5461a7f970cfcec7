//! Data sets: features and targets in memory, their split and their normalisation.

mod augment;
mod cifar;
#[cfg(feature = "fetch")]
pub mod fetch;
mod idx;
mod npy;
mod order;
mod source;
mod synthetic;

use half::f16;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::number::{Purpose, Stream};
use crate::number::{Real, wide};

pub use augment::Augment;
pub(crate) use augment::QUANTILES;
pub use order::Order;
pub use source::Source;

/// Most classes that labels may name; more is taken for a mistake.
const MOST_CLASSES: usize = 65_536;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Gradients come from it.
    Train,
    /// Held out of the training part.
    Validation,
    /// Came as the data set's own test part.
    Test,
}

/// The values of all samples, sample after sample, as they lie in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Pixels.
    U8(Vec<u8>),
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision; a single-precision engine rounds it.
    F64(Vec<f64>),
}

impl Features {
    /// Number of values.
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

    /// Type of the values.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }

    /// Value `i`, not normalised.
    pub fn get(&self, i: usize) -> f64 {
        match self {
            Self::U8(v) => f64::from(v[i]),
            Self::F32(v) => f64::from(v[i]),
            Self::F64(v) => v[i],
        }
    }

    /// Keeps the rows of `width` values that `rows` names.
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

/// What the network is to say of each sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class a sample, counted from 0.
    Labels(Vec<u32>),
    /// `width` values a sample.
    Values {
        /// Values a sample.
        width: usize,
        /// Sample after sample.
        values: Vec<f64>,
    },
}

impl Targets {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Values { width, values } => values.len() / width,
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels or values.
    fn kind(&self) -> &'static str {
        match self {
            Self::Labels(_) => "label",
            Self::Values { .. } => "regression",
        }
    }

    /// `outputs` values a sample, a label being one-hot.
    pub(crate) fn to_values(&self, outputs: usize) -> Vec<f64> {
        match self {
            Self::Labels(labels) => {
                let mut values = vec![0.0; labels.len() * outputs];
                for (row, &label) in labels.iter().enumerate() {
                    values[row * outputs + label as usize] = 1.0;
                }
                values
            }
            Self::Values { values, .. } => values.clone(),
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
}

/// The samples of one part.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// `len × width` values.
    pub features: Features,
    /// `len` targets.
    pub targets: Targets,
}

impl Samples {
    /// Samples of so many features each, and the class of each, counted from 0.
    pub fn labelled(features: impl Into<Features>, labels: impl IntoIterator<Item = u32>) -> Self {
        Self { features: features.into(), targets: Targets::Labels(labels.into_iter().collect()) }
    }

    /// Samples, and `width` numbers to be predicted of each.
    pub fn valued(features: impl Into<Features>, values: Vec<f64>, width: usize) -> Self {
        Self { features: features.into(), targets: Targets::Values { width, values } }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn select(&self, rows: &[u32], width: usize) -> Self {
        Self { features: self.features.select(rows, width), targets: self.targets.select(rows) }
    }
}

/// How features are scaled before the network sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// Mean 0 and deviation 1 over every channel of the training part; a constant channel is only centered.
    #[default]
    Channel,
    /// Pixels in `[0, 1]`: a u8 divided by 255, other values as they are.
    Unit,
    /// The values as they lie in the file.
    None,
}

/// `x = raw · scale + shift`, one pair a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// Factor of each channel.
    pub scale: Vec<f64>,
    /// Summand of each channel.
    pub shift: Vec<f64>,
}

/// Features, targets and their split; it knows nothing of devices and batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Where it came from.
    pub name: String,
    /// Channels, height, width; a table of D columns has D channels of 1×1.
    pub shape: [usize; 3],
    /// Number of classes, or of regression targets.
    pub outputs: usize,
    /// Names of the classes, where the data set has them.
    pub classes: Vec<String>,
    /// Gradients come from these.
    pub train: Samples,
    /// Held out of `train` by [`hold_out`](Self::hold_out).
    pub validation: Option<Samples>,
    /// The data set's own test part.
    pub test: Option<Samples>,
    /// Set by [`normalize`](Self::normalize); at first it changes nothing.
    pub normalization: Normalization,
}

impl Dataset {
    /// A data set of your own: `shape` is channels, height and width of a sample.
    ///
    /// ```
    /// use thalweg::data::{Dataset, Features, Samples, Targets};
    /// let corners = Features::F32(vec![0., 0., 0., 1., 1., 0., 1., 1.]);
    /// let train = Samples { features: corners, targets: Targets::Labels(vec![0, 1, 1, 0]) };
    /// let xor = Dataset::new("xor", [2, 1, 1], train, None).unwrap();
    /// assert_eq!((xor.train.len(), xor.outputs), (4, 2));
    /// ```
    ///
    /// # Errors
    /// No sample, a length that does not fit the shape, or a value that is not finite.
    pub fn new(name: impl Into<String>, shape: [usize; 3], train: Samples, test: Option<Samples>) -> Result<Self> {
        let name = name.into();
        let width: usize = shape.iter().product();
        let outputs = match &train.targets {
            Targets::Labels(labels) => 1 + labels.iter().max().copied().unwrap_or(0) as usize,
            Targets::Values { width, .. } => *width,
        };
        for (part, samples) in [("train", Some(&train)), ("test", test.as_ref())] {
            let Some(samples) = samples else { continue };
            if samples.is_empty() || width == 0 {
                return Err(Error::data(&name, format!("expected at least one {part} sample, found none")));
            }
            let (found, wanted) = (samples.features.len(), samples.len() * width);
            if found != wanted {
                return Err(Error::data(
                    &name,
                    format!("{part}: expected {} samples of {width} features, found {found} values", samples.len()),
                ));
            }
            samples.check_kind(&name, part, &train)?;
            samples.check_finite(&name, part, width)?;
            samples.targets.check_range(&name, part, outputs)?;
        }
        let normalization = Normalization { scale: vec![1.0; shape[0]], shift: vec![0.0; shape[0]] };
        Ok(Self { name, shape, outputs, classes: Vec::new(), train, validation: None, test, normalization })
    }

    /// Declares the number of classes, where the labels at hand do not show them all.
    ///
    /// # Errors
    /// Regression targets, or a label that is out of range.
    pub fn with_classes(mut self, classes: usize) -> Result<Self> {
        if !(1..=MOST_CLASSES).contains(&classes) {
            return Err(Error::config("data.classes", format!("expected 1 to {MOST_CLASSES}, found {classes}")));
        }
        for (part, samples) in [("train", Some(&self.train)), ("test", self.test.as_ref())] {
            match samples.map(|s| &s.targets) {
                Some(Targets::Values { .. }) => {
                    return Err(Error::config("data.classes", "expected labels, found regression targets"));
                }
                Some(targets) => targets.check_range(&self.name, part, classes)?,
                None => {}
            }
        }
        self.outputs = classes;
        Ok(self)
    }

    /// Values of one sample.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the targets are labels, so that accuracy means something.
    pub fn is_classification(&self) -> bool {
        matches!(self.train.targets, Targets::Labels(_))
    }

    /// The samples of a part, where there are any.
    pub fn part(&self, part: Part) -> Option<&Samples> {
        match part {
            Part::Train => Some(&self.train),
            Part::Validation => self.validation.as_ref(),
            Part::Test => self.test.as_ref(),
        }
    }

    /// It has no such part.
    pub(crate) fn missing(&self, part: Part) -> Error {
        Error::data(&self.name, format!("expected a {part:?} part to evaluate, found none").to_lowercase())
    }

    /// Moves a random `fraction` of the training part, drawn with `seed`, to the validation part.
    ///
    /// # Errors
    /// A fraction outside `[0, 1)`, or one that leaves a part empty.
    pub fn hold_out(mut self, fraction: f64, seed: u64) -> Result<Self> {
        if fraction == 0.0 {
            return Ok(self);
        }
        let n = self.train.len();
        let held = (fraction * n as f64).round();
        if !(held >= 1.0 && held < n as f64) {
            return Err(Error::config(
                "data.validation",
                format!("expected a fraction that leaves both parts of {n} samples filled, found {fraction}"),
            ));
        }
        let mut rows: Vec<u32> = (0..n as u32).collect();
        Stream::new(seed, Purpose::Validation, 0).shuffle(&mut rows);
        let (validation, train) = rows.split_at_mut(held as usize);
        validation.sort_unstable();
        train.sort_unstable();
        let width = self.width();
        self.validation = Some(self.train.select(validation, width));
        self.train = self.train.select(train, width);
        Ok(self)
    }

    /// Scales the features, by statistics of the training part alone.
    #[must_use]
    pub fn normalize(mut self, how: Normalize) -> Self {
        let channels = self.shape[0];
        self.normalization = match how {
            Normalize::None => Normalization { scale: vec![1.0; channels], shift: vec![0.0; channels] },
            Normalize::Unit => Normalization { scale: vec![self.unit(); channels], shift: vec![0.0; channels] },
            Normalize::Channel => {
                let (scale, shift) = self
                    .channel_statistics()
                    .into_iter()
                    .map(|(mean, deviation)| {
                        let scale = if deviation > 0.0 { 1.0 / deviation } else { 1.0 };
                        (scale, -mean * scale)
                    })
                    .unzip();
                Normalization { scale, shift }
            }
        };
        self
    }

    /// What a raw value is multiplied with to be shown: 1/255 for pixels, else 1.
    pub fn unit(&self) -> f64 {
        if matches!(self.train.features, Features::U8(_)) { 1.0 / 255.0 } else { 1.0 }
    }

    /// Mean and (population) deviation of the raw values of every channel of the training part.
    pub fn channel_statistics(&self) -> Vec<(f64, f64)> {
        let [channels, height, width] = self.shape;
        let (pixels, row) = (height * width, self.width());
        let each = |c: usize, f: &dyn Fn(f64) -> f64| {
            let mut sum = 0.0;
            for sample in 0..self.train.len() {
                for i in 0..pixels {
                    sum += f(self.train.features.get(sample * row + c * pixels + i));
                }
            }
            sum / (self.train.len() * pixels) as f64
        };
        (0..channels)
            .map(|c| {
                let mean = each(c, &|x| x);
                (mean, each(c, &|x| (x - mean) * (x - mean)).sqrt())
            })
            .collect()
    }

    /// The largest magnitude of a feature or target, where it may lie beyond f32: f64 values.
    pub(crate) fn largest(&self) -> f64 {
        let parts = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        let largest = |values: &[f64]| values.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
        let of = |samples: &Samples| {
            let features = if let Features::F64(v) = &samples.features { largest(v) } else { 0.0 };
            let targets = if let Targets::Values { values, .. } = &samples.targets { largest(values) } else { 0.0 };
            features.max(targets)
        };
        parts.into_iter().flatten().map(of).fold(0.0, f64::max)
    }

    /// Refuses normalised features above `largest`.
    ///
    /// # Errors
    /// The first feature that is.
    pub(crate) fn check_normalized(&self, largest: f64) -> Result<()> {
        let mut x = vec![0.0f64; self.width()];
        for samples in [Some(&self.train), self.validation.as_ref(), self.test.as_ref()].into_iter().flatten() {
            for row in 0..samples.len() {
                self.read_row(&samples.features, row, &mut x);
                if let Some(found) = x.iter().find(|x| x.abs() > largest) {
                    let text =
                        format!("expected normalised features up to {largest} in half precision, found {found:e}");
                    return Err(Error::data(&self.name, text));
                }
            }
        }
        Ok(())
    }

    /// The normalised features of one sample of a part, the meaning of the `gather` kernel.
    pub(crate) fn read_row<T: Real>(&self, features: &Features, row: usize, x: &mut [T]) {
        let width = self.width();
        let pixels = self.shape[1] * self.shape[2];
        for (c, x) in x[..width].chunks_mut(pixels).enumerate() {
            let (scale, shift) = (T::of(self.normalization.scale[c]), T::of(self.normalization.shift[c]));
            let first = row * width + c * pixels;
            match features {
                Features::U8(v) => {
                    let raw = &v[first..];
                    wide(|| {
                        for (x, &raw) in x.iter_mut().zip(raw) {
                            *x = T::of_u8(raw) * scale + shift;
                        }
                    });
                }
                Features::F32(v) => {
                    for (x, &raw) in x.iter_mut().zip(&v[first..]) {
                        *x = T::of(f64::from(raw)) * scale + shift;
                    }
                }
                Features::F64(v) => {
                    for (x, &raw) in x.iter_mut().zip(&v[first..]) {
                        *x = T::of(raw) * scale + shift;
                    }
                }
            }
        }
    }
}

impl Samples {
    /// Refuses features or targets of another type than the training part's.
    fn check_kind(&self, name: &str, part: &str, train: &Self) -> Result<()> {
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

    fn check_finite(&self, name: &str, part: &str, width: usize) -> Result<()> {
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

impl Targets {
    fn check_range(&self, name: &str, part: &str, outputs: usize) -> Result<()> {
        match self {
            Self::Labels(labels) => match labels.iter().position(|&label| label as usize >= outputs) {
                Some(row) => Err(Error::data(
                    name,
                    format!("{part}: expected labels 0 to {}, found {} in sample {row}", outputs - 1, labels[row]),
                )),
                None => Ok(()),
            },
            Self::Values { width, .. } if *width != outputs => {
                Err(Error::data(name, format!("{part}: expected {outputs} targets a sample, found {width}")))
            }
            Self::Values { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: Vec<f32>, labels: Vec<u32>) -> Result<Dataset> {
        let width = values.len() / labels.len().max(1);
        let train = Samples { features: Features::F32(values), targets: Targets::Labels(labels) };
        Dataset::new("table", [width, 1, 1], train, None)
    }

    #[test]
    fn channels_are_centered_and_scaled() {
        let pixels: Vec<u8> = (0..48).map(|i| (i * 5) as u8).collect();
        let train = Samples { features: Features::U8(pixels), targets: Targets::Labels(vec![0, 1, 2]) };
        let data = Dataset::new("ramp", [2, 2, 4], train, None).unwrap().normalize(Normalize::Channel);
        for c in 0..2 {
            let mut all = Vec::new();
            for row in 0..3 {
                let mut x = [0f64; 16];
                data.read_row(&data.train.features, row, &mut x);
                all.extend_from_slice(&x[c * 8..][..8]);
            }
            let mean = all.iter().sum::<f64>() / 24.0;
            let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 24.0;
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12, "channel {c}: {mean} {variance}");
        }
    }

    #[test]
    fn a_constant_channel_becomes_zero() {
        let data = table(vec![3.0, 1.0, 3.0, 2.0], vec![0, 1]).unwrap().normalize(Normalize::Channel);
        let mut x = [9f64; 2];
        data.read_row(&data.train.features, 1, &mut x);
        assert_eq!(x, [0.0, 1.0]);
    }

    #[test]
    fn held_out_samples_leave_the_training_part() {
        let n = 100;
        let data = table((0..n).map(|i| i as f32).collect(), (0..n).collect()).unwrap();
        let data = data.hold_out(0.25, 3).unwrap();
        let validation = data.validation.as_ref().unwrap();
        assert_eq!((data.train.len(), validation.len()), (75, 25));
        let mut all: Vec<f64> = (0..75).map(|i| data.train.features.get(i)).collect();
        all.extend((0..25).map(|i| validation.features.get(i)));
        all.sort_by(f64::total_cmp);
        assert_eq!(all, (0..n).map(f64::from).collect::<Vec<_>>());
        assert!(data.clone().hold_out(1.0, 0).is_err());
        assert!(data.hold_out(f64::NAN, 0).is_err());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = |result: Result<Dataset>| result.unwrap_err().to_string();
        assert_eq!(text(table(vec![], vec![])), "table: expected at least one train sample, found none");
        assert_eq!(
            text(table(vec![1.0, 2.0, f32::NAN, 4.0], vec![0, 1])),
            "table: train: expected finite features, found NaN in sample 1, feature 0"
        );
        let data = table(vec![1.0, 2.0], vec![0, 4]).unwrap();
        assert_eq!(text(data.with_classes(3)), "table: train: expected labels 0 to 2, found 4 in sample 1");
    }
}
