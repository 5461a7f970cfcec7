//! IDX files, plain or gzipped: MNIST's format. A header of big-endian numbers gives the type and the dimensions.

use std::path::{Path, PathBuf};

use super::encoding::Layout;
use super::npy::image_layout;
use super::tables::{Rules, Table, Tables};
use super::targets::{NumberKind, Raw};
use super::{Features, files};
use crate::error::{Error, Result};

/// The type code of unsigned bytes.
const U8: u8 = 0x08;

/// The files of a folder in MNIST's layout: `train-images-idx3-ubyte` and so on, with a dot for the second hyphen or without,
/// each plain or with `.gz`, or in a folder of such a name. They lie in `dir`, or below it where torchvision has them:
/// `raw`, or `name/raw`.
pub(super) fn mnist(dir: &Path, name: &str, rules: Rules) -> Result<Tables> {
    let torchvision = if name == "mnist" { "MNIST" } else { "FashionMNIST" };
    let places = [dir.to_path_buf(), dir.join("raw"), dir.join(torchvision).join("raw")];
    let find = |stem: &str| places.iter().find_map(|place| spelled(place, stem));
    let needed = |stem: &str| {
        let text = format!("expected {stem}-ubyte or {stem}-ubyte.gz, found neither");
        find(stem).ok_or_else(|| Error::data(dir, text))
    };
    let (train, test) = (needed("train-images-idx3"), needed("t10k-images-idx3"));
    let labels = ["train-labels-idx1", "t10k-labels-idx1"];
    if !matches!(rules, Rules::Inputs(_)) {
        let files = [train?, needed(labels[0])?, test?, needed(labels[1])?];
        return Ok(Tables { classes: Some(10), ..idx(&files, rules)? });
    }
    // For predictions, the images of one part alone will do.
    let part = |images: PathBuf, labels: &str| Ok(table(&images, find(labels).as_deref(), rules)?.0);
    let test = test.ok().map(|test| part(test, labels[1])).transpose()?;
    let train = match (train, &test) {
        (Err(_), Some(test)) => test.clone(),
        (train, _) => part(train?, labels[0])?,
    };
    Ok(Tables { classes: Some(10), ..Tables::new(train, test) })
}

/// The file of that stem in `dir`, in any spelling; it may lie in a folder that is named so.
fn spelled(dir: &Path, stem: &str) -> Option<PathBuf> {
    let dotted = stem.replace("-idx", ".idx");
    let names: Vec<String> =
        [stem, &dotted].iter().flat_map(|stem| [format!("{stem}-ubyte"), format!("{stem}-ubyte.gz")]).collect();
    let inside = names.iter().map(|folder| dir.join(folder)).filter(|path| path.is_dir());
    let places: Vec<PathBuf> = std::iter::once(dir.to_path_buf()).chain(inside).collect();
    places.iter().flat_map(|place| names.iter().map(|name| place.join(name))).find(|path| path.is_file())
}

/// The tables of images and labels of the training part, then optionally of the test part; images alone for predictions.
pub(super) fn idx(files: &[PathBuf], rules: Rules) -> Result<Tables> {
    let part = |files: &[PathBuf]| table(&files[0], files.get(1).map(PathBuf::as_path), rules);
    let mut parts = files.chunks(2);
    let train = parts.next().map(part);
    let none = || Error::config("data.source", "expected a file of images, found none");
    let (train, layout) = train.ok_or_else(none)??;
    let test = parts.next().map(part).transpose()?.map(|(test, _)| test);
    Ok(Tables { layout, ..Tables::new(train, test) })
}

/// The table of a part, and the order of its dimensions, where the user said it of four.
fn table(images: &Path, labels: Option<&Path>, rules: Rules) -> Result<(Table, Option<Layout>)> {
    let (dims, pixels) = read(images)?;
    let (shape, features) = match dims[..] {
        [_, width] => ([1, 1, width], Features::U8(pixels)),
        [_, _, _] | [_, _, _, _] => image_layout(images, &dims, Features::U8(pixels), rules.layout())?,
        _ => return Err(Error::data(images, format!("expected 2 to 4 dimensions, found {dims:?}"))),
    };
    let targets = labels.map(|labels| {
        let (label_dims, bytes) = read(labels)?;
        if label_dims != [dims[0]] {
            let text = format!("expected {} labels, one an image, found {label_dims:?}", dims[0]);
            return Err(Error::data(labels, text));
        }
        let values = bytes.into_iter().map(f64::from).collect();
        Ok((labels.to_path_buf(), Raw::Numbers { width: 1, values, kind: NumberKind::Integer }))
    });
    let table = Table { features, shape, targets: targets.transpose()?, place: images.to_path_buf() };
    Ok((table, rules.layout().filter(|_| dims.len() == 4)))
}

/// The dimensions and bytes of one file.
fn read(path: &Path) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut dims = Vec::new();
    let mut bytes = files::read(path, |head| {
        dims = header(path, head)?;
        promised(path, &dims)
    })?;
    let (length, found) = (promised(path, &dims)?, bytes.len() as u64);
    let header = 4 + 4 * dims.len();
    if found != length {
        let promised = length - header as u64;
        let (more, found) = (if found > length { " or more" } else { "" }, bytes.len() - header);
        return Err(Error::data(path, format!("the header {dims:?} promises {promised} bytes, found {found}{more}")));
    }
    bytes.drain(..header);
    Ok((dims, bytes))
}

/// The dimensions that a file's header tells.
fn header(path: &Path, head: &[u8]) -> Result<Vec<usize>> {
    let [0, 0, kind, rank, ..] = *head else {
        let start = &head[..head.len().min(4)];
        return Err(Error::data(path, format!("expected an IDX header (0, 0, type, rank), found {start:?}")));
    };
    if kind != U8 {
        return Err(Error::data(path, format!("expected type {U8:#04x} (unsigned bytes), found {kind:#04x}")));
    }
    let length = 4 + 4 * usize::from(rank);
    let Some(header) = head.get(4..length) else {
        return Err(Error::data(path, format!("expected a header of {length} bytes, found {} bytes", head.len())));
    };
    Ok(header.as_chunks().0.iter().map(|d| u32::from_be_bytes(*d) as usize).collect())
}

/// The bytes of the whole file, header included.
fn promised(path: &Path, dims: &[usize]) -> Result<u64> {
    let header = 4 + 4 * dims.len() as u64;
    let all = files::elements(dims).and_then(|n| (n as u64).checked_add(header));
    all.ok_or_else(|| Error::data(path, format!("the header {dims:?} promises more bytes than can be addressed")))
}
