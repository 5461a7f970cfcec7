//! The twin of `to_half.wgsl`.

use half::f16;

use super::Real;

/// The weights in half precision, `working ← w`; what no half can hold becomes infinite.
pub fn to_half<T: Real>(w: &[T], working: &mut [f16]) {
    for (half, &w) in working.iter_mut().zip(w) {
        let w = w.to_f64();
        *half = if w.abs() > f16::MAX.to_f64() { f16::from_f64(w * f64::INFINITY) } else { f16::from_f64(w) };
    }
}
