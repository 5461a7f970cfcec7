//! Naming and loading a data set.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::cifar::{Kind, cifar};
use super::csv::{Csv, csv};
use super::encoding::{Encoding, Hints};
use super::idx::{idx, mnist};
use super::npy::{npy, npz};
use super::synthetic::synthetic;
use super::tables::{Inputs, Rules, Tables};
use super::{Dataset, MOST_CLASSES, Part, files};
use crate::error::{Error, Result};

/// The source of a data set, as a user names it.
///
/// In a path, `~/` is the home folder; in a list, a comma that belongs to a path has a backslash before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// `synthetic`: 12,000 built-in images of 32×32×3 in ten classes, drawn from a seed.
    #[default]
    Synthetic,
    /// `cifar10:DIR`: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
    Cifar10(PathBuf),
    /// `cifar100:DIR`: `train.bin` and `test.bin`; the fine labels.
    Cifar100(PathBuf),
    /// `mnist:DIR` or `fashion-mnist:DIR`: the four IDX files, plain or gzipped, with ten classes, as published, as unpacked
    /// into folders of their names, or in torchvision's root.
    Mnist {
        /// The name of the set: `mnist` or `fashion-mnist`.
        name: &'static str,
        /// The folder of the files.
        dir: PathBuf,
    },
    /// `idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS]`: IDX files of any size; `idx:IMAGES` for predictions.
    Idx(Vec<PathBuf>),
    /// `npy:X,Y[,TEST_X,TEST_Y]`: NumPy arrays, a row a sample; `npy:X` for predictions. Features of any integer type, bool
    /// or floats in 2 dimensions (columns), 3 (height, width) or 4 (channels, height, width; see [`Hints::layout`]). Labels
    /// of any integer type, bool or text, as whole floats (see [`Hints::targets`]) or rows with a single 1, counted from 0
    /// or from 1, or -1 and 1; or regression targets, floats or integers. Parts of two types are both read as f64.
    Npy(Vec<PathBuf>),
    /// `npz:FILE[,x=NAME][,y=NAME][,test_x=NAME][,test_y=NAME]`: the same arrays in one archive. Default: the usual names,
    /// such as `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`.
    Npz {
        /// The archive.
        file: PathBuf,
        /// The names of the arrays of features and targets, then those of the test part.
        names: [Option<String>; 4],
    },
    /// `csv:FILE,target=NAME[,test=FILE][,categories=NAME...][,without=NAME...]`: a table with a header. Columns of words
    /// become a feature for each category, and a target of words becomes classes. Without a target for predictions.
    Csv(Csv),
}

/// Every form of a source, for messages.
const FORMS: &str = "synthetic, cifar10:DIR, cifar100:DIR, mnist:DIR, fashion-mnist:DIR, \
                     idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS], npy:X,Y[,TEST_X,TEST_Y], \
                     npz:FILE[,x=NAME,y=NAME,test_x=NAME,test_y=NAME] or csv:FILE,target=NAME[,test=FILE]";

/// The place of a reading that was decided before, for errors.
const ENCODING: &str = "encoding";

/// The keys of an archive's arrays, in their order.
const ARRAYS: [&str; 4] = ["x", "y", "test_x", "test_y"];

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::config("data.source", format!("expected {FORMS}, found {text:?}"));
        if text == "synthetic" {
            return Ok(Self::Synthetic);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        let is_list = matches!(kind, "npy" | "idx" | "npz" | "csv");
        let items = files::split(rest);
        if rest.is_empty() || (is_list && items.iter().any(String::is_empty)) {
            return Err(bad());
        }
        let all = || match items.len() {
            1 | 2 | 4 => Ok(items.iter().map(|item| files::expand(item)).collect()),
            _ => Err(bad()),
        };
        let (dir, file) = (files::expand(rest), files::expand(&items[0]));
        let pairs = items[1..].iter().map(|item| item.split_once('='));
        let pairs: Option<Vec<(&str, &str)>> = pairs.map(|pair| pair.filter(|(_, value)| !value.is_empty())).collect();
        match kind {
            "npy" => Ok(Self::Npy(all()?)),
            "idx" => Ok(Self::Idx(all()?)),
            "npz" => {
                let mut names = [const { None }; 4];
                for (key, value) in pairs.ok_or_else(bad)? {
                    let i = ARRAYS.iter().position(|array| *array == key).ok_or_else(bad)?;
                    names[i] = Some(value.to_string());
                }
                Ok(Self::Npz { file, names })
            }
            "csv" => {
                let mut csv = Csv { file, ..Csv::default() };
                for (key, value) in pairs.ok_or_else(bad)? {
                    match key {
                        "target" => csv.target = Some(value.into()),
                        "test" => csv.test = Some(files::expand(value)),
                        "categories" => csv.categories.push(value.into()),
                        "without" => csv.without.push(value.into()),
                        _ => return Err(bad()),
                    }
                }
                Ok(Self::Csv(csv))
            }
            "cifar10" => Ok(Self::Cifar10(dir)),
            "cifar100" => Ok(Self::Cifar100(dir)),
            "mnist" => Ok(Self::Mnist { name: "mnist", dir }),
            "fashion-mnist" => Ok(Self::Mnist { name: "fashion-mnist", dir }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |path: &PathBuf| path.display().to_string();
        match self {
            Self::Synthetic => write!(f, "synthetic"),
            Self::Cifar10(dir) => write!(f, "cifar10:{}", dir.display()),
            Self::Cifar100(dir) => write!(f, "cifar100:{}", dir.display()),
            Self::Mnist { name, dir } => write!(f, "{name}:{}", dir.display()),
            Self::Idx(files) => write!(f, "idx:{}", files::join(files.iter().map(show))),
            Self::Npy(files) => write!(f, "npy:{}", files::join(files.iter().map(show))),
            Self::Npz { file, names } => {
                let pair = |(key, name): (&str, &Option<String>)| Some(format!("{key}={}", name.as_ref()?));
                let pairs = ARRAYS.into_iter().zip(names).filter_map(pair);
                write!(f, "npz:{}", files::join(std::iter::once(show(file)).chain(pairs)))
            }
            Self::Csv(csv) => {
                let one = |key: &str, value: Option<String>| value.map(|value| format!("{key}={value}"));
                let all =
                    |key: &str, names: &[String]| names.iter().map(|name| format!("{key}={name}")).collect::<Vec<_>>();
                let mut items = vec![show(&csv.file)];
                items.extend(one("target", csv.target.clone()));
                items.extend(one("test", csv.test.as_ref().map(show)));
                items.extend(all("categories", &csv.categories));
                items.extend(all("without", &csv.without));
                write!(f, "csv:{}", files::join(items))
            }
        }
    }
}

impl Source {
    /// Loads the data set; `seed` draws the synthetic one. It is neither split nor normalised.
    ///
    /// # Errors
    /// A file that is missing, or that is not what its format promises; the text names it.
    pub fn load(&self, seed: u64) -> Result<Dataset> {
        self.load_with(seed, &Hints::default())
    }

    /// Loads the data set as [`load`](Self::load), where files leave it open what they mean, as `hints` say.
    ///
    /// # Errors
    /// What [`load`](Self::load) refuses, and hints that the files contradict.
    pub fn load_with(&self, seed: u64, hints: &Hints) -> Result<Dataset> {
        if let Some(classes) = hints.classes.filter(|classes| !(1..=MOST_CLASSES).contains(classes)) {
            return Err(Error::config("data.classes", format!("expected 1 to {MOST_CLASSES}, found {classes}")));
        }
        self.read(seed, Rules::Hints(hints))?.dataset(&self.to_string(), Rules::Hints(hints))
    }

    /// Loads the data set and reads its files as `encoding` says, that of the data set that a model was trained on: the same
    /// labels are the same classes, the same words the same features.
    ///
    /// # Errors
    /// What [`load`](Self::load) refuses, and labels, words or columns that the encoding does not know.
    pub fn load_as(&self, seed: u64, encoding: &Encoding) -> Result<Dataset> {
        encoding.check(Path::new(ENCODING))?;
        self.read(seed, Rules::Encoding(encoding))?.dataset(&self.to_string(), Rules::Encoding(encoding))
    }

    /// Loads the features of one part, the training or the test part (the latter by default, where there is one), to predict
    /// for them, and their targets where the files have them; both read as `encoding` says.
    ///
    /// ```
    /// use thalweg::data::{Encoding, Part, Source};
    /// let inputs = Source::Synthetic.inputs(0, &Encoding::default(), Some(Part::Test))?;
    /// assert_eq!((inputs.shape, inputs.features.len()), ([3, 32, 32], 2000 * 3072));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    ///
    /// # Errors
    /// What [`load_as`](Self::load_as) refuses, or no such part.
    pub fn inputs(&self, seed: u64, encoding: &Encoding, part: Option<Part>) -> Result<Inputs> {
        encoding.check(Path::new(ENCODING))?;
        self.read(seed, Rules::Inputs(encoding))?.inputs(&self.to_string(), encoding, part)
    }

    /// The arrays that the files hold.
    fn read(&self, seed: u64, rules: Rules) -> Result<Tables> {
        Ok(match self {
            Self::Synthetic => synthetic(seed),
            Self::Cifar10(dir) => cifar(Kind::Cifar10, dir)?,
            Self::Cifar100(dir) => cifar(Kind::Cifar100, dir)?,
            Self::Mnist { dir, name } => {
                let tables = mnist(dir, name, rules)?;
                let is_fashion = *name == "fashion-mnist";
                Tables { names: if is_fashion { FASHION.map(String::from).to_vec() } else { Vec::new() }, ..tables }
            }
            Self::Idx(files) => idx(files, rules)?,
            Self::Npy(files) => npy(files, rules)?,
            Self::Npz { file, names } => npz(file, names, rules)?,
            Self::Csv(table) => csv(table, rules)?,
        })
    }

    /// The files and folders of the source.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Synthetic => Vec::new(),
            Self::Cifar10(dir) | Self::Cifar100(dir) | Self::Mnist { dir, .. } => vec![dir],
            Self::Idx(files) | Self::Npy(files) => files.iter().map(PathBuf::as_path).collect(),
            Self::Npz { file, .. } => vec![file],
            Self::Csv(csv) => std::iter::once(csv.file.as_path()).chain(csv.test.as_deref()).collect(),
        }
    }

    /// Whether the format has no other features than pixels of one byte.
    #[cfg(feature = "run")]
    pub(crate) fn has_pixels(&self) -> bool {
        match self {
            Self::Synthetic | Self::Cifar10(_) | Self::Cifar100(_) | Self::Mnist { .. } | Self::Idx(_) => true,
            Self::Npy(_) | Self::Npz { .. } | Self::Csv(_) => false,
        }
    }

    /// The same source with absolute paths, which lead to it from any folder.
    ///
    /// # Errors
    /// The working folder cannot be told.
    pub fn absolute(&self) -> Result<Self> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Error::io(path));
        let all = |files: &[PathBuf]| files.iter().map(absolute).collect::<Result<Vec<_>>>();
        Ok(match self {
            Self::Synthetic => Self::Synthetic,
            Self::Cifar10(dir) => Self::Cifar10(absolute(dir)?),
            Self::Cifar100(dir) => Self::Cifar100(absolute(dir)?),
            Self::Mnist { name, dir } => Self::Mnist { name, dir: absolute(dir)? },
            Self::Idx(files) => Self::Idx(all(files)?),
            Self::Npy(files) => Self::Npy(all(files)?),
            Self::Npz { file, names } => Self::Npz { file: absolute(file)?, names: names.clone() },
            Self::Csv(csv) => {
                let test = csv.test.as_ref().map(absolute).transpose()?;
                Self::Csv(Csv { file: absolute(&csv.file)?, test, ..csv.clone() })
            }
        })
    }
}

const FASHION: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
