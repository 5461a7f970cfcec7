//! The parameters that take part, and random vectors over them.

use crate::engine::Layout;
use crate::number::{Purpose, Stream};

/// The parameters that take part: not what lies between the rows, and not running statistics, which are no parameters.
#[derive(Clone)]
pub(crate) struct Parameters {
    takes_part: Vec<bool>,
    count: usize,
}

impl Parameters {
    /// All trained parameters, or the weights without biases and norm parameters.
    pub fn new(layout: &Layout, weights_only: bool) -> Self {
        let mut ones = vec![1.0; layout.len];
        layout.clear_padding(&mut ones);
        let end = if weights_only { layout.weights } else { layout.trained };
        let takes_part: Vec<bool> = ones.iter().enumerate().map(|(i, &one)| one > 0.0 && i < end).collect();
        let count = takes_part.iter().filter(|part| **part).count();
        Self { takes_part, count }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Puts 0 where no parameter takes part.
    pub fn keep(&self, values: &mut [f64]) {
        values.iter_mut().zip(&self.takes_part).filter(|(_, part)| !**part).for_each(|(value, _)| *value = 0.0);
    }

    /// A vector whose entries `draw` gives, and 0 where no parameter takes part.
    pub fn vector(&self, mut draw: impl FnMut() -> f64) -> Vec<f64> {
        self.takes_part.iter().map(|&part| if part { draw() } else { 0.0 }).collect()
    }
}

/// Random vectors over the parameters, one after the other. All replicas get the same, so that what is found of two sets of
/// weights does not differ by chance.
pub(crate) struct Random {
    pub parameters: Parameters,
    seed: u64,
    drawn: u64,
}

impl Random {
    pub fn new(parameters: Parameters, seed: u64) -> Self {
        Self { parameters, seed, drawn: 0 }
    }

    /// The stream of the next vector; the first of the purpose draws samples.
    fn stream(&mut self) -> Stream {
        self.drawn += 1;
        Stream::new(self.seed, Purpose::Exploration, self.drawn)
    }

    /// A vector of standard normal deviates.
    pub fn normal(&mut self) -> Vec<f64> {
        let mut stream = self.stream();
        self.parameters.vector(|| stream.normal())
    }

    /// A vector of numbers uniform in [-1, 1).
    pub fn uniform(&mut self) -> Vec<f64> {
        let mut stream = self.stream();
        self.parameters.vector(|| 2.0 * stream.uniform() - 1.0)
    }

    /// A vector of 1 and -1, each as likely.
    pub fn signs(&mut self) -> Vec<f64> {
        let mut stream = self.stream();
        self.parameters.vector(|| if stream.uniform() < 0.5 { -1.0 } else { 1.0 })
    }
}
