//! How the values of files become features and classes, so that other files are read in the same way.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::MOST_CLASSES;
#[cfg(feature = "run")]
use super::{Dataset, Samples, Targets};
use crate::error::{Error, Result};
use crate::model::MOST_PARAMETERS;

/// The meaning of targets: classes, or numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The class of each sample.
    Labels,
    /// Numbers to be predicted: a regression.
    Values,
}

/// The order of the dimensions of images in an array of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Samples, channels, height, width: PyTorch's order.
    Nchw,
    /// Samples, height, width, channels: the order of TensorFlow and of image files.
    Nhwc,
}

/// The user's word on what files do not say themselves; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The meaning of targets that may be either: whole numbers kept as floats, and integers, which stay labels where they
    /// look like it (0, 1, 2 and so on without a gap, below 100). Default: whole floats, and integers that make more classes
    /// than there are samples, are refused with a question; other integers are labels.
    pub targets: Option<TargetKind>,
    /// The number of classes, 1 to 65,536. Default: as many as the labels show.
    pub classes: Option<usize>,
    /// The order of the dimensions of images. Default: channels first, and a question where the shape speaks against it.
    pub layout: Option<Layout>,
}

/// A column of a table that features are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The name of the column in the table's header.
    pub name: String,
    /// The categories of the column in the order of its features, each 1 in the rows of its category and else 0; none
    /// where the column holds numbers and is one feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
}

/// The reading of a data set: all that its files decided about what features and classes are, with which
/// [`Source::load_as`](super::Source::load_as) reads other files in the same way. A run keeps it in its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Encoding {
    /// The meaning of the targets. None where it was not recorded; integers are labels then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<TargetKind>,
    /// The number of classes, or of regression targets; 0 where it was not recorded.
    pub outputs: usize,
    /// What stands for each class in the files, such as `-1` and `1`, or `cat` and `dog`; empty where labels are the
    /// numbers of the classes, counted from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The names of the classes, where the data set has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The order of the dimensions of images, where there were four.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The name of the column of targets, of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The columns of features, of a table, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// The shape of a sample: channels, height, width. None where it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 3]>,
    /// Whether the features are pixels, values of one byte, 0 to 255. False where it was not recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pixels: bool,
    /// The fingerprint of the training part, features and targets, by which the same samples are known again wherever they lie.
    /// None where it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

#[cfg(feature = "run")]
impl Dataset {
    /// A data set that is read as this says, of one sample that is all 0; for what looks at no samples. `place` is where it is said.
    ///
    /// # Errors
    /// A reading whose shape or outputs were not recorded, or are too many.
    pub(crate) fn blank(place: &Path, encoding: Encoding) -> Result<Self> {
        encoding.check(place)?;
        let width = encoding.shape.and_then(|shape| shape.iter().try_fold(1usize, |n, &m| n.checked_mul(m)));
        let (Some(shape), Some(width @ 1..=MOST_PARAMETERS), 1..) = (encoding.shape, width, encoding.outputs) else {
            let (shape, outputs) = (encoding.shape.unwrap_or_default(), encoding.outputs);
            let found = format!("expected the shape of a sample and outputs, found {shape:?} and {outputs}");
            return Err(Error::data(place, found));
        };
        let targets = match encoding.targets {
            Some(TargetKind::Values) => {
                Targets::Values { width: encoding.outputs, values: vec![0.0; encoding.outputs] }
            }
            _ => Targets::Labels(vec![0]),
        };
        let samples = Samples { features: vec![0f32; width].into(), targets, weights: None };
        let mut dataset =
            Self::with_outputs(place.display().to_string(), shape, samples, None, Some(encoding.outputs))?;
        dataset.classes.clone_from(&encoding.classes);
        dataset.encoding = encoding;
        Ok(dataset)
    }
}

impl Encoding {
    /// The names of the classes: those that the data set has, or what stands for them in the files; empty where labels are the
    /// numbers of the classes.
    pub fn names(&self) -> &[String] {
        if self.classes.is_empty() { &self.labels } else { &self.classes }
    }

    /// Refuses more outputs than a network may have, before anything is made of their number; `place` is where they are said.
    pub(super) fn check(&self, place: &Path) -> Result<()> {
        let (noun, most) = match self.targets {
            Some(TargetKind::Values) => ("targets a sample", MOST_PARAMETERS),
            _ => ("classes", MOST_CLASSES),
        };
        if self.outputs > most {
            return Err(Error::data(place, format!("expected at most {most} {noun}, found {}", self.outputs)));
        }
        Ok(())
    }

    /// What a user should know of the reading, a line each: labels that were mapped, categories, the order of dimensions.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(first), Some(last)) = (self.labels.first(), self.labels.last()) {
            let labels = if self.labels.len() > 4 { format!("{first} to {last}") } else { self.labels.join(", ") };
            lines.push(format!("labels {labels} are classes 0 to {}", self.labels.len() - 1));
        }
        let count = |column: &Column| Some(format!("{} ({})", column.name, column.categories.as_ref()?.len()));
        let categories: Vec<String> = self.columns.iter().filter_map(count).collect();
        if !categories.is_empty() {
            lines.push(format!("a feature for each category of {}", categories.join(", ")));
        }
        if self.layout == Some(Layout::Nhwc) {
            lines.push("channels are moved before height and width".into());
        }
        lines
    }
}
