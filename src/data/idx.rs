//! IDX files, plain or gzipped: MNIST's format. A header of big-endian numbers gives the type and the dimensions.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Dataset, Samples, Shaped};
use crate::error::{Error, Result};

/// The type code of unsigned bytes.
const U8: u8 = 0x08;

/// The four files of a folder in MNIST's layout: `train-images-idx3-ubyte`, ..., each plain or with `.gz`.
pub(super) fn mnist_files(dir: &Path) -> Result<[PathBuf; 4]> {
    let find = |stem: &str| {
        let names =
            [format!("{stem}-ubyte"), format!("{stem}-ubyte.gz"), format!("{}-ubyte", stem.replace("-idx", ".idx"))];
        let found = names.iter().map(|name| dir.join(name)).find(|path| path.exists());
        found.ok_or_else(|| Error::data(dir, format!("expected {} or {}, found neither", names[0], names[1])))
    };
    Ok([find("train-images-idx3")?, find("train-labels-idx1")?, find("t10k-images-idx3")?, find("t10k-labels-idx1")?])
}

/// The data set of images and labels of the training part, then optionally of the test part.
pub(super) fn idx(files: &[PathBuf], name: &str, classes: Option<usize>) -> Result<Dataset> {
    let dataset = Dataset::of_pairs(files, name, "images", pair)?;
    match classes {
        Some(classes) => dataset.with_classes(classes),
        None => Ok(dataset),
    }
}

fn pair(images: &Path, labels: &Path) -> Result<Shaped> {
    let (dims, pixels) = read(images)?;
    let shape = match dims[..] {
        [_, width] => [1, 1, width],
        [_, height, width] => [1, height, width],
        [_, channels, height, width] => [channels, height, width],
        _ => return Err(Error::data(images, format!("expected 2 to 4 dimensions, found {dims:?}"))),
    };
    let (label_dims, label_bytes) = read(labels)?;
    if label_dims != [dims[0]] {
        return Err(Error::data(labels, format!("expected {} labels, one an image, found {label_dims:?}", dims[0])));
    }
    let labels = label_bytes.into_iter().map(u32::from);
    Ok((Samples::labelled(pixels, labels), shape))
}

/// The dimensions and bytes of one file.
fn read(path: &Path) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut bytes = std::fs::read(path).map_err(Error::io(path))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..])
            .read_to_end(&mut plain)
            .map_err(|error| Error::data(path, format!("expected a whole gzip file, found: {error}")))?;
        bytes = plain;
    }
    let [0, 0, kind, rank, ..] = bytes[..] else {
        let start = &bytes[..bytes.len().min(4)];
        return Err(Error::data(path, format!("expected an IDX header (0, 0, type, rank), found {start:?}")));
    };
    if kind != U8 {
        return Err(Error::data(path, format!("expected type {U8:#04x} (unsigned bytes), found {kind:#04x}")));
    }
    let header = 4 + 4 * usize::from(rank);
    if bytes.len() < header {
        return Err(Error::data(path, format!("expected a header of {header} bytes, found {} bytes", bytes.len())));
    }
    let dims: Vec<usize> =
        bytes[4..header].chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize).collect();
    let promised = dims.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    if promised != Some(bytes.len() - header) {
        let promised = promised.map_or_else(|| "more than can be addressed".to_string(), |n| n.to_string());
        return Err(Error::data(
            path,
            format!("the header {dims:?} promises {promised} bytes, found {}", bytes.len() - header),
        ));
    }
    bytes.drain(..header);
    Ok((dims, bytes))
}
