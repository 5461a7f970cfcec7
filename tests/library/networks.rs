//! Gradients of whole networks: the CPU engine in f64 against central differences, the GPU against the CPU.

use crate::common;

use thalweg::verify::{Check, Mixed, Precise, Scope, networks};

fn pass(checks: &[Check]) {
    assert!(checks.len() > 50, "only {} checks", checks.len());
    let off: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
    assert!(off.is_empty(), "{off:#?}");
}

#[test]
fn the_cpu_in_f64_has_the_gradients_of_central_differences() {
    pass(&networks(&Precise, Scope::Full).unwrap());
}

#[test]
fn the_gpu_has_the_gradients_of_the_cpu_in_f64() {
    let Some(gpu) = common::gpu() else { return };
    pass(&networks(&gpu, Scope::Full).unwrap());
}

#[test]
fn mixed_precision_has_them_to_the_digits_of_halves() {
    let Some(gpu) = common::gpu() else { return };
    pass(&networks(&Mixed(&gpu), Scope::Full).unwrap());
}
