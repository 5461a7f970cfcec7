//! Data sets: features and targets in memory, their split and their normalisation.

mod augment;
mod cifar;
mod csv;
mod encoding;
#[cfg(feature = "fetch")]
pub mod fetch;
mod files;
mod idx;
mod normalize;
mod npy;
mod npy_header;
mod order;
#[cfg(feature = "report")]
mod picture;
mod samples;
mod source;
mod standardize;
mod synthetic;
mod tables;
mod targets;

use crate::error::{Error, Result};
use crate::number::{Purpose, Stream};

pub use augment::Augment;
pub(crate) use augment::QUANTILES;
pub use csv::Csv;
pub use encoding::{Column, Encoding, Hints, Layout, TargetKind};
pub use files::expand;
pub use normalize::{Normalization, Normalize};
pub use npy::read_numbers;
pub use order::Order;
#[cfg(feature = "report")]
pub use picture::Picture;
pub use samples::{Features, Samples, Targets};
pub use source::Source;
pub use standardize::TargetScaling;
pub use tables::Inputs;

/// The hash of a word after others.
fn hash(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// An empty list with room for `n` values, which the data at `place` needs; none where that is more than can be counted.
fn reserved<T>(place: impl AsRef<std::path::Path>, n: Option<usize>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    match n {
        Some(n) if values.try_reserve_exact(n).is_ok() => Ok(values),
        _ => {
            let bytes = n.and_then(|n| n.checked_mul(size_of::<T>())).map_or("more".into(), |n| n.to_string());
            Err(Error::data(place, format!("expected memory for its values, {bytes} bytes, found less")))
        }
    }
}

/// The most classes that labels may name; more is taken for a mistake.
const MOST_CLASSES: usize = 65_536;

/// The most samples of a part: they are numbered in 32 bits.
const MOST_SAMPLES: usize = u32::MAX as usize;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The training part, from which gradients come.
    Train,
    /// The validation part, held out of the training part.
    Validation,
    /// The test part that came with the data set.
    Test,
}

/// A data set: features, targets and their split; it knows nothing of devices and batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The name of the data set, which says where it came from and stands in errors.
    pub name: String,
    /// The shape of a sample: channels, height, width. A table of D columns has D channels of 1×1.
    pub shape: [usize; 3],
    /// The number of classes, or of regression targets.
    pub outputs: usize,
    /// The names of the classes, where the data set has them.
    pub classes: Vec<String>,
    /// The training samples, from which gradients come.
    pub train: Samples,
    /// The validation samples, held out of `train` by [`hold_out`](Self::hold_out).
    pub validation: Option<Samples>,
    /// The places of the validation samples in the training part as it was read, ascending.
    held_out: Vec<u32>,
    /// The samples of the data set's own test part.
    pub test: Option<Samples>,
    /// The scaling of the features, set by [`normalize`](Self::normalize); at first it changes nothing.
    pub normalization: Normalization,
    /// The scaling of regression targets, set by [`standardize_targets`](Self::standardize_targets). Default: none.
    pub target_scaling: Option<TargetScaling>,
    /// The reading of the files, with which others are read in the same way. Default: nothing, for data of your own.
    pub encoding: Encoding,
}

impl Dataset {
    /// A data set of your own: `shape` is channels, height and width of a sample.
    ///
    /// ```
    /// use thalweg::data::{Dataset, Samples};
    /// let train = Samples::labelled(vec![0f32, 0., 0., 1., 1., 0., 1., 1.], [0, 1, 1, 0]);
    /// let xor = Dataset::new("xor", [2, 1, 1], train, None).unwrap();
    /// assert_eq!((xor.train.len(), xor.outputs), (4, 2));
    /// ```
    ///
    /// # Errors
    /// No sample, a length that does not fit the shape, or a value that is not finite.
    pub fn new(name: impl Into<String>, shape: [usize; 3], train: Samples, test: Option<Samples>) -> Result<Self> {
        Self::with_outputs(name, shape, train, test, None)
    }

    /// The data set of so many classes or targets; as many as the training part shows, where they are not known.
    fn with_outputs(
        name: impl Into<String>,
        shape: [usize; 3],
        train: Samples,
        test: Option<Samples>,
        outputs: Option<usize>,
    ) -> Result<Self> {
        let name = name.into();
        let width = files::elements(&shape).ok_or_else(|| {
            Error::data(&name, format!("expected a shape whose values can be counted, found {shape:?}"))
        })?;
        let outputs = outputs.unwrap_or_else(|| match &train.targets {
            Targets::Labels(labels) => 1 + labels.iter().max().copied().unwrap_or(0) as usize,
            Targets::Values { width, .. } => *width,
        });
        for (part, samples) in [("train", Some(&train)), ("test", test.as_ref())] {
            let Some(samples) = samples else { continue };
            if samples.is_empty() || width == 0 {
                return Err(Error::data(&name, format!("expected at least one {part} sample, found none")));
            }
            if samples.len() > MOST_SAMPLES {
                let found = format!("expected at most {MOST_SAMPLES} {part} samples, found {}", samples.len());
                return Err(Error::data(&name, found));
            }
            let found = samples.features.len();
            if samples.len().checked_mul(width) != Some(found) {
                return Err(Error::data(
                    &name,
                    format!("{part}: expected {} samples of {width} features, found {found} values", samples.len()),
                ));
            }
            samples.check_kind(&name, part, &train)?;
            samples.check_finite(&name, part, width)?;
            samples.check_weights(&name, part)?;
            samples.targets.check_range(&name, part, outputs)?;
        }
        let normalization = Normalization::none(shape[0]);
        let (classes, encoding, target_scaling) = (Vec::new(), Encoding::default(), None);
        Ok(Self {
            name,
            shape,
            outputs,
            classes,
            train,
            validation: None,
            held_out: Vec::new(),
            test,
            normalization,
            target_scaling,
            encoding,
        })
    }

    /// Sets the number of classes, from 1 to 65,536, where the labels at hand do not show them all.
    ///
    /// # Errors
    /// A number out of range, regression targets, or a label that is out of range.
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

    /// Sets the weight of each training sample in the loss of training.
    ///
    /// # Errors
    /// Another number of weights than of training samples, one below 0, or none above.
    pub fn weighted(mut self, weights: Vec<f64>) -> Result<Self> {
        self.train = self.train.weighted(weights);
        self.train.check_weights(&self.name, "train")?;
        Ok(self)
    }

    /// The number of values of one sample.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the targets are labels, so that accuracy means something.
    pub fn is_classification(&self) -> bool {
        matches!(self.train.targets, Targets::Labels(_))
    }

    /// The place in its file of each sample of a part, of the training part before any was held out.
    pub fn rows(&self, part: Part) -> Vec<u32> {
        let n = self.part(part).map_or(0, Samples::len) as u32;
        match (part, self.held_out.is_empty()) {
            (Part::Validation, _) => self.held_out.clone(),
            (Part::Train, false) => {
                (0..n + self.held_out.len() as u32).filter(|row| self.held_out.binary_search(row).is_err()).collect()
            }
            _ => (0..n).collect(),
        }
    }

    /// The samples of a part, where there are any.
    pub fn part(&self, part: Part) -> Option<&Samples> {
        match part {
            Part::Train => Some(&self.train),
            Part::Validation => self.validation.as_ref(),
            Part::Test => self.test.as_ref(),
        }
    }

    /// The error that the data set has no such part.
    pub(crate) fn missing(&self, part: Part) -> Error {
        Error::data(&self.name, format!("expected a {part:?} part to evaluate, found none").to_lowercase())
    }

    /// Moves a random `fraction` of the training part, drawn with `seed`, to the validation part; 0 moves nothing.
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
        self.held_out = validation.to_vec();
        self.validation = Some(self.train.select(validation, width));
        self.train = self.train.select(train, width);
        Ok(self)
    }

    /// Draws `count` samples of a part with `seed`, without replacement: their places in it, ascending; all of them, where it
    /// has no more or no number is given.
    ///
    /// # Errors
    /// No such part, or a count of 0.
    pub fn draw(&self, part: Part, count: Option<usize>, seed: u64) -> Result<Vec<u32>> {
        let n = self.part(part).ok_or_else(|| self.missing(part))?.len();
        if count == Some(0) {
            return Err(Error::config("samples", "expected at least 1, found 0"));
        }
        let mut places: Vec<u32> = (0..n as u32).collect();
        if let Some(count) = count.filter(|&count| count < n) {
            Stream::new(seed, Purpose::Exploration, 0).shuffle(&mut places);
            places.truncate(count);
            places.sort_unstable();
        }
        Ok(places)
    }

    /// The data set whose training part are the samples of `part` at `places`, all of which count alike, and that has no other
    /// part; read and scaled as this one.
    ///
    /// # Errors
    /// No such part.
    ///
    /// # Panics
    /// If a place is beyond the part's end.
    pub fn only(&self, part: Part, places: &[u32]) -> Result<Self> {
        let samples = self.part(part).ok_or_else(|| self.missing(part))?;
        let train = Samples { weights: None, ..samples.select(places, self.width()) };
        Ok(Self {
            name: self.name.clone(),
            classes: self.classes.clone(),
            train,
            validation: None,
            held_out: Vec::new(),
            test: None,
            normalization: self.normalization.clone(),
            target_scaling: self.target_scaling.clone(),
            encoding: self.encoding.clone(),
            ..*self
        })
    }

    /// A fingerprint of the features and targets of the training part, by which the same samples are known again wherever they
    /// lie: 16 hexadecimal digits.
    fn fingerprint(&self) -> String {
        format!("{:016x}", self.hash_of(&self.train))
    }

    /// A digest of all that a training takes from the data set: the features, targets and weights of every part, in
    /// hexadecimal digits.
    #[cfg(feature = "run")]
    pub(crate) fn digest(&self) -> String {
        let parts = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        let digest = |samples: &Samples| {
            let weights = samples.weights.iter().flatten().map(|weight| weight.to_bits());
            weights.fold(self.hash_of(samples), hash)
        };
        format!("{:016x}", parts.iter().map(|part| part.map_or(0, digest)).fold(0, hash))
    }

    /// A hash of the features and targets of a part.
    fn hash_of(&self, samples: &Samples) -> u64 {
        let width = self.width();
        let row = |row| hash(samples.features.row_hash(row, width), samples.targets.row_hash(row));
        (0..samples.len()).map(row).fold(0, hash)
    }

    /// The largest magnitude of a feature, as the network sees it, or of a target, where these are numbers.
    pub(crate) fn largest(&self) -> f64 {
        let parts = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        let most = |max: f64, x: &f64| max.max(x.abs());
        let mut x = vec![0.0f64; self.width()];
        let mut largest = 0.0;
        for samples in parts.into_iter().flatten() {
            if !matches!(samples.features, Features::U8(_)) {
                for row in 0..samples.len() {
                    self.read_row(&samples.features, row, &mut x);
                    largest = x.iter().fold(largest, most);
                }
            }
            if let Targets::Values { values, .. } = &samples.targets {
                largest = values.iter().fold(largest, most);
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: Vec<f32>, labels: Vec<u32>) -> Result<Dataset> {
        let width = values.len() / labels.len().max(1);
        let train = Samples::labelled(values, labels);
        Dataset::new("table", [width, 1, 1], train, None)
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
