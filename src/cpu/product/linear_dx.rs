//! The twin of `linear_dx.wgsl` by vectors.

use super::{blocks, grid, sharing};
use crate::cpu::crew::Crew;
use crate::cpu::linear_dx::pass_on;
use crate::cpu::panels::{PANEL, panels};
use crate::cpu::parts::Parts;
use crate::cpu::tiles::{self, Out, Right, Rows};
use crate::cpu::{Real, dots};
use crate::engine::{Layer, stride};

/// The input gradient, as [`linear_dx`](crate::cpu::linear_dx()) has it.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub(in crate::cpu) fn linear_dx<T: Real>(
    layer: &Layer,
    params: &[T],
    dz: &[T],
    slope: &[T],
    above: Option<&[T]>,
    dx: &mut [T],
    da: Option<&mut [T]>,
    crew: Crew,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let rows = dz.len() / outputs;
    let w = &params[layer.weights()];
    let sharing = sharing(layer, rows, crew);
    if rows == 1 {
        let part = inputs.div_ceil(sharing.threads()).next_multiple_of(dots::SIDE);
        sharing.each(dx.chunks_mut(part).enumerate(), |(i, dx)| {
            dots::input_gradient(dz, w, inputs, outputs, i * part..i * part + dx.len(), dx);
        });
    } else if rows <= dots::few_rows() {
        let part = rows.div_ceil(sharing.threads()).next_multiple_of(dots::SIDE);
        sharing.each(dz.chunks(part * outputs).zip(dx.chunks_mut(part * inputs)), |(dz, dx)| {
            dots::input_gradient(dz, w, inputs, outputs, 0..inputs, dx);
        });
    } else {
        input_gradient(dz, w, inputs, outputs, dx, sharing);
    }
    if above.is_some() || da.is_some() {
        return pass_on(slope, above, dx, da);
    }
    let crew = crew.worth(dx.len());
    let part = dx.len().div_ceil(crew.threads());
    crew.each(dx.chunks_mut(part).zip(slope.chunks(part)), |(dx, slope)| pass_on(slope, None, dx, None));
}

/// The number of inputs of which the weights are transposed at once, so that they stay in the nearest cache while the
/// rows pass by.
const STRIP: usize = 32;

/// The product `dx = dz · Wᵀ`, with the weights transposed first; shapes as in [`dots::input_gradient`].
fn input_gradient<T: Real>(dz: &[T], w: &[T], inputs: usize, outputs: usize, dx: &mut [T], crew: Crew) {
    let rows = dz.len() / outputs;
    let place = Parts::new(dx);
    let (across, down) = grid(inputs, STRIP, crew);
    let part = rows.div_ceil(down);
    let pieces = inputs.div_ceil(STRIP);
    let parts = dz.chunks(part * outputs).enumerate().flat_map(|(i, dz)| {
        (0..across)
            .map(move |j| (i * part, dz, j * pieces / across * STRIP..inputs.min((j + 1) * pieces / across * STRIP)))
    });
    crew.each(parts, |(first, dz, range)| {
        let mut turned = [[T::default(); STRIP]; PANEL];
        for strip in blocks(range, STRIP) {
            for panel in panels(outputs) {
                let width = panel.len();
                let w = &w[panel.start * inputs + strip.start * width..][..strip.len() * width];
                for (i, w) in w.chunks_exact(width).enumerate() {
                    turned.iter_mut().zip(w).for_each(|(turned, &w)| turned[i] = w);
                }
                let values = &dz[panel.start..];
                let a = Rows { values, rows: values.len().div_ceil(outputs), depth: width, stride: outputs };
                let w = Right { values: turned.as_flattened(), columns: strip.len(), stride: STRIP };
                let out = Out { parts: &place, at: first * inputs + strip.start, stride: inputs };
                // SAFETY: no other thread writes these rows of these columns of dx.
                unsafe { tiles::product(a, w, panel.start > 0, out) };
            }
        }
    });
}
