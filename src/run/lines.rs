//! Files of lines, each a JSON object with its checksum, so that a torn or altered line is told from a whole one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use crate::disk::{is_intact, seal_json, write_whole};
use crate::error::{Error, Result};

/// Writes a line.
pub(super) fn write(file: &mut BufWriter<File>, line: &Value) -> std::io::Result<()> {
    writeln!(file, "{}", seal_json(&line.to_string()))
}

/// The intact lines of a file, and the number of those that are not; none where there is no such file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path) -> Result<(Vec<Value>, usize)> {
    let (lines, damaged) = read_text(path)?;
    Ok((lines.into_iter().map(|(_, line)| line).collect(), damaged))
}

/// The intact lines of a file, each with its text, and the number of those that are not.
fn read_text(path: &Path) -> Result<(Vec<(String, Value)>, usize)> {
    if !path.exists() {
        return Ok((Vec::new(), 0));
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let (mut lines, mut damaged) = (Vec::new(), 0);
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let text = std::str::from_utf8(line).ok().filter(|text| is_intact(text));
        match text.and_then(|text| Some((text.to_string(), serde_json::from_str(text).ok()?))) {
            Some(line) => lines.push(line),
            None => damaged += 1,
        }
    }
    // The last line of a process that was killed is torn, and not missed.
    let is_torn = bytes.last().is_some_and(|&byte| byte != b'\n');
    Ok((lines, damaged.saturating_sub(usize::from(is_torn))))
}

/// Opens a file of lines to be gone on with; of those that are there, it keeps the intact ones whose `key` is below `end`.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn go_on(path: &Path, key: &str, end: u64) -> Result<BufWriter<File>> {
    let (lines, _) = read_text(path)?;
    let is_before = |line: &Value| line[key].as_u64().is_some_and(|at| at < end);
    let kept: String = lines.iter().filter(|(_, line)| is_before(line)).flat_map(|(text, _)| [text, "\n"]).collect();
    if fs::read(path).map_or(true, |bytes| bytes != kept.as_bytes()) {
        write_whole(path, kept.as_bytes())?;
    }
    File::options().append(true).open(path).map(BufWriter::new).map_err(Error::io(path))
}
