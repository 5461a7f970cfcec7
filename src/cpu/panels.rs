//! How the CPU engine keeps a layer's weights, and all vectors that go with them: in panels of columns, one after the other,
//! each `(inputs, columns)`, so that what one core reads and updates lies together.
//!
//! Halves of rows do not: a core fetches ahead beyond the end of its half, and takes lines that the other one is about to
//! write. On two cores of a Zen 4, reading 784x256 weights and updating them takes 21 µs by panels, 150 to 600 by halves of
//! rows, and 45 on one core.

use std::ops::Range;

use crate::engine::{Layer, stride};

/// The number of columns of a panel, but for the last one: four of the widest vectors.
pub(super) const PANEL: usize = 64;

/// The panels of so many columns.
pub(super) fn panels(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns).step_by(PANEL).map(move |first| first..(first + PANEL).min(columns))
}

/// The columns of part `i` of `parts` of the panels of `columns`.
pub(super) fn share(columns: usize, i: usize, parts: usize) -> Range<usize> {
    let start = |i: usize| (columns.div_ceil(PANEL) * i / parts * PANEL).min(columns);
    start(i)..start(i + 1)
}

/// Cuts the weights of a layer in a flat parameter vector into panels.
pub(super) fn cut<T: Copy>(layer: &Layer, vector: &mut [T]) {
    let weights = &mut vector[layer.weights()];
    let flat = weights.to_vec();
    rows(layer).for_each(|(row, place)| weights[place].copy_from_slice(&flat[row]));
}

/// The opposite of [`cut`].
pub(super) fn join<T: Copy>(layer: &Layer, vector: &mut [T]) {
    let weights = &mut vector[layer.weights()];
    let cut = weights.to_vec();
    rows(layer).for_each(|(row, place)| weights[row].copy_from_slice(&cut[place]));
}

/// The places of each row of each panel: where it lies in the flat weights, and where in the cut ones.
pub(super) fn rows(layer: &Layer) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    panels(outputs).flat_map(move |columns| {
        let width = columns.len();
        (0..inputs).map(move |i| {
            let place = columns.start * inputs + i * width;
            (i * outputs + columns.start..i * outputs + columns.end, place..place + width)
        })
    })
}
