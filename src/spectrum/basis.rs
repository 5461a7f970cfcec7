//! An orthonormal basis of a part of the space of parameters, and what a matrix does within it.

use super::{Matrix, Parameters, Random, check_finite, scratch};
use crate::engine::{Engine, Precision, Slot};
use crate::error::Result;
use crate::number::eigen;

/// A basis that grows by products with a matrix H, as Lanczos's does: each vector is H times the one before, made orthogonal to
/// all before and of length 1. Each replica has a basis of its own.
///
/// All inner products `vᵢ · H vⱼ` are kept, not the three diagonals alone that Lanczos's recurrence has, so that a basis may be
/// cut down to some of its eigenvectors, or go on from a new random vector, and still be one.
pub(crate) struct Basis {
    vectors: Vec<Slot>,
    /// The vector that comes next, not yet of length 1, and its lengths, one a replica.
    next: Slot,
    lengths: Vec<f64>,
    images: Vec<Image>,
    /// The number of parameters, with which the basis is whole.
    parameters: usize,
    epsilon: f64,
}

/// What is known of `H vⱼ` in one replica.
#[derive(Clone, Default)]
struct Image {
    /// Its inner products with the vectors of the basis, `(vectors, vectors)` and symmetric.
    within: Vec<Vec<f64>>,
    /// Its part along the next vector.
    along_next: Vec<f64>,
    /// The length of what lies outside of both.
    outside: Vec<f64>,
    /// Whether the next vector is a new random one, and no part of any image.
    is_new: bool,
    /// The largest inner product.
    scale: f64,
}

/// The eigenvalues of a matrix within a basis, Ritz values, largest first.
pub(crate) struct Ritz {
    pub values: Vec<f64>,
    /// Of each value its eigenvector's coordinates in the basis.
    pub vectors: Vec<Vec<f64>>,
    /// Of each value a bound of its distance from an eigenvalue of the matrix: the length of `H v - λ v`.
    pub errors: Vec<f64>,
}

/// What a vector may lose of its length to rounding as others are taken out of it; if it loses more, they are taken out twice,
/// which is enough (Parlett, "The Symmetric Eigenvalue Problem", section 6.9).
const KEPT: f64 = 0.7;
/// The number of roundings that an image is made of, about; a next vector that is no longer than they are is noise.
const ROUNDINGS: f64 = 16.0;

impl Basis {
    /// A basis without vectors, whose first one will be random.
    pub fn begin(engine: &mut dyn Engine, random: &mut Random) -> Result<Self> {
        let everywhere: Vec<usize> = (0..engine.setup().replicas).collect();
        let mut basis = Self::empty(engine, &random.parameters)?;
        basis.renew(engine, random, &everywhere)?;
        Ok(basis)
    }

    /// The same, whose first vector will be that in `first`; where it is 0, a random one.
    pub fn begin_from(engine: &mut dyn Engine, first: Slot, parameters: &Parameters) -> Result<Self> {
        let mut basis = Self::empty(engine, parameters)?;
        engine.copy(first, basis.next)?;
        basis.lengths = engine.norm(basis.next)?;
        Ok(basis)
    }

    fn empty(engine: &mut dyn Engine, parameters: &Parameters) -> Result<Self> {
        let setup = engine.setup();
        let epsilon = if setup.precision == Precision::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let replicas = setup.replicas;
        Ok(Self {
            vectors: Vec::new(),
            next: scratch(engine)?,
            lengths: vec![0.0; replicas],
            images: vec![Image::default(); replicas],
            parameters: parameters.count(),
            epsilon,
        })
    }

    /// The number of its vectors.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether it spans all parameters.
    pub fn is_whole(&self) -> bool {
        self.len() >= self.parameters
    }

    /// Adds a vector, with one product.
    pub fn grow(&mut self, engine: &mut dyn Engine, matrix: &mut Matrix, random: &mut Random) -> Result<()> {
        let is_noise = |r: &usize| self.lengths[*r] <= ROUNDINGS * self.epsilon * self.images[*r].scale;
        let lost: Vec<usize> = (0..self.lengths.len()).filter(is_noise).collect();
        if !lost.is_empty() {
            self.renew(engine, random, &lost)?;
        }
        let factors: Vec<f64> =
            self.lengths.iter().map(|length| if *length > 0.0 { length.recip() } else { 0.0 }).collect();
        engine.scale(&factors, self.next)?;
        let image_slot = scratch(engine)?;
        self.vectors.push(self.next);
        matrix(engine, self.next, image_slot)?;
        self.next = image_slot;
        let taken = self.clear(engine, image_slot)?;
        self.lengths = engine.norm(image_slot)?;
        for (r, image) in self.images.iter_mut().enumerate() {
            image.push(taken.iter().map(|taken| taken[r]).collect(), self.lengths[r]);
        }
        Ok(())
    }

    /// Refuses a matrix whose last product was not finite, in any replica.
    pub fn check(&self) -> Result<()> {
        check_finite(&self.lengths)
    }

    /// Takes what lies along the vectors of the basis out of `x`, and returns how much that was: of each vector, one a replica.
    pub fn clear(&self, engine: &mut dyn Engine, x: Slot) -> Result<Vec<Vec<f64>>> {
        let mut taken = vec![vec![0.0; self.lengths.len()]; self.len()];
        let mut clear = |engine: &mut dyn Engine, first: usize| -> Result<Vec<f64>> {
            for (v, taken) in self.vectors.iter().zip(&mut taken).skip(first).rev() {
                let along = engine.dot(*v, x)?;
                engine.axpy(&along.iter().map(|a| -a).collect::<Vec<_>>(), *v, x)?;
                taken.iter_mut().zip(along).for_each(|(taken, along)| *taken += along);
            }
            engine.norm(x)
        };
        // An image lies mostly along the last two, without which there is little to lose.
        let mut before = clear(engine, self.len().saturating_sub(2))?;
        for _ in 0..2 {
            let after = clear(engine, 0)?;
            if after.iter().zip(&before).all(|(after, before)| *after >= KEPT * before) {
                break;
            }
            before = after;
        }
        Ok(taken)
    }

    /// Goes on in these replicas from a new random vector, orthogonal to the basis.
    pub fn renew(&mut self, engine: &mut dyn Engine, random: &mut Random, replicas: &[usize]) -> Result<()> {
        let vector = random.normal();
        for &r in replicas {
            engine.upload(self.next, r, &vector)?;
            self.images[r].is_new = true;
        }
        self.clear(engine, self.next)?;
        self.lengths = engine.norm(self.next)?;
        Ok(())
    }

    /// The eigenvalues within the basis, in one replica.
    pub fn ritz(&self, r: usize) -> Ritz {
        let image = &self.images[r];
        let (values, vectors) = eigen::symmetric(&image.within.concat(), self.len());
        let error = |vector: &Vec<f64>| {
            let along: f64 = vector.iter().zip(&image.along_next).map(|(s, along)| s * along).sum();
            along.abs() + vector.iter().zip(&image.outside).map(|(s, outside)| s.abs() * outside).sum::<f64>()
        };
        let errors = vectors.iter().map(error).collect();
        Ritz { values, vectors, errors }
    }

    /// The trace of the matrix within the basis, in one replica.
    pub fn trace(&self, r: usize) -> f64 {
        self.images[r].within.iter().enumerate().map(|(i, row)| row[i]).sum()
    }

    /// What rounding makes of a 0, in one replica.
    pub fn noise(&self, r: usize) -> f64 {
        ROUNDINGS * self.epsilon * self.images[r].scale
    }

    /// Leaves in `into` the sum of the basis's vectors with these coordinates, one list a replica.
    pub fn combine(&self, engine: &mut dyn Engine, coordinates: &[&[f64]], into: Slot) -> Result<()> {
        engine.scale(&vec![0.0; coordinates.len()], into)?;
        for (j, v) in self.vectors.iter().enumerate() {
            engine.axpy(&coordinates.iter().map(|of| of[j]).collect::<Vec<_>>(), *v, into)?;
        }
        Ok(())
    }

    /// Cuts the basis down to the eigenvectors of its `largest` largest and `smallest` smallest eigenvalues (a thick restart;
    /// Wu and Simon, 2000).
    pub fn shrink(&mut self, engine: &mut dyn Engine, largest: usize, smallest: usize) -> Result<()> {
        let all: Vec<Ritz> = (0..self.images.len()).map(|r| self.ritz(r)).collect();
        let kept: Vec<usize> = (0..largest).chain(self.len() - smallest..self.len()).collect();
        let mut vectors = Vec::with_capacity(kept.len());
        for &k in &kept {
            let slot = scratch(engine)?;
            let coordinates: Vec<&[f64]> = all.iter().map(|ritz| &ritz.vectors[k][..]).collect();
            self.combine(engine, &coordinates, slot)?;
            vectors.push(slot);
        }
        for slot in std::mem::replace(&mut self.vectors, vectors) {
            engine.free(slot)?;
        }
        for (image, ritz) in self.images.iter_mut().zip(&all) {
            *image = image.reduced(ritz, &kept);
        }
        Ok(())
    }

    /// Gives the vectors' room back.
    pub fn free(self, engine: &mut dyn Engine) -> Result<()> {
        self.vectors.iter().chain([&self.next]).try_for_each(|&slot| engine.free(slot))
    }
}

impl Image {
    /// Adds a vector whose image has these inner products with the basis, its own the last, and a rest of this length.
    fn push(&mut self, column: Vec<f64>, rest: f64) {
        let along = std::mem::take(&mut self.along_next);
        if self.is_new {
            // Nothing more will be known of what lay along the vector that was given up.
            self.outside.iter_mut().zip(&along).for_each(|(outside, along)| *outside += along.abs());
        }
        self.is_new = false;
        self.scale = column.iter().fold(self.scale.max(rest), |scale, x| scale.max(x.abs()));
        self.within.iter_mut().zip(&column).for_each(|(row, &x)| row.push(x));
        self.along_next = vec![0.0; column.len()];
        self.along_next[column.len() - 1] = rest;
        self.within.push(column);
        self.outside.push(0.0);
    }

    /// The image in the basis of some of its eigenvectors.
    fn reduced(&self, ritz: &Ritz, kept: &[usize]) -> Self {
        let value = |i: usize, j: usize| if i == j { ritz.values[kept[i]] } else { 0.0 };
        let sum = |k: usize, of: &[f64], size: fn(f64) -> f64| -> f64 {
            ritz.vectors[k].iter().zip(of).map(|(s, x)| size(*s) * x).sum()
        };
        Self {
            within: (0..kept.len()).map(|i| (0..kept.len()).map(|j| value(i, j)).collect()).collect(),
            along_next: kept.iter().map(|&k| sum(k, &self.along_next, |s| s)).collect(),
            outside: kept.iter().map(|&k| sum(k, &self.outside, f64::abs)).collect(),
            ..self.clone()
        }
    }
}
