//! What fits into the memory of a device, and what to say where something does not.

use super::adapter::Description;
use super::buffers::plan;
use super::dataset::{all_records, beside_records, pass_bytes, stream_bytes};
use crate::engine::{Allocation, Layout, Setup};
use crate::error::Error;
use crate::model::Norm;

/// The memory that the buffers of an engine may take.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// The bytes of all buffers together.
    pub all: u64,
    /// The bytes of the largest buffer.
    pub each: u64,
}

/// The bytes of all buffers but the records and what callers allocate.
pub(super) fn fixed_bytes(setup: &Setup) -> u64 {
    buffers(setup).sum()
}

/// The bytes of every buffer but the records and what callers allocate.
fn buffers(setup: &Setup) -> impl Iterator<Item = u64> {
    let planned = plan(setup, &Layout::new(&setup.model));
    planned.into_iter().map(|allocation| allocation.bytes).chain(beside_records(setup))
}

/// The bytes of a vector of all replicas, as the best weights of a run are, which are allocated later.
pub(super) fn vector_bytes(setup: &Setup) -> u64 {
    setup.replicas as u64 * Layout::new(&setup.model).len as u64 * 4
}

impl Room {
    /// The room of an engine with this budget.
    pub fn new(description: &Description, budget: u64) -> Self {
        Self { all: budget, each: description.binding_bytes.min(description.buffer_bytes) }
    }

    /// The bytes that are left for records beside all else, and the best weights.
    pub fn for_records(&self, setup: &Setup) -> u64 {
        self.all.saturating_sub(fixed_bytes(setup)).saturating_sub(vector_bytes(setup))
    }

    /// The bytes that an engine of `setup` takes here.
    pub fn taken(&self, setup: &Setup) -> u64 {
        let records = stream_bytes(setup, self.for_records(setup)).unwrap_or_else(|| all_records(&setup.dataset));
        fixed_bytes(setup) + records
    }

    /// Whether an engine of `setup` fits, and so many bytes that callers allocate; by default those of a run's best weights.
    fn holds(&self, setup: &Setup, more: Option<u64>) -> bool {
        let more = more.unwrap_or_else(|| vector_bytes(setup));
        let largest = buffers(setup).chain([pass_bytes(setup)]).max();
        self.taken(setup).saturating_add(more) <= self.all && largest <= Some(self.each)
    }

    /// Refuses a setup that takes more than the budget.
    pub fn check(&self, setup: &Setup) -> Result<(), Error> {
        let needed = self.taken(setup);
        if needed > self.all { Err(self.over_budget(setup, needed, None)) } else { Ok(()) }
    }

    /// The error where `needed` bytes are more than the budget; what would fit leaves room for `more` bytes that callers
    /// allocate, by default a run's best weights.
    pub fn over_budget(&self, setup: &Setup, needed: u64, more: Option<u64>) -> Error {
        let advice = format!("raise it (train.memory){}; {}", self.streaming(setup, more), self.advice(setup, more));
        let place = "the memory budget".into();
        Error::DeviceMemory { what: "the run".into(), needed, offered: self.all, place, advice }
    }

    /// The same error, with what would fit, if it is one of too little memory; `taken` are the buffers that found room.
    pub fn advised(self, error: Error, setup: &Setup, taken: &[Allocation]) -> Error {
        match error {
            Error::DeviceMemory { what, needed, offered, place, .. } => {
                // So much there was.
                let found = taken.iter().map(|allocation| allocation.bytes).sum();
                let room = if offered == 0 { Self { all: found, ..self } } else { self };
                let advice = format!("{}, or --device cpu", room.advice(setup, None));
                Error::DeviceMemory { what, needed, offered, place, advice }
            }
            error => error,
        }
    }

    /// What helps a setup whose records lie on the device: a budget under which they are streamed, if that makes room enough.
    fn streaming(&self, setup: &Setup, more: Option<u64>) -> String {
        let below = fixed_bytes(setup) + all_records(&setup.dataset) + vector_bytes(setup);
        let room = Self { all: self.all.min(below.saturating_sub(1)), ..*self };
        if room.all < self.all && stream_bytes(setup, room.for_records(setup)).is_some() && room.holds(setup, more) {
            format!(", or lower it to {}, with which the data is streamed", room.all)
        } else {
            String::new()
        }
    }

    /// What of `setup` would fit, and so many bytes beside it: the largest batch, the most replicas, or, where neither alone is
    /// enough, the largest batch of one replica.
    fn advice(&self, setup: &Setup, more: Option<u64>) -> String {
        let with = |replicas| Setup { replicas, ..setup.clone() };
        let replicas = (1..setup.replicas).rev().find(|&replicas| self.holds(&with(replicas), more));
        match (self.largest_batch(setup, more), replicas) {
            (Some(batch), Some(replicas)) => format!("a batch of {batch} would fit, or {replicas} replica(s)"),
            (Some(batch), None) => format!("a batch of {batch} would fit"),
            (None, Some(replicas)) => format!("{replicas} replica(s) would fit"),
            (None, None) => match self.largest_batch(&with(1), more) {
                Some(batch) if setup.replicas > 1 => format!("1 replica with a batch of {batch} would fit"),
                _ => "no smaller batch and no fewer replicas would fit: use a smaller model".into(),
            },
        }
    }

    /// The largest batch below that of `setup` that fits.
    fn largest_batch(&self, setup: &Setup, more: Option<u64>) -> Option<usize> {
        let least = if setup.model.norm == Norm::Batch { 2 } else { 1 };
        // Beyond one pass a batch takes no more memory.
        let most = (setup.batch - 1).min(setup.most_in_pass());
        (least..=most).rev().find(|&batch| self.holds(&Setup { batch, ..setup.clone() }, more))
    }
}
