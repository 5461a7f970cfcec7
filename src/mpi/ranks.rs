//! The ranks, and what they tell each other.

use std::ops::Range;
use std::thread::available_parallelism;

use mpi::collective::{CommunicatorCollectives, Root};
use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::point_to_point::{Destination, MatchedReceiveVec, Source};
use mpi::topology::SimpleCommunicator;
use mpi::traits::Communicator;

/// The ranks of a run, and which of them this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// The number of this rank, counted from 0.
    pub rank: usize,
    /// The number of ranks.
    pub size: usize,
    /// The number of this rank among those on its machine, counted from 0.
    pub local: usize,
    /// The number of ranks on its machine.
    pub local_size: usize,
}

impl Ranks {
    pub(super) fn of(world: &SimpleCommunicator) -> Self {
        let local = world.split_shared(world.rank());
        Self {
            rank: world.rank() as usize,
            size: world.size() as usize,
            local: local.rank() as usize,
            local_size: local.size() as usize,
        }
    }

    pub(super) fn world() -> SimpleCommunicator {
        SimpleCommunicator::world()
    }

    /// The share of this rank in `positions`: consecutive ones, as many as any other rank has or one more.
    pub fn share(&self, positions: Range<usize>) -> Range<usize> {
        let at = |rank: usize| positions.start + positions.len() * rank / self.size;
        at(self.rank)..at(self.rank + 1)
    }

    /// The number of threads that are this rank's: those of the cores that it is bound to, or of its part of the machine's.
    pub fn threads(&self) -> usize {
        let own = available_parallelism().map_or(1, usize::from);
        // SAFETY: asks for a number, and changes nothing.
        let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        if (own as i64) < online { own } else { (own / self.local_size).max(1) }
    }

    /// Sends bytes to a rank, which receives those of this tag.
    pub(crate) fn send(&self, rank: usize, tag: i32, bytes: &[u8]) {
        Self::world().process_at_rank(rank as i32).send_with_tag(bytes, tag);
    }

    /// Waits for bytes of this tag from a rank.
    pub(crate) fn receive(&self, rank: usize, tag: i32) -> Vec<u8> {
        Self::world().process_at_rank(rank as i32).receive_vec_with_tag(tag).0
    }

    /// Bytes of this tag from any rank, with its number, if some have arrived.
    pub(crate) fn try_receive(&self, tag: i32) -> Option<(usize, Vec<u8>)> {
        let (bytes, status) = Self::world().any_process().immediate_matched_probe_with_tag(tag)?.matched_receive_vec();
        Some((status.source_rank() as usize, bytes))
    }

    /// The text of rank 0, on every rank.
    pub fn agree(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.broadcast(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Gives the bytes of rank 0 to all.
    pub(crate) fn broadcast(&self, bytes: &mut Vec<u8>) {
        let mut length = bytes.len() as u64;
        Self::world().process_at_rank(0).broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        Self::world().process_at_rank(0).broadcast_into(&mut bytes[..]);
    }

    /// Gives the values of rank 0 to all; each has as many.
    pub(super) fn broadcast_values<T: Equivalence>(&self, values: &mut [T]) {
        Self::world().process_at_rank(0).broadcast_into(values);
    }

    /// The bytes of every rank, in the order of the ranks; on others than rank 0 nothing.
    pub(crate) fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (world, root) = (Self::world(), 0);
        let own = bytes.len() as i32;
        if self.rank != root {
            world.process_at_rank(0).gather_into(&own);
            world.process_at_rank(0).gather_varcount_into(bytes);
            return Vec::new();
        }
        let mut lengths = vec![0i32; self.size];
        world.process_at_rank(0).gather_into_root(&own, &mut lengths[..]);
        let starts = starts(&lengths);
        let mut all = vec![0u8; lengths.iter().sum::<i32>() as usize];
        let mut parts = PartitionMut::new(&mut all[..], &lengths[..], &starts[..]);
        world.process_at_rank(0).gather_varcount_into_root(bytes, &mut parts);
        let part = |(&start, &length): (&i32, &i32)| all[start as usize..(start + length) as usize].to_vec();
        starts.iter().zip(&lengths).map(part).collect()
    }

    /// The values of every rank, one list a rank; each has as many.
    pub(super) fn all_gather(&self, values: &[f64]) -> Vec<Vec<f64>> {
        let mut all = vec![0.0; values.len() * self.size];
        Self::world().all_gather_into(values, &mut all[..]);
        (0..self.size).map(|rank| all[rank * values.len()..][..values.len()].to_vec()).collect()
    }

    /// Gives each rank the slices of all vectors that belong to it; returns them, in the order of the ranks.
    pub(super) fn scatter<T: Equivalence + Default + Clone>(&self, values: &[T]) -> Vec<T> {
        let lengths = self.lengths(values.len());
        let own = lengths[self.rank];
        let mut slices = vec![T::default(); own as usize * self.size];
        let (own_lengths, sends) = (vec![own; self.size], starts(&lengths));
        let own_starts = starts(&own_lengths);
        let send = Partition::new(values, &lengths[..], &sends[..]);
        let mut receive = PartitionMut::new(&mut slices[..], &own_lengths[..], &own_starts[..]);
        Self::world().all_to_all_varcount_into(&send, &mut receive);
        slices
    }

    /// Puts the slices of all ranks together, on every rank.
    pub(super) fn join<T: Equivalence>(&self, slice: &[T], whole: &mut [T]) {
        let lengths = self.lengths(whole.len());
        let starts = starts(&lengths);
        let mut receive = PartitionMut::new(whole, &lengths[..], &starts[..]);
        Self::world().all_gather_varcount_into(slice, &mut receive);
    }

    /// The lengths of the ranks' slices of a vector.
    fn lengths(&self, length: usize) -> Vec<i32> {
        let slice = |rank| Self { rank, ..*self }.share(0..length).len() as i32;
        (0..self.size).map(slice).collect()
    }
}

/// Where each part begins, of parts one after the other.
fn starts(lengths: &[i32]) -> Vec<i32> {
    lengths.iter().scan(0, |at, length| Some(std::mem::replace(at, *at + length))).collect()
}
