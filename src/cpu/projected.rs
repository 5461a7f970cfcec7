//! Evaluations of sums of multiples of vectors, of which the first layer's products are known: that product is linear in the
//! weights, so that what it makes of a sample at any point of a plane is a sum of what it makes with three vectors.

use super::Finish;
use super::Real;
use super::crew::Crew;
use super::engine::CpuEngine;
use super::evaluate::each_replica;
use super::passes::{First, gather};
use super::product;
use super::shared::{Projected, Shared, zeros};
use crate::activation::Activation;
use crate::data::Part;
use crate::engine::{Evaluation, Slot, stride};
use crate::error::Result;

/// The most bytes of projections that are kept.
const MOST_BYTES: usize = 1 << 30;

impl<T: Real> CpuEngine<T> {
    /// Keeps what the first layer makes of a part's samples with the vectors in `slots`, those of the first replica; nothing
    /// where that takes too much memory, or a residual connection asks for the samples themselves.
    ///
    /// # Errors
    /// No such part or slot; too little memory.
    pub(super) fn project_part(&mut self, part: Part, slots: &[Slot]) -> Result<bool> {
        self.projected = None;
        let (room, model) = (self.setup.room(), &self.setup.model);
        let (inputs, outputs) = (stride(model.widths[0]), stride(model.widths[1]));
        let samples = self.setup.dataset.part(part).map_or(0, |samples| samples.len());
        if !(1..=3).contains(&slots.len())
            || model.is_residual(0)
            || slots.len() * samples * outputs * size_of::<T>() > MOST_BYTES
        {
            return Ok(false);
        }
        let mut z = slots.iter().map(|_| zeros(samples * outputs, 1)).collect::<Result<Vec<Vec<T>>>>()?;
        let mut x: Vec<T> = zeros(room * inputs, 1)?;
        let order: Vec<u32> = (0..samples as u32).collect();
        self.all(part, |replicas, shared, samples| {
            let layer = &shared.layout.layers[0];
            let plain = Finish { activation: Activation::Identity, ..Finish::default() };
            let vectors = slots.iter().map(|&slot| replicas[0].slot(slot).cloned()).collect::<Result<Vec<_>>>()?;
            Crew::gather(product::work(layer, room), |crew| {
                let mut slope = vec![T::default(); room * outputs];
                for (i, order) in order.chunks(room).enumerate() {
                    let x = &mut x[..order.len() * inputs];
                    gather(&Shared { crew, ..*shared }, &samples.features, order, None, x, &mut []);
                    let rows = order.len() * outputs;
                    for (vector, z) in vectors.iter().zip(&mut z) {
                        let z = &mut z[i * room * outputs..][..rows];
                        product::linear(layer, &plain, vector, x, z, &mut slope[..rows], crew);
                    }
                }
            });
            Ok(())
        })??;
        self.projected = Some(Projected { part, z });
        Ok(true)
    }

    /// The mean loss and accuracy of the live weights over the part that is projected, one a replica; the first layer's are the
    /// sum of the projected vectors times `coefficients`, one list a replica.
    ///
    /// # Errors
    /// A thread panicked.
    pub(super) fn evaluate_sums(&mut self, coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        let Some(projected) = self.projected.take() else { return Ok(Vec::new()) };
        let room = self.setup.room();
        let outputs = stride(self.setup.model.widths[1]);
        let n = projected.z[0].len() / outputs;
        let order: Vec<u32> = (0..n as u32).collect();
        let sums = self.all(projected.part, |replicas, shared, samples| {
            let most = shared.layout.layers.iter().map(|layer| product::work(layer, room)).max();
            let padded =
                |of_replica: &Vec<f64>| std::array::from_fn(|i| T::of(of_replica.get(i).copied().unwrap_or(0.0)));
            let mut made: Vec<([T; 3], (f64, u64))> =
                coefficients.iter().map(|of_replica| (padded(of_replica), (0.0, 0))).collect();
            Crew::gather(most.unwrap_or_default() * replicas.len(), |crew| {
                for order in order.chunks(room) {
                    let range = order[0] as usize * outputs..(order[0] as usize + order.len()) * outputs;
                    each_replica(replicas, &mut made, crew, |replica, (coefficients, sums), crew| {
                        let own = replica.own.clone();
                        let shared = shared.with(&own, crew);
                        let parts =
                            std::array::from_fn(|i| &projected.z.get(i).unwrap_or(&projected.z[0])[range.clone()]);
                        let first = |z: &mut [T]| super::combine(*coefficients, parts, z);
                        replica.evaluate_pass(&shared, samples, order, First::Made(&first), sums);
                    });
                }
            });
            made
        });
        self.projected = Some(projected);
        let n = n as f64;
        Ok(sums?.into_iter().map(|(_, sums)| Evaluation { loss: sums.0 / n, accuracy: sums.1 as f64 / n }).collect())
    }
}
