//! Files that appear whole or not at all, and marks by which a damaged one is told from an intact one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// The end of the names of files that are being written.
const PART: &str = ".part";
/// What stands between content and its checksum: in an object of JSON, and in lines that take a comment.
const JSON_MARK: &str = ",\n  \"checksum\": \"";
const LINES_MARK: &str = "# checksum ";

/// Writes `bytes` so that the file appears whole or not at all, and stays when the machine loses its power.
///
/// # Errors
/// The file cannot be written; what lay there before still does.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_pieces(path, &[bytes])
}

/// Writes `pieces`, one behind the other, as [`write_whole`] does.
///
/// # Errors
/// The file cannot be written, or does not read back; what lay there before still does.
pub(crate) fn write_pieces(path: &Path, pieces: &[&[u8]]) -> Result<()> {
    let dir = folder(path.parent().unwrap_or(Path::new("")));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let write = || -> io::Result<()> {
        // A file that takes the place of a device would do harm beyond its folder.
        if path.exists() && !path.is_file() {
            let found = if path.is_dir() { "a folder" } else { "a device or a pipe" };
            return Err(io::Error::other(format!("expected a file or nothing in its place, found {found}")));
        }
        let mut part = part_file(&format!(".{name}."), dir)?;
        pieces.iter().try_for_each(|piece| part.write_all(piece))?;
        part.as_file().sync_all()?;
        check(part.reopen()?, pieces)?;
        part.persist(path)?;
        Ok(())
    };
    write().map_err(|error| cannot_write(path, error))?;
    sync_folder(dir);
    Ok(())
}

/// The error of a file that cannot be written, which may be since its folder is gone.
pub(crate) fn cannot_write(path: &Path, error: io::Error) -> Error {
    let is_gone = error.kind() == ErrorKind::NotFound && path.parent().is_some_and(|dir| !folder(dir).exists());
    Error::io(path)(if is_gone { io::Error::new(error.kind(), "its folder is gone") } else { error })
}

/// Refuses a file that does not read back as it was written.
fn check(mut file: File, pieces: &[&[u8]]) -> io::Result<()> {
    const AT_ONCE: usize = 1 << 16;
    let mut read = [0; AT_ONCE];
    for chunk in pieces.iter().flat_map(|piece| piece.chunks(AT_ONCE)) {
        let read = &mut read[..chunk.len()];
        file.read_exact(read)?;
        if read != chunk {
            return Err(io::Error::other("what was written reads back as something else"));
        }
    }
    Ok(())
}

/// A file to be written beside others, which goes away with the value.
fn part_file(prefix: &str, dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(PART);
    #[cfg(unix)]
    {
        // As any other file, which all may read that the user's mask lets.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir)
}

/// The folder as the system knows it.
fn folder(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// Puts on disk which files a folder has. Where a system has no such call, it needs none.
fn sync_folder(dir: &Path) {
    #[cfg(unix)]
    let _ = File::open(folder(dir)).and_then(|dir| dir.sync_all());
    #[cfg(not(unix))]
    let _ = dir;
}

/// Puts on disk what was written to a file.
///
/// # Errors
/// The file is gone, or cannot be put there.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    let synced = File::options().append(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| cannot_write(path, error))
}

/// Removes what writers left in `dir` that were killed.
pub(crate) fn remove_parts(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(PART) {
            // One that stays takes room, and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The checksum of `bytes`, a CRC-32, in hexadecimal digits: it tells every change of a few neighbouring bits.
pub(crate) fn checksum(bytes: &[&[u8]]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    bytes.iter().for_each(|bytes| hasher.update(bytes));
    format!("{:08x}", hasher.finalize())
}

/// The text of a JSON object of several lines, with the checksum of all before it as its last entry.
pub(crate) fn seal_json(object: &str) -> String {
    let object = object.trim_end();
    close_json(object.strip_suffix('}').unwrap_or(object).trim_end())
}

/// The text of a JSON object whose other entries are `content`, with its checksum as the last entry.
fn close_json(content: &str) -> String {
    format!("{content}{JSON_MARK}{}\"\n}}\n", checksum(&[content.as_bytes()]))
}

/// The text of lines, with the checksum of all of them in a comment behind them.
pub(crate) fn seal_lines(lines: &str) -> String {
    format!("{lines}{LINES_MARK}{}\n", checksum(&[lines.as_bytes()]))
}

/// Whether text is as [`seal_json`] or [`seal_lines`] made it.
pub(crate) fn is_intact(text: &str) -> bool {
    let is_sealed =
        |mark: &str, seal: fn(&str) -> String| text.rsplit_once(mark).is_some_and(|(content, _)| seal(content) == text);
    is_sealed(LINES_MARK, seal_lines) || is_sealed(JSON_MARK, close_json)
}

/// The text of a file of a run.
///
/// # Errors
/// It cannot be read, or is not as it was when it was written.
pub(crate) fn read_sealed(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let text = String::from_utf8(bytes).ok().filter(|text| is_intact(text));
    text.ok_or_else(|| {
        Error::data(path, "expected what the run wrote, found a damaged or altered file: its checksum is another")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_of_what_counts_is_told() {
        let lines = "[train]\nepochs = 3\n";
        let object = "{\n  \"scale\": [0.5],\n  \"shift\": {}\n}\n";
        for (content, sealed) in [(lines, seal_lines(lines)), (object, seal_json(object))] {
            assert!(is_intact(&sealed) && !is_intact(content), "{sealed}");
            for bit in 0..8 * sealed.len() {
                let mut bytes = sealed.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(String::from_utf8(bytes).map_or(true, |text| !is_intact(&text)), "bit {bit} of {sealed}");
            }
            assert!((0..sealed.len()).all(|length| !is_intact(&sealed[..length])), "{sealed}");
        }
        let parsed: serde_json::Value = serde_json::from_str(&seal_json(object)).unwrap();
        assert_eq!(parsed["scale"][0], 0.5);
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("a.json");
        write_whole(&path, b"old").unwrap();
        fs::create_dir(dir.path().join("b.json")).unwrap();
        assert!(write_whole(&dir.path().join("b.json"), b"new").is_err());
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"old".to_vec(), 2));
        assert!(check(File::open(&path).unwrap(), &[b"o", b"ld"]).is_ok());
        assert!(check(File::open(&path).unwrap(), &[b"o", b"ls"]).is_err());
        let error = write_whole(&dir.path().join("gone/a.json"), b"new").unwrap_err().to_string();
        assert!(error.contains("gone/a.json: its folder is gone"), "{error}");
        fs::write(dir.path().join(".a.json.x1.part"), "half").unwrap();
        remove_parts(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
