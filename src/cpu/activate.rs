//! The twin of `activate.wgsl`.

use super::{Dropout, Finish, Real, wide};
use crate::activation::Activation;
use crate::engine;

/// The output of a hidden layer, `y = dropout(activation(n))`, plus `a` after a residual connection, and its slope,
/// `slope = activation'(n)`, 0 where y is dropped; n lies in `y`.
///
/// `y` and `slope` are `(rows, stride(outputs))`, and so is `a` where it is read.
pub fn activate<T: Real>(finish: &Finish, outputs: usize, a: &[T], y: &mut [T], slope: &mut [T]) {
    let stride = engine::stride(outputs);
    // A loop of its own for those that are vectors' work.
    match finish.activation {
        Activation::Identity => apply(|z| Activation::Identity.value_and_slope(z), y, slope),
        Activation::Relu => apply(|z| Activation::Relu.value_and_slope(z), y, slope),
        other => apply(|z| other.value_and_slope(z), y, slope),
    }
    if !finish.activation.keeps_zero() {
        y.chunks_exact_mut(stride).for_each(|y| y[outputs..].fill(T::of(0.0)));
    }
    if let Some(dropout) = &finish.dropout {
        let kept = T::of(Dropout::kept(dropout.rate));
        for (row, (y, slope)) in y.chunks_exact_mut(stride).zip(slope.chunks_exact_mut(stride)).enumerate() {
            for (column, (y, slope)) in y.chunks_exact_mut(4).zip(slope.chunks_exact_mut(4)).enumerate() {
                for (i, is_kept) in dropout.keeps(row, column).into_iter().enumerate() {
                    let factor = if is_kept { kept } else { T::of(0.0) };
                    y[i] *= factor;
                    slope[i] *= factor;
                }
            }
        }
    }
    if finish.residual {
        for (y, &a) in y.iter_mut().zip(a) {
            *y += a;
        }
    }
}

fn apply<T: Real>(f: impl Fn(T) -> (T, T), y: &mut [T], slope: &mut [T]) {
    wide(|| {
        for (y, slope) in y.iter_mut().zip(slope) {
            (*y, *slope) = f(*y);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next layer's gradient of what the padding meets is 0 only so.
    #[test]
    fn padding_stays_0() {
        for activation in Activation::ALL {
            let (mut y, mut slope) = (vec![0.0f64; 16], vec![0.0; 16]);
            activate(&Finish { activation, ..Finish::default() }, 5, &[], &mut y, &mut slope);
            assert!(y.chunks(8).all(|row| row[5..] == [0.0; 3]), "{activation:?}: {y:?}");
            assert!(y.chunks(8).all(|row| (row[..5] == [0.0; 5]) == activation.keeps_zero()), "{activation:?}: {y:?}");
        }
    }
}
