//! NumPy arrays, a row a sample: features and targets, from files of their own or out of one archive.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use npyz::{Deserialize, NpyFile, Order, TypeChar};

use super::encoding::Layout;
use super::files;
use super::npy_header::{Header, header, length, not_npy};
use super::tables::{Rules, Table, Tables};
use super::targets::{NumberKind, Raw};
use super::{Features, reserved};
use crate::error::{Error, Result};

/// The tables of features and targets of the training part, then optionally of the test part; features alone for
/// predictions.
pub(super) fn npy(files: &[PathBuf], rules: Rules) -> Result<Tables> {
    let arrays = files.iter().map(|file| Array::read(file).map(Some));
    let mut arrays = arrays.collect::<Result<Vec<_>>>()?;
    arrays.resize_with(4, || None);
    tables(arrays, rules)
}

/// The numbers of a one-dimensional `.npy` array of any type of number.
///
/// # Errors
/// The file cannot be read, holds something else, or a number that is not finite.
pub fn read_numbers(path: &Path) -> Result<Vec<f64>> {
    let array = Array::read(path)?;
    let dims = array.dims.clone();
    if dims.len() != 1 {
        return Err(Error::data(path, format!("expected numbers in one dimension, found shape {dims:?}")));
    }
    let numbers = array.numbers()?;
    check_finite(path, numbers.iter().copied(), &dims, "number")?;
    Ok(numbers)
}

/// The arrays that an archive may hold, by what they are taken for: features and targets, of the training and the test part.
const NAMES: [&[&str]; 4] = [
    &["x", "X", "x_train", "X_train", "train_x", "train_X", "train_images", "features", "images", "data"],
    &["y", "Y", "y_train", "Y_train", "train_y", "train_labels", "labels", "targets", "target", "label"],
    &["x_test", "X_test", "test_x", "test_X", "test_images"],
    &["y_test", "Y_test", "test_y", "test_labels"],
];

/// The same from one `.npz` archive; `names` are those of the arrays, the usual ones where there are none.
pub(super) fn npz(path: &Path, names: &[Option<String>; 4], rules: Rules) -> Result<Tables> {
    let file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    let bad = |error: zip::result::ZipError| Error::data(path, format!("expected an .npz archive, found: {error}"));
    let mut archive = match zip::ZipArchive::new(file) {
        Ok(archive) => archive,
        // A page in the place of the archive is told by name.
        Err(error) => return Err(files::read(path, |_| Ok(0)).map_or_else(|error| error, |_| bad(error))),
    };
    let has = |archive: &zip::ZipArchive<File>, name: &str| archive.index_for_name(&format!("{name}.npy")).is_some();
    let mut arrays = Vec::new();
    for (i, (asked, usual)) in names.iter().zip(NAMES).enumerate() {
        let name = match asked {
            Some(name) => Some(name.as_str()),
            None => usual.iter().copied().find(|name| has(&archive, name)),
        };
        let Some(name) = name.filter(|name| has(&archive, name)) else {
            if i == 0 || asked.is_some() {
                let found: Vec<_> =
                    archive.file_names().flatten().map(|name| name.trim_end_matches(".npy").to_string()).collect();
                let key = ["x", "y", "test_x", "test_y"][i];
                let wanted = asked.clone().unwrap_or_else(|| usual.join(", "));
                let text = format!("expected an array {wanted}, found {}; {key}=NAME names it", found.join(", "));
                return Err(Error::data(path, text));
            }
            arrays.push(None);
            continue;
        };
        let place = PathBuf::from(format!("{}[{name}]", path.display()));
        let entry = archive.by_name(&format!("{name}.npy")).map_err(bad)?;
        let packed = entry.compressed_size().min(size);
        let bytes = files::read_from(entry, Some(packed), &place, Error::io(path), |head| length(&place, head))?;
        arrays.push(Some(Array::parse(place, bytes)?));
    }
    tables(arrays, rules)
}

/// The tables of features, targets, and those of the test part.
fn tables(arrays: Vec<Option<Array>>, rules: Rules) -> Result<Tables> {
    let mut arrays = arrays.into_iter();
    let mut next = || arrays.next().flatten();
    let (x, y, test_x, test_y) = (next(), next(), next(), next());
    let x = x.ok_or_else(|| Error::config("data.source", "expected an array of features, found none"))?;
    let layout = rules.layout().filter(|_| x.dims.len() == 4);
    let train = table(x, y, rules.layout())?;
    let test = test_x.map(|x| table(x, test_y, rules.layout())).transpose()?;
    Ok(Tables { layout, ..Tables::new(train, test) })
}

fn table(x: Array, y: Option<Array>, layout: Option<Layout>) -> Result<Table> {
    let (place, dims) = (x.place.clone(), x.dims.clone());
    let (shape, features) = image_layout(&place, &dims, x.features()?, layout)?;
    let targets = y.map(|y| Ok((y.place.clone(), y.targets()?))).transpose()?;
    Table::new(place, features, shape, targets)
}

/// The channels, height and width of rows of `dims`, and their features with the channels first.
///
/// # Errors
/// Other than two to four dimensions, or channels that seem to come last without a word of the user.
pub(super) fn image_layout(
    place: &Path,
    dims: &[usize],
    features: Features,
    layout: Option<Layout>,
) -> Result<([usize; 3], Features)> {
    let are_channels = |n: usize| matches!(n, 1 | 3 | 4);
    match *dims {
        [_, columns] => Ok(([columns, 1, 1], features)),
        [_, height, width] => Ok(([1, height, width], features)),
        [_, height, width, channels] if layout == Some(Layout::Nhwc) => {
            let samples = [height * width, channels];
            let features = match features {
                Features::U8(v) => Features::U8(transposed(&v, samples)),
                Features::F32(v) => Features::F32(transposed(&v, samples)),
                Features::F64(v) => Features::F64(transposed(&v, samples)),
            };
            Ok(([channels, height, width], features))
        }
        [_, first, _, last] if layout.is_none() && are_channels(last) && !are_channels(first) => Err(Error::data(
            place,
            format!(
                "expected samples x channels x height x width, found {dims:?}, whose channels seem to come last: \
                 --layout nhwc takes them so, --layout nchw has {first} channels"
            ),
        )),
        [_, channels, height, width] => Ok(([channels, height, width], features)),
        _ => Err(Error::data(place, format!("expected 2 to 4 dimensions, one row a sample, found {dims:?}"))),
    }
}

/// Every matrix of `rows` by `columns` in `values`, transposed.
fn transposed<T: Copy>(values: &[T], [rows, columns]: [usize; 2]) -> Vec<T> {
    let one = |matrix: &[T]| (0..columns * rows).map(|i| matrix[i % rows * columns + i / rows]).collect::<Vec<T>>();
    values.chunks_exact((rows * columns).max(1)).flat_map(one).collect()
}

/// Values in the order of the last dimension first (Fortran's), as rows.
fn row_major<T: Copy>(values: &[T], dims: &[usize]) -> Vec<T> {
    let mut at = vec![0; dims.len()];
    let strides: Vec<usize> = (0..dims.len()).map(|d| dims[..d].iter().product()).collect();
    let mut rows = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        rows.push(values[at.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]);
        for d in (0..dims.len()).rev() {
            at[d] += 1;
            if at[d] < dims[d] {
                break;
            }
            at[d] = 0;
        }
    }
    rows
}

/// An array, its header read.
struct Array {
    place: PathBuf,
    dims: Vec<usize>,
    /// The type of an element, and its bytes.
    kind: (TypeChar, u64),
    type_name: String,
    /// The bytes that the header promises, and those that are there.
    promised: u64,
    found: u64,
    file: NpyFile<Cursor<Vec<u8>>>,
}

impl Array {
    fn read(path: &Path) -> Result<Self> {
        Self::parse(path.to_path_buf(), files::read(path, |head| length(path, head))?)
    }

    fn parse(place: PathBuf, bytes: Vec<u8>) -> Result<Self> {
        let Header { start, dims, kind, promised } = header(&place, &bytes)?;
        let found = (bytes.len() - start) as u64;
        let file = NpyFile::new(Cursor::new(bytes)).map_err(|error| not_npy(&place, &error))?;
        let (type_name, kind) = (type_name(&kind), (kind.type_char(), kind.size_field()));
        Ok(Self { place, dims, kind, type_name, promised, found, file })
    }

    fn features(self) -> Result<Features> {
        let (place, dims) = (self.place.clone(), self.dims.clone());
        let features = match self.kind {
            (TypeChar::Uint, 1) => return Ok(Features::U8(self.values()?)),
            (TypeChar::Float, 2) => Features::from(self.values::<half::f16>()?),
            (TypeChar::Float, 4) => Features::F32(self.values()?),
            (TypeChar::Int | TypeChar::Uint, 1 | 2) | (TypeChar::Bool, _) => {
                Features::F32(self.numbers()?.into_iter().map(|x| x as f32).collect())
            }
            (TypeChar::Int | TypeChar::Uint, 4 | 8) | (TypeChar::Float, 8) => Features::F64(self.numbers()?),
            _ => {
                let wanted = "features of type float16, float32, float64, bool or an integer";
                return Err(self.unexpected(wanted));
            }
        };
        let values = (0..features.len()).map(|i| features.get(i));
        check_finite(&place, values, &dims, "feature")?;
        Ok(features)
    }

    fn targets(self) -> Result<Raw> {
        let (place, dims) = (self.place.clone(), self.dims.clone());
        let width = match dims[..] {
            [_] => 1,
            [_, width] => width.max(1),
            _ => return Err(Error::data(place, format!("expected targets of 1 or 2 dimensions, found {dims:?}"))),
        };
        let kind = match self.kind {
            (TypeChar::Int | TypeChar::Uint | TypeChar::Bool, _) => NumberKind::Integer,
            (TypeChar::Float, 2 | 4 | 8) => NumberKind::Float,
            (TypeChar::UnicodeStr, _) if width == 1 => {
                let number = |text: &str| text.parse().ok().filter(|y: &f64| y.is_finite());
                return Ok(Raw::of_texts(self.values()?, number));
            }
            _ => {
                let wanted = "labels of an integer type, bool or text, or targets of type float16, float32 or float64";
                return Err(self.unexpected(wanted));
            }
        };
        let values = self.numbers()?;
        check_finite(&place, values.iter().copied(), &dims, "target")?;
        Ok(Raw::Numbers { width, values, kind })
    }

    /// The values of any type of number; integers beyond 2⁵³ are rounded.
    fn numbers(self) -> Result<Vec<f64>> {
        let place = self.place.clone();
        fn of<T>(place: &Path, values: Vec<T>, to: impl Fn(T) -> f64) -> Result<Vec<f64>> {
            let mut numbers = reserved(place, Some(values.len()))?;
            numbers.extend(values.into_iter().map(to));
            Ok(numbers)
        }
        match self.kind {
            (TypeChar::Bool, _) => of(&place, self.values::<bool>()?, f64::from),
            (TypeChar::Int, 1) => of(&place, self.values::<i8>()?, f64::from),
            (TypeChar::Int, 2) => of(&place, self.values::<i16>()?, f64::from),
            (TypeChar::Int, 4) => of(&place, self.values::<i32>()?, f64::from),
            (TypeChar::Int, 8) => of(&place, self.values::<i64>()?, |x| x as f64),
            (TypeChar::Uint, 1) => of(&place, self.values::<u8>()?, f64::from),
            (TypeChar::Uint, 2) => of(&place, self.values::<u16>()?, f64::from),
            (TypeChar::Uint, 4) => of(&place, self.values::<u32>()?, f64::from),
            (TypeChar::Uint, 8) => of(&place, self.values::<u64>()?, |x| x as f64),
            (TypeChar::Float, 2) => of(&place, self.values::<half::f16>()?, half::f16::to_f64),
            (TypeChar::Float, 4) => of(&place, self.values::<f32>()?, f64::from),
            (TypeChar::Float, 8) => self.values(),
            _ => Err(self.unexpected("numbers")),
        }
    }

    /// The values, row after row.
    fn values<T: Deserialize + Clone>(self) -> Result<Vec<T>> {
        let wanted = self.file.len();
        if self.promised > self.found {
            let text = format!("the header promises {} bytes, the file has {}", self.promised, self.found);
            return Err(Error::data(&self.place, text));
        }
        let is_fortran = self.file.order() == Order::Fortran && self.dims.len() > 1;
        let bad = |error| Error::data(&self.place, format!("expected {wanted} values, found: {error}"));
        let mut values = reserved(&self.place, Some(wanted as usize))?;
        let stored = self.file.data().map_err(std::io::Error::other).map_err(bad)?;
        for value in stored {
            values.push(value.map_err(bad)?);
        }
        if !is_fortran {
            return Ok(values);
        }
        let places: Vec<usize> = (0..values.len()).collect();
        Ok(row_major(&places, &self.dims).into_iter().map(|i| values[i].clone()).collect())
    }

    fn unexpected(&self, expected: &str) -> Error {
        Error::data(&self.place, format!("expected {expected}, found {}", self.type_name))
    }
}

/// The name that NumPy gives a type, as `int64`, and what helps where it is one that is never read.
fn type_name(kind: &npyz::TypeStr) -> String {
    let bits = 8 * kind.size_field();
    match kind.type_char() {
        TypeChar::Bool => "bool".into(),
        TypeChar::Int => format!("int{bits}"),
        TypeChar::Uint => format!("uint{bits}"),
        TypeChar::Float => format!("float{bits}"),
        TypeChar::Complex => format!("complex{bits}"),
        TypeChar::UnicodeStr => "text".into(),
        TypeChar::ByteStr => "bytes; .astype(str) makes them text, as labels may be".into(),
        TypeChar::Object => "object; save it with .astype(str) or a number type, such as .astype(\"float32\")".into(),
        TypeChar::DateTime => "datetime64; .astype(\"int64\") makes it a number".into(),
        TypeChar::TimeDelta => "timedelta64; .astype(\"int64\") makes it a number".into(),
        _ => kind.to_string(),
    }
}

/// Refuses NaN and infinity, with their place.
fn check_finite(place: &Path, values: impl Iterator<Item = f64>, dims: &[usize], what: &str) -> Result<()> {
    let width = dims.iter().skip(1).product::<usize>().max(1);
    match values.enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((i, found)) => Err(Error::data(
            place,
            format!("expected finite {what}s, found {found} in sample {}, {what} {}", i / width, i % width),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_dimensions() {
        // In Fortran's order, the first index moves first.
        assert_eq!(row_major(&[0, 10, 1, 11, 2, 12], &[2, 3]), [0, 1, 2, 10, 11, 12]);
        assert_eq!(row_major(&[0, 4, 2, 6, 1, 5, 3, 7], &[2, 2, 2]), [0, 1, 2, 3, 4, 5, 6, 7]);
        let two_pixels_of_three = Features::U8(vec![1, 2, 3, 11, 12, 13]);
        let place = Path::new("x.npy");
        let (shape, planes) = image_layout(place, &[1, 2, 1, 3], two_pixels_of_three, Some(Layout::Nhwc)).unwrap();
        assert_eq!((shape, planes), ([3, 2, 1], Features::U8(vec![1, 11, 2, 12, 3, 13])));
    }
}
