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
        basis.check()?;
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
        let is_all_found =
            last >= search.largest && (0..search.largest).all(is_found) && (!search.smallest || is_found(last));
        self.is_done = is_all_found && is_old && (self.is_done || products - self.since >= SECOND_LOOK);
        if self.is_done || !is_all_found || products - self.since < SECOND_LOOK {
            return false;
        }
        (self.seen, self.since) = (now.to_vec(), products);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Parameters, trace};
    use super::*;
    use crate::cpu::CpuEngine;
    use crate::data::{Dataset, Samples};
    use crate::engine::{Setup, Slot};
    use crate::model::Mlp;
    use crate::optimizer::Optimizer;

    /// A network of 10 · 6 weights and 6 biases, whose rows have padding, in f64, of two replicas.
    fn engine() -> impl Engine {
        let samples = Samples::labelled(vec![0.5; 60], vec![0, 1, 2, 3, 4, 5]);
        let dataset = Dataset::new("six", [10, 1, 1], samples, None).unwrap();
        let setup =
            Setup { replicas: 2, optimizer: Optimizer::sgd(0.1), ..Setup::new(Mlp::new(10, 6), Arc::new(dataset)) };
        CpuEngine::<f64>::new(setup).unwrap()
    }

    /// The eigenvalues 1, 2, ... of the parameters, changed by `change`, those of the second replica twice as large.
    fn spectrum(change: impl Fn(usize) -> f64) -> [Vec<f64>; 2] {
        let values: Vec<f64> = (0..66).map(change).collect();
        [values.clone(), values.iter().map(|value| 2.0 * value).collect()]
    }

    /// A matrix that is diagonal but for one reflection, and has these eigenvalues.
    fn matrix(parameters: &Parameters, values: [Vec<f64>; 2]) -> impl FnMut(&mut dyn Engine, Slot, Slot) -> Result<()> {
        let ones = parameters.vector(|| 1.0);
        let count = parameters.count() as f64;
        let reflect = move |x: &mut [f64]| {
            let sum: f64 = x.iter().zip(&ones).map(|(x, one)| x * one).sum();
            x.iter_mut().zip(&ones).for_each(|(x, one)| *x -= 2.0 * sum / count * one);
        };
        let parameters = parameters.clone();
        move |engine, from, into| {
            for (r, values) in values.iter().enumerate() {
                let mut x = engine.download(from, r)?;
                reflect(&mut x);
                let mut at = values.iter();
                let diagonal = parameters.vector(|| at.next().copied().unwrap_or_default());
                x.iter_mut().zip(diagonal).for_each(|(x, value)| *x *= value);
                reflect(&mut x);
                engine.upload(into, r, &x)?;
            }
            Ok(())
        }
    }

    const PLAN: Search = Search { largest: 5, smallest: true, tolerance: 1e-10, products: 66, vectors: 100 };

    /// The largest eigenvalues, the smallest, and the products that they took.
    fn find(values: [Vec<f64>; 2], plan: Search) -> (Vec<[f64; 6]>, Found, usize) {
        let (mut engine, mut products) = (engine(), 0);
        let parameters = Parameters::new(engine.layout(), false);
        let mut random = Random::new(parameters.clone(), 3);
        let found =
            search(&mut engine, &mut matrix(&parameters, values), &mut random, plan, &mut || products += 1).unwrap();
        let ends = |r| {
            let ritz = found.basis.ritz(r);
            std::array::from_fn(|i| ritz.values[if i < 5 { i } else { ritz.values.len() - 1 }])
        };
        ((0..2).map(ends).collect(), found, products)
    }

    /// The bound is that of the search's tolerance, or of rounding where the basis is whole.
    fn assert_ends(values: &[Vec<f64>; 2], found: &[[f64; 6]]) {
        for (values, found) in values.iter().zip(found) {
            let mut sorted = values.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let wanted = [sorted[0], sorted[1], sorted[2], sorted[3], sorted[4], sorted[65]];
            let bound = 1e-10 * sorted[0].abs() + 1e-13;
            assert!(wanted.iter().zip(found).all(|(w, f)| (w - f).abs() <= bound), "{wanted:?} {found:?}");
        }
    }

    #[test]
    fn the_ends_of_a_spectrum_are_found() {
        // A few far out, as those of a network, and many close together.
        let values = spectrum(|i| if i < 6 { 10.0 * (i + 1) as f64 } else { (i as f64 * 0.37).sin() });
        let (found, ..) = find(values.clone(), PLAN);
        assert_ends(&values, &found);
        // Before the end, where the smallest is far out as well.
        let values = spectrum(|i| {
            if i < 6 {
                10.0 * (i + 1) as f64
            } else if i == 6 {
                -20.0
            } else {
                0.01 * i as f64
            }
        });
        let (found, _, products) = find(values.clone(), PLAN);
        assert!(products < 60, "{products}");
        assert_ends(&values, &found);
    }

    /// One vector sees one of several equal eigenvalues.
    #[test]
    fn equal_eigenvalues_are_all_found() {
        for (copies, rest) in [(3, 0.5), (7, 0.0)] {
            let values = spectrum(|i| {
                if i < copies {
                    8.0
                } else if i < 20 {
                    7.0 - (i % 5) as f64
                } else {
                    rest
                }
            });
            let (found, ..) = find(values.clone(), Search { products: 200, ..PLAN });
            assert_ends(&values, &found);
        }
    }

    /// A full basis is cut down, and the search goes on.
    #[test]
    fn little_memory_is_enough() {
        let values = spectrum(|i| (1.0 + i as f64 / 10.0).powi(2) * if i % 13 == 12 { -0.2 } else { 1.0 });
        let (found, basis, products) = find(values.clone(), Search { vectors: 20, products: 400, ..PLAN });
        assert!(products > 20 && products < 400 && basis.basis.len() <= 20, "{products}");
        assert_ends(&values, &found);
    }

    #[test]
    fn matrices_without_much_in_them() {
        for values in [spectrum(|_| 0.0), spectrum(|_| 3.0), spectrum(|i| if i == 40 { 1.0 } else { 0.0 })] {
            let (found, ..) = find(values.clone(), PLAN);
            assert_ends(&values, &found);
        }
        let (mut engine, mut nan) = (engine(), |engine: &mut dyn Engine, _: Slot, into: Slot| {
            engine.upload(into, 1, &vec![f64::NAN; engine.layout().len])
        });
        let mut random = Random::new(Parameters::new(engine.layout(), false), 0);
        let error = search(&mut engine, &mut nan, &mut random, PLAN, &mut || ()).err().unwrap().to_string();
        assert!(error.contains("found NaN (weights 1)"), "{error}");
    }

    /// A basis that is whole knows the trace, and any basis leaves an estimate without bias of the rest.
    #[test]
    fn traces_are_within_their_errors() {
        let values = spectrum(|i| if i < 3 { 50.0 - 10.0 * i as f64 } else { (i as f64 * 1.7).sin() });
        let parameters = Parameters::new(engine().layout(), false);
        for products in [10, 66] {
            let mut engine = engine();
            let mut random = Random::new(parameters.clone(), 1);
            let mut matrix = matrix(&parameters, values.clone());
            let plan = Search { products, tolerance: 0.0, ..PLAN };
            let found = search(&mut engine, &mut matrix, &mut random, plan, &mut || ()).unwrap();
            let estimates = trace(&mut engine, &mut matrix, &mut random, &found.basis, 10, &mut || ()).unwrap();
            for (values, (mean, error)) in values.iter().zip(estimates) {
                let (sum, size) = (values.iter().sum::<f64>(), values.iter().map(|v| v * v).sum::<f64>().sqrt());
                let bound = if products == 66 { 1e-12 * size } else { 4.0 * error };
                assert!((mean - sum).abs() <= bound, "{mean} ± {error}, {sum}");
                // Without the large eigenvalues, which the basis has, little is left to chance.
                assert!(error <= 0.1 * size, "{error} {size}");
            }
            // The rule of a vector of length 1 sees a weight of 1 in all.
            let weights = found.rules.iter().map(|rule| rule.weights.iter().sum::<f64>());
            assert!(weights.into_iter().all(|sum| (sum - 1.0).abs() <= 1e-12));
        }
    }
}
