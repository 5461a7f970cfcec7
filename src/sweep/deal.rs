//! Members dealt out to several processes, each of which trains some at a time.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::crew::{Crew, Told};
use super::kind::Kind;
use crate::error::Result;
use crate::event::Control;

/// The longest that nobody looks whether another process has come to its end.
const PATIENCE: Duration = Duration::from_millis(20);

/// The other processes of a sweep, as the first one sees them, which deals out the members.
pub trait Others {
    /// The number of other processes.
    fn count(&self) -> usize;

    /// A process that waits for members, with those that it has trained, if one waits.
    ///
    /// # Errors
    /// What it says cannot be read.
    fn waiting(&mut self) -> Result<Option<(usize, Vec<u64>)>>;

    /// Gives members to a process that waits, or nothing, with which it ends.
    ///
    /// # Errors
    /// It cannot be told.
    fn give(&mut self, process: usize, dealt: Option<Dealt>) -> Result<()>;

    /// Asks all to leave what they are at, with checkpoints.
    fn stop(&mut self);
}

/// The first process of a sweep, as another sees it.
pub trait First {
    /// Says what was trained, and waits for the members that are next; none at the end.
    ///
    /// # Errors
    /// What is said cannot be read.
    fn next(&mut self, trained: &[u64]) -> Result<Option<Dealt>>;

    /// Whether the first has asked for an end.
    fn is_stopped(&mut self) -> bool;
}

/// Members that are dealt out: those of one kind, and the epochs to which they are trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealt {
    /// The numbers of the members.
    pub members: Vec<u64>,
    /// The epochs after which they are left.
    pub until: u64,
}

/// No other process.
pub(super) struct Nobody;

impl Others for Nobody {
    fn count(&self) -> usize {
        0
    }

    fn waiting(&mut self) -> Result<Option<(usize, Vec<u64>)>> {
        Ok(None)
    }

    fn give(&mut self, _: usize, _: Option<Dealt>) -> Result<()> {
        Ok(())
    }

    fn stop(&mut self) {}
}

/// What happens while members are trained here and elsewhere.
pub(super) enum Heard<'a> {
    /// Here.
    Here(Told<'a>),
    /// A member has been trained elsewhere, by its number.
    Elsewhere(u64),
}

/// A dealer: members that are left, and the processes that train them.
pub(super) struct Dealer<'a> {
    pub others: &'a mut dyn Others,
    /// The processes that wait.
    idle: Vec<usize>,
    /// The number of those at work.
    at_work: usize,
    is_left: bool,
}

impl<'a> Dealer<'a> {
    pub fn new(others: &'a mut dyn Others) -> Self {
        Self { others, idle: Vec::new(), at_work: 0, is_left: false }
    }

    /// Trains all members of these kinds, some here and the rest elsewhere. Returns whether they were interrupted.
    ///
    /// # Errors
    /// What a member met here but that it diverged; what `heard` meets.
    pub fn train(
        &mut self,
        crew: &Crew,
        kinds: Vec<Kind>,
        heard: &mut dyn FnMut(Heard) -> Result<Control>,
    ) -> Result<bool> {
        let processes = self.others.count() + 1;
        let cut = |kind: Kind| {
            let all = kind.tasks.len();
            // Alone, one engine takes all, one after the other where they are many.
            kind.cut(if processes == 1 { all } else { all.div_ceil(processes).min(crew.most) })
        };
        let mut deck: VecDeque<Kind> = kinds.into_iter().flat_map(cut).collect();
        loop {
            self.look(crew.until, &mut deck, heard)?;
            if self.is_left {
                deck.clear();
            }
            match deck.pop_front() {
                Some(kind) => {
                    let is_left = crew.train(&kind, &mut |told| {
                        let answer = heard(Heard::Here(told))?;
                        self.take(answer);
                        self.look(crew.until, &mut deck, heard)?;
                        Ok(answer)
                    })?;
                    if is_left {
                        self.take(Control::Stop);
                    }
                }
                None if self.at_work > 0 => {
                    thread::sleep(PATIENCE);
                    let answer = heard(Heard::Here(Told::Waiting))?;
                    self.take(answer);
                }
                None => return Ok(self.is_left),
            }
        }
    }

    /// Hears the others, and gives those that wait something to do.
    fn look(
        &mut self,
        until: u64,
        deck: &mut VecDeque<Kind>,
        heard: &mut dyn FnMut(Heard) -> Result<Control>,
    ) -> Result<()> {
        while let Some((process, trained)) = self.others.waiting()? {
            self.at_work -= usize::from(!trained.is_empty());
            self.idle.push(process);
            for member in trained {
                let answer = heard(Heard::Elsewhere(member))?;
                self.take(answer);
            }
        }
        while !self.is_left && !deck.is_empty() {
            let Some(process) = self.idle.pop() else { break };
            if let Some(kind) = deck.pop_back() {
                let members = kind.tasks.iter().map(|task| task.member.number).collect();
                self.others.give(process, Some(Dealt { members, until }))?;
                self.at_work += 1;
            }
        }
        Ok(())
    }

    /// Takes up an answer, which may ask for the end.
    fn take(&mut self, answer: Control) {
        if answer >= Control::Stop && !self.is_left {
            self.is_left = true;
            self.others.stop();
        }
    }

    /// Lets all others go, once they wait.
    ///
    /// # Errors
    /// One cannot be told.
    pub fn dismiss(mut self) -> Result<()> {
        let mut left = self.others.count();
        while left > 0 {
            match self.idle.pop() {
                Some(process) => {
                    self.others.give(process, None)?;
                    left -= 1;
                }
                None => match self.others.waiting()? {
                    Some((process, _)) => self.idle.push(process),
                    None => thread::sleep(PATIENCE),
                },
            }
        }
        Ok(())
    }
}
