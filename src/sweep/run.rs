//! A sweep as a function of a design, a configuration and who watches it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use super::crew::{self, Crew};
use super::deal::{Dealer, Dealt, First, Heard, Nobody, Others};
use super::design::Design;
use super::folder::{Rows, best_dir, member_dir, read_rows, write_table};
use super::group::ranked;
use super::kind::{has_same_data, kinds, tasks};
use super::member::Member;
use super::row::{HALVED, Row, judged_by};
use crate::engine::Evaluation;
use crate::error::{Error, Result};
use crate::event::{Control, Epoch};
use crate::gpu::Measuring;
use crate::run::{self, Config, Loaded, Lock, read_summary};

/// A sweep, ready to be trained.
pub struct Sweep {
    /// What is swept.
    pub design: Design,
    /// The configuration that the design is over.
    pub base: Config,
    /// The most members that are trained side by side, in the same dispatches; fewer where memory does not hold so many. Default
    /// 64.
    pub most: usize,
    /// Whether the weights of every member are kept, and not those of the best alone. Default false.
    pub keep_weights: bool,
    /// The function that is told of each matrix product whose forms are measured on the adapter.
    pub measuring: Measuring,
    /// The data that was loaded last, and a configuration that names it.
    loaded: RefCell<Option<(Config, Rc<Loaded>)>>,
}

/// What happens in a sweep.
#[derive(Clone, Debug, PartialEq)]
pub enum Told<'a> {
    /// Some members begin: those of one kind, which share an engine.
    Began {
        /// The number of members.
        members: usize,
        /// The number of those that are trained side by side.
        at_once: usize,
        /// The device that computes.
        device: &'a str,
        /// The epochs to which they are trained.
        until: u64,
    },
    /// A member has trained another epoch.
    Epoch,
    /// A member has ended.
    Ended(&'a Row),
    /// Settings were compared, and so many members go on.
    Compared {
        /// The epochs that all were trained.
        epochs: u64,
        /// The members that go on.
        survivors: usize,
        /// The members that were compared.
        members: usize,
    },
    /// Nothing, for a while; whoever watches may answer all the same.
    Waiting,
}

/// What a sweep came to.
#[derive(Clone, Debug)]
pub struct Swept {
    /// What came of the members that have ended, in the order of their numbers.
    pub rows: Vec<Row>,
    /// Whether it was interrupted, and goes on with [`Sweep::run`] in the same folder.
    pub is_interrupted: bool,
}

impl Sweep {
    /// A sweep with the defaults.
    pub fn new(design: Design, base: Config) -> Self {
        Self { design, base, most: 64, keep_weights: false, measuring: |_| (), loaded: RefCell::default() }
    }

    /// Refuses a design with members that cannot be trained, for which all data is loaded; returns their number.
    ///
    /// # Errors
    /// The first mistake, by its setting; data that cannot be read.
    pub fn check(&self) -> Result<usize> {
        let members = self.members()?;
        let count = members.len();
        for tasks in tasks(members, &self.base)? {
            let loaded = self.load(&tasks[0].config)?;
            kinds(tasks, &loaded)?;
        }
        Ok(count)
    }

    /// The data that a configuration names.
    fn load(&self, config: &Config) -> Result<Rc<Loaded>> {
        let mut last = self.loaded.borrow_mut();
        if let Some((_, loaded)) = last.as_ref().filter(|(other, _)| has_same_data(config, other)) {
            return Ok(loaded.clone());
        }
        // One at a time, since they may be large.
        *last = None;
        let loaded = Rc::new(Loaded::load(config)?);
        *last = Some((config.clone(), loaded.clone()));
        Ok(loaded)
    }

    /// The crew that trains members in the folder up to so many epochs.
    fn crew<'a>(&self, dir: &'a Path, until: u64, loaded: &'a Loaded) -> Crew<'a> {
        Crew { dir, most: self.most, until, loaded, measuring: self.measuring }
    }

    fn members(&self) -> Result<Vec<Member>> {
        if self.most == 0 {
            return Err(Error::config("--population", "expected at least 1, found 0"));
        }
        if let Some(halving) = &self.design.halving {
            halving.check(&self.base)?;
            let fixed = ["train.epochs", "train.eval_every"];
            if let Some(key) = self.design.keys().into_iter().find(|key| fixed.contains(key)) {
                return Err(Error::config(key, "expected one for all members with successive halving, found several"));
            }
        }
        self.design.members(&self.base)
    }

    /// Trains the members that have not ended, in the sweep's folder, and writes what comes of them; `told` hears of it, and may end
    /// it, after which the members under way have checkpoints. What was trained before, in this folder, is not trained again.
    ///
    /// # Errors
    /// Settings that do not go together; no such device; a file that cannot be read or written; another process at work in the
    /// folder.
    pub fn run(&self, dir: &Path, told: &mut dyn FnMut(Told) -> Result<Control>) -> Result<Swept> {
        self.run_with(&mut Nobody, dir, told)
    }

    /// Trains as [`run`](Self::run) does, together with other processes, which [`follow`](Self::follow) this one in the same
    /// folder.
    ///
    /// # Errors
    /// What [`run`](Self::run) meets.
    pub fn run_with(
        &self,
        others: &mut dyn Others,
        dir: &Path,
        told: &mut dyn FnMut(Told) -> Result<Control>,
    ) -> Result<Swept> {
        let _lock = Lock::take(dir)?;
        let mut dealer = Dealer::new(others);
        let swept = self.run_dealt(&mut dealer, dir, told)?;
        dealer.dismiss()?;
        Ok(swept)
    }

    /// Trains the members that the first process deals out, in the folder of the sweep, which all processes share, until it
    /// lets this one go.
    ///
    /// # Errors
    /// What [`run`](Self::run) meets but for the rows, which the first process writes.
    pub fn follow(&self, dir: &Path, first: &mut dyn First) -> Result<()> {
        let all = self.members()?;
        let mut trained = Vec::new();
        while let Some(Dealt { members, until }) = first.next(&trained)? {
            let dealt = all.iter().filter(|member| members.contains(&member.number)).cloned().collect();
            for tasks in tasks(dealt, &self.base)? {
                let loaded = self.load(&tasks[0].config)?;
                for kind in kinds(tasks, &loaded)? {
                    self.crew(dir, until, &loaded).train(&kind, &mut |_| {
                        Ok(if first.is_stopped() { Control::Interrupt } else { Control::Continue })
                    })?;
                }
            }
            trained = members;
        }
        Ok(())
    }

    fn run_dealt(
        &self,
        dealer: &mut Dealer,
        dir: &Path,
        told: &mut dyn FnMut(Told) -> Result<Control>,
    ) -> Result<Swept> {
        let members = self.members()?;
        let mut state = State::open(self, dir)?;
        let whole = self.base.train.epochs;
        let rungs = self.design.halving.map_or(vec![u64::MAX], |halving| halving.rungs(whole));
        let mut alive: Vec<Member> = members;
        for (i, &until) in rungs.iter().enumerate() {
            if state.train(dealer, &alive, until, told)? {
                return state.close(true);
            }
            if let Some(halving) = self.design.halving.filter(|_| i + 1 < rungs.len()) {
                let compared: Vec<Row> = alive.iter().map(|member| state.at(member, until)).collect::<Result<_>>()?;
                let survivors: BTreeSet<u64> = halving.survivors(&compared).into_iter().collect();
                let (members, survive) = (alive.len(), survivors.len());
                told(Told::Compared { epochs: until, survivors: survive, members })?;
                for row in compared.into_iter().filter(|row| !survivors.contains(&row.member)) {
                    state.end(Row { ended: HALVED.into(), ..row }, told)?;
                }
                alive.retain(|member| survivors.contains(&member.number));
            }
        }
        state.close(false)
    }
}

/// A sweep under way.
struct State<'a> {
    sweep: &'a Sweep,
    dir: &'a Path,
    rows: Vec<Row>,
    file: Rows,
    /// The members whose accuracy is measured.
    classifiers: BTreeSet<u64>,
}

impl<'a> State<'a> {
    fn open(sweep: &'a Sweep, dir: &'a Path) -> Result<Self> {
        Ok(Self { sweep, dir, rows: read_rows(dir)?.0, file: Rows::open(dir)?, classifiers: BTreeSet::new() })
    }

    /// Trains members up to some epochs, one data set after the other. Returns whether they were interrupted.
    fn train(
        &mut self,
        dealer: &mut Dealer,
        members: &[Member],
        until: u64,
        told: &mut dyn FnMut(Told) -> Result<Control>,
    ) -> Result<bool> {
        for tasks in tasks(members.to_vec(), &self.sweep.base)? {
            let loaded = self.sweep.load(&tasks[0].config)?;
            let crew = self.sweep.crew(self.dir, until, &loaded);
            if loaded.dataset.is_classification() {
                self.classifiers.extend(tasks.iter().map(|task| task.member.number));
            }
            let mut left = Vec::new();
            for task in tasks {
                let number = task.member.number;
                if !crew.is_done(number)? {
                    left.push(task);
                } else if run::has_ended(&member_dir(self.dir, number)) {
                    self.take_up(&task.member, told)?;
                }
            }
            let epochs = until.min(left.iter().map(|task| task.config.train.epochs).max().unwrap_or(0));
            let members: Vec<Member> = left.iter().map(|task| task.member.clone()).collect();
            let is_left = dealer.train(&crew, kinds(left, &loaded)?, &mut |heard| match heard {
                Heard::Here(crew::Told::Began { members, at_once, device }) => {
                    told(Told::Began { members, at_once, device, until: epochs })
                }
                Heard::Here(crew::Told::Epoch) => told(Told::Epoch),
                Heard::Here(crew::Told::Waiting) => told(Told::Waiting),
                Heard::Here(crew::Told::Over(number)) | Heard::Elsewhere(number) => {
                    match members.iter().find(|member| member.number == number) {
                        Some(member) if run::has_ended(&member_dir(self.dir, number)) => self.take_up(member, told),
                        _ => Ok(Control::Continue),
                    }
                }
            })?;
            if is_left {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes up what a member has come to, if that has not been done.
    fn take_up(&mut self, member: &Member, told: &mut dyn FnMut(Told) -> Result<Control>) -> Result<Control> {
        let dir = member_dir(self.dir, member.number);
        let Some(summary) = read_summary(&dir)? else { return Ok(Control::Continue) };
        let count = |key: &str| summary.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let mut row = Row::new(member)?;
        row.ended = summary.get("stopped_by").and_then(|ended| ended.as_str()).unwrap_or("failed").into();
        (row.epochs, row.steps) = (count("epochs"), count("steps"));
        row.seconds = summary.get("seconds").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        if let Some(last) = run::epochs(&dir)?.last().filter(|_| !row.has_failed()) {
            self.measure(&mut row, last);
        }
        self.end(row, told)
    }

    /// The row of a member as it was after so many epochs, or at its end if that was earlier.
    fn at(&self, member: &Member, epochs: u64) -> Result<Row> {
        let logged = run::epochs(&member_dir(self.dir, member.number))?;
        let mut row = Row::new(member)?;
        row.seconds = logged.iter().take(epochs as usize).map(|epoch| epoch.seconds).sum();
        match (logged.iter().find(|epoch| epoch.epoch + 1 == epochs), self.row(member.number)) {
            (Some(epoch), _) => {
                (row.epochs, row.steps) = (epochs, epoch.steps);
                self.measure(&mut row, epoch);
                Ok(row)
            }
            (None, Some(row)) => Ok(row.clone()),
            (None, None) => Ok(row),
        }
    }

    /// Puts an epoch's metrics into a member's row.
    fn measure(&self, row: &mut Row, epoch: &Epoch) {
        let first = |part: &Option<Vec<Evaluation>>| part.as_ref().and_then(|part| part.first().copied());
        let (validation, test) = (first(&epoch.validation), first(&epoch.test));
        row.train_loss = epoch.train.first().map(|e| e.loss);
        (row.validation_loss, row.test_loss) = (validation.map(|e| e.loss), test.map(|e| e.loss));
        if self.classifiers.contains(&row.member) {
            (row.validation_accuracy, row.test_accuracy) = (validation.map(|e| e.accuracy), test.map(|e| e.accuracy));
        }
    }

    fn row(&self, member: u64) -> Option<&Row> {
        self.rows.iter().find(|row| row.member == member)
    }

    /// Writes what came of a member, unless it is written.
    fn end(&mut self, row: Row, told: &mut dyn FnMut(Told) -> Result<Control>) -> Result<Control> {
        if self.row(row.member).is_some() {
            return Ok(Control::Continue);
        }
        self.file.add(&row)?;
        let answer = told(Told::Ended(&row))?;
        // Another of its seeds may make it the best, so that its weights wait for all.
        run::forget_checkpoints(&member_dir(self.dir, row.member))?;
        self.rows.push(row);
        self.rows.sort_by_key(|row| row.member);
        Ok(answer)
    }

    /// The best member that has come to its end: that of the best setting with the best metric.
    fn best(&self) -> Option<u64> {
        let ended: Vec<Row> =
            self.rows.iter().filter(|row| row.ended != HALVED && !row.has_failed()).cloned().collect();
        let metric = judged_by(&ended);
        let group = ranked(&ended, metric).into_iter().next()?;
        let sign = if metric.is_accuracy() { -1.0 } else { 1.0 };
        let cost = |row: &&&Row| row.metric(metric).map_or(f64::INFINITY, |value| sign * value);
        group.rows.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).map(|row| row.member)
    }

    /// Writes the table, and once all have ended the best member's run; the weights of others are forgotten then, unless they are
    /// kept.
    fn close(self, is_interrupted: bool) -> Result<Swept> {
        write_table(self.dir, &self.rows)?;
        if is_interrupted {
            return Ok(Swept { rows: self.rows, is_interrupted });
        }
        let best = self.best();
        if let Some(best) = best {
            copy(&member_dir(self.dir, best), &best_dir(self.dir))?;
        }
        if !self.sweep.keep_weights {
            let others = self.rows.iter().map(|row| row.member).filter(|&number| Some(number) != best);
            others.into_iter().try_for_each(|number| run::forget_weights(&member_dir(self.dir, number)))?;
        }
        Ok(Swept { rows: self.rows, is_interrupted })
    }
}

/// Copies the files of a run to another folder, in place of what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(Error::io(to))?;
    }
    fs::create_dir_all(to).map_err(Error::io(to))?;
    for entry in fs::read_dir(from).map_err(Error::io(from))? {
        let entry = entry.map_err(Error::io(from))?;
        if entry.path().is_file() {
            let target = to.join(entry.file_name());
            fs::copy(entry.path(), &target).map_err(Error::io(&target))?;
        }
    }
    Ok(())
}
