//! The search for the eigenvalues at the ends of a spectrum, by Lanczos's method.

use super::{Basis, Matrix, Random, Ritz};
use crate::engine::Engine;
use crate::error::Result;

/// A search for eigenvalues, for how many and how well.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// The number of the largest that are looked for.
    pub largest: usize,
    /// Whether the smallest one is.
    pub smallest: bool,
    /// The error relative to an eigenvalue with which it is found; with 0 the search goes on to its end.
    pub tolerance: f64,
    /// The most products.
    pub products: usize,
    /// The most vectors of the basis, more than those that are looked for; with so many, it is cut down to its ends.
    pub vectors: usize,
}

/// What a search has found.
pub(crate) struct Found {
    /// The basis within which the eigenvalues were found.
    pub basis: Basis,
    /// What the first random vector saw of the spectrum, one a replica.
    pub rules: Vec<Rule>,
}

/// A quadrature rule of a spectrum: `vᵀ f(H) v ≈ Σᵢ weightᵢ f(nodeᵢ)` for a vector v of length 1, exact for polynomials up to
/// a degree of about twice the number of products (Golub and Meurant, 1994). The mean over random v is the mean over all
/// eigenvalues.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub nodes: Vec<f64>,
    /// At least 0, with a sum of 1.
    pub weights: Vec<f64>,
}

impl Rule {
    /// The rule of the vector with which the basis began.
    pub fn of(ritz: &Ritz) -> Self {
        Self { nodes: ritz.values.clone(), weights: ritz.vectors.iter().map(|v| v[0] * v[0]).collect() }
    }
}

/// The number of products from one look at the eigenvalues to the next.
const LOOK_EVERY: usize = 5;
/// The fewest products with a new random vector that may show an eigenvalue which was missed.
const SECOND_LOOK: usize = 10;
/// The share of a full basis that is left of it.
const LEFT: f64 = 0.4;

/// Looks for eigenvalues until they are found to the tolerance, and again with a new random vector, since the first finds only
/// one of several that are equal: until nothing more comes to light. `tell` is called after every product.
pub(crate) fn search(
    engine: &mut dyn Engine,
    matrix: &mut Matrix,
    random: &mut Random,
    search: Search,
    tell: &mut dyn FnMut(),
) -> Result<Found> {
    let replicas = engine.setup().replicas;
    let mut basis = Basis::begin(engine, random)?;
    let mut rules: Option<Vec<Rule>> = None;
    let mut looks = vec![Look::default(); replicas];
    for product in 1..=search.products {
        basis.grow(engine, matrix, random)?;
        tell();
        if basis.is_whole() || product == search.products {
            break;
        }
        if product % LOOK_EVERY == 0 && search.tolerance > 0.0 {
            let found: Vec<usize> = (0..replicas).filter(|&r| looks[r].is_stale(&basis, r, &search, product)).collect();
            if looks.iter().all(|look| look.is_done) {
                break;
            }
            if !found.is_empty() {
                basis.renew(engine, random, &found)?;
            }
        }
        if basis.len() >= search.vectors {
            rules.get_or_insert_with(|| (0..replicas).map(|r| Rule::of(&basis.ritz(r))).collect());
            let smallest = if search.smallest { 2 } else { 0 };
            let largest = search.largest.max((LEFT * search.vectors as f64) as usize);
            basis.shrink(engine, largest.min(search.vectors - 1 - smallest), smallest)?;
        }
    }
    let rules = rules.unwrap_or_else(|| (0..replicas).map(|r| Rule::of(&basis.ritz(r))).collect());
    Ok(Found { basis, rules })
}

/// What was seen of a replica's eigenvalues.
#[derive(Clone, Default)]
struct Look {
    /// The largest eigenvalues at the last change of the vector, and the number of products before it.
    seen: Vec<f64>,
    since: usize,
    is_done: bool,
}

impl Look {
    /// Looks at the eigenvalues; whether the search should go on from another vector, since with this one they are found.
    fn is_stale(&mut self, basis: &Basis, r: usize, search: &Search, products: usize) -> bool {
        let ritz = basis.ritz(r);
        let noise = basis.noise(r);
        let is_found = |k: usize| ritz.errors[k] <= search.tolerance * ritz.values[k].abs() + noise;
        let last = ritz.values.len() - 1;
        let now = &ritz.values[..search.largest.min(last)];
        let is_same = |(then, now): (&f64, &f64)| (now - then).abs() <= search.tolerance * now.abs() + noise;
        let is_old = self.seen.len() == now.len() && self.seen.iter().zip(now).all(is_same);
        let is_all_found = last >= search.largest
            && (0..search.largest).all(is_found)
            && (!search.smallest || is_found(last));
        self.is_done = is_all_found && is_old && (self.is_done || products - self.since >= SECOND_LOOK);
        if self.is_done || !is_all_found || products - self.since < SECOND_LOOK {
            return false;
        }
        (self.seen, self.since) = (now.to_vec(), products);
        true
    }
}
