//! The twin of `linear.wgsl` by vectors.

use super::{blocks, grid, sharing};
use crate::cpu::crew::Crew;
use crate::cpu::panels::{PANEL, panels, share};
use crate::cpu::parts::Parts;
use crate::cpu::tiles::{self, Out, Right, Rows};
use crate::cpu::{Dropout, Finish, Real, activate, wide};
use crate::engine::{Layer, stride};

/// The linear layer, as [`linear`](crate::cpu::linear()) has it.
pub(in crate::cpu) fn linear<T: Real>(
    layer: &Layer,
    finish: &Finish,
    params: &[T],
    a: &[T],
    y: &mut [T],
    slope: &mut [T],
    crew: Crew,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let rows = a.len() / inputs;
    let (w, bias) = (&params[layer.weights()], &params[layer.bias..][..outputs]);
    let place = Parts::new(y);
    let sharing = sharing(layer, rows, crew);
    let (across, down) = grid(outputs, PANEL, sharing);
    let part = rows.div_ceil(down).next_multiple_of(ROWS) * inputs;
    let parts = a
        .chunks(part)
        .enumerate()
        .flat_map(|(i, a)| (0..across).map(move |j| (i * part / inputs, a, share(outputs, j, across))));
    sharing.each(parts, |(first, a, columns)| {
        for (i, a) in a.chunks(ROWS * inputs).enumerate() {
            for panel in panels(columns.len()) {
                let (start, width) = (columns.start + panel.start, panel.len());
                for near in blocks(0..inputs, DEPTH) {
                    let w = &w[start * inputs + near.start * width..][..near.len() * width];
                    let a = &a[near.start..];
                    let a = Rows { values: a, rows: a.len().div_ceil(inputs), depth: near.len(), stride: inputs };
                    let w = Right { values: w, columns: width, stride: width };
                    let out = Out { parts: &place, at: (first + i * ROWS) * outputs + start, stride: outputs };
                    // SAFETY: no other thread writes these rows of this panel of y.
                    unsafe { tiles::product(a, w, near.start > 0, out) };
                }
            }
        }
    });
    let crew = crew.worth(VALUE_COST * y.len());
    let part = rows.div_ceil(crew.threads()).min(ROWS_AT_ONCE);
    let parts = y.chunks_mut(part * outputs).zip(slope.chunks_mut(part * outputs)).zip(a.chunks(part * inputs));
    crew.each(parts.enumerate(), |(i, ((y, slope), a))| {
        let dropout = finish.dropout.map(|dropout| Dropout { first: dropout.first + (i * part) as u32, ..dropout });
        for y in y.chunks_exact_mut(outputs) {
            wide(|| y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias));
        }
        activate(&Finish { dropout, ..*finish }, layer.outputs, a, y, slope);
    });
}

/// The number of rows that stay in the second cache while the weights pass by: a multiple of the heights of tiles.
///
/// 3072x512 at batch 512 on a Zen 4: as fast with 96, 1 % slower with 24.
const ROWS: usize = 48;
/// The number of inputs of these rows.
///
/// There too, as fast with twice as many, 2 % slower with half; with AVX2 alone, as many as there are take a fifth longer.
const DEPTH: usize = 512;
/// The number of rows that get their bias and go through the activation while they are in the nearest cache.
const ROWS_AT_ONCE: usize = 32;
/// The number of multiply-adds that take the time of what follows the product, a value.
const VALUE_COST: usize = 8;
