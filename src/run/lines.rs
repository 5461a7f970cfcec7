//! Files of lines, each a JSON object with the checksum of what stands before it, so that a torn or altered line is told from a
//! whole one. Times stand behind the checksum, since they alone differ from one run of the same bits to another.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use crate::disk::{checksum, write_whole};
use crate::error::{Error, Result};

/// What stands between the content of a line and its checksum.
const MARK: &str = ",\"checksum\":\"";

/// Writes a line, with `times` behind its checksum.
pub(crate) fn write(file: &mut BufWriter<File>, line: &Value, times: &[(&str, Value)]) -> std::io::Result<()> {
    let line = line.to_string();
    let content = line.strip_suffix('}').unwrap_or(&line);
    let times: String = times.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
    writeln!(file, "{content}{MARK}{}\"{times}}}", checksum(&[content.as_bytes()]))
}

/// The object of a line that is as it was written.
fn parse(line: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(line).ok()?;
    let (content, rest) = text.split_once(MARK)?;
    rest.strip_prefix(checksum(&[content.as_bytes()]).as_str())?;
    Some((text.into(), serde_json::from_str(text).ok()?))
}

/// The intact lines of a file, and the number of those that are not; none where there is no such file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(path: &Path) -> Result<(Vec<Value>, usize)> {
    let (lines, damaged) = read_text(path)?;
    Ok((lines.into_iter().map(|(_, line)| line).collect(), damaged))
}

/// Hands over the intact lines of a file one by one; none where there is no such file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn each(path: &Path, mut take: impl FnMut(&Value)) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let file = File::open(path).map_err(Error::io(path))?;
    for line in BufReader::new(file).split(b'\n') {
        if let Some((_, line)) = parse(&line.map_err(Error::io(path))?) {
            take(&line);
        }
    }
    Ok(())
}

/// The intact lines of a file, each with its text, and the number of those that are not.
fn read_text(path: &Path) -> Result<(Vec<(String, Value)>, usize)> {
    if !path.exists() {
        return Ok((Vec::new(), 0));
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let (mut lines, mut damaged) = (Vec::new(), 0usize);
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match parse(line) {
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
pub(crate) fn go_on(path: &Path, key: &str, end: u64) -> Result<BufWriter<File>> {
    let (lines, _) = read_text(path)?;
    let is_before = |line: &Value| line[key].as_u64().is_some_and(|at| at < end);
    let kept: String = lines.iter().filter(|(_, line)| is_before(line)).flat_map(|(text, _)| [text, "\n"]).collect();
    if fs::read(path).map_or(true, |bytes| bytes != kept.as_bytes()) {
        write_whole(path, kept.as_bytes())?;
    }
    File::options().append(true).open(path).map(BufWriter::new).map_err(Error::io(path))
}
