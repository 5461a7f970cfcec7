//! Reading files that may be packed, and paths as people type them.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The bytes from the start of a file in which its format's header lies.
const HEAD: u64 = 1 << 14;
/// What packed data may unpack to: so many bytes for each packed one, and [`MOST_ANYWAY`] more. Deflate reaches 1,032, with
/// zeros; images in black and white as f64 come to 73.
const MOST_RATIO: u64 = 128;
/// See [`MOST_RATIO`].
const MOST_ANYWAY: u64 = 64 << 20;

/// The most bytes that `packed` bytes may unpack to.
pub(super) fn most_unpacked(packed: u64) -> u64 {
    packed.saturating_mul(MOST_RATIO).saturating_add(MOST_ANYWAY)
}

/// The bytes of a file, unpacked if it is gzipped. `length` tells from the first of them how many belong to it; of a longer
/// file, there is one byte more.
///
/// # Errors
/// A file that cannot be read, a gzip file that is broken or unpacks to more than [`most_unpacked`], an HTML page in the place
/// of one, and those of `length`.
pub(super) fn read(path: &Path, length: impl FnOnce(&[u8]) -> Result<u64>) -> Result<Vec<u8>> {
    // Opened once: what a pipe has given, it does not give again.
    let mut file = File::open(path).map_err(Error::io(path))?;
    let about = file.metadata().map_err(Error::io(path))?;
    let mut start = Vec::new();
    file.by_ref().take(2).read_to_end(&mut start).map_err(Error::io(path))?;
    let is_gzip = start == [0x1f, 0x8b];
    let all = Cursor::new(start).chain(file);
    if !is_gzip {
        return read_from(all, None, path, Error::io(path), length);
    }
    let packed = if about.is_file() { about.len() } else { u64::MAX };
    let plain = flate2::bufread::MultiGzDecoder::new(BufReader::new(all));
    let broken = |error| Error::data(path, format!("expected a whole gzip file, found: {error}"));
    read_from(plain, Some(packed), path, broken, length)
}

/// The bytes that `reader` gives, as [`read`] has them; `packed` is the number of bytes that they are unpacked from.
///
/// # Errors
/// What [`read`] refuses; `broken` makes those of the reader.
pub(super) fn read_from(
    mut reader: impl Read,
    packed: Option<u64>,
    place: &Path,
    broken: impl FnOnce(std::io::Error) -> Error,
    length: impl FnOnce(&[u8]) -> Result<u64>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Err(error) = reader.by_ref().take(HEAD).read_to_end(&mut bytes) {
        return Err(broken(error));
    }
    refuse_page(place, &bytes)?;
    let length = length(&bytes)?;
    let most = packed.map_or(u64::MAX, most_unpacked);
    let bomb = |found: &str| {
        let text = format!("expected at most {most} bytes out of {} packed ones, found {found}", packed.unwrap_or(0));
        Err(Error::data(place, text + "; unpack it, if that is right"))
    };
    if length > most && length < u64::MAX {
        return bomb(&format!("a header that promises {length}"));
    }
    // A byte more than belongs to it tells a longer file, and has the checksum at the end compared.
    let rest = length.min(most).saturating_add(1).saturating_sub(bytes.len() as u64);
    if let Err(error) = reader.take(rest).read_to_end(&mut bytes) {
        return Err(broken(error));
    }
    if bytes.len() as u64 > most { bomb("more") } else { Ok(bytes) }
}

/// Refuses an HTML page.
fn refuse_page(place: &Path, head: &[u8]) -> Result<()> {
    let head = String::from_utf8_lossy(&head[..head.len().min(256)]).to_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if ["<!doctype", "<html", "<?xml", "<head", "<!--"].iter().any(|mark| head.starts_with(mark)) {
        let text = "expected data, found an HTML page, as a failed download leaves it; download the file again";
        return Err(Error::data(place, text));
    }
    Ok(())
}

/// The length of a file whose format does not tell it.
pub(super) fn unknown(_head: &[u8]) -> Result<u64> {
    Ok(u64::MAX)
}

/// The number of elements of an array of these dimensions; none where it, or the number of those that any of them count, is more
/// than can be addressed.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    let most = dims.iter().try_fold(1usize, |product, &d| product.checked_mul(d.max(1)))?;
    if most > isize::MAX as usize {
        return None;
    }
    Some(dims.iter().product())
}

/// A path as a user types it: `~` and what begins with `~/` lie in the home folder, as a shell has it; every other path is
/// itself.
///
/// ```
/// use thalweg::data::expand;
/// assert_eq!(expand("data/x.npy"), std::path::Path::new("data/x.npy"));
/// assert_eq!(std::env::home_dir().map(|home| home.join("x.npy")), Some(expand("~/x.npy")));
/// ```
pub fn expand(text: &str) -> PathBuf {
    let below = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(['/', '\\']));
    match (below, std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below.trim_start_matches(['/', '\\'])),
        _ => text.into(),
    }
}

/// The items of a list with commas; a comma behind a backslash belongs to its item, and of the backslashes before a comma
/// two are one.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut items, mut item, mut backslashes) = (Vec::new(), String::new(), 0);
    for c in text.chars() {
        match c {
            '\\' => backslashes += 1,
            ',' => {
                item.extend(std::iter::repeat_n('\\', backslashes / 2));
                if backslashes % 2 == 1 {
                    item.push(',');
                } else {
                    items.push(std::mem::take(&mut item));
                }
                backslashes = 0;
            }
            c => {
                item.extend(std::iter::repeat_n('\\', std::mem::take(&mut backslashes)));
                item.push(c);
            }
        }
    }
    item.extend(std::iter::repeat_n('\\', backslashes.div_ceil(2)));
    items.push(item);
    items
}

/// The list that [`split`] takes apart.
pub(super) fn join<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let escape = |item: T| {
        let (mut text, mut backslashes) = (String::new(), 0);
        for c in item.as_ref().chars() {
            if c == ',' {
                text.extend(std::iter::repeat_n('\\', backslashes + 1));
            }
            backslashes = if c == '\\' { backslashes + 1 } else { 0 };
            text.push(c);
        }
        text.extend(std::iter::repeat_n('\\', backslashes));
        text
    };
    items.into_iter().map(escape).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commas_and_the_home_folder() {
        assert_eq!(split(r"a\,b.npy,c"), ["a,b.npy", "c"]);
        assert_eq!(split(r"C:\data\x.npy,C:\y.npy"), [r"C:\data\x.npy", r"C:\y.npy"]);
        let home = std::env::home_dir().unwrap();
        assert_eq!(expand("~/x y.npy"), home.join("x y.npy"));
        assert_eq!((expand("~"), expand("~x"), expand("./~/x")), (home, "~x".into(), "./~/x".into()));
    }

    proptest! {
        #[test]
        fn a_list_is_read_back(items in prop::collection::vec(r"[a,\\ ~]{0,6}", 1..4)) {
            prop_assert_eq!(split(&join(&items)), items);
        }
    }
}
