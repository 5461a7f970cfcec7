//! The kernels of the ascent before an update.

use bytemuck::bytes_of;

use super::updates::two_rows;
use super::{UNTOUCHED, dispatch, floats, product_tolerance, words};
use crate::cpu;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{self, AscentArgs, Coefficients, LANES, PARTS, Pass, UpdateArgs};
use crate::gpu::single::Dispatch;
use crate::sam::Sam;
use crate::verify::{Check, EPS, uniform};

/// An ascent of some length, and the constants of its kernels.
fn sam(adaptive: bool) -> (Sam, [(&'static str, f64); 2]) {
    (Sam { rho: 0.5, adaptive }, [("ADAPTIVE", f64::from(adaptive)), ("ETA", Sam::ETA)])
}

/// The number of trained weights: all but the last vec4.
fn trained(n: usize) -> usize {
    if n > 4 { n - 4 } else { n }
}

/// The check of `ascent`: the factor of each replica's direction, the last of several of whose gradients is 0.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn ascent(gpu: &Gpu, n: usize, replicas: usize, adaptive: bool) -> Result<Check> {
    let (weights, mut grads) = (uniform(36, n * replicas, 1.0), uniform(37, n * replicas, 1.0));
    if replicas > 1 {
        grads[(replicas - 1) * n..].fill(0.0);
    }
    let (sam, constants) = sam(adaptive);
    let args = AscentArgs { params: n as u32 / 4, trained: trained(n) as u32 / 4 };
    let coefficients = vec![Coefficients { rho: sam.rho as f32, ..Default::default() }; replicas];
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let zeros = |n: usize| vec![0; n];
    let untouched = words(&vec![UNTOUCHED; replicas]);
    let mut buffers = vec![words(&weights), words(&grads), zeros(replicas * PARTS as usize), untouched];
    for (entry_point, groups) in [("square", PARTS), ("root", 1)] {
        let grid = [groups, 1, replicas as u32];
        let first = dispatch(&kernels::ascent, &constants, bytes_of(&args), pass, grid);
        buffers = Dispatch { entry_point, coefficients: &coefficients, ..first }.run(gpu, &buffers)?;
    }
    let of = |values: &[f64], r: usize| values[r * n..][..trained(n)].to_vec();
    let want: Vec<f64> = (0..replicas).map(|r| cpu::ascent(&sam, &of(&weights, r), &of(&grads, r))).collect();
    // As that of grad_norm: a sum of n squares, all of one sign, halved by the root; T, division and root add a few units.
    let tolerance = product_tolerance(n) + 8.0 * EPS;
    let name = format!("ascent {replicas}x{n}{}", if adaptive { " adaptive" } else { "" });
    Ok(Check::new(name, &floats(&buffers[3]), &want, |x| tolerance * x.abs()))
}

/// The check of `ascend`: where the weights come to, and the gradient, which is 0 then; the last of several replicas stays.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn ascend(gpu: &Gpu, n: usize, replicas: usize, adaptive: bool) -> Result<Check> {
    let (weights, mut grads) = (uniform(38, n * replicas, 1.0), uniform(39, n * replicas, 1.0));
    let (sam, constants) = sam(adaptive);
    let factors: Vec<f64> =
        (1..=replicas).map(|r| if r > 1 && r == replicas { 0.0 } else { 0.25 / r as f64 }).collect();
    let mut want = vec![UNTOUCHED; n * replicas];
    let args = UpdateArgs { params: n as u32 / 4, first: 0, trained: trained(n) as u32 / 4, decayed: 0 };
    let constants = [&constants[..], &[("LANES", f64::from(LANES))]].concat();
    let buffers = [words(&factors), words(&weights), words(&grads), words(&want)];
    let got = dispatch(&kernels::ascend, &constants, bytes_of(&args), Pass::default(), two_rows(&args, replicas))
        .run(gpu, &buffers)?;
    for (r, &factor) in factors.iter().enumerate() {
        let at = r * n..r * n + trained(n);
        cpu::ascend(&sam, factor, &weights[at.clone()], &mut grads[at.clone()], &mut want[at]);
    }
    want.extend(grads);
    let name = format!("ascend {replicas}x{n}{}", if adaptive { " adaptive" } else { "" });
    // T once and three products and a sum of values below 2.
    let got = [floats(&got[3]), floats(&got[2])].concat();
    Ok(Check::new(name, &got, &want, |x| 4.0 * EPS * (1.0 + x.abs())))
}
