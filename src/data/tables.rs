//! From the arrays that files hold to a data set.

use std::path::{Path, PathBuf};

use super::encoding::{Column, Encoding, Hints, Layout, TargetKind};
use super::targets::{Raw, are_numbers, check_unasked, decide, decode};
use super::{Dataset, Features, Part, Samples, Targets};
use crate::error::{Error, Result};

/// Samples that are no data set: features, and targets where their files have them; what predictions are made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// The features, a sample after the other, not normalised.
    pub features: Features,
    /// The shape of a sample: channels, height, width.
    pub shape: [usize; 3],
    /// The targets, read as the encoding says; none where the files have none.
    pub targets: Option<Targets>,
}

/// The arrays of one part.
#[derive(Clone)]
pub(super) struct Table {
    pub features: Features,
    pub shape: [usize; 3],
    /// The targets, and the place where they lie, for errors.
    pub targets: Option<(PathBuf, Raw)>,
    /// The place of the features, for errors.
    pub place: PathBuf,
}

/// All that the files of a data set hold.
pub(super) struct Tables {
    pub train: Table,
    pub test: Option<Table>,
    /// The number of classes that the format promises.
    pub classes: Option<usize>,
    /// The names of the classes.
    pub names: Vec<String>,
    pub layout: Option<Layout>,
    pub target: Option<String>,
    pub columns: Vec<Column>,
}

/// The rules that files are read by: a user's hints, or what was decided when other files were read.
#[derive(Clone, Copy)]
pub(super) enum Rules<'a> {
    Hints(&'a Hints),
    Encoding(&'a Encoding),
    /// As `Encoding`, of one part, which is to be predicted and may have no targets.
    Inputs(&'a Encoding),
}

impl<'a> Rules<'a> {
    /// The order of dimensions that is asked for.
    pub fn layout(self) -> Option<Layout> {
        match self {
            Self::Hints(hints) => hints.layout,
            Self::Encoding(encoding) | Self::Inputs(encoding) => encoding.layout,
        }
    }

    /// The reading that was decided before.
    pub fn encoding(self) -> Option<&'a Encoding> {
        match self {
            Self::Hints(_) => None,
            Self::Encoding(encoding) | Self::Inputs(encoding) => Some(encoding),
        }
    }
}

impl Table {
    /// The table of features and targets, which have as many rows.
    ///
    /// # Errors
    /// They have not.
    pub fn new(place: PathBuf, features: Features, shape: [usize; 3], targets: Option<(PathBuf, Raw)>) -> Result<Self> {
        let width = shape.iter().product::<usize>().max(1);
        let rows = features.len() / width;
        if let Some((target_place, raw)) = &targets
            && raw.len() != rows
        {
            let text = format!("expected {rows} rows, as in {}, found {}", place.display(), raw.len());
            return Err(Error::data(target_place, text));
        }
        Ok(Self { features, shape, targets, place })
    }

    /// Samples with their labels, counted from 0.
    pub fn labelled(samples: Samples, shape: [usize; 3], place: PathBuf) -> Self {
        let targets = match samples.targets {
            Targets::Labels(labels) => Some((place.clone(), Raw::Labels(labels))),
            Targets::Values { .. } => None,
        };
        Self { features: samples.features, shape, targets, place }
    }

    fn samples(self, encoding: &Encoding) -> Result<Samples> {
        Ok(match self.inputs(encoding)? {
            Inputs { features, targets: Some(Targets::Labels(labels)), .. } => Samples::labelled(features, labels),
            Inputs { features, targets: Some(Targets::Values { width, values }), .. } => {
                Samples::valued(features, values, width)
            }
            Inputs { features, targets: None, .. } => Samples::labelled(features, []),
        })
    }

    fn inputs(self, encoding: &Encoding) -> Result<Inputs> {
        let targets = self.targets.map(|(place, raw)| decode(&place, &raw, encoding)).transpose()?;
        Ok(Inputs { features: self.features, shape: self.shape, targets })
    }
}

impl Tables {
    /// The tables of features and targets alone.
    pub fn new(train: Table, test: Option<Table>) -> Self {
        Self { train, test, classes: None, names: Vec::new(), layout: None, target: None, columns: Vec::new() }
    }

    /// The data set, whose targets are taken as `rules` say.
    ///
    /// # Errors
    /// A part without targets, or targets that are none.
    pub fn dataset(mut self, name: &str, rules: Rules) -> Result<Dataset> {
        for table in [Some(&self.train), self.test.as_ref()].into_iter().flatten() {
            if table.targets.is_none() {
                let text = "expected targets beside the features, found none; predictions alone need none";
                return Err(Error::data(&table.place, text));
            }
            if table.shape != self.train.shape {
                let noun = if self.train.shape[1..] == [1, 1] { "samples" } else { "images" };
                let text = format!("expected {noun} of {:?}, found {:?}", self.train.shape, table.shape);
                return Err(Error::data(&table.place, text));
            }
        }
        let encoding = self.encoding(rules)?;
        encoding.check(&self.train.place)?;
        let (shape, place) = (self.train.shape, self.train.place.clone());
        check_shape(&place, shape, &encoding)?;
        if self.train.features.is_empty() {
            return Err(Error::data(place, "expected at least one train sample, found none"));
        }
        if let Some(test) = self.test.as_mut().filter(|test| test.features.kind() != self.train.features.kind()) {
            self.train.features.widen();
            test.features.widen();
        }
        let train = self.train.samples(&encoding)?;
        let test = self.test.map(|test| test.samples(&encoding)).transpose()?;
        let mut dataset = Dataset::with_outputs(name, shape, train, test, Some(encoding.outputs))?;
        dataset.classes.clone_from(&encoding.classes);
        let pixels = matches!(dataset.train.features, Features::U8(_));
        let fingerprint = Some(dataset.fingerprint());
        dataset.encoding = Encoding { shape: Some(shape), pixels, fingerprint, ..encoding };
        Ok(dataset)
    }

    /// How targets are taken: as was decided before, or as the files at hand say.
    fn encoding(&self, rules: Rules) -> Result<Encoding> {
        let parts = [Some(&self.train), self.test.as_ref()];
        let parts = parts.into_iter().flatten().filter_map(|table| table.targets.as_ref());
        let parts: Vec<_> = parts.map(|(place, raw)| (place.as_path(), raw)).collect();
        let mut encoding = match rules {
            Rules::Encoding(encoding) | Rules::Inputs(encoding) => {
                let mut encoding = encoding.clone();
                if encoding.outputs == 0 {
                    encoding.outputs =
                        decide(&parts, &Hints { targets: encoding.targets, ..Hints::default() })?.outputs;
                }
                return Ok(encoding);
            }
            Rules::Hints(hints) => {
                let classes = self.classes.or(hints.classes);
                let hints = Hints { classes, ..*hints };
                let encoding = decide(&parts, &hints)?;
                check_unasked(&parts, &hints, &encoding)?;
                encoding
            }
        };
        if encoding.targets == Some(TargetKind::Labels) {
            encoding.classes = if self.names.is_empty() { named(&encoding.labels) } else { self.names.clone() };
        }
        (encoding.layout, encoding.target) = (self.layout, self.target.clone());
        encoding.columns.clone_from(&self.columns);
        Ok(encoding)
    }

    /// The samples of one part, with targets where there are any; the last part, where none is named.
    ///
    /// # Errors
    /// There is no such part.
    pub fn inputs(self, name: &str, encoding: &Encoding, part: Option<Part>) -> Result<Inputs> {
        let part = part.unwrap_or(if self.test.is_some() { Part::Test } else { Part::Train });
        let table = match part {
            Part::Train => Some(self.train),
            Part::Validation => None,
            Part::Test => self.test,
        };
        let missing = || Error::data(name, format!("expected a {part:?} part, found none").to_lowercase());
        let table = table.ok_or_else(missing)?;
        check_shape(&table.place, table.shape, encoding)?;
        let inputs = table.inputs(encoding)?;
        if let Some(targets) = inputs.targets.as_ref().filter(|_| encoding.outputs > 0) {
            targets.check_range(name, &format!("{part:?}").to_lowercase(), encoding.outputs)?;
        }
        Ok(inputs)
    }
}

/// Refuses samples of another shape than those that were read before.
fn check_shape(place: &Path, shape: [usize; 3], encoding: &Encoding) -> Result<()> {
    let of = |[channels, height, width]: [usize; 3]| match [height, width] {
        [1, 1] => format!("{channels} features"),
        _ => format!("images of {channels}x{height}x{width}"),
    };
    match encoding.shape.filter(|wanted| *wanted != shape) {
        Some(wanted) => Err(Error::data(place, format!("expected {}, as before, found {}", of(wanted), of(shape)))),
        None => Ok(()),
    }
}

/// Labels that are names, not numbers.
fn named(labels: &[String]) -> Vec<String> {
    if are_numbers(labels) { Vec::new() } else { labels.to_vec() }
}
