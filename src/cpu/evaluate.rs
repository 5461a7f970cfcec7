//! Evaluations and predictions: of all replicas a pass at a time, whose samples are gathered once for all of them.

use super::Real;
use super::crew::Crew;
use super::engine::CpuEngine;
use super::passes::{Workspace, gather};
use super::product;
use super::replica::{Predicted, Replica};
use super::shared::Shared;
use crate::data::{Features, Part};
use crate::engine::{Evaluation, Slot, stride};
use crate::error::Result;

impl<T: Real> CpuEngine<T> {
    /// The mean loss and accuracy over a part, one a replica, of the mean prediction of the weights in `slots`.
    ///
    /// # Errors
    /// No such part, or a slot that is not asked for.
    pub(super) fn evaluate_all(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        let dataset = self.setup.dataset.clone();
        let samples = dataset.part(part).ok_or_else(|| dataset.missing(part))?;
        let sums = self.predictions(part, &samples.features, slots, |work, shared, order, sums| {
            work.loss(shared, samples, order, None, sums);
        })?;
        let n = samples.len() as f64;
        let evaluation = |(loss, correct): (f64, u64)| Evaluation { loss: loss / n, accuracy: correct as f64 / n };
        Ok(sums.into_iter().map(evaluation).collect())
    }

    /// The outputs for samples that are in no data set, `(rows, outputs)` for each replica.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub(super) fn predict_all(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        let outputs = self.setup.model.outputs();
        self.predictions(Part::Train, inputs, slots, |work, _, order, predictions: &mut Vec<f64>| {
            for row in work.output().chunks_exact(stride(outputs)).take(order.len()) {
                predictions.extend(row[..outputs].iter().map(|z| z.to_f64()));
            }
        })
    }

    /// Passes all of `features` through the network with the weights in each of `slots`, and returns what `each` made of it, one
    /// a replica: it sees every pass whose prediction, that of all slots together, lies in the last layer's output.
    fn predictions<R: Default + Send>(
        &mut self,
        part: Part,
        features: &Features,
        slots: &[Slot],
        each: impl Fn(&mut Workspace<T>, &Shared<T>, &[u32], &mut R) + Sync,
    ) -> Result<Vec<R>> {
        let (room, width) = (self.setup.room(), stride(self.setup.model.inputs()));
        let samples = features.len() / self.setup.dataset.width();
        let order: Vec<u32> = (0..samples as u32).collect();
        let mut x = std::mem::take(&mut self.x);
        x.resize(x.len().max(samples.min(AT_ONCE * room) * width), T::default());
        let made = self.all(part, |replicas, shared, _| {
            let most = shared.layout.layers.iter().map(|layer| product::work(layer, room)).max();
            let mut made: Vec<R> = replicas.iter().map(|_| R::default()).collect();
            let most = most.unwrap_or_default() * replicas.len();
            Crew::gather(most, |crew| -> Result<Vec<R>> {
                for (member, &slot) in slots.iter().enumerate() {
                    replicas.iter_mut().try_for_each(|replica| replica.swap(slot))?;
                    for (i, order) in order.chunks(AT_ONCE * room).enumerate() {
                        let x = &mut x[..order.len() * width];
                        gather(&Shared { crew, ..*shared }, features, order, None, x, &mut []);
                        each_replica(replicas, &mut made, crew, |replica, made, crew| {
                            let own = replica.own.clone();
                            let shared = shared.with(&own, crew);
                            for (j, (order, x)) in order.chunks(room).zip(x.chunks(room * width)).enumerate() {
                                let first = (i * AT_ONCE + j) * room;
                                let pass = Predicted { x, first, member, members: slots.len() };
                                let work = replica.predict(&shared, &pass);
                                if member + 1 == slots.len() {
                                    each(work, &shared, order, made);
                                }
                            }
                        });
                    }
                    replicas.iter_mut().try_for_each(|replica| replica.swap(slot))?;
                }
                Ok(made)
            })
        });
        self.x = x;
        made?
    }
}

/// The number of passes whose samples are gathered together: the threads that share the replicas wait for each other after so
/// many.
const AT_ONCE: usize = 4;

/// Does `work` to every replica and what is made of it: with the whole crew to the only one, else a thread to each.
pub(super) fn each_replica<T: Real, R: Send>(
    replicas: &mut [Replica<T>],
    made: &mut [R],
    crew: Crew,
    work: impl Fn(&mut Replica<T>, &mut R, Crew) + Sync,
) {
    match (replicas, made) {
        ([only], [made]) => work(only, made, crew),
        (several, made) => {
            crew.each(several.iter_mut().zip(made), |(replica, made)| work(replica, made, Crew::alone()));
        }
    }
}
