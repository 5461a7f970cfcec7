//! What is swept.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::axis::Axis;
use super::halving::Halving;
use super::member::{Member, SEED};
use super::range::Range;
use super::sobol::{DIMENSIONS, Sobol};
use crate::error::{Error, Result};
use crate::run::{Config, Setting};

/// The most members of a sweep.
const MOST: u64 = 100_000;
/// The table of a configuration file that holds a design, and the tables and numbers in it.
pub(super) const SWEEP: &str = "sweep";
const GRID: &str = "grid";
const RANGE: &str = "range";
const HALVING: &str = "halving";
const NUMBERS: [&str; 3] = ["random", "seeds", "seed"];

/// The design of a sweep: the settings that are tried. Every point of the grid is tried with every point that is drawn from the
/// ranges, under every seed.
///
/// As TOML it is the table `[sweep]` of a configuration file; a key may also be nested tables, as `grid.optimizer.lr`:
///
/// ```
/// use thalweg::run::Config;
/// use thalweg::sweep::Design;
///
/// let mut file = r#"
///     [sweep]
///     seeds = 2
///     random = 8
///     grid."model.hidden" = [[256], [256, 128]]
///     range."optimizer.lr" = { from = 1e-4, to = 1e-1, scale = "log" }
/// "#.parse().unwrap();
/// let design = Design::take(&mut file)?;
/// let base = Config::resolve(file, Vec::new(), Vec::new())?;
/// assert_eq!(design.members(&base)?.len(), 2 * 8 * 2);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Table", into = "Table")]
pub struct Design {
    /// The settings that take given values, the table `grid`. Default none.
    pub grid: Vec<Axis>,
    /// The settings whose values are drawn, the table `range`. Default none.
    pub ranges: Vec<Range>,
    /// The number of points that are drawn from the ranges, at least 1; there are some if, and only if, there are ranges.
    pub random: Option<u64>,
    /// The number of seeds of every setting, from `train.seed` on; at least 1, default 1.
    pub seeds: u64,
    /// The seed that shifts the points drawn from the ranges. Default 0.
    pub seed: u64,
    /// Successive halving, the table `halving`. Default none: all members are trained to their end.
    pub halving: Option<Halving>,
}

impl Default for Design {
    fn default() -> Self {
        Self { grid: Vec::new(), ranges: Vec::new(), random: None, seeds: 1, seed: 0, halving: None }
    }
}

impl Design {
    /// Takes the table `[sweep]` out of a configuration file; the default where there is none.
    ///
    /// # Errors
    /// A key that is not known, or a value of the wrong kind.
    pub fn take(file: &mut Table) -> Result<Self> {
        match file.remove(SWEEP) {
            None => Ok(Self::default()),
            Some(Value::Table(table)) => Self::try_from(table),
            Some(other) => Err(Error::config(SWEEP, format!("expected a table, found {other}"))),
        }
    }

    /// The keys of the settings that are swept, in the order of the alphabet.
    pub fn keys(&self) -> Vec<&str> {
        let keys: BTreeSet<&str> =
            self.grid.iter().map(|axis| &axis.key[..]).chain(self.ranges.iter().map(|range| &range.key[..])).collect();
        keys.into_iter().collect()
    }

    /// Refuses a design that makes no sense, or more than 100 000 members.
    ///
    /// # Errors
    /// The first mistake, by its setting.
    pub fn check(&self) -> Result<()> {
        self.ranges.iter().try_for_each(Range::check)?;
        let mut seen = BTreeSet::new();
        let keys = self.grid.iter().map(|axis| &axis.key).chain(self.ranges.iter().map(|range| &range.key));
        for key in keys {
            if !seen.insert(key) {
                return Err(Error::config(key, "expected a setting to be swept once, found it twice"));
            }
            if key == "train.replicas" {
                return Err(Error::config(
                    key,
                    "expected a setting of one training; --seeds N trains each with N seeds",
                ));
            }
            if key == SEED && self.seeds > 1 {
                let found =
                    format!("expected either values of its own or --seeds, found both, with {} seeds", self.seeds);
                return Err(Error::config(key, found));
            }
        }
        for Axis { key, values } in &self.grid {
            let twice = values.iter().enumerate().find(|(i, value)| values[..*i].contains(value));
            if let Some((_, value)) = twice {
                return Err(Error::config(key, format!("expected every value once, found {value} twice")));
            }
            if values.is_empty() {
                return Err(Error::config(key, "expected at least one value, found none"));
            }
        }
        self.check_counts()
    }

    fn check_counts(&self) -> Result<()> {
        let at_least_1 = |key: &str| Err(Error::config(key, "expected at least 1, found 0"));
        match (self.random, self.ranges.first()) {
            (Some(0), _) => return at_least_1("sweep.random"),
            (Some(n), None) => {
                return Err(Error::config(
                    "sweep.random",
                    format!("expected ranges to draw {n} points from, found none; --range KEY=LO..HI gives one"),
                ));
            }
            (None, Some(range)) => {
                return Err(Error::config(
                    &range.key,
                    "expected a number of points to draw from the range; --random N gives it",
                ));
            }
            _ => {}
        }
        if self.seeds == 0 {
            return at_least_1("sweep.seeds");
        }
        if self.ranges.len() > DIMENSIONS {
            let found = format!("expected at most {DIMENSIONS} ranges, found {}", self.ranges.len());
            return Err(Error::config("sweep.range", found));
        }
        let mut counts =
            self.grid.iter().map(|axis| axis.values.len() as u64).chain([self.random.unwrap_or(1), self.seeds]);
        match counts.try_fold(1u64, u64::checked_mul) {
            Some(all) if all <= MOST => Ok(()),
            all => {
                let all = all.map_or("more than can be counted".into(), |all| all.to_string());
                Err(Error::config(
                    SWEEP,
                    format!("expected at most {MOST} members, found {all}; sweep fewer values or seeds"),
                ))
            }
        }
    }

    /// The members of the sweep over the configuration `base`: seeds change fastest, then the values of the grid, of which the last
    /// in the order of the alphabet does first, then the points drawn from the ranges. More random points leave the members before
    /// them as they are.
    ///
    /// # Errors
    /// What [`check`](Self::check) refuses. Whether a setting is known and takes its values, [`Member::config`] tells.
    pub fn members(&self, base: &Config) -> Result<Vec<Member>> {
        self.check()?;
        let grid = self.grid_points();
        let mut ranges: Vec<&Range> = self.ranges.iter().collect();
        ranges.sort_by_key(|range| &range.key);
        let is_whole: Vec<bool> =
            ranges.iter().map(|range| range.is_whole && !takes_fractions(range, &grid[0], base)).collect();
        let sequence = Sobol::new(ranges.len(), self.seed);
        let mut members = Vec::new();
        for i in 0..self.random.unwrap_or(1) {
            let draw = |((range, u), &is_whole): ((&&Range, f64), _)| (range.key.clone(), range.at(u, is_whole));
            let drawn: Vec<Setting> = ranges.iter().zip(sequence.point(i)).zip(&is_whole).map(draw).collect();
            for given in &grid {
                let mut settings = [&given[..], &drawn].concat();
                settings.sort_by(|(a, _), (b, _)| a.cmp(b));
                let own = settings.iter().find(|(key, _)| key == SEED).and_then(|(_, seed)| seed.as_integer());
                let first = own.map_or(base.train.seed, |seed| seed as u64);
                members.extend((0..self.seeds).map(|seed| (settings.clone(), first.wrapping_add(seed))));
            }
        }
        let member = |(number, (settings, seed))| Member { number, settings, seed };
        Ok((0..).zip(members).map(member).collect())
    }

    /// The settings of every point of the grid; one point without settings where there is no grid.
    fn grid_points(&self) -> Vec<Vec<Setting>> {
        let mut grid: Vec<&Axis> = self.grid.iter().collect();
        grid.sort_by_key(|axis| &axis.key);
        grid.iter().fold(vec![Vec::new()], |points: Vec<Vec<Setting>>, axis| {
            let with =
                |point: &Vec<Setting>, value: &Value| [&point[..], &[(axis.key.clone(), value.clone())]].concat();
            points.iter().flat_map(|point| axis.values.iter().map(move |value| with(point, value))).collect()
        })
    }
}

/// Whether a setting takes numbers between whole ones, beside other settings.
fn takes_fractions(range: &Range, others: &[Setting], base: &Config) -> bool {
    let half = (range.key.clone(), Value::Float(range.from + 0.5));
    Member { number: 0, settings: [others, &[half]].concat(), seed: 0 }.config(base).is_ok()
}

impl TryFrom<Table> for Design {
    type Error = Error;

    fn try_from(table: Table) -> Result<Self> {
        let mut design = Self::default();
        for (name, value) in &table {
            match (name.as_str(), value) {
                (GRID, Value::Table(grid)) => design.grid = leaves("", grid, &read_axis)?,
                (RANGE, Value::Table(ranges)) => design.ranges = leaves("", ranges, &read_range)?,
                (HALVING, Value::Table(halving)) => {
                    let bad = |error: toml::de::Error| Error::config(format!("{SWEEP}.{HALVING}"), error.message());
                    design.halving = Some(halving.clone().try_into().map_err(bad)?);
                }
                (GRID | RANGE | HALVING, other) => {
                    return Err(Error::config(format!("{SWEEP}.{name}"), format!("expected a table, found {other}")));
                }
                (name, value) if NUMBERS.contains(&name) => {
                    let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
                    let bad = || {
                        Error::config(format!("{SWEEP}.{name}"), format!("expected a number from 0 on, found {value}"))
                    };
                    let number = number.ok_or_else(bad)?;
                    match name {
                        "random" => design.random = Some(number),
                        "seeds" => design.seeds = number,
                        _ => design.seed = number,
                    }
                }
                (name, _) => {
                    let known = [GRID, RANGE, HALVING].into_iter().chain(NUMBERS).collect::<Vec<_>>().join(", ");
                    return Err(Error::config(
                        format!("{SWEEP}.{name}"),
                        format!("unknown key, expected one of {known}"),
                    ));
                }
            }
        }
        Ok(design)
    }
}

impl From<Design> for Table {
    fn from(design: Design) -> Self {
        let numbers =
            [("random", design.random), ("seeds", Some(design.seeds)), ("seed", Some(design.seed))].into_iter();
        let number = |(name, number): (&str, Option<u64>)| {
            Some((name.to_string(), Value::Integer(number?.try_into().unwrap_or(i64::MAX))))
        };
        let mut table: Table = numbers.filter_map(number).collect();
        let grid: Table = design.grid.into_iter().map(|axis| (axis.key, Value::Array(axis.values))).collect();
        let ranges: Table = design.ranges.into_iter().map(|range| (range.key.clone(), range.value())).collect();
        let halving = design.halving.and_then(|halving| Table::try_from(halving).ok()).unwrap_or_default();
        for (name, inner) in [(GRID, grid), (RANGE, ranges), (HALVING, halving)] {
            if !inner.is_empty() {
                table.insert(name.into(), Value::Table(inner));
            }
        }
        table
    }
}

/// What `read` makes of the values of a table, which may lie in tables within it, by their keys with dots; none is a table that is
/// looked into.
fn leaves<T>(prefix: &str, table: &Table, read: &dyn Fn(&str, &Value) -> Result<Option<T>>) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match (read(&key, value)?, value) {
            (Some(leaf), _) => found.push(leaf),
            (None, Value::Table(inner)) => found.extend(leaves(&format!("{key}."), inner, read)?),
            (None, _) => {}
        }
    }
    Ok(found)
}

fn read_axis(key: &str, value: &Value) -> Result<Option<Axis>> {
    match value {
        Value::Table(_) => Ok(None),
        Value::Array(values) => Ok(Some(Axis { key: key.into(), values: values.clone() })),
        other => {
            Err(Error::config(format!("{SWEEP}.{GRID}.{key}"), format!("expected a list of values, found {other}")))
        }
    }
}

fn read_range(key: &str, value: &Value) -> Result<Option<Range>> {
    let is_end = |name: &str| value.get(name).is_some_and(|end| !end.is_table());
    let is_range = !value.is_table() || ["from", "to", "scale"].into_iter().any(is_end);
    is_range.then(|| Range::read(key, value)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn design(text: &str) -> Result<Design> {
        Design::take(&mut text.parse().unwrap())
    }

    fn members(design: &Design) -> Vec<String> {
        let members = design.members(&Config::default()).unwrap();
        assert!(members.iter().zip(0..).all(|(member, i)| member.number == i));
        members.iter().map(|member| format!("{} #{}", member.words(), member.seed)).collect()
    }

    const FULL: &str = r#"
        [sweep]
        seeds = 2
        random = 3
        seed = 9
        [sweep.grid]
        "optimizer.name" = ["sgd", "adamw"]
        model.hidden = [[8], [8, 4]]
        [sweep.range]
        "optimizer.weight_decay" = { from = 0, to = 1 }
        train.batch = { from = 8, to = 64, scale = "log" }
    "#;

    #[test]
    fn a_table_is_read_and_written() {
        let design = design(FULL).unwrap();
        assert_eq!((design.seeds, design.random, design.seed), (2, Some(3), 9));
        assert_eq!(design.keys(), ["model.hidden", "optimizer.name", "optimizer.weight_decay", "train.batch"]);
        let text =
            toml::to_string(&Table::from_iter([("sweep".to_string(), Value::try_from(&design).unwrap())])).unwrap();
        assert_eq!(self::design(&text).unwrap(), design, "{text}");
        assert_eq!(self::design("").unwrap(), Design::default());
        // Flags say the same.
        let flags = Design {
            grid: ["model.hidden=[8],[8,4]", "optimizer.name=sgd,adamw"].map(|text| Axis::parse(text).unwrap()).into(),
            ranges: ["optimizer.weight_decay=0..1", "train.batch=8..64:log"]
                .map(|text| Range::parse(text).unwrap())
                .into(),
            ..design.clone()
        };
        assert_eq!(members(&flags), members(&design));
    }

    #[test]
    fn members_come_in_a_fixed_order() {
        let grid: Vec<Axis> =
            ["optimizer.lr=0.1,0.01", "model.hidden=[8],[]"].map(|text| Axis::parse(text).unwrap()).into();
        let design = Design { grid, seeds: 2, ..Design::default() };
        assert_eq!(
            members(&design),
            [
                "model.hidden=[8], optimizer.lr=0.1 #0",
                "model.hidden=[8], optimizer.lr=0.1 #1",
                "model.hidden=[8], optimizer.lr=0.01 #0",
                "model.hidden=[8], optimizer.lr=0.01 #1",
                "model.hidden=[], optimizer.lr=0.1 #0",
                "model.hidden=[], optimizer.lr=0.1 #1",
                "model.hidden=[], optimizer.lr=0.01 #0",
                "model.hidden=[], optimizer.lr=0.01 #1"
            ]
        );
        assert_eq!(members(&Design { seeds: 3, ..Design::default() }), [" #0", " #1", " #2"]);
        let seeds = Design { grid: vec![Axis::parse("train.seed=5,3").unwrap()], ..Design::default() };
        assert_eq!(members(&seeds), ["train.seed=5 #5", "train.seed=3 #3"]);
        let mut base = Config::default();
        base.train.seed = 40;
        assert_eq!(design.members(&base).unwrap()[1].seed, 41);
    }

    #[test]
    fn every_point_of_the_grid_meets_every_drawn_point() {
        let design = design(FULL).unwrap();
        let all = design.members(&Config::default()).unwrap();
        assert_eq!(all.len(), 3 * 4 * 2);
        let drawn = |member: &Member| member.settings[2..].to_vec();
        assert!(all.chunks(8).all(|point| point.iter().all(|member| drawn(member) == drawn(&point[0]))));
        // Both ranges end in whole numbers, but only one of the settings takes no others.
        for member in &all {
            let (decay, batch) = (&member.settings[2].1, &member.settings[3].1);
            assert!((0.0..1.0).contains(&decay.as_float().unwrap()), "{decay}");
            assert!((8..=64).contains(&batch.as_integer().unwrap()), "{batch}");
            member.config(&Config::default()).unwrap();
        }
        // More points leave those before as they are, and the design's seed moves them all.
        let more = Design { random: Some(6), ..design.clone() }.members(&Config::default()).unwrap();
        assert_eq!((more.len(), &more[..24]), (48, &all[..]));
        let moved = Design { seed: 10, ..design }.members(&Config::default()).unwrap();
        assert!(moved.iter().zip(&all).all(|(a, b)| a.settings[2] != b.settings[2]));
    }

    #[test]
    fn mistakes_of_a_table_are_named() {
        let error = |text: &str| design(&format!("[sweep]\n{text}")).unwrap_err().to_string();
        assert_eq!(
            error("sedes = 2"),
            "sweep.sedes: unknown key, expected one of grid, range, halving, random, seeds, seed"
        );
        assert_eq!(error("seeds = -1"), "sweep.seeds: expected a number from 0 on, found -1");
        assert_eq!(error("grid = 3"), "sweep.grid: expected a table, found 3");
        assert_eq!(error("grid.optimizer.lr = 0.1"), "sweep.grid.optimizer.lr: expected a list of values, found 0.1");
        assert!(error("range.optimizer.lr = 3").starts_with("sweep.range.optimizer.lr: expected { from = LO"));
        assert!(
            error("range.optimizer.lr = { from = 3 }").starts_with("sweep.range.optimizer.lr: expected { from = LO")
        );
        assert_eq!(design("sweep = 3").unwrap_err().to_string(), "sweep: expected a table, found 3");
    }

    #[test]
    fn designs_that_make_no_sense_are_refused() {
        let error = |text: &str| design(&format!("[sweep]\n{text}")).unwrap().check().unwrap_err().to_string();
        let range = "range.optimizer.lr = { from = 1, to = 2 }";
        assert_eq!(error("seeds = 0"), "sweep.seeds: expected at least 1, found 0");
        assert_eq!(error(&format!("random = 0\n{range}")), "sweep.random: expected at least 1, found 0");
        assert!(error("random = 3").starts_with("sweep.random: expected ranges to draw 3 points from, found none"));
        assert!(error(range).starts_with("optimizer.lr: expected a number of points to draw from the range"));
        let twice = format!("random = 1\n{range}\ngrid.\"optimizer.lr\" = [1]");
        assert_eq!(error(&twice), "optimizer.lr: expected a setting to be swept once, found it twice");
        assert_eq!(
            error("grid.optimizer.lr = [0.1, 0.10]"),
            "optimizer.lr: expected every value once, found 0.1 twice"
        );
        assert_eq!(error("grid.optimizer.lr = []"), "optimizer.lr: expected at least one value, found none");
        assert!(error("seeds = 2\ngrid.train.seed = [1, 2]").starts_with("train.seed: expected either values"));
        assert!(
            error("grid.train.replicas = [1, 2]").starts_with("train.replicas: expected a setting of one training")
        );
        assert!(error("seeds = 100001").starts_with("sweep: expected at most 100000 members, found 100001"));
        assert!(
            error(&format!("seeds = {0}\nrandom = {0}\n{range}", u32::MAX)).ends_with("sweep fewer values or seeds")
        );
        let many: String = (0..=DIMENSIONS).map(|i| format!("range.a{i}.b = {{ from = 1, to = 2 }}\n")).collect();
        assert_eq!(error(&format!("random = 1\n{many}")), "sweep.range: expected at most 21 ranges, found 22");
    }
}
