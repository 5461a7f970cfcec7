//! The header of a NumPy array, read before anything is believed.

use std::path::Path;

use npyz::{NpyHeader, TypeChar, TypeStr};

use super::files;
use crate::error::{Error, Result};

/// The most bytes of a header's text, as NumPy has it, and the most brackets within brackets of it: its reader needs time and
/// stack for each.
const MOST_TEXT: usize = 10_000;
const MOST_DEPTH: usize = 5;

/// What the header of an array tells.
pub(super) struct Header {
    /// The place of the first value in the file.
    pub start: usize,
    pub dims: Vec<usize>,
    pub kind: TypeStr,
    /// The bytes of all values.
    pub promised: u64,
}

/// The bytes of the whole file whose first bytes are `head`.
///
/// # Errors
/// What [`header`] refuses.
pub(super) fn length(place: &Path, head: &[u8]) -> Result<u64> {
    let header = header(place, head)?;
    Ok(header.promised.saturating_add(header.start as u64))
}

/// The header of an array of plain values, the beginning of which is `head`.
///
/// # Errors
/// Another file, a header that is cut off, too long or of nested values, dimensions that cannot be addressed, values without a
/// byte.
pub(super) fn header(place: &Path, head: &[u8]) -> Result<Header> {
    let bad = |text: String| Error::data(place, text);
    let start = text_end(head).map_err(|found| bad(format!("expected a .npy file, found: {found}")))?;
    let text = &head[..start];
    let dims = text_shape(text).ok_or_else(|| bad("expected a header with one shape, a tuple of integers".into()))?;
    let count = files::elements(&dims).ok_or_else(|| bad(format!("expected fewer values, found {dims:?}")))?;
    let read = NpyHeader::from_reader(text).map_err(|error| not_npy(place, &error))?;
    let npyz::DType::Plain(kind) = read.dtype() else {
        return Err(bad(format!("expected plain numbers, found {}", read.dtype().descr())));
    };
    let bytes = match kind.type_char() {
        TypeChar::Object => 0,
        _ => kind.num_bytes().unwrap_or(usize::MAX),
    };
    if bytes == 0 && kind.type_char() != TypeChar::Object {
        return Err(bad(format!("expected values of at least a byte, found {kind}")));
    }
    let promised =
        count.checked_mul(bytes).ok_or_else(|| bad(format!("expected fewer bytes, found {dims:?} of {kind}")))?;
    Ok(Header { start, dims, kind, promised: promised as u64 })
}

pub(super) fn not_npy(place: &Path, error: &std::io::Error) -> Error {
    // The reader of the header shows it over several lines.
    let found = error.to_string();
    let found = if found.contains('\n') { "a header that is no dictionary of Python" } else { &found };
    Error::data(place, format!("expected a .npy file, found: {found}"))
}

/// The end of the header, whose text is neither too long nor too deep.
fn text_end(head: &[u8]) -> std::result::Result<usize, String> {
    let short = || format!("a header that is cut off after {} bytes", head.len());
    let (start, length) = match *head {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high, ..] => (10, usize::from(u16::from_le_bytes([low, high]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([a, b, c, d]) as usize)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1..=3, ..] => return Err(short()),
        _ => return Err("magic not found for NPY file".into()),
    };
    if length > MOST_TEXT {
        return Err(format!("a header of {length} bytes, of at most {MOST_TEXT}"));
    }
    let text = head.get(start..start + length).ok_or_else(short)?;
    let mut depth = 0usize;
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MOST_DEPTH {
            return Err(format!("a header with more than {MOST_DEPTH} brackets within each other"));
        }
    }
    Ok(start + length)
}

/// The dimensions in a header, which has one shape, written as NumPy does: their product is known before the header's reader
/// multiplies them.
fn text_shape(text: &[u8]) -> Option<Vec<usize>> {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("shape").filter(|(_, rest)| !rest.contains("shape") && !text.contains('\\'))?;
    let rest = rest.trim_start_matches(['\'', '"']).trim_start().strip_prefix(':')?.trim_start();
    let (inside, _) = rest.strip_prefix('(')?.split_once(')')?;
    let mut items: Vec<&str> = inside.split(',').map(str::trim).collect();
    if items.last().is_some_and(|item| item.is_empty()) {
        items.pop();
    }
    items.into_iter().map(|item| item.parse().ok()).collect()
}
