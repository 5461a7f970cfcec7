//! CIFAR-10 and CIFAR-100 in their binary layouts (Krizhevsky, 2009): a record is one or two label bytes, then 1,024
//! red, 1,024 green and 1,024 blue pixels, row after row.

use std::path::{Path, PathBuf};

use super::tables::{Table, Tables};
use super::{Samples, files};
use crate::error::{Error, Result};

const PIXELS: usize = 3 * 32 * 32;

/// The two data sets, CIFAR-10 and CIFAR-100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cifar10,
    Cifar100,
}

impl Kind {
    /// The number of label bytes of a record; the last one counts.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// The most records of an official file.
    fn most_records(self) -> usize {
        match self {
            Self::Cifar10 => 10_000,
            Self::Cifar100 => 50_000,
        }
    }

    /// The training files: CIFAR-10's are `data_batch_1.bin` up to the last that is there.
    fn train_files(self, dir: &Path) -> Vec<PathBuf> {
        match self {
            Self::Cifar10 => {
                let file = |i: usize| dir.join(format!("data_batch_{i}.bin"));
                let last = (1..=5).rev().find(|&i| file(i).exists()).unwrap_or(1);
                (1..=last).map(file).collect()
            }
            Self::Cifar100 => vec![dir.join("train.bin")],
        }
    }

    fn test_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "test_batch.bin",
            Self::Cifar100 => "test.bin",
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }
}

impl Kind {
    /// The name of the set, the folder that its binary archive unpacks to, and that of the Python version.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Cifar10 => ["cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"],
            Self::Cifar100 => ["cifar100", "cifar-100-binary", "cifar-100-python"],
        }
    }

    /// The folder of the binary files: `dir`, or the one that the archive unpacks to in it.
    ///
    /// # Errors
    /// The Python version is there instead.
    fn folder(self, dir: &Path) -> Result<PathBuf> {
        let [name, binary, python] = self.names();
        let first = |dir: &Path| self.train_files(dir).remove(0);
        let places = [dir.to_path_buf(), dir.join(binary)];
        if let Some(place) = places.into_iter().find(|place| first(place).exists()) {
            return Ok(place);
        }
        let is_pickled = |place: &PathBuf| first(place).with_extension("").is_file();
        match [dir.to_path_buf(), dir.join(python)].into_iter().find(is_pickled) {
            Some(place) => Err(Error::data(
                place,
                format!(
                    "expected the binary version, found the Python version (pickles), which is not read; \
                     `thalweg data fetch {name}` downloads the binary one, {binary}"
                ),
            )),
            None => Ok(dir.into()),
        }
    }
}

/// The two parts, with the names of the classes where they lie beside them.
pub(super) fn cifar(kind: Kind, dir: &Path) -> Result<Tables> {
    let dir = kind.folder(dir)?;
    let table = |files: &[PathBuf]| Ok(Table::labelled(read(kind, files)?, [3, 32, 32], dir.clone()));
    let (train, test) = (table(&kind.train_files(&dir))?, table(&[dir.join(kind.test_file())])?);
    let names = std::fs::read_to_string(dir.join(kind.names_file())).unwrap_or_default();
    let names = names.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect();
    Ok(Tables { classes: Some(kind.classes()), names, ..Tables::new(train, Some(test)) })
}

fn read(kind: Kind, files: &[PathBuf]) -> Result<Samples> {
    let record = kind.label_bytes() + PIXELS;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        let most = kind.most_records();
        let bytes = files::read(file, |_| Ok((most * record) as u64))?;
        if bytes.is_empty() || bytes.len() % record != 0 || bytes.len() / record > most {
            let more = if bytes.len() > most * record { " or more" } else { "" };
            let text = format!("expected 1 to {most} records of {record} bytes, found {} bytes{more}", bytes.len());
            return Err(Error::data(file, text));
        }
        for (i, record) in bytes.chunks_exact(record).enumerate() {
            let (head, image) = record.split_at(kind.label_bytes());
            let label = head[head.len() - 1];
            if usize::from(label) >= kind.classes() {
                let most = kind.classes() - 1;
                return Err(Error::data(file, format!("expected labels 0 to {most}, found {label} in record {i}")));
            }
            labels.push(u32::from(label));
            pixels.extend_from_slice(image);
        }
    }
    Ok(Samples::labelled(pixels, labels))
}
