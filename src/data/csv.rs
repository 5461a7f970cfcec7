//! Tables of text: a header of names, a row a sample, columns of numbers or of categories.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::encoding::{Column, Encoding};
use super::tables::{Rules, Table, Tables};
use super::targets::{Raw, listed};
use super::{Features, files, reserved};
use crate::error::{Error, Result};

/// A table of text and what is made of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csv {
    /// The file of the training part, with a header; plain or gzipped, its columns separated by commas, semicolons or
    /// tabs.
    pub file: PathBuf,
    /// The name of the column to be predicted. Default: the one that the run's encoding names; predictions need none.
    pub target: Option<String>,
    /// The file of the test part, which has the same columns in any order. Default: no test part.
    pub test: Option<PathBuf>,
    /// The names of columns of numbers that are taken for categories.
    pub categories: Vec<String>,
    /// The names of columns that are left out.
    pub without: Vec<String>,
}

/// The most categories of a column; more are taken for names.
const MOST_CATEGORIES: usize = 1000;
/// The most categories of all columns together, each of which is a feature of every row.
const MOST_IN_ALL: usize = 10_000;
/// What people write where a value is missing.
const MISSING: [&str; 9] = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "?"];

/// The tables of a file and of its test part.
pub(super) fn csv(source: &Csv, rules: Rules) -> Result<Tables> {
    let sheet = Sheet::read(&source.file)?;
    let test = source.test.as_deref().map(Sheet::read).transpose()?;
    let encoding = rules.encoding().filter(|encoding| !encoding.columns.is_empty());
    let target = source.target.clone().or_else(|| encoding?.target.clone());
    for name in source.target.iter().chain(&source.categories).chain(&source.without) {
        sheet.column(name)?;
    }
    let columns = match encoding {
        Some(Encoding { columns, .. }) => columns.clone(),
        None => {
            if target.is_none() {
                let text = format!("expected target=NAME, one of the columns {}", listed(&sheet.names));
                return Err(Error::data(&source.file, text));
            }
            sheet.columns(source, target.as_deref(), test.as_ref())?
        }
    };
    let train = sheet.table(&columns, target.as_deref())?;
    let test = test.map(|test| test.table(&columns, target.as_deref())).transpose()?;
    Ok(Tables { target, columns, ..Tables::new(train, test) })
}

/// A file's header and rows.
struct Sheet<'a> {
    path: &'a Path,
    names: Vec<String>,
    /// The place of each name.
    places: HashMap<String, usize>,
    rows: Vec<Vec<String>>,
    /// Whether a comma is a decimal point, as in tables that are separated by semicolons.
    has_commas: bool,
}

impl<'a> Sheet<'a> {
    fn read(path: &'a Path) -> Result<Self> {
        let bytes = files::read(path, files::unknown)?;
        check_text(path, &bytes)?;
        let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let header = text.split(|&b| b == b'\n').next().unwrap_or_default();
        let count = |separator: u8| header.iter().filter(|&&b| b == separator).count();
        let separator = [b'\t', b';', b','].into_iter().max_by_key(|&b| count(b)).unwrap_or(b',');
        let bad = |error: ::csv::Error| Error::data(path, format!("expected a table, found: {error}"));
        let mut reader = ::csv::ReaderBuilder::new().delimiter(separator).trim(::csv::Trim::All).from_reader(text);
        let names: Vec<String> = reader.headers().map_err(bad)?.iter().map(String::from).collect();
        let rows = reader.records().map(|row| Ok(row.map_err(bad)?.iter().map(String::from).collect()));
        let rows: Vec<Vec<String>> = rows.collect::<Result<_>>()?;
        let places = names.iter().rev().cloned().zip((0..names.len()).rev()).collect();
        let sheet = Self { path, names, places, rows, has_commas: separator == b';' };
        sheet.check()?;
        Ok(sheet)
    }

    /// Refuses a file without a header, without rows, or with two columns of one name.
    fn check(&self) -> Result<()> {
        let bad = |text: String| Err(Error::data(self.path, text));
        if self.rows.is_empty() {
            return bad("expected a header and at least one row, found fewer".into());
        }
        if self.names.iter().all(|name| self.number(name).is_some()) {
            return bad(format!("expected a header of names in the first row, found {}", listed(&self.names)));
        }
        let twice = self.names.iter().enumerate().find(|(i, name)| self.places[*name] != *i);
        match twice {
            Some((i, name)) if name.is_empty() => Err(self.nameless(i)),
            Some((_, name)) => bad(format!("expected a name of its own for every column, found {name:?} twice")),
            None => Ok(()),
        }
    }

    fn column(&self, name: &str) -> Result<usize> {
        let missing = || format!("expected a column {name:?}, found {}", listed(&self.names));
        self.places.get(name).copied().ok_or_else(|| Error::data(self.path, missing()))
    }

    /// The row as an editor counts it, the header being 1.
    fn refuse<T>(&self, row: usize, column: usize, text: &str) -> Result<T> {
        let (row, name, value) = (row + 2, &self.names[column], &self.rows[row][column]);
        Err(Error::data(self.path, format!("{text}, found {value:?} in row {row}, column {name:?}")))
    }

    fn number(&self, text: &str) -> Option<f64> {
        let parse = |text: &str| text.parse().ok().filter(|x: &f64| x.is_finite());
        parse(text).or_else(|| parse(&text.replacen(',', ".", 1)).filter(|_| self.has_commas))
    }

    /// The values of a column, none of which is missing.
    fn values(&self, column: usize) -> Result<Vec<&str>> {
        match self.rows.iter().position(|row| MISSING.contains(&row[column].as_str())) {
            Some(row) => self.refuse(row, column, "expected a value in every row"),
            None => Ok(self.rows.iter().map(|row| row[column].as_str()).collect()),
        }
    }

    /// Whether a column holds numbers; else it holds words.
    fn is_numeric(&self, column: usize) -> Result<bool> {
        let values = self.values(column)?;
        let stray = values.iter().position(|text| self.number(text).is_none());
        match stray {
            None => Ok(true),
            Some(row) if values.iter().any(|text| self.number(text).is_some()) => {
                let text = format!("expected a number, as in other rows (or categories={})", self.names[column]);
                self.refuse(row, column, &text)
            }
            Some(_) => Ok(false),
        }
    }

    /// What each column becomes, but for the target and those that are left out. Categories are those of both parts.
    fn columns(&self, source: &Csv, target: Option<&str>, test: Option<&Sheet>) -> Result<Vec<Column>> {
        let (mut columns, mut in_all) = (Vec::new(), 0);
        for (i, name) in self.names.iter().enumerate() {
            if target == Some(name) || source.without.contains(name) || self.is_index(i) {
                continue;
            }
            if name.is_empty() {
                return Err(self.nameless(i));
            }
            if !source.categories.contains(name) && self.is_numeric(i)? {
                columns.push(Column { name: name.clone(), categories: None });
                continue;
            }
            let mut found: BTreeSet<&str> = self.values(i)?.into_iter().collect();
            if let Some(test) = test {
                found.extend(test.values(test.column(name)?)?);
            }
            if found.len() > MOST_CATEGORIES {
                let text = format!(
                    "expected numbers, or up to {MOST_CATEGORIES} categories, in column {name:?}, found {}; \
                     without={name} leaves it out",
                    found.len()
                );
                return Err(Error::data(self.path, text));
            }
            in_all += found.len();
            if in_all > MOST_IN_ALL {
                let text =
                    format!("expected up to {MOST_IN_ALL} categories in all columns, found more up to column {name:?}");
                return Err(Error::data(self.path, text));
            }
            let categories = Some(found.into_iter().map(String::from).collect());
            columns.push(Column { name: name.clone(), categories });
        }
        if columns.is_empty() {
            return Err(Error::data(self.path, "expected a column beside the target, found none"));
        }
        Ok(columns)
    }

    /// Whether a column is the index that pandas writes, in order or shuffled: the first, without a name, and an integer of
    /// its own for every row.
    fn is_index(&self, column: usize) -> bool {
        let numbers: Option<BTreeSet<i64>> = self.rows.iter().map(|row| row[column].parse().ok()).collect();
        column == 0 && self.names[0].is_empty() && numbers.is_some_and(|numbers| numbers.len() == self.rows.len())
    }

    fn nameless(&self, column: usize) -> Error {
        let text = format!(
            "expected a name for column {}, found none; name it in the header (without=NAME leaves it out), or write the \
             table without it (pandas: index=False)",
            column + 1
        );
        Error::data(self.path, text)
    }

    /// The features of `columns`, and the target where the file has it.
    fn table(&self, columns: &[Column], target: Option<&str>) -> Result<Table> {
        let width = columns.iter().map(|column| column.categories.as_ref().map_or(1, Vec::len)).sum::<usize>();
        let mut features: Vec<f64> = reserved(self.path, self.rows.len().checked_mul(width))?;
        features.resize(self.rows.len() * width, 0.0);
        let mut first = 0;
        for Column { name, categories } in columns {
            let column = self.column(name)?;
            for (row, text) in self.values(column)?.into_iter().enumerate() {
                let at = row * width + first;
                match categories {
                    None => match self.number(text) {
                        Some(x) => features[at] = x,
                        None => return self.refuse(row, column, "expected a number"),
                    },
                    Some(categories) if !categories.iter().any(|c| c == text) => {
                        let text = format!("expected one of {}", listed(categories));
                        return self.refuse(row, column, &text);
                    }
                    Some(categories) => {
                        let ones = features[at..].iter_mut().zip(categories);
                        ones.for_each(|(feature, category)| *feature = f64::from(category == text));
                    }
                }
            }
            first += categories.as_ref().map_or(1, Vec::len);
        }
        let target = target.and_then(|name| self.places.get(name));
        let targets = target.map(|&column| Ok((self.path.to_path_buf(), self.target(column)?))).transpose()?;
        Table::new(self.path.to_path_buf(), Features::F64(features), [width, 1, 1], targets)
    }

    fn target(&self, column: usize) -> Result<Raw> {
        let values = self.values(column)?.into_iter().map(String::from).collect();
        Ok(Raw::of_texts(values, |text| self.number(text)))
    }
}

/// Refuses bytes that are no text in UTF-8.
fn check_text(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0);
    let found = match std::str::from_utf8(bytes) {
        _ if is_utf16 => "UTF-16 or bytes that are no text".into(),
        Err(error) => {
            let (row, byte) = (bytes[..error.valid_up_to()].split(|&b| b == b'\n').count(), bytes[error.valid_up_to()]);
            format!("byte {byte:#04x} in row {row}, as Latin-1 and Windows-1252 have")
        }
        Ok(_) => return Ok(()),
    };
    let text = format!(
        "expected text in UTF-8, found {found}; save it as UTF-8 (pandas: to_csv does, after \
                        read_csv(FILE, encoding=\"latin-1\" or \"utf-16\"))"
    );
    Err(Error::data(path, text))
}
