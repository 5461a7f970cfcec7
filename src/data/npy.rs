//! Pairs of NumPy arrays: features and targets, one row a sample.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use npyz::{Deserialize, NpyFile, Order, TypeChar};

use super::{Dataset, Features, MOST_CLASSES, Samples, Shaped, Targets};
use crate::error::{Error, Result};

/// The data set of features and targets of the training part, then optionally of the test part.
pub(super) fn npy(files: &[PathBuf], name: &str) -> Result<Dataset> {
    Dataset::of_pairs(files, name, "samples", pair)
}

fn pair(x: &Path, y: &Path) -> Result<Shaped> {
    let (dims, features) = features(x)?;
    let shape = match dims[..] {
        [_, columns] => [columns, 1, 1],
        [_, height, width] => [1, height, width],
        [_, channels, height, width] => [channels, height, width],
        _ => return Err(Error::data(x, format!("expected 2 to 4 dimensions, one row a sample, found {dims:?}"))),
    };
    let (target_dims, targets) = targets(y)?;
    if target_dims.first() != dims.first() {
        return Err(Error::data(
            y,
            format!("expected {} rows, as in {}, found shape {target_dims:?}", dims[0], x.display()),
        ));
    }
    Ok((Samples { features, targets, weights: None }, shape))
}

fn features(path: &Path) -> Result<(Vec<usize>, Features)> {
    let file = Array::open(path)?;
    let dims = file.dims.clone();
    let features = match file.kind {
        (TypeChar::Uint, 1) => Features::U8(file.values()?),
        (TypeChar::Float, 2) => Features::from(file.values::<half::f16>()?),
        (TypeChar::Float, 4) => Features::F32(file.values()?),
        (TypeChar::Float, 8) => Features::F64(file.values()?),
        _ => return Err(file.unexpected("features of type u1, f2, f4 or f8")),
    };
    match &features {
        Features::U8(_) => {}
        Features::F32(values) => check_finite(path, values.iter().map(|&x| f64::from(x)), &dims, "feature")?,
        Features::F64(values) => check_finite(path, values.iter().copied(), &dims, "feature")?,
    }
    Ok((dims, features))
}

fn targets(path: &Path) -> Result<(Vec<usize>, Targets)> {
    let file = Array::open(path)?;
    let dims = file.dims.clone();
    if let (TypeChar::Float, bytes) = file.kind {
        let width = match dims[..] {
            [_] => 1,
            [_, width] => width,
            _ => return Err(Error::data(path, format!("expected targets of 1 or 2 dimensions, found {dims:?}"))),
        };
        let values: Vec<f64> = match bytes {
            4 => file.values::<f32>()?.into_iter().map(f64::from).collect(),
            8 => file.values()?,
            _ => return Err(file.unexpected("targets of type f4 or f8")),
        };
        check_finite(path, values.iter().copied(), &dims, "target")?;
        return Ok((dims, Targets::Values { width: width.max(1), values }));
    }
    if !matches!(dims[..], [_] | [_, 1]) {
        return Err(Error::data(path, format!("expected one label a row, found shape {dims:?}")));
    }
    let labels: Vec<i64> = match file.kind {
        (TypeChar::Int, 8) => file.values()?,
        (TypeChar::Int, 4) => file.values::<i32>()?.into_iter().map(i64::from).collect(),
        (TypeChar::Uint, 1) => file.values::<u8>()?.into_iter().map(i64::from).collect(),
        _ => return Err(file.unexpected("labels of type i8, i4 or u1, or targets of type f4 or f8")),
    };
    if let Some(row) = labels.iter().position(|label| !(0..MOST_CLASSES as i64).contains(label)) {
        return Err(Error::data(
            path,
            format!("expected labels 0 to {}, found {} in row {row}", MOST_CLASSES - 1, labels[row]),
        ));
    }
    Ok((dims, Targets::Labels(labels.into_iter().map(|label| label as u32).collect())))
}

/// The numbers of a one-dimensional array of floats.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read_numbers(path: &Path) -> Result<Vec<f64>> {
    match targets(path)? {
        (dims, Targets::Values { width: 1, values }) if dims.len() == 1 => Ok(values),
        (dims, _) => Err(Error::data(path, format!("expected floats in one dimension, found shape {dims:?}"))),
    }
}

/// Refuses NaN and infinity, with their place.
fn check_finite(path: &Path, values: impl Iterator<Item = f64>, dims: &[usize], what: &str) -> Result<()> {
    let width: usize = dims.iter().skip(1).product();
    match values.enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((i, found)) => Err(Error::data(
            path,
            format!("expected finite {what}s, found {found} in sample {}, {what} {}", i / width, i % width),
        )),
    }
}

/// An opened file, its header read.
struct Array<'a> {
    path: &'a Path,
    dims: Vec<usize>,
    /// The type of an element, and its bytes.
    kind: (TypeChar, u64),
    type_name: String,
    file: NpyFile<Cursor<Vec<u8>>>,
}

impl<'a> Array<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let file = NpyFile::new(Cursor::new(bytes))
            .map_err(|error| Error::data(path, format!("expected a .npy file, found: {error}")))?;
        let npyz::DType::Plain(kind) = file.dtype() else {
            return Err(Error::data(path, format!("expected plain numbers, found {}", file.dtype().descr())));
        };
        if file.order() == Order::Fortran && file.shape().len() > 1 {
            return Err(Error::data(path, "expected row-major (C) order, found Fortran order; save a contiguous copy"));
        }
        let dims = file.shape().iter().map(|&d| d as usize).collect();
        Ok(Self { path, dims, kind: (kind.type_char(), kind.size_field()), type_name: kind.to_string(), file })
    }

    fn values<T: Deserialize>(self) -> Result<Vec<T>> {
        let wanted = self.file.len();
        let bytes = self.file.header().dtype().num_bytes().unwrap_or(0) as u64 * wanted;
        let path = self.path;
        let here = std::fs::metadata(path).map_err(Error::io(path))?.len();
        if bytes > here {
            return Err(Error::data(path, format!("the header promises {bytes} bytes, the file has {here}")));
        }
        self.file.into_vec().map_err(|error| Error::data(path, format!("expected {wanted} values, found: {error}")))
    }

    fn unexpected(&self, expected: &str) -> Error {
        Error::data(self.path, format!("expected {expected}, found {}", self.type_name))
    }
}
