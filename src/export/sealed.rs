//! Safetensors files that carry a checksum over all of their bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::safetensors::SafeTensorError;
use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::disk::{checksum, write_checked};
use crate::error::{self, Error};

/// The start of the header of a sealed file; the digits of the checksum follow.
const START: &[u8] = b"{\"__metadata__\":{\"checksum\":\"";
/// The digits over which the checksum is taken, in the place of its own.
const BLANK: &str = "00000000";
/// The bytes of the header's length, and what the header's own is a multiple of.
const LENGTH: usize = 8;
/// The key of the checksum, and that of the program's version, in the metadata.
const KEYS: [&str; 2] = ["checksum", "thalweg"];

/// A tensor to be written: its name, type, shape and bytes.
pub(crate) type Named = (String, Dtype, Vec<usize>, Vec<u8>);

/// The metadata of a file.
pub(crate) type Metadata = BTreeMap<String, String>;

/// Writes tensors and metadata with a checksum; the file appears whole or not at all, and only if it reads back as it should.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, tensors: &[Named], metadata: Metadata) -> error::Result<()> {
    let bytes = bytes(tensors, metadata).map_err(|error| Error::weights(path, error.to_string()))?;
    write_checked(path, &bytes, |part| {
        let read = fs::read(part).map_err(Error::io(path))?;
        if read == bytes { Ok(()) } else { Err(Error::weights(path, "expected what was written, read something else")) }
    })
}

/// The bytes of a sealed file. They are a function of the arguments.
fn bytes(tensors: &[Named], mut metadata: Metadata) -> Result<Vec<u8>, SafeTensorError> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    let plain = ::safetensors::serialize(views, None)?;
    let (header, data) = plain[LENGTH..].split_at(header_length(&plain));
    metadata.insert(KEYS[0].into(), BLANK.into());
    metadata.insert(KEYS[1].into(), env!("CARGO_PKG_VERSION").into());
    // The checksum comes first, so that it is found at a glance.
    let others: Metadata = metadata.into_iter().filter(|(key, _)| key != KEYS[0]).collect();
    let others = serde_json::to_string(&others)?;
    let mut sealed =
        [START, BLANK.as_bytes(), b"\",", &others.as_bytes()[1..], b",", &header.trim_ascii()[1..]].concat();
    sealed.resize(sealed.len().next_multiple_of(LENGTH), b' ');
    let mut bytes = [&(sealed.len() as u64).to_le_bytes()[..], &sealed, data].concat();
    let checksum = checksum(&[&bytes]);
    bytes[LENGTH + START.len()..][..BLANK.len()].copy_from_slice(checksum.as_bytes());
    Ok(bytes)
}

fn header_length(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length) as usize)
}

/// Reads a safetensors file and its metadata, whoever wrote it; one that carries a checksum must be as it was written.
///
/// # Errors
/// Other bytes than a safetensors file has, or damaged ones, in words that follow "found".
pub(crate) fn read(bytes: &[u8]) -> Result<(SafeTensors<'_>, Metadata), String> {
    let is_started = bytes.get(LENGTH..).is_some_and(|header| header.starts_with(START));
    if is_started && !is_intact(bytes) {
        return Err("a damaged one: its checksum is another".into());
    }
    let other = |error: SafeTensorError| format!("other bytes: {error}");
    let file = SafeTensors::deserialize(bytes).map_err(other)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(other)?;
    let metadata: Metadata = metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    // The mark itself may be what is damaged.
    if !is_started && KEYS.iter().any(|&key| metadata.contains_key(key)) {
        return Err("a damaged one: its checksum cannot be read".into());
    }
    Ok((file, metadata))
}

/// Whether the bytes of a sealed file are as they were written.
fn is_intact(bytes: &[u8]) -> bool {
    let at = LENGTH + START.len();
    let Some((before, rest)) = bytes.split_at_checked(at) else { return false };
    let Some((found, after)) = rest.split_at_checked(BLANK.len()) else { return false };
    found == checksum(&[before, BLANK.as_bytes(), after]).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Vec<u8> {
        let values: Vec<u8> = [1.5f32, -2.0, 0.25].iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensors = [("0.weight".to_string(), Dtype::F32, vec![1, 3], values)];
        bytes(&tensors, Metadata::from([("progress".to_string(), "{\"epoch\": 3}".to_string())])).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = sealed();
        let (file, metadata) = read(&bytes).unwrap();
        assert_eq!((file.len(), file.tensor("0.weight").unwrap().shape()), (1, &[1, 3][..]));
        assert_eq!((metadata["progress"].as_str(), metadata.len()), ("{\"epoch\": 3}", 3));
        assert_eq!(bytes, sealed(), "the same bytes each time");
        // Others write no checksum.
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        assert!(read(&::safetensors::serialize([("w", view)], None).unwrap()).is_ok());
    }

    #[test]
    fn every_changed_bit_is_told() {
        let bytes = sealed();
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed).is_err(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| read(&bytes[..length]).is_err()));
    }
}
