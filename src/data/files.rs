//! Reading files that may be packed, and paths as people type them.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The bytes of a file, unpacked if it is gzipped.
///
/// # Errors
/// A file that cannot be read, a broken gzip file, or an HTML page in the place of one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).map_err(Error::io(path))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..])
            .read_to_end(&mut plain)
            .map_err(|error| Error::data(path, format!("expected a whole gzip file, found: {error}")))?;
        bytes = plain;
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).to_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if ["<!doctype", "<html", "<?xml", "<head", "<!--"].iter().any(|mark| head.starts_with(mark)) {
        let text = "expected data, found an HTML page, as a failed download leaves it; download the file again";
        return Err(Error::data(path, text));
    }
    Ok(bytes)
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
