//! Naming and loading a data set.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Dataset;
use super::cifar::{Kind, cifar};
use super::idx::{idx, mnist_files};
use super::npy::npy;
use super::synthetic::synthetic;
use crate::error::{Error, Result};

/// The source of a data set, as a user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// `synthetic`: 12,000 built-in images of 32×32×3 in ten classes, drawn from a seed.
    #[default]
    Synthetic,
    /// `cifar10:DIR`: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
    Cifar10(PathBuf),
    /// `cifar100:DIR`: `train.bin` and `test.bin`; the fine labels.
    Cifar100(PathBuf),
    /// `mnist:DIR` or `fashion-mnist:DIR`: the four IDX files, plain or gzipped, with ten classes.
    Mnist {
        /// The name of the set: `mnist` or `fashion-mnist`.
        name: &'static str,
        /// The folder of the files.
        dir: PathBuf,
    },
    /// `idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS]`: IDX files of any size.
    Idx(Vec<PathBuf>),
    /// `npy:X,Y[,TEST_X,TEST_Y]`: NumPy arrays, a row a sample. Features u8, f16, f32 or f64 in 2 dimensions (columns),
    /// 3 (height, width) or 4 (channels, height, width); labels i64, i32 or u8, or regression targets f32 or f64.
    Npy(Vec<PathBuf>),
}

/// Every form of a source, for messages.
const FORMS: &str = "synthetic, cifar10:DIR, cifar100:DIR, mnist:DIR, fashion-mnist:DIR, \
                     idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS] or npy:X,Y[,TEST_X,TEST_Y]";

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::config("data.source", format!("expected {FORMS}, found {text:?}"));
        if text == "synthetic" {
            return Ok(Self::Synthetic);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        let files = || {
            let files: Vec<PathBuf> = rest.split(',').map(PathBuf::from).collect();
            if matches!(files.len(), 2 | 4) && files.iter().all(|f| !f.as_os_str().is_empty()) {
                Ok(files)
            } else {
                Err(bad())
            }
        };
        match kind {
            "npy" => Ok(Self::Npy(files()?)),
            "idx" => Ok(Self::Idx(files()?)),
            _ if rest.is_empty() => Err(bad()),
            "cifar10" => Ok(Self::Cifar10(rest.into())),
            "cifar100" => Ok(Self::Cifar100(rest.into())),
            "mnist" => Ok(Self::Mnist { name: "mnist", dir: rest.into() }),
            "fashion-mnist" => Ok(Self::Mnist { name: "fashion-mnist", dir: rest.into() }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |files: &[PathBuf]| files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(",");
        match self {
            Self::Synthetic => write!(f, "synthetic"),
            Self::Cifar10(dir) => write!(f, "cifar10:{}", dir.display()),
            Self::Cifar100(dir) => write!(f, "cifar100:{}", dir.display()),
            Self::Mnist { name, dir } => write!(f, "{name}:{}", dir.display()),
            Self::Idx(files) => write!(f, "idx:{}", list(files)),
            Self::Npy(files) => write!(f, "npy:{}", list(files)),
        }
    }
}

impl Source {
    /// Loads the data set; `seed` draws the synthetic one. It is neither split nor normalised.
    ///
    /// # Errors
    /// A file that is missing, or that is not what its format promises; the text names it.
    pub fn load(&self, seed: u64) -> Result<Dataset> {
        let name = self.to_string();
        match self {
            Self::Synthetic => synthetic(seed),
            Self::Cifar10(dir) => cifar(Kind::Cifar10, dir, &name),
            Self::Cifar100(dir) => cifar(Kind::Cifar100, dir, &name),
            Self::Mnist { dir, name: kind } => {
                let mut dataset = idx(&mnist_files(dir)?, &name, Some(10))?;
                if *kind == "fashion-mnist" {
                    dataset.classes = FASHION.map(String::from).to_vec();
                }
                Ok(dataset)
            }
            Self::Idx(files) => idx(files, &name, None),
            Self::Npy(files) => npy(files, &name),
        }
    }
}

const FASHION: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
