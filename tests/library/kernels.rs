//! Every kernel against its twin, under the kernel's name, over shapes that straddle the tiles.
//!
//! The comparisons themselves are the library's (`verify::kernels`), which `thalweg verify` runs too.

use crate::common;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use thalweg::activation::Activation;
use thalweg::gpu::adapter::Gpu;
use thalweg::internals::Dispatch;
use thalweg::internals::forms::{Form, Variant};
use thalweg::internals::kernels::{self, LANES, Product, ROWS, Stored};
use thalweg::internals::verify::{self, Mixing, Shape};
use thalweg::verify::Check;

#[track_caller]
fn pass(checks: impl IntoIterator<Item = Check>) {
    for c in checks {
        assert!(c.passed(), "{c}");
    }
}

/// One value, the odd ones, and one below, at and above each tile; then tall and wide.
fn shapes() -> Vec<Shape> {
    let rows = ROWS as usize;
    let columns = 64; // 8 lanes x 2 vec4s
    let shape = |replicas, rows, inputs, outputs| Shape { replicas, rows, inputs, outputs, stored: Stored::F32 };
    let mut shapes = vec![shape(1, 1, 1, 1), shape(3, 3, 3, 3), shape(1, 300, 5, 2), shape(1, 2, 9, 300)];
    for d in [-1i64, 0, 1] {
        let near = |n: usize| (n as i64 + d) as usize;
        shapes.push(shape(2, near(rows), near(32), near(columns)));
        shapes.push(shape(1, near(2 * rows), near(16), near(4)));
    }
    shapes
}

/// The shapes above, in every memory that the device has, then proptest's choice; without an adapter, loud words.
fn over_shapes(f: impl Fn(&Gpu, Shape)) {
    let Some(gpu) = common::gpu() else { return };
    let memories = Stored::all(&gpu);
    for &stored in &memories {
        shapes().into_iter().for_each(|shape| f(&gpu, Shape { stored, ..shape }));
    }
    let any = (1usize..4, 1usize..70, 1usize..150, 1usize..100, proptest::sample::select(memories))
        .prop_map(|(replicas, rows, inputs, outputs, stored)| Shape { replicas, rows, inputs, outputs, stored });
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    runner
        .run(&any, |shape| {
            std::panic::catch_unwind(AssertUnwindSafe(|| f(&gpu, shape)))
                .map_err(|_| TestCaseError::fail(format!("{shape:?}")))
        })
        .unwrap();
}

/// Lengths of a parameter vector: one vec4, and around a workgroup.
fn over_lengths(f: impl Fn(&Gpu, usize, usize)) {
    let Some(gpu) = common::gpu() else { return };
    let group = 4 * LANES as usize;
    for n in [4, group - 4, group, group + 4, 2 * group + 4, 100_000] {
        f(&gpu, n, 1);
        f(&gpu, n, 3);
    }
}

#[test]
fn gather() {
    over_shapes(|gpu, shape| {
        // The order of the check reaches over 29 samples from position 7 on.
        let shape = Shape { rows: shape.rows.min(22), ..shape };
        pass([verify::gather(gpu, shape, true).unwrap(), verify::gather(gpu, shape, false).unwrap()]);
    });
    let Some(gpu) = common::gpu() else { return };
    for augment in verify::augmentations() {
        for bytes in [true, false] {
            for stored in Stored::all(&gpu) {
                pass(verify::gather_augmented(&gpu, &augment, bytes, stored).unwrap());
            }
        }
    }
}

#[test]
fn linear() {
    over_shapes(|gpu, shape| {
        let forms = verify::plain_forms(gpu, Product::Linear, shape);
        pass(verify::linear(gpu, shape, Activation::ALL[shape.outputs % Activation::ALL.len()], 0.0, &forms).unwrap());
    });
    let Some(gpu) = common::gpu() else { return };
    for activation in Activation::ALL {
        for (inputs, dropout) in [(30, 0.0), (21, 0.4)] {
            let shape = Shape { replicas: 2, rows: 17, inputs, outputs: 21, stored: Stored::F32 };
            let forms = verify::plain_forms(&gpu, Product::Linear, shape);
            pass(verify::linear(&gpu, shape, activation, dropout, &forms).unwrap());
        }
    }
}

#[test]
fn activate() {
    over_shapes(|gpu, shape| {
        let activation = Activation::ALL[shape.outputs % Activation::ALL.len()];
        pass(verify::activate(gpu, shape, activation, 0.0).unwrap());
        pass(verify::activate(gpu, shape, activation, 0.6).unwrap());
    });
}

#[test]
fn batch_norm() {
    over_shapes(|gpu, shape| {
        for share in [None, Some(0.0), Some(0.1), Some(1.0)] {
            pass(verify::batch_norm(gpu, shape, share).unwrap());
        }
    });
}

#[test]
fn layer_norm() {
    over_shapes(|gpu, shape| pass(verify::layer_norm(gpu, shape).unwrap()));
}

#[test]
fn norm_dw() {
    over_shapes(|gpu, shape| pass([false, true].map(|f| verify::norm_dw(gpu, shape, f).unwrap())));
}

#[test]
fn batch_norm_dx() {
    over_shapes(|gpu, shape| pass([false, true].map(|kept| verify::batch_norm_dx(gpu, shape, kept).unwrap())));
}

#[test]
fn layer_norm_dx() {
    over_shapes(|gpu, shape| pass([verify::layer_norm_dx(gpu, shape).unwrap()]));
}

/// Without halves, which these kernels do not read.
fn over_f32_shapes(f: impl Fn(&Gpu, Shape)) {
    over_shapes(|gpu, shape| {
        if shape.stored == Stored::F32 {
            f(gpu, shape);
        }
    });
}

#[test]
fn activate_r() {
    over_f32_shapes(|gpu, shape| {
        pass(Activation::ALL.map(|activation| verify::activate_r(gpu, shape, activation).unwrap()).concat());
    });
}

#[test]
fn norm_r() {
    over_f32_shapes(|gpu, shape| pass([false, true].map(|b| verify::norm_r(gpu, shape, b).unwrap()).concat()));
}

#[test]
fn affine_r() {
    over_f32_shapes(|gpu, shape| pass([verify::affine_r(gpu, shape).unwrap()]));
}

#[test]
fn affine_dx_r() {
    over_f32_shapes(|gpu, shape| pass(verify::affine_dx_r(gpu, shape).unwrap()));
}

#[test]
fn norm_dx_r() {
    over_f32_shapes(|gpu, shape| pass([false, true].map(|b| verify::norm_dx_r(gpu, shape, b).unwrap()).concat()));
}

#[test]
fn softmax_cross_entropy_r() {
    over_f32_shapes(|gpu, shape| pass([verify::softmax_cross_entropy_r(gpu, shape).unwrap()]));
}

#[test]
fn combine() {
    over_f32_shapes(|gpu, shape| pass([verify::combine(gpu, shape).unwrap()]));
}

#[test]
fn mse_r() {
    over_f32_shapes(|gpu, shape| pass([verify::mse_r(gpu, shape).unwrap()]));
}

#[test]
fn linear_dx_r() {
    over_f32_shapes(|gpu, shape| pass([verify::linear_dx_r(gpu, shape).unwrap()]));
}

#[test]
fn ensemble() {
    over_shapes(|gpu, shape| pass([false, true].map(|f| verify::ensemble(gpu, shape, f).unwrap()).concat()));
}

#[test]
fn lookahead() {
    over_lengths(|gpu, n, replicas| pass([verify::lookahead(gpu, n, replicas).unwrap()]));
}

#[test]
fn to_half() {
    over_lengths(|gpu, n, replicas| pass([verify::to_half(gpu, n, replicas).unwrap()]));
}

#[test]
fn linear_dx() {
    over_shapes(|gpu, shape| {
        let forms = verify::plain_forms(gpu, Product::LinearDx, shape);
        pass([false, true].map(|f| verify::linear_dx(gpu, shape, f, &forms).unwrap()).concat());
    });
}

#[test]
fn linear_dw() {
    over_shapes(|gpu, shape| {
        let forms = verify::plain_forms(gpu, Product::LinearDw, shape);
        pass([false, true].map(|f| verify::linear_dw(gpu, shape, f, None, &forms).unwrap()).concat());
        // A driver compiles each for seconds: in halves, and for few samples, the shape chooses one update.
        let optimizers = verify::optimizers();
        let chosen = (shape.rows + shape.inputs) % optimizers.len();
        for (i, optimizer) in optimizers.into_iter().enumerate() {
            let is_chosen = i == chosen;
            let mut forms = forms.clone();
            forms.retain(|form| is_chosen || shape.stored == Stored::F32 && !matches!(form.variant, Variant::Few(_)));
            pass(verify::linear_dw(gpu, shape, false, Some(optimizer), &forms).unwrap());
        }
    });
}

/// Every optimizer's kernel is checked where it uses up a weight gradient too.
#[test]
fn every_optimizer_is_checked_in_linear_dw() {
    let checked = verify::optimizers().into_iter().map(|optimizer| kernels::update(optimizer.rule()).kernel.name);
    let all = kernels::updates().map(|kernel| kernel.name);
    assert_eq!(checked.collect::<BTreeSet<_>>(), all.collect());
}

/// What measuring may choose computes the same.
#[test]
fn every_form_of_the_products() {
    let Some(gpu) = common::gpu() else { return };
    let shape = |replicas, rows, inputs, outputs| Shape { replicas, rows, inputs, outputs, stored: Stored::F32 };
    for stored in Stored::all(&gpu) {
        for shape in [
            shape(1, 1, 1, 1),
            shape(2, 1, 67, 33),
            shape(2, 12, 150, 64),
            shape(1, 7, 100, 70),
            shape(2, 33, 30, 65),
            shape(1, 64, 17, 9),
            // Long sums, forward and back, which may be split.
            shape(2, 260, 21, 10),
            shape(2, 5, 300, 21),
            shape(2, 5, 21, 300),
            shape(1, 1, 259, 259),
        ] {
            pass(verify::every_form(&gpu, Shape { stored, ..shape }).unwrap());
        }
    }
}

/// Each kernel that runs without runtime checks, in every form, has the bits that it has with them; and no kernel writes behind
/// its buffers, which every check of a kernel looks for.
#[test]
fn kernels_without_checks_have_the_bits_they_have_with_them() {
    let Some(gpu) = common::gpu().map(Gpu::repeating_with_checks) else { return };
    let shape = |replicas, rows, inputs, outputs| Shape { replicas, rows, inputs, outputs, stored: Stored::F32 };
    let mut run = BTreeSet::new();
    let mut checked = |product: Product, shape: Shape, forms: &[Form]| {
        run.extend(forms.iter().map(|form| form.kernel(product).name));
        pass(match product {
            Product::Linear => verify::linear(&gpu, shape, Activation::Relu, 0.0, forms).unwrap(),
            Product::LinearDx => verify::linear_dx(&gpu, shape, false, forms).unwrap(),
            Product::LinearDw => verify::linear_dw(&gpu, shape, false, None, forms).unwrap(),
        });
    };
    // Parts of tiles on every side.
    for product in Product::ALL {
        let shape = shape(2, 17, 33, 65);
        checked(product, shape, &verify::all_forms(&gpu, product, shape));
        for stored in Stored::all(&gpu).into_iter().skip(1) {
            let shape = Shape { stored, ..shape };
            checked(product, shape, &verify::plain_forms(&gpu, product, shape));
        }
    }
    // Few rows, whose sums are handed round.
    let few = shape(2, 9, 150, 64);
    let mut forms = verify::all_forms(&gpu, Product::LinearDw, few);
    forms.retain(|form| matches!(form.variant, Variant::Few(_)));
    checked(Product::LinearDw, few, &forms);
    // Long sums, which are split.
    let long = [shape(2, 5, 300, 21), shape(2, 5, 21, 300), shape(2, 260, 21, 10)];
    for (product, shape) in Product::ALL.into_iter().zip(long) {
        let mut forms = verify::all_forms(&gpu, product, shape);
        forms.retain(|form| form.variant == Variant::Split);
        checked(product, shape, &forms);
    }
    // The optimizers with the fewest and the most vectors, in the weight gradient.
    for optimizer in [verify::optimizers()[0], verify::optimizers()[4]] {
        let shape = shape(2, 17, 33, 65);
        let forms = verify::plain_forms(&gpu, Product::LinearDw, shape);
        pass(verify::linear_dw(&gpu, shape, false, Some(optimizer), &forms).unwrap());
    }
    let lacks = |name: &str| {
        let broadcasts = name.contains("broadcast") || name.contains("few");
        broadcasts && !gpu.can_broadcast() || name.contains("cooperative") && gpu.cooperative.is_none()
    };
    let missed: Vec<&str> = kernels::unchecked().map(|k| k.name).filter(|n| !run.contains(n) && !lacks(n)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

/// Passes shorter than the samples that the form has room for, in the same group of eight and in an earlier one; several
/// workgroups along both sides, the last one along the inputs not full.
#[test]
fn forms_for_few_samples_take_fewer() {
    let Some(gpu) = common::gpu() else { return };
    if !gpu.can_broadcast() {
        eprintln!("NOT TESTED: the device has no subgroups of eight");
        return;
    }
    for (rows, room, outputs) in [(1, 1, 21), (3, 7, 70), (8, 8, 128), (9, 12, 64), (5, 17, 128)] {
        let shape = Shape { replicas: 2, rows, inputs: 150, outputs, stored: Stored::F32 };
        let variant = Variant::Few(room);
        let forms = [32, 8].map(|rows| Form { variant, rows, columns: 2, lanes: 8, slices: 1, parts: 1 });
        pass(verify::linear_dw(&gpu, shape, true, None, &forms).unwrap());
        pass(verify::linear_dw(&gpu, shape, false, Some(verify::optimizers()[0]), &forms).unwrap());
    }
}

#[test]
fn softmax_cross_entropy() {
    over_shapes(|gpu, shape| {
        pass(verify::softmax_cross_entropy(gpu, shape, 0.0, Mixing::None).unwrap());
        for mixing in Mixing::ALL {
            pass(verify::softmax_cross_entropy(gpu, shape, 0.1, mixing).unwrap());
        }
    });
}

#[test]
fn mse() {
    over_shapes(|gpu, shape| pass(Mixing::ALL.map(|mixing| verify::mse(gpu, shape, mixing).unwrap()).concat()));
}

#[test]
fn loss_scale() {
    over_shapes(|gpu, shape| pass(verify::loss_scale(gpu, shape).unwrap()));
}

#[test]
fn grad_norm() {
    over_lengths(|gpu, n, replicas| pass([verify::grad_norm(gpu, n, replicas).unwrap()]));
}

#[test]
fn ascent() {
    over_lengths(|gpu, n, replicas| pass([false, true].map(|f| verify::ascent(gpu, n, replicas, f).unwrap())));
}

#[test]
fn ascend() {
    over_lengths(|gpu, n, replicas| pass([false, true].map(|f| verify::ascend(gpu, n, replicas, f).unwrap())));
}

#[test]
fn sgd() {
    over_lengths(|gpu, n, replicas| pass([false, true].map(|f| verify::sgd(gpu, n, replicas, f).unwrap()).concat()));
}

#[test]
fn average() {
    over_lengths(|gpu, n, replicas| pass([verify::average(gpu, n, replicas).unwrap()]));
}

/// One `fma`, for which WGSL allows two roundings: the bits are those of the twin in f32, or those of a product and a sum.
#[test]
fn axpy() {
    over_lengths(|gpu, n, replicas| {
        pass([verify::axpy(gpu, n, replicas).unwrap()]);
        let [got, once, twice] = verify::axpy_in_f32(gpu, n, replicas).unwrap();
        assert!(got == once || got == twice, "{replicas}x{n}: neither has these bits");
    });
}

#[test]
fn scale() {
    over_lengths(|gpu, n, replicas| pass([verify::scale(gpu, n, replicas).unwrap()]));
}

#[test]
fn dot() {
    over_lengths(|gpu, n, replicas| pass([verify::dot(gpu, n, replicas).unwrap()]));
}

#[test]
fn adam() {
    over_lengths(|gpu, n, replicas| pass([false, true].map(|f| verify::adam(gpu, n, replicas, f).unwrap()).concat()));
}

#[test]
fn rmsprop() {
    over_lengths(|gpu, n, replicas| {
        pass([false, true].map(|f| verify::rmsprop(gpu, n, replicas, f).unwrap()).concat())
    });
}

/// What wgpu refuses is an error in one line, whatever it is, and the device goes on.
#[test]
fn what_wgpu_refuses_is_an_error() {
    let Some(gpu) = common::gpu() else { return };
    let args = [4, 0, 4, 4].map(u32::to_ne_bytes).concat();
    let good = Dispatch {
        kernel: &kernels::scale,
        entry_point: "main",
        constants: &[],
        args: &args,
        pass: kernels::Pass::default(),
        coefficients: &[],
        grid: [1, 1, 1],
    };
    let buffers = [vec![0; 4], vec![0; 16]];
    good.run(&gpu, &buffers).unwrap();
    let constants = [("NO_SUCH_CONSTANT", 1.0)];
    let bad = [
        (Dispatch { grid: [70_000, 1, 1], ..good }, &buffers[..]),
        (Dispatch { entry_point: "no_such_entry_point", ..good }, &buffers),
        (Dispatch { constants: &constants, ..good }, &buffers),
        (Dispatch { constants: &[("LANES", 1e6)], ..good }, &buffers),
        (Dispatch { constants: &[("LANES", f64::NAN)], ..good }, &buffers),
        (Dispatch { args: &args[..4], ..good }, &buffers),
        (Dispatch { args: &[], ..good }, &buffers),
        (good, &buffers[..1]),
        (good, &[]),
    ];
    for (i, (dispatch, buffers)) in bad.iter().enumerate() {
        let error = dispatch.run(&gpu, buffers).unwrap_err().to_string();
        assert!(error.starts_with("device: ") && error.lines().count() == 1, "{i}: {error}");
    }
    good.run(&gpu, &buffers).unwrap();
}

/// A check that cannot fail checks nothing.
#[test]
fn a_wrong_value_is_off() {
    let check = |got: f64| Check::new("x", &[1.0, got], &[1.0, 2.0], |_| 0.1);
    assert!(check(2.05).passed());
    for bad in [2.2, f64::NAN, f64::INFINITY] {
        let check = check(bad);
        assert_eq!((check.passed(), check.off, check.worst), (false, 1, 1), "{bad}");
    }
}
