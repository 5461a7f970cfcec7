//! The folder of a sweep.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use toml::{Table, Value};

use super::design::{Design, SWEEP};
use super::row::Row;
use super::table;
use crate::disk::{read_sealed, seal_lines, write_whole};
use crate::error::{Error, Result};
use crate::run::{self, Config, lines};

const DESIGN: &str = "sweep.toml";
const ROWS: &str = "members.jsonl";
const TABLE: &str = "members.csv";
const MEMBERS: &str = "members";
const BEST: &str = "best";

/// The folder of a member's run within that of its sweep.
pub fn member_dir(dir: &Path, member: u64) -> PathBuf {
    dir.join(MEMBERS).join(member.to_string())
}

/// The folder of the best member's run within that of its sweep.
pub fn best_dir(dir: &Path) -> PathBuf {
    dir.join(BEST)
}

/// Makes the folder of a sweep, or the first free one of `sweeps/1`, `sweeps/2`, ...; a sweep that it holds is removed with
/// `replaces`.
///
/// # Errors
/// A folder that holds a sweep which is not to be replaced, or something else; one that cannot be made.
pub fn make_dir(dir: Option<&Path>, replaces: bool) -> Result<PathBuf> {
    let Some(dir) = dir else {
        return run::free_dir(Path::new("sweeps"));
    };
    if dir.exists() && !dir.is_dir() {
        return Err(Error::config("--run", format!("expected a folder, found a file at {}", dir.display())));
    }
    let files = [DESIGN, ROWS, TABLE].map(|name| dir.join(name)).into_iter().filter(|path| path.exists());
    let folders = [dir.join(MEMBERS), best_dir(dir)].into_iter().filter(|path| path.exists());
    let (files, folders): (Vec<_>, Vec<_>) = (files.collect(), folders.collect());
    if let Some(found) = files.iter().chain(&folders).next().filter(|_| !(replaces && is_sweep(dir))) {
        let hint = if is_sweep(dir) { "; --overwrite replaces it" } else { "" };
        let found = format!("expected a folder without a sweep, found {}{hint}", found.display());
        return Err(Error::config("--run", found));
    }
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    files.iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io(path)))?;
    folders.iter().try_for_each(|path| fs::remove_dir_all(path).map_err(Error::io(path)))?;
    Ok(dir.to_path_buf())
}

/// Whether `dir` is the folder of a sweep.
pub fn is_sweep(dir: &Path) -> bool {
    dir.join(ROWS).is_file() || dir.join(DESIGN).is_file()
}

/// Writes the design of a sweep and the configuration that it is over, as `sweep.toml`: a configuration file.
///
/// # Errors
/// The file cannot be written.
pub fn write_design(dir: &Path, design: &Design, base: &Config) -> Result<()> {
    let bad = |error: toml::ser::Error| Error::config("config", error.to_string());
    let mut table = Table::try_from(base).map_err(bad)?;
    table.insert(SWEEP.into(), Value::Table(design.clone().into()));
    let text = toml::to_string(&table).map_err(bad)?;
    write_whole(&dir.join(DESIGN), seal_lines(&text).as_bytes())
}

/// The design of the sweep in `dir`, and the configuration that it is over.
///
/// # Errors
/// The file is missing, damaged or altered.
pub fn read_design(dir: &Path) -> Result<(Design, Config)> {
    let path = dir.join(DESIGN);
    if !path.exists() {
        return Err(Error::data(dir, format!("expected the folder of a sweep, found no {DESIGN} in it")));
    }
    let bad = |error: toml::de::Error| Error::data(&path, error.to_string());
    let mut file: Table = read_sealed(&path)?.parse().map_err(bad)?;
    let design = Design::take(&mut file)?;
    Ok((design, Config::resolve(file, Vec::new(), Vec::new())?))
}

/// What came of the members of a sweep, as `members.jsonl`, a line each; every line carries a checksum.
pub struct Rows {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Rows {
    /// Opens the file of the sweep in `dir`; lines that are there and intact stay.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(ROWS);
        Ok(Self { file: lines::go_on(&path, "member", u64::MAX)?, path })
    }

    /// Adds what came of a member.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let mut line = serde_json::to_value(row).map_err(|error| Error::data(&self.path, error.to_string()))?;
        // Of the same bits, it alone differs from one sweep to another.
        let seconds = line.as_object_mut().and_then(|line| line.shift_remove("seconds")).unwrap_or(json!(row.seconds));
        let written = lines::write(&mut self.file, &line, &[("seconds", seconds)]);
        written.and_then(|()| self.file.flush()).map_err(Error::io(&self.path))
    }
}

/// What came of the members of the sweep in `dir`, in the order of their numbers, and how many lines are damaged; of a member with
/// several lines the last. None where there are none yet.
///
/// # Errors
/// The file cannot be read.
pub fn read_rows(dir: &Path) -> Result<(Vec<Row>, usize)> {
    let (lines, damaged) = lines::read(&dir.join(ROWS))?;
    let count = lines.len();
    let mut rows: Vec<Row> =
        lines.into_iter().rev().filter_map(|line: Json| serde_json::from_value(line).ok()).collect();
    let damaged = damaged + count - rows.len();
    rows.sort_by_key(|row| row.member);
    rows.dedup_by_key(|row| row.member);
    Ok((rows, damaged))
}

/// Writes the table of all members as `members.csv`.
///
/// # Errors
/// The file cannot be written.
pub fn write_table(dir: &Path, rows: &[Row]) -> Result<()> {
    write_whole(&dir.join(TABLE), table::csv(rows)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::{Axis, Halving, Range};

    #[test]
    fn a_sweep_reads_back() {
        let dir = tempfile::TempDir::new().unwrap();
        let grid = vec![Axis::parse("model.hidden=[8],[]").unwrap()];
        let ranges = vec![Range::parse("optimizer.lr=1e-4..1:log").unwrap()];
        let design = Design { grid, ranges, random: Some(4), seeds: 2, seed: 3, halving: Some(Halving::default()) };
        let base = Config::resolve("train.epochs = 3".parse().unwrap(), Vec::new(), Vec::new()).unwrap();
        assert!(!is_sweep(dir.path()));
        assert!(read_design(dir.path()).unwrap_err().to_string().contains("found no sweep.toml"));
        write_design(dir.path(), &design, &base).unwrap();
        assert_eq!(read_design(dir.path()).unwrap(), (design, base));
        let path = dir.path().join(DESIGN);
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("epochs = 3", "epochs = 4")).unwrap();
        assert!(read_design(dir.path()).unwrap_err().to_string().contains("damaged or altered"));
    }

    #[test]
    fn rows_read_back_whatever_happened_to_their_file() {
        let dir = tempfile::TempDir::new().unwrap();
        let row = |member, steps| Row {
            member,
            steps,
            seconds: 0.5,
            test_loss: Some(f64::NAN),
            ended: "epochs".into(),
            ..Row::default()
        };
        let told = || {
            let (rows, damaged) = read_rows(dir.path()).unwrap();
            (rows.iter().map(|row| (row.member, row.steps)).collect::<Vec<_>>(), damaged)
        };
        assert_eq!(told(), (vec![], 0));
        let add = |rows: &[Row]| {
            let mut file = Rows::open(dir.path()).unwrap();
            rows.iter().try_for_each(|row| file.add(row)).unwrap();
        };
        add(&[row(2, 7), row(0, 5)]);
        // One that was trained anew, and behind it one that was cut off.
        add(&[row(2, 9)]);
        let path = dir.path().join(ROWS);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}", &text[..40])).unwrap();
        assert_eq!(told(), (vec![(0, 5), (2, 9)], 0));
        add(&[row(1, 6)]);
        assert_eq!(told(), (vec![(0, 5), (1, 6), (2, 9)], 0));
        let (rows, _) = read_rows(dir.path()).unwrap();
        assert!(rows[0].seconds == 0.5 && rows[0].test_loss.unwrap().is_nan());
        std::fs::write(&path, text.replacen("\"steps\":5", "\"steps\":6", 1)).unwrap();
        assert_eq!(told(), (vec![(2, 9)], 1));
        write_table(dir.path(), &rows).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(TABLE)).unwrap().lines().count(), 4);
    }
}
