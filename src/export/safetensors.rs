//! Weights as safetensors, under the names and shapes of `torch.nn.Sequential`.

use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView};
use half::{bf16, f16};

use super::names;
use super::sealed::{self, Metadata, Named};
use crate::engine::{Layout, Precision, Tensor};
use crate::error::{Error, Result};

/// Reads a flat parameter vector for an engine of `precision`. Values may be f64, f32, f16 or bf16, counts i64.
///
/// # Errors
/// A file that cannot be read, or whose tensors do not fit the model; the text names the tensor.
pub fn read(path: &Path, layout: &Layout, precision: Precision) -> Result<Vec<f64>> {
    read_mapped(path, layout, precision, None).map(|(weights, _)| weights)
}

/// Reads a flat parameter vector as [`read`] does, from a file whose layers have other names: `map` lists them in the order
/// of the network, `fc1,fc2`, or with the numbers they have here, `fc1=0,fc2=2`. Without a map, layers are numbered in
/// ascending order. Beside the vector stands what the user should know: biases that the file lacks, which are 0.
///
/// # Errors
/// What [`read`] refuses, or names that do not fit file or model.
pub fn read_mapped(
    path: &Path,
    layout: &Layout,
    precision: Precision,
    map: Option<&str>,
) -> Result<(Vec<f64>, Vec<String>)> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let (file, _) = sealed::read(&bytes).map_err(|error| {
        Error::weights(path, format!("expected a safetensors file, found {}", found(&bytes, &error)))
    })?;
    let tensors = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = values(&view).ok_or_else(|| {
                let found = format!("{:?}", view.dtype());
                Error::weights(path, format!("tensor {name:?}: expected F64, F32, F16, BF16 or I64, found {found}"))
            })?;
            let largest = match precision {
                Precision::F32 | Precision::Mixed => f64::from(f32::MAX),
                Precision::F64 => f64::MAX,
            };
            if let Some(found) = values.iter().find(|v| v.is_nan() || v.abs() > largest) {
                let text = format!("tensor {name:?}: expected values up to {largest:e}, found {found:e}");
                return Err(Error::weights(path, text));
            }
            Ok(Tensor { name, shape: view.shape().to_vec(), values })
        })
        .collect::<Result<Vec<_>>>()?;
    let bad = |text| Error::weights(path, text);
    let (tensors, without) = names::rename(tensors, &layout.names(), map).map_err(bad)?;
    let note = |names: &Vec<String>| format!("{} lacks {}, which are 0", path.display(), names.join(", "));
    let notes = if without.is_empty() { Vec::new() } else { vec![note(&without)] };
    Ok((layout.pack(&tensors).map_err(bad)?, notes))
}

/// What a file is that cannot be read, and what helps.
fn found(bytes: &[u8], error: &str) -> String {
    let kind = match bytes {
        [b'P', b'K', 3, 4, ..] => "a zip archive, as torch.save writes it",
        // The second byte is the version of the protocol.
        [0x80, 1..=5, ..] => "a Python pickle, as torch.save wrote it before version 1.6",
        _ => return error.into(),
    };
    format!("{kind}; safetensors.torch.save_file(model.state_dict(), \"w.safetensors\") writes what is read")
}

/// The values of a tensor; none if they have a type that is not read.
pub(crate) fn values(view: &TensorView) -> Option<Vec<f64>> {
    let data = view.data();
    let each = |size: usize, f: &dyn Fn(&[u8]) -> f64| Some(data.chunks_exact(size).map(f).collect());
    match view.dtype() {
        Dtype::F64 => each(8, &|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])),
        Dtype::F32 => each(4, &|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        Dtype::F16 => each(2, &|b| f16::from_le_bytes([b[0], b[1]]).to_f64()),
        Dtype::I64 => each(8, &|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64),
        Dtype::BF16 => each(2, &|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()),
        _ => None,
    }
}

/// The type of weights in `precision`, and its bytes; in the mixed one, weights are f32.
pub(crate) fn stored(precision: Precision) -> (Dtype, usize) {
    match precision {
        Precision::F32 | Precision::Mixed => (Dtype::F32, size_of::<f32>()),
        Precision::F64 => (Dtype::F64, size_of::<f64>()),
    }
}

/// The values whose bytes in `precision` an engine has captured.
pub(crate) fn decode(bytes: &[u8], precision: Precision) -> Vec<f64> {
    match precision {
        Precision::F32 | Precision::Mixed => {
            bytes.as_chunks().0.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect()
        }
        Precision::F64 => bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value)).collect(),
    }
}

/// The bytes of values in `precision`.
fn encode(values: &[f64], precision: Precision) -> (Dtype, Vec<u8>) {
    let bytes = match precision {
        Precision::F32 | Precision::Mixed => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
        Precision::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    (stored(precision).0, bytes)
}

/// Writes a flat parameter vector in `precision`, with a checksum in the metadata, by which [`read`] tells a damaged file. It
/// appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, layout: &Layout, flat: &[f64], precision: Precision) -> Result<()> {
    sealed::write(path, named("", layout, flat, precision), Metadata::new())
}

/// Writes several flat vectors, each by a name: its tensors are `NAME.0.weight` and so on; otherwise as [`write()`].
///
/// # Errors
/// The file cannot be written.
pub fn write_vectors(path: &Path, layout: &Layout, vectors: &[(&str, &[f64])], precision: Precision) -> Result<()> {
    let all = vectors.iter().flat_map(|(name, flat)| named(&format!("{name}."), layout, flat, precision));
    sealed::write(path, all.collect(), Metadata::new())
}

/// The tensors of a flat vector as a file has them.
fn named(prefix: &str, layout: &Layout, flat: &[f64], precision: Precision) -> Vec<Named> {
    let named = |t: Tensor| {
        let (dtype, bytes) = match precision {
            _ if t.shape.is_empty() => (Dtype::I64, t.values.iter().flat_map(|&v| (v as i64).to_le_bytes()).collect()),
            _ => encode(&t.values, precision),
        };
        (format!("{prefix}{}", t.name), dtype, t.shape, bytes)
    };
    layout.unpack(flat).into_iter().map(named).collect()
}
