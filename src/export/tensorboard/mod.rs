//! Event files, as TensorBoard reads them.

mod histogram;
mod hparams;
mod messages;
mod rows;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message as _;

pub(crate) use histogram::histogram;
pub(crate) use hparams::{session_end, session_start};
pub(crate) use messages::Value;
use messages::{Event, SessionLog, Summary, What};
pub(crate) use rows::picture_of_rows;

use super::{event_file, event_seconds};
use crate::disk::cannot_write;
use crate::error::{Error, Result};

/// The version of the format, with which every file begins.
const VERSION: &str = "brain.Event:2";
/// The longest that an event is held back while others come.
const HELD_BACK: Duration = Duration::from_secs(2);
/// The constant of the mask over a record's checksums.
const MASK: u32 = 0xa282_ead8;

/// A file of events that is being written, to which values of a run are added step by step.
pub(crate) struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
    flushed: Instant,
}

impl EventFile {
    /// Makes a new event file in `dir`, in whose name no other comes after it. What older ones there hold of `step` and of later
    /// steps counts no more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(dir: &Path, step: u64) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let newest = names.filter_map(|name| event_seconds(name.to_str()?)).max();
        let path = dir.join(event_file((now() as u64).max(newest.map_or(0, |newest| newest + 1))));
        let file = File::create_new(&path).map_err(|error| cannot_write(&path, error))?;
        let mut events = Self { path, file: BufWriter::new(file), flushed: Instant::now() };
        events.append(0, What::FileVersion(VERSION.into()))?;
        if newest.is_some() {
            events.append(step, What::SessionLog(SessionLog { status: SessionLog::START }))?;
        }
        events.flush()?;
        Ok(events)
    }

    /// Adds the values of a step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, step: u64, values: Vec<Value>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.append(step, What::Summary(Summary { values }))
    }

    /// Hands to the system what was held back too long.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush_if_due(&mut self) -> Result<()> {
        if self.flushed.elapsed() < HELD_BACK { Ok(()) } else { self.flush() }
    }

    /// Hands to the system what was held back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.file.flush().map_err(|error| cannot_write(&self.path, error))
    }

    fn append(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        let written = self.file.write_all(&record(&event.encode_to_vec()));
        written.map_err(|error| cannot_write(&self.path, error))
    }
}

/// A record of an event file: the length, its checksum, the bytes, and theirs.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length, &masked_checksum(&length).to_le_bytes()[..], bytes, &masked_checksum(bytes).to_le_bytes()].concat()
}

/// The CRC-32C of `bytes`, masked, so that records within records have other checksums: rotated right by 15, plus a constant.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// The seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
