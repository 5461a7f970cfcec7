//! Several arrays in one file, as `numpy.load` reads them.

use std::io::{self, Cursor, Write};
use std::path::Path;

use npyz::{AutoSerialize, DType, WriteOptions, WriterBuilder};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::disk::write_whole;
use crate::error::{Error, Result};

/// An archive of named arrays, NumPy's `.npz`, which is put together in memory. Its bytes are a function of what it is given.
pub struct Npz {
    archive: ZipWriter<Cursor<Vec<u8>>>,
    failed: Option<io::Error>,
}

impl Default for Npz {
    fn default() -> Self {
        Self { archive: ZipWriter::new(Cursor::new(Vec::new())), failed: None }
    }
}

impl Npz {
    /// Adds an array of numbers, row-major.
    pub fn array<T: AutoSerialize + Copy>(&mut self, name: &str, shape: &[usize], values: &[T]) {
        self.add(name, |bytes| {
            let mut writer = WriteOptions::new().default_dtype().shape(&dimensions(shape)).writer(bytes).begin_nd()?;
            writer.extend(values.iter().copied())?;
            writer.finish()
        });
    }

    /// Adds a list of words.
    pub fn words(&mut self, name: &str, words: &[&str]) {
        let characters = words.iter().map(|word| word.chars().count()).max().unwrap_or(0).max(1);
        self.add(name, |bytes| {
            let kind = format!("<U{characters}").parse().map_err(io::Error::other)?;
            let options = WriteOptions::<str>::new().dtype(DType::Plain(kind));
            let mut writer = options.shape(&[words.len() as u64]).writer(bytes).begin_nd()?;
            words.iter().try_for_each(|word| writer.push(word))?;
            writer.finish()
        });
    }

    fn add(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let mut bytes = Vec::new();
        let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
        let added = write(&mut bytes)
            .and_then(|()| self.archive.start_file(format!("{name}.npy"), options).map_err(io::Error::other))
            .and_then(|()| self.archive.write_all(&bytes));
        if let Err(error) = added {
            self.failed.get_or_insert(error);
        }
    }

    /// Writes the archive; the file appears whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(self, path: &Path) -> Result<()> {
        if let Some(failed) = self.failed {
            return Err(Error::io(path)(failed));
        }
        let bytes = self.archive.finish().map_err(|error| Error::io(path)(io::Error::other(error)))?;
        write_whole(path, &bytes.into_inner())
    }
}

fn dimensions(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&n| n as u64).collect()
}
