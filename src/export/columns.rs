//! A table of named columns: as CSV, as JSON lines, or as a structured NumPy array.

use std::io::{self, Write};
use std::path::Path;

use npyz::{DType, Field, TypeWrite, WriterBuilder};

use super::safetensors::write_whole;
use crate::error::{Error, Result};

/// One value of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// A whole number; none is an empty cell: `null` in JSON, −1 in NumPy.
    Whole(Option<u32>),
    /// A number; NaN is an empty cell: `null` in JSON.
    Real(f64),
}

/// A table: the name of each column, and rows of as many cells, each column's of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The names of the columns, of letters, digits and `_`.
    pub names: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Writes the table as the extension of `path` says: `.csv` with a header, `.jsonl` with an object a row, or `.npy`, a
    /// structured array whose fields are the columns (`<i8` and `<f8`). The file appears whole or not at all.
    ///
    /// # Errors
    /// Another extension, or a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => self.csv().into_bytes(),
            Some("jsonl") => self.jsonl().into_bytes(),
            Some("npy") => self.npy().map_err(Error::io(path))?,
            _ => {
                let found = format!("expected a file named .csv, .jsonl or .npy, found {}", path.display());
                return Err(Error::config("--out", found));
            }
        };
        write_whole(path, bytes)
    }

    fn csv(&self) -> String {
        let line = |cells: Vec<String>| cells.join(",") + "\n";
        let rows = self.rows.iter().map(|row| line(row.iter().map(|cell| cell.text().unwrap_or_default()).collect()));
        std::iter::once(line(self.names.clone())).chain(rows).collect()
    }

    fn jsonl(&self) -> String {
        let entry = |(name, cell): (&String, &Cell)| format!("\"{name}\":{}", cell.text().unwrap_or("null".into()));
        let line =
            |row: &Vec<Cell>| format!("{{{}}}\n", self.names.iter().zip(row).map(entry).collect::<Vec<_>>().join(","));
        self.rows.iter().map(line).collect()
    }

    fn npy(&self) -> io::Result<Vec<u8>> {
        let field = |(name, cell): (&String, &Cell)| {
            let kind = if matches!(cell, Cell::Whole(_)) { "<i8" } else { "<f8" };
            let kind = kind.parse().map_err(io::Error::other)?;
            Ok(Field { name: name.clone(), dtype: DType::Plain(kind) })
        };
        let first = self.rows.first().map_or(&[][..], |row| row);
        let fields = self.names.iter().zip(first).map(field).collect::<io::Result<Vec<_>>>()?;
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::<Row>::new().dtype(DType::Record(fields));
        let mut writer = options.shape(&[self.rows.len() as u64]).writer(&mut bytes).begin_nd()?;
        writer.extend(self.rows.iter().cloned().map(Row))?;
        writer.finish()?;
        Ok(bytes)
    }
}

impl Cell {
    /// The number as it is written, of as few digits as say which it is; none of an empty cell.
    fn text(self) -> Option<String> {
        match self {
            Self::Whole(number) => number.map(|number| number.to_string()),
            Self::Real(number) => (!number.is_nan()).then(|| number.to_string()),
        }
    }
}

/// A row of a structured array.
struct Row(Vec<Cell>);

struct WriteRow;

impl npyz::Serialize for Row {
    type TypeWriter = WriteRow;

    fn writer(_: &DType) -> std::result::Result<WriteRow, npyz::DTypeError> {
        Ok(WriteRow)
    }
}

impl TypeWrite for WriteRow {
    type Value = Row;

    fn write_one<W: Write>(&self, mut writer: W, row: &Row) -> io::Result<()> {
        row.0.iter().try_for_each(|cell| match cell {
            Cell::Whole(number) => writer.write_all(&number.map_or(-1, i64::from).to_le_bytes()),
            Cell::Real(number) => writer.write_all(&number.to_le_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_the_same_in_every_format() {
        let rows = vec![
            vec![Cell::Whole(Some(0)), Cell::Whole(Some(3)), Cell::Real(0.1)],
            vec![Cell::Whole(Some(1)), Cell::Whole(None), Cell::Real(f64::NAN)],
        ];
        let table = Table { names: ["index", "label", "p0"].map(String::from).to_vec(), rows };
        assert_eq!(table.csv(), "index,label,p0\n0,3,0.1\n1,,\n");
        assert_eq!(table.jsonl(), "{\"index\":0,\"label\":3,\"p0\":0.1}\n{\"index\":1,\"label\":null,\"p0\":null}\n");
        let bytes = table.npy().unwrap();
        let header = String::from_utf8_lossy(&bytes[10..]).to_string();
        let descr = "[('index', '<i8'), ('label', '<i8'), ('p0', '<f8'), ]";
        assert!(header.contains(descr), "{header}");
        assert_eq!(&bytes[bytes.len() - 24..bytes.len() - 16], 1i64.to_le_bytes());
        assert_eq!(&bytes[bytes.len() - 16..bytes.len() - 8], (-1i64).to_le_bytes());
    }
}
