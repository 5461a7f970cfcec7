//! A table of named columns: as CSV, as JSON lines, or as a structured NumPy array.

use std::io::{self, Write};
use std::path::Path;

use npyz::{DType, Field, TypeWrite, WriterBuilder};
use serde_json::{Map, Value};

use crate::disk::write_whole;
use crate::error::{Error, Result};

/// One value of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A whole number; none is an empty cell: `null` in JSON, the smallest `i64` in NumPy (as in NaT).
    Whole(Option<i64>),
    /// A number; NaN is an empty cell: `null` in JSON.
    Real(f64),
    /// Words; none are an empty cell: `null` in JSON.
    Text(String),
}

/// A table: the name of each column, and rows of as many cells, each column's of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub names: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// The formats of a table.
#[derive(Clone, Copy)]
enum Format {
    Csv,
    Jsonl,
    Npy,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            Some("npy") => Ok(Self::Npy),
            _ => {
                let found = format!("expected a file named .csv, .jsonl or .npy, found {}", path.display());
                Err(Error::config("--out", found))
            }
        }
    }
}

impl Table {
    /// Refuses a file whose extension names no format.
    ///
    /// # Errors
    /// Another extension than those of [`write`](Self::write).
    pub fn check_name(path: &Path) -> Result<()> {
        Format::of(path).map(|_| ())
    }

    /// Writes the table as the extension of `path` says: `.csv` with a header, `.jsonl` with an object a row, or `.npy`, a
    /// structured array whose fields are the columns (`<i8`, `<f8` and `<U`). The file appears whole or not at all.
    ///
    /// # Errors
    /// Another extension, or a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match Format::of(path)? {
            Format::Csv => self.csv(),
            Format::Jsonl => Ok(self.jsonl().into_bytes()),
            Format::Npy => self.npy(),
        };
        write_whole(path, &bytes.map_err(Error::io(path))?)
    }

    fn csv(&self) -> io::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.names)?;
        self.rows.iter().try_for_each(|row| writer.write_record(row.iter().map(Cell::text)))?;
        writer.into_inner().map_err(csv::IntoInnerError::into_error)
    }

    fn jsonl(&self) -> String {
        let object = |row: &Vec<Cell>| -> Map<String, Value> {
            self.names.iter().cloned().zip(row.iter().map(Cell::json)).collect()
        };
        self.rows.iter().map(|row| Value::Object(object(row)).to_string() + "\n").collect()
    }

    fn npy(&self) -> io::Result<Vec<u8>> {
        let widths: Vec<usize> = (0..self.names.len()).map(|c| self.characters(c)).collect();
        let field = |(c, (name, cell)): (usize, (&String, &Cell))| {
            let kind = match cell {
                Cell::Whole(_) => "<i8".into(),
                Cell::Real(_) => "<f8".into(),
                Cell::Text(_) => format!("<U{}", widths[c]),
            };
            let kind = kind.parse().map_err(io::Error::other)?;
            Ok(Field { name: name.clone(), dtype: DType::Plain(kind) })
        };
        let first = self.rows.first().map_or(&[][..], |row| row);
        let fields = self.names.iter().zip(first).enumerate().map(field).collect::<io::Result<Vec<_>>>()?;
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::<Row>::new().dtype(DType::Record(fields));
        let mut writer = options.shape(&[self.rows.len() as u64]).writer(&mut bytes).begin_nd()?;
        writer.extend(self.rows.iter().map(|cells| Row(cells.clone(), widths.clone())))?;
        writer.finish()?;
        Ok(bytes)
    }

    /// The characters of the longest text of a column, at least 1.
    fn characters(&self, column: usize) -> usize {
        let length = |row: &Vec<Cell>| if let Cell::Text(text) = &row[column] { text.chars().count() } else { 0 };
        self.rows.iter().map(length).max().unwrap_or(0).max(1)
    }
}

impl Cell {
    /// The cell as it is written, a number with as few digits as say which it is.
    fn text(&self) -> String {
        match self {
            Self::Whole(number) => number.map_or(String::new(), |number| number.to_string()),
            Self::Real(number) if number.is_nan() => String::new(),
            Self::Real(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Whole(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
            Self::Text(text) if text.is_empty() => Value::Null,
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// A row of a structured array, and the characters of each of its texts.
struct Row(Vec<Cell>, Vec<usize>);

struct WriteRow;

impl npyz::Serialize for Row {
    type TypeWriter = WriteRow;

    fn writer(_: &DType) -> std::result::Result<WriteRow, npyz::DTypeError> {
        Ok(WriteRow)
    }
}

impl TypeWrite for WriteRow {
    type Value = Row;

    fn write_one<W: Write>(&self, mut writer: W, Row(cells, widths): &Row) -> io::Result<()> {
        cells.iter().zip(widths).try_for_each(|(cell, &width)| match cell {
            Cell::Whole(number) => writer.write_all(&number.unwrap_or(i64::MIN).to_le_bytes()),
            Cell::Real(number) => writer.write_all(&number.to_le_bytes()),
            Cell::Text(text) => {
                let mut characters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
                characters.try_for_each(|character| writer.write_all(&character.to_le_bytes()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_the_same_in_every_format() {
        let row = |label, name: &str, p| vec![Cell::Whole(label), Cell::Text(name.into()), Cell::Real(p)];
        let rows = vec![row(Some(-3), "a, \"b\"", 0.1), row(None, "", f64::NAN)];
        let table = Table { names: ["label", "name", "p0"].map(String::from).to_vec(), rows };
        assert_eq!(table.csv().unwrap(), b"label,name,p0\n-3,\"a, \"\"b\"\"\",0.1\n,,\n");
        assert_eq!(
            table.jsonl(),
            "{\"label\":-3,\"name\":\"a, \\\"b\\\"\",\"p0\":0.1}\n{\"label\":null,\"name\":null,\"p0\":null}\n"
        );
        let bytes = table.npy().unwrap();
        let header = String::from_utf8_lossy(&bytes[10..]).to_string();
        assert!(header.contains("[('label', '<i8'), ('name', '<U6'), ('p0', '<f8'), ]"), "{header}");
        let last = &bytes[bytes.len() - (8 + 24 + 8)..];
        assert_eq!((&last[..8], &last[8..32]), (&i64::MIN.to_le_bytes()[..], &[0; 24][..]));
        assert!(f64::from_le_bytes(last[32..].try_into().unwrap()).is_nan());
    }
}
