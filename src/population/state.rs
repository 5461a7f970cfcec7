//! What a population's runs ask for, and how it is done for many of them at once.

use super::{Engine, Error, Evaluation, LossScale, Result, Setup, Slot, Step, StepMetrics};
use crate::data::Part;
use crate::engine::Move;

/// What a run asks for.
#[derive(Clone)]
pub(super) enum Asked {
    /// Steps, and to be told of those whose metrics have arrived.
    Run(Vec<Step>),
    /// An evaluation.
    Evaluate(Part, Vec<Slot>),
    /// New running statistics.
    Renew(Slot, Vec<Step>),
}

/// What it gets.
pub(super) enum Answer {
    Done,
    Evaluated(Evaluation),
}

/// The state of one place.
struct Occupant {
    replica: usize,
    asked: Option<Asked>,
    answer: Option<Result<Answer>>,
    /// The metrics of its steps that have arrived, and that it has not been told of.
    metrics: Vec<StepMetrics>,
}

/// The engine, and who has which replica.
pub(super) struct State {
    pub engine: Box<dyn Engine>,
    /// The places; none for one that is free.
    places: Vec<Option<Occupant>>,
    /// The order of the samples of each replica, and whether the engine does not know of all of them.
    orders: Vec<Vec<u32>>,
    are_orders_new: bool,
    /// The copies that nobody has looked at yet: replica, from, to.
    copies: Vec<(usize, Slot, Slot)>,
    active: usize,
}

impl State {
    pub fn new(engine: Box<dyn Engine>) -> Self {
        let (replicas, samples) = (engine.setup().replicas, engine.setup().dataset.train.len() as u32);
        Self {
            places: (0..replicas).map(|_| None).collect(),
            orders: vec![(0..samples).collect(); replicas],
            are_orders_new: true,
            copies: Vec::new(),
            active: replicas,
            engine,
        }
    }

    /// Takes a free place, and a free replica for it.
    pub fn enter(&mut self) -> Option<usize> {
        let number = self.places.iter().position(Option::is_none)?;
        let is_free = |&replica: &usize| self.occupants().all(|occupant| occupant.replica != replica);
        let replica = (0..self.places.len()).find(is_free)?;
        self.places[number] = Some(Occupant { replica, asked: None, answer: None, metrics: Vec::new() });
        Some(number)
    }

    /// Frees a place, and does what only its occupant was waited for with.
    pub fn leave(&mut self, number: usize) {
        // What its steps left is nobody's.
        let flushed = self.flush();
        self.places[number] = None;
        match flushed {
            Ok(()) => self.serve(),
            Err(error) => self.refuse(&(0..self.places.len()).collect::<Vec<_>>(), error),
        }
    }

    /// Makes a place ready for a run with `setup`.
    pub fn begin(&mut self, number: usize, setup: Setup) -> Result<Setup> {
        self.flush()?;
        let (replica, common) = (self.replica(number), self.engine.setup());
        let setup = Setup { precision: common.precision, ..setup.fitted(common.eval_rows) };
        self.engine.set_own(replica, setup.clone())?;
        let zeros = vec![0.0; self.engine.layout().len];
        for slot in self.slots() {
            self.engine.upload(slot, replica, &zeros)?;
        }
        self.set_loss_scale(number, LossScale::FIRST)?;
        if let Some(occupant) = &mut self.places[number] {
            occupant.metrics.clear();
        }
        Ok(setup)
    }

    /// The slots of what a replica is made of.
    fn slots(&self) -> Vec<Slot> {
        let mut slots = self.engine.slots();
        slots.extend((0..Slot::COPIES).map(Slot::Copy).filter(|&slot| self.engine.has(slot)));
        slots
    }

    pub fn loss_scale(&mut self, number: usize) -> Result<Vec<LossScale>> {
        let replica = self.replica(number);
        Ok(self.engine.loss_scales()?.get(replica).copied().into_iter().collect())
    }

    pub fn set_loss_scale(&mut self, number: usize, scale: LossScale) -> Result<()> {
        let (replica, mut scales) = (self.replica(number), self.engine.loss_scales()?);
        match scales.get_mut(replica) {
            Some(own) => *own = scale,
            None => return Ok(()),
        }
        self.engine.set_loss_scales(&scales)
    }

    pub fn set_order(&mut self, number: usize, order: Vec<u32>) {
        let replica = self.replica(number);
        self.orders[replica] = order;
        self.are_orders_new = true;
    }

    /// Copies a vector, with the others' if they copy the same.
    pub fn copy(&mut self, number: usize, from: Slot, to: Slot) {
        self.copies.push((self.replica(number), from, to));
    }

    /// Does what was put off, and takes up the metrics that are due: the engine is asked for something else.
    pub fn flush(&mut self) -> Result<()> {
        self.flush_copies()?;
        let metrics = self.engine.wait()?;
        self.hand_out(metrics);
        Ok(())
    }

    fn flush_copies(&mut self) -> Result<()> {
        while let Some(&(_, from, to)) = self.copies.first() {
            let alike = self.copies.iter().take_while(|copy| (copy.1, copy.2) == (from, to)).count();
            let replicas: Vec<usize> = self.copies.drain(..alike).map(|copy| copy.0).collect();
            let is_whole = self.occupants().all(|occupant| replicas.contains(&occupant.replica));
            if is_whole {
                self.engine.copy(from, to)?;
            } else {
                replicas.into_iter().try_for_each(|replica| self.engine.copy_of(replica, from, to))?;
            }
        }
        Ok(())
    }

    /// The replica of a place.
    pub fn replica(&self, number: usize) -> usize {
        self.places[number].as_ref().map_or(0, |occupant| occupant.replica)
    }

    /// The metrics that the occupant of a place has not been told of.
    pub fn metrics(&mut self, number: usize) -> Vec<StepMetrics> {
        self.places[number].as_mut().map(|occupant| std::mem::take(&mut occupant.metrics)).unwrap_or_default()
    }

    fn hand_out(&mut self, metrics: Vec<StepMetrics>) {
        for of_step in metrics {
            let mut occupants = self.places.iter_mut().flatten();
            if let Some(occupant) = occupants.find(|occupant| occupant.replica == of_step.replica) {
                occupant.metrics.push(StepMetrics { replica: 0, ..of_step });
            }
        }
    }

    fn occupants(&self) -> impl Iterator<Item = &Occupant> {
        self.places.iter().flatten()
    }

    pub fn ask(&mut self, number: usize, asked: Asked) {
        if let Some(occupant) = &mut self.places[number] {
            occupant.asked = Some(asked);
        }
        self.serve();
    }

    pub fn answer(&mut self, number: usize) -> Option<Result<Answer>> {
        self.places[number].as_mut()?.answer.take()
    }

    /// Does what is asked for, once everybody has asked: what the engine can do at once for as many as possible.
    fn serve(&mut self) {
        if self.occupants().next().is_none() || self.occupants().any(|occupant| occupant.asked.is_none()) {
            return;
        }
        let group = self.group();
        if let Err(error) = self.serve_group(&group) {
            self.refuse(&group, error);
        }
    }

    /// The places whose occupants ask for the same: for an evaluation, if anybody does, or else for steps from the same position
    /// on. Whoever is in the middle of an epoch goes first, so that those who begin one wait, and all go on together.
    fn group(&self) -> Vec<usize> {
        let asked = |number: &usize| self.places[*number].as_ref().and_then(|occupant| occupant.asked.as_ref());
        let all: Vec<usize> = (0..self.places.len()).filter(|number| asked(number).is_some()).collect();
        let rank = |number: &&usize| match asked(number) {
            Some(Asked::Run(steps)) => (0, steps.first().map_or(0, |step| step.first)),
            _ => (1, 0),
        };
        let Some(first) = all.iter().rev().max_by_key(rank) else { return Vec::new() };
        let is_alike = |number: &usize| match (asked(first), asked(number)) {
            (Some(Asked::Run(a)), Some(Asked::Run(b))) => are_alike(a.first(), b.first()),
            (Some(Asked::Evaluate(a, of_a)), Some(Asked::Evaluate(b, of_b))) => (a, of_a) == (b, of_b),
            (Some(Asked::Renew(a, of_a)), Some(Asked::Renew(b, of_b))) => a == b && of_a.len() == of_b.len(),
            _ => false,
        };
        all.iter().copied().filter(is_alike).collect()
    }

    fn serve_group(&mut self, group: &[usize]) -> Result<()> {
        let asked: Vec<Asked> =
            group.iter().filter_map(|&number| self.places[number].as_ref()?.asked.clone()).collect();
        self.flush_copies()?;
        match &asked[0] {
            Asked::Run(_) => self.run(group, &asked),
            Asked::Evaluate(part, slots) => {
                // It changes nothing, so that those between may take part.
                let last = group.iter().map(|&number| self.replica(number)).max().unwrap_or(0);
                self.set_active(last + 1)?;
                let found = self.engine.evaluate(*part, slots)?;
                for &number in group {
                    let evaluation = found[self.replica(number)];
                    self.reply(number, Ok(Answer::Evaluated(evaluation)));
                }
                Ok(())
            }
            Asked::Renew(slot, _) => {
                let steps = self.joint(group, &asked)?;
                self.engine.renew_statistics(*slot, &steps)?;
                group.iter().for_each(|&number| self.reply(number, Ok(Answer::Done)));
                Ok(())
            }
        }
    }

    /// Carries out as many steps as all of the group ask for.
    fn run(&mut self, group: &[usize], asked: &[Asked]) -> Result<()> {
        let steps = self.joint(group, asked)?;
        let metrics = self.engine.run(&steps)?;
        self.hand_out(metrics);
        for &number in group {
            let Some(occupant) = &mut self.places[number] else { continue };
            if let Some(Asked::Run(left)) = &mut occupant.asked {
                left.drain(..steps.len());
                if left.is_empty() {
                    self.reply(number, Ok(Answer::Done));
                }
            }
        }
        Ok(())
    }

    /// The steps of the group as those of the engine, whose first replicas it has then.
    fn joint(&mut self, group: &[usize], asked: &[Asked]) -> Result<Vec<Step>> {
        self.gather(group)?;
        if self.are_orders_new {
            self.engine.set_order(&self.orders)?;
            self.are_orders_new = false;
        }
        let own: Vec<&[Step]> = asked
            .iter()
            .map(|asked| match asked {
                Asked::Run(steps) | Asked::Renew(_, steps) => &steps[..],
                Asked::Evaluate(..) => &[],
            })
            .collect();
        let most = own.iter().map(|steps| steps.len()).min().unwrap_or(0);
        let alike = (0..most).take_while(|&i| own.iter().all(|steps| are_alike(own[0].get(i), steps.get(i)))).count();
        let replicas = self.engine.setup().replicas;
        let joint = |i: usize| {
            let mut step = Step { first: own[0][i].first, rows: own[0][i].rows, ..Step::default() };
            step.rates = vec![own[0][i].rates[0]; replicas];
            step.moves = vec![Move { index: own[0][i].index, ..Move::default() }; replicas];
            for (&number, steps) in group.iter().zip(&own) {
                let replica = self.replica(number);
                (step.rates[replica], step.moves[replica]) = (steps[i].rates[0], steps[i].of(0));
            }
            step
        };
        Ok((0..alike).map(joint).collect())
    }

    /// Gives the group the first replicas, and lets these alone take part.
    fn gather(&mut self, group: &[usize]) -> Result<()> {
        let n = group.len();
        let outside: Vec<usize> = group.iter().copied().filter(|&number| self.replica(number) >= n).collect();
        let within: Vec<usize> = group.iter().map(|&number| self.replica(number)).filter(|&r| r < n).collect();
        let holes = (0..n).filter(|replica| !within.contains(replica));
        for (number, hole) in outside.into_iter().zip(holes.collect::<Vec<_>>()) {
            self.swap(number, hole)?;
        }
        self.set_active(n)
    }

    fn set_active(&mut self, replicas: usize) -> Result<()> {
        if self.active != replicas {
            // Metrics are those of the replicas that took part.
            self.flush()?;
            self.engine.set_active(replicas)?;
            self.active = replicas;
        }
        Ok(())
    }

    /// Lets the occupant of a place change its replica with whoever has the other.
    fn swap(&mut self, number: usize, other: usize) -> Result<()> {
        self.flush()?;
        let own = self.replica(number);
        for slot in self.slots() {
            let (mine, others) = (self.engine.download(slot, own)?, self.engine.download(slot, other)?);
            self.engine.upload(slot, other, &mine)?;
            self.engine.upload(slot, own, &others)?;
        }
        let mut scales = self.engine.loss_scales()?;
        if !scales.is_empty() {
            scales.swap(own, other);
            self.engine.set_loss_scales(&scales)?;
        }
        let (mine, others) = (self.engine.setup().of(own), self.engine.setup().of(other));
        self.engine.set_own(other, mine)?;
        self.engine.set_own(own, others)?;
        self.orders.swap(own, other);
        self.are_orders_new = true;
        for (i, occupant) in self.places.iter_mut().enumerate() {
            match occupant {
                Some(occupant) if i == number => occupant.replica = other,
                Some(occupant) if occupant.replica == other => occupant.replica = own,
                _ => {}
            }
        }
        Ok(())
    }

    fn reply(&mut self, number: usize, answer: Result<Answer>) {
        if let Some(occupant) = &mut self.places[number] {
            (occupant.asked, occupant.answer) = (None, Some(answer));
        }
    }

    /// Tells an error to everybody whom it concerns.
    fn refuse(&mut self, group: &[usize], error: Error) {
        let text = match &error {
            Error::Device(text) | Error::DeviceLost(text) => text.clone(),
            error => error.to_string(),
        };
        for &number in group {
            if self.places[number].as_ref().is_some_and(|occupant| occupant.asked.is_some()) {
                self.reply(number, Err(Error::Device(text.clone())));
            }
        }
    }
}

/// Whether two steps take samples of the same positions.
fn are_alike(a: Option<&Step>, b: Option<&Step>) -> bool {
    let place = |step: &Step| (step.first, step.rows);
    a.map(place) == b.map(place)
}
