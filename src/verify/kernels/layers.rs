//! The kernels of a linear layer, but its weight gradient.

use bytemuck::bytes_of;

use super::{Shape, UNTOUCHED, dispatch, product_tolerance, words};
use crate::activation::Activation;
use crate::cpu::{self, Dropout, Finish};
use crate::engine::stride;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::forms::{Form, Variant};
use crate::gpu::kernels::{self, ActivateArgs, Coefficients, Kernel, LANES, LinearArgs, LinearDxArgs, Pass, Product};
use crate::gpu::single::Dispatch;
use crate::number::hash::{self, Key};
use crate::optimizer::Rule;
use crate::verify::{Check, EPS};

/// Lanes of the products' workgroups, as small as any subgroup.
const PRODUCT_LANES: u32 = 8;
/// The layer whose outputs are dropped, the pass's first position, and the step.
const LAYER: u32 = 2;
const FIRST: u32 = 11;
const STEP: u32 = 5;

/// The words for a form in the name of a check.
pub(super) fn named(product: Product, form: Form) -> String {
    let Form { rows, columns, lanes, slices, parts, .. } = form;
    format!("{} {rows}x{columns}x{lanes}x{slices}x{parts}", form.kernel(product).name)
}

/// A form of every variant of the product for passes of the shape's rows; lanes are as few as any subgroup's.
pub fn plain_forms(gpu: &Gpu, product: Product, shape: Shape) -> Vec<Form> {
    Form::plain(gpu, product, shape, PRODUCT_LANES)
}

/// All forms of the product that are tried on the device for passes of the shape's rows, and the staged ones, which only hardware
/// tries.
pub fn all_forms(gpu: &Gpu, product: Product, shape: Shape) -> Vec<Form> {
    let mut forms = Form::candidates(gpu, product, shape, PRODUCT_LANES);
    let staged = Form::staged(product);
    forms.retain(|form| !staged.contains(form));
    forms.extend(staged);
    forms
}

/// A product of some shape to be made, in whatever form.
pub(super) struct Task<'a> {
    pub shape: Shape,
    pub product: Product,
    /// The rule that uses a weight gradient up; none where nothing does.
    pub rule: Option<Rule>,
    pub args: &'a [u8],
    pub pass: Pass,
    pub coefficients: &'a [Coefficients],
    /// The constants of what becomes of the sums.
    pub finish: &'a [(&'a str, f64)],
    /// The buffers: the two factors first, which are all that the first pass of a split form reads.
    pub buffers: &'a [Vec<u32>],
    /// Whether the second pass of a split form reads the factors as well.
    pub read_twice: bool,
    /// The number of vec4s of a row of the result.
    pub columns: u32,
    /// The number of rows of the result, the bias's gradient among them.
    pub height: usize,
    /// The number of rows that workgroups share, in the unit of the form's `rows`.
    pub rows: u32,
}

impl Task<'_> {
    /// Makes the product in `form`, and returns what the buffers behind the factors hold afterwards.
    pub fn run(&self, gpu: &Gpu, form: Form) -> Result<Vec<Vec<u32>>> {
        let replicas = self.shape.replicas as u32;
        let grid = [self.columns.div_ceil(form.width()), self.rows.div_ceil(form.rows), replicas * form.parts];
        let with_rule = |kernel: Kernel| self.rule.map_or(kernel, |rule| kernel.with_update(rule));
        let kernel = self.shape.kernel(&form.kernel(self.product));
        let (factors, others) = self.buffers.split_at(2);
        if form.variant != Variant::Split {
            let constants = [self.finish, &form.constants()].concat();
            let kernel = with_rule(kernel);
            let dispatch = dispatch(&kernel, &constants, self.args, self.pass, grid);
            let dispatch = Dispatch { coefficients: self.coefficients, ..dispatch };
            return Ok(dispatch.run(gpu, self.buffers)?.split_off(2));
        }
        let sums = self.height * 4 * self.columns as usize;
        let parts = words(&vec![UNTOUCHED; form.parts as usize * self.shape.replicas * sums]);
        let constants = form.constants();
        let first = dispatch(&kernel, &constants, self.args, self.pass, grid);
        let parts = first.run(gpu, &[factors, &[parts]].concat())?.split_off(2);
        let constants = [self.finish, &form.constants_of_sum()].concat();
        let grid = [self.columns.div_ceil(LANES), self.height as u32, replicas];
        let kernel = self.shape.kernel(&with_rule(form.sum(self.product)));
        let second = dispatch(&kernel, &constants, self.args, self.pass, grid);
        let read = if self.read_twice { factors } else { &[] };
        let second = Dispatch { coefficients: self.coefficients, ..second };
        Ok(second.run(gpu, &[read, &parts, others].concat())?.split_off(read.len() + 1))
    }
}

fn pass(shape: Shape) -> Pass {
    Pass { first: FIRST, ..shape.pass() }
}

fn coefficients(shape: Shape, dropout: f64) -> Vec<Coefficients> {
    let (dropped, kept) = (Dropout::threshold(dropout), Dropout::kept(dropout) as f32);
    let of = |seed| Coefficients { seed, step: STEP, dropped, kept, ..Coefficients::default() };
    (0..shape.replicas as u32).map(of).collect()
}

fn constants(activation: Activation, residual: bool, dropout: f64) -> [(&'static str, f64); 4] {
    [
        ("ACTIVATION", f64::from(activation.code())),
        ("RESIDUAL", f64::from(residual)),
        ("DROPOUT", f64::from(dropout > 0.0)),
        ("CLEARED", f64::from(!activation.keeps_zero())),
    ]
}

fn finish(activation: Activation, residual: bool, dropout: f64, r: usize) -> Finish {
    let key = Key { seed: r as u32, step: STEP };
    let dropout = (dropout > 0.0).then_some(Dropout { rate: dropout, key, first: FIRST, layer: LAYER });
    Finish { activation, dropout, residual }
}

/// The checks of `linear`, its y and slope in each form. The product's error passes through the activation, whose slope
/// is at most 1.2; exp and tanh of arguments up to 4 add 11 units in the last place, the bound of the erf formula
/// 1.5e-7.
///
/// With equal numbers of inputs and outputs there is a residual connection.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear(gpu: &Gpu, shape: Shape, activation: Activation, dropout: f64, forms: &[Form]) -> Result<Vec<Check>> {
    let (params, a) = (shape.rounded(shape.weights(3)), shape.activations(4, shape.inputs));
    let (inputs, outputs) = (stride(shape.inputs), stride(shape.outputs));
    let args = LinearArgs {
        inputs: inputs as u32 / 4,
        outputs: outputs as u32 / 4,
        weight: 0,
        bias: shape.layer().bias as u32 / 4,
        params_stride: shape.params() as u32 / 4,
        a_stride: (shape.room() * inputs / 4) as u32,
        y_stride: (shape.room() * outputs / 4) as u32,
        purpose: hash::DROPOUT + LAYER,
        width: shape.outputs as u32,
    };
    let residual = inputs == outputs;
    let finish_constants = constants(activation, residual, dropout);
    let buffers = [shape.words(&params), shape.words(&a), shape.untouched(outputs), shape.untouched(outputs)];
    let coefficients = coefficients(shape, dropout);
    let mut slopes = Vec::new();
    let y = shape.expect(outputs, |r, y| {
        let mut slope = vec![0.0; y.len()];
        let params = &params[r * shape.params()..][..shape.params()];
        let finish = finish(activation, residual, dropout, r);
        cpu::linear(&shape.layer(), &finish, params, shape.rows_of(&a, r, shape.inputs), y, &mut slope);
        slopes.push(slope);
    });
    let slope = shape.expect(outputs, |r, slope| slope.copy_from_slice(&slopes[r]));
    // What is kept grows by 1 / (1 − dropout), and its error with it.
    let bound = move |x: f64| {
        let computed = (1.2 * product_tolerance(shape.inputs) + EPS * (8.0 + 11.0 * x.abs())) / (1.0 - dropout);
        computed + shape.storing(x)
    };
    let task = Task {
        shape,
        product: Product::Linear,
        rule: None,
        args: bytes_of(&args),
        pass: pass(shape),
        coefficients: &coefficients,
        finish: &finish_constants,
        buffers: &buffers,
        read_twice: true,
        columns: args.outputs,
        height: shape.rows,
        rows: shape.rows as u32,
    };
    let mut checks = Vec::new();
    for &form in forms {
        let got = task.run(gpu, form)?;
        let name = |what: &str| {
            shape.name(&named(Product::Linear, form), &format!(" {activation:?} {dropout} {what}").to_lowercase())
        };
        checks.push(Check::new(name("y"), &shape.floats(&got[0]), &y, bound));
        checks.push(Check::new(name("slope"), &shape.floats(&got[1]), &slope, bound));
    }
    Ok(checks)
}

/// The checks of `activate`, as those of [`linear`] without its product, with a residual connection.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn activate(gpu: &Gpu, shape: Shape, activation: Activation, dropout: f64) -> Result<[Check; 2]> {
    let (a, n) = (shape.activations(29, shape.outputs), shape.activations(30, shape.outputs));
    let outputs = stride(shape.outputs);
    let row_stride = (shape.room() * outputs / 4) as u32;
    let args = ActivateArgs {
        outputs: outputs as u32 / 4,
        a_stride: row_stride,
        y_stride: row_stride,
        purpose: hash::DROPOUT + LAYER,
        width: shape.outputs as u32,
    };
    let constants = [&constants(activation, true, dropout)[..], &[("LANES", f64::from(LANES))]].concat();
    let grid = [args.outputs.div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
    let kernel = shape.kernel(&kernels::activate);
    let kernel = dispatch(&kernel, &constants, bytes_of(&args), pass(shape), grid);
    let coefficients = coefficients(shape, dropout);
    let got = Dispatch { coefficients: &coefficients, ..kernel }
        .run(gpu, &[shape.words(&a), shape.words(&n), shape.untouched(outputs)])?;

    let (mut want_y, mut want_slope) = (n.clone(), vec![UNTOUCHED; n.len()]);
    for r in 0..shape.replicas {
        let rows = r * shape.room() * outputs..(r * shape.room() + shape.rows) * outputs;
        let finish = finish(activation, true, dropout, r);
        cpu::activate(&finish, shape.outputs, &a[rows.clone()], &mut want_y[rows.clone()], &mut want_slope[rows]);
    }
    let bound = |x: f64| EPS * (8.0 + 11.0 * x.abs()) / (1.0 - dropout) + shape.storing(x);
    let name = |what: &str| shape.name("activate", &format!(" {activation:?} {what}").to_lowercase());
    Ok([
        Check::new(name("y"), &shape.floats(&got[1]), &want_y, bound),
        Check::new(name("slope"), &shape.floats(&got[2]), &want_slope, bound),
    ])
}

/// The checks of `linear_dx`, its dx and da in each form.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear_dx(gpu: &Gpu, shape: Shape, residual: bool, forms: &[Form]) -> Result<Vec<Check>> {
    let (inputs, outputs) = (stride(shape.inputs), stride(shape.outputs));
    let (params, dz) = (shape.rounded(shape.weights(5)), shape.activations(6, shape.outputs));
    let (slope, above) = (shape.activations(7, shape.inputs), shape.activations(28, shape.inputs));
    let args = LinearDxArgs {
        inputs: inputs as u32 / 4,
        outputs: outputs as u32 / 4,
        weight: 0,
        params_stride: shape.params() as u32 / 4,
        dz_stride: (shape.room() * outputs / 4) as u32,
        dx_stride: (shape.room() * inputs / 4) as u32,
    };
    let flag = f64::from(residual);
    let flags = [("RESIDUAL", flag), ("KEEP", flag)];
    let untouched = shape.untouched(inputs);
    let [weights, dz_words, slope_words, above_words] = [&params, &dz, &slope, &above].map(|v| shape.words(v));
    let buffers = [weights, dz_words, slope_words, above_words, untouched.clone(), untouched];
    let mut das = Vec::new();
    let want = shape.expect(inputs, |r, dx| {
        let params = &params[r * shape.params()..][..shape.params()];
        let (dz, slope) = (shape.rows_of(&dz, r, shape.outputs), shape.rows_of(&slope, r, shape.inputs));
        let above = residual.then(|| shape.rows_of(&above, r, shape.inputs));
        let mut da = vec![UNTOUCHED; dx.len()];
        cpu::linear_dx(&shape.layer(), params, dz, slope, above, dx, residual.then_some(&mut da[..]));
        das.push(da);
    });
    let want_da = shape.expect(inputs, |r, da| da.copy_from_slice(&das[r]));
    // Weights of ±1/√inputs make sums of √(outputs/inputs).
    let scale = (shape.outputs as f64 / shape.inputs as f64).sqrt().max(1.0);
    let tolerance = scale * product_tolerance(shape.outputs);
    let more = if residual { " residual" } else { "" };
    let task = Task {
        shape,
        product: Product::LinearDx,
        rule: None,
        args: bytes_of(&args),
        pass: shape.pass(),
        coefficients: &[],
        finish: &flags,
        buffers: &buffers,
        read_twice: false,
        columns: args.inputs,
        height: shape.rows,
        rows: shape.rows as u32,
    };
    let mut checks = Vec::new();
    for &form in forms {
        let got = task.run(gpu, form)?.split_off(2);
        for (what, got, want) in [("dx", &got[0], &want), ("da", &got[1], &want_da)] {
            let name = shape.name(&named(Product::LinearDx, form), &format!("{more} {what}"));
            checks.push(Check::new(name, &shape.floats(got), want, |x| tolerance + EPS * x.abs() + shape.storing(x)));
        }
    }
    Ok(checks)
}
