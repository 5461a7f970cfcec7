//! How far the loss rises about weights.

use serde::Serialize;

use super::neighbourhood::Neighbourhood;
use super::{CurvaturePlan, Estimate, LossShape, Meter, SLOPE, check};
use crate::data::Part;
use crate::engine::{Engine, Evaluation, Slot};
use crate::error::Result;
use crate::spectrum::{Parameters, Random, mean_and_error};

/// The rise of the loss about weights, from the loss that they have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rise {
    /// The largest that was found, by steps up the slope, each to the neighbour furthest along it; there may be a larger one.
    pub largest: f64,
    /// The largest relative to the loss, in percent: `100 (max f - f) / (1 + f)`, which Keskar et al. (2017) call sharpness.
    pub relative: f64,
    /// The mean over pairs of random neighbours, on either side of the weights.
    pub mean: Estimate,
    /// That of SAM's one step up the slope, by [`Rise::RHO`] (Foret et al., 2021).
    pub ascent: f64,
}

impl Rise {
    /// The ε of the box `|zᵢ| ≤ ε (|wᵢ| + 1)`.
    pub const EPSILON: f64 = 1e-3;
    /// The share of its own length that a filter moves by.
    pub const SHARE: f64 = 0.05;
    /// The length of SAM's step; of weights in units of their filter's length, where these are normalised.
    pub const RHO: f64 = 0.05;
}

/// Measures the rise of the loss in both neighbourhoods of the live weights, which are the same again afterwards. The engine's
/// gradient must be theirs.
pub(super) fn measure(
    engine: &mut dyn Engine,
    parameters: &Parameters,
    plan: &CurvaturePlan,
    meter: &mut Meter,
    shapes: &mut [LossShape],
) -> Result<()> {
    let replicas = 0..shapes.len();
    let (mut centers, mut slopes) = (Vec::new(), Vec::new());
    for (r, shape) in shapes.iter_mut().enumerate() {
        let mut slope = engine.download(Slot::Gradient, r)?;
        parameters.keep(&mut slope);
        shape.gradient_norm = slope.iter().map(|g| g * g).sum::<f64>().sqrt();
        slopes.push(slope);
        centers.push(engine.download(Slot::Live, r)?);
    }
    let layout = engine.layout().clone();
    let boxes = |r: usize| Neighbourhood::of_box(&centers[r], Rise::EPSILON, parameters);
    let filters = |r: usize| Neighbourhood::of_filters(&centers[r], Rise::SHARE, &layout);
    let all: [Vec<Neighbourhood>; 2] = [replicas.clone().map(boxes).collect(), replicas.clone().map(filters).collect()];
    let mut probe = Probe { engine, parameters, plan, meter, centers: &centers };
    let mut rises = Vec::new();
    for neighbourhoods in &all {
        rises.push(probe.rises(neighbourhoods, &slopes)?);
        probe.meter.add(1);
    }
    replicas.clone().try_for_each(|r| engine.upload(Slot::Live, r, &centers[r]))?;
    for r in replicas {
        (shapes[r].sharpness, shapes[r].filter_sharpness) = (rises[0][r], rises[1][r]);
    }
    Ok(())
}

/// What looks at the loss about weights.
struct Probe<'a, 'b> {
    engine: &'a mut dyn Engine,
    parameters: &'a Parameters,
    plan: &'a CurvaturePlan,
    meter: &'a mut Meter<'b>,
    centers: &'a [Vec<f64>],
}

impl Probe<'_, '_> {
    fn rises(&mut self, all: &[Neighbourhood], slopes: &[Vec<f64>]) -> Result<Vec<Rise>> {
        let mut random = Random::new(self.parameters.clone(), self.plan.seed);
        let still: Vec<Vec<f64>> = self.centers.iter().map(|center| vec![0.0; center.len()]).collect();
        let base = self.losses(&still)?;
        let ascent: Vec<Vec<f64>> =
            all.iter().zip(slopes).map(|(set, slope)| set.ascent(slope, Rise::SHARE, Rise::RHO)).collect();
        let ascent = self.losses(&ascent)?;
        let mut samples = vec![Vec::new(); all.len()];
        for _ in 0..self.plan.pairs {
            let mut points = Self::random(all, &mut random);
            let mut losses = self.losses(&points)?;
            // The point on the other side takes away what the slope adds to one and subtracts from the other.
            points.iter_mut().flatten().for_each(|z| *z = -*z);
            losses.iter_mut().zip(self.losses(&points)?).for_each(|(loss, other)| *loss = 0.5 * (*loss + other));
            samples.iter_mut().zip(losses.iter().zip(&base)).for_each(|(s, (loss, base))| s.push(loss - base));
            self.meter.add(2);
        }
        let largest = self.largest(all, slopes, &mut random)?;
        let rise = |r: usize| Rise {
            largest: largest[r],
            relative: 100.0 * largest[r] / (1.0 + base[r]),
            mean: Estimate::of(mean_and_error(&samples[r])),
            ascent: ascent[r] - base[r],
        };
        Ok((0..all.len()).map(rise).collect())
    }

    /// The largest rise on a way up: a step goes to the neighbour that is furthest along the slope, as projected ascent does by
    /// steps without end; where the loss is convex, each step leads higher (Journée et al., 2010).
    fn largest(&mut self, all: &[Neighbourhood], slopes: &[Vec<f64>], random: &mut Random) -> Result<Vec<f64>> {
        let samples = self.engine.setup().dataset.train.len();
        self.place(&self.centers.iter().map(|center| vec![0.0; center.len()]).collect::<Vec<_>>())?;
        let base = self.engine.slope(0..samples)?;
        let mut largest = vec![0.0; all.len()];
        let mut points = Self::random(all, random);
        for (r, point) in points.iter_mut().enumerate() {
            let up = all[r].furthest(&slopes[r]);
            // At rest any direction is as good.
            if up.iter().any(|z| *z != 0.0) {
                *point = up;
            }
        }
        for _ in 0..self.plan.ascents {
            self.place(&points)?;
            let evaluations = self.engine.slope(0..samples)?;
            check(&evaluations)?;
            for (r, point) in points.iter_mut().enumerate() {
                largest[r] = f64::max(largest[r], evaluations[r].loss - base[r].loss);
                let mut slope = self.engine.download(Slot::Gradient, r)?;
                self.parameters.keep(&mut slope);
                *point = all[r].furthest(&slope);
            }
            self.meter.add(SLOPE);
        }
        Ok(largest)
    }

    /// A random neighbour of each, with the same random numbers for all, so that sets of weights do not differ by chance.
    fn random(all: &[Neighbourhood], random: &mut Random) -> Vec<Vec<f64>> {
        let deviates = all[0].deviates(random);
        all.iter().map(|set| set.at(&deviates)).collect()
    }

    /// Moves the live weights by these perturbations.
    fn place(&mut self, points: &[Vec<f64>]) -> Result<()> {
        for (r, (center, z)) in self.centers.iter().zip(points).enumerate() {
            let moved: Vec<f64> = center.iter().zip(z).map(|(w, z)| w + z).collect();
            self.engine.upload(Slot::Live, r, &moved)?;
        }
        Ok(())
    }

    /// The losses with these perturbations.
    fn losses(&mut self, points: &[Vec<f64>]) -> Result<Vec<f64>> {
        self.place(points)?;
        let evaluations: Vec<Evaluation> = self.engine.evaluate(Part::Train, &[Slot::Live])?;
        check(&evaluations)?;
        Ok(evaluations.iter().map(|evaluation| evaluation.loss).collect())
    }
}
