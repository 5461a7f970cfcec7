//! The kernels that change whole vectors of parameters.

use bytemuck::bytes_of;
use half::f16;

use super::{UNTOUCHED, dispatch, floats, halves, of_halves, product_tolerance, words};
use crate::cpu::{self, Constants};
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{
    self, Coefficients, DotArgs, GradNormArgs, Kernel, LANES, PARTS, Pass, Scaling, Stored, UpdateArgs,
};
use crate::gpu::single::Dispatch;
use crate::optimizer::Optimizer;
use crate::schedule::Rate;
use crate::verify::{Check, EPS, uniform};

/// The share of new weights that the EMA takes.
pub(super) const EMA: f64 = 0.25;
/// The number of words of one replica's scaling.
const SCALING_WORDS: usize = size_of::<Scaling>() / 4;

/// The check of `grad_norm`: the norm, and what clipping multiplies the gradient with.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn grad_norm(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let grads = uniform(16, n * replicas, 1.0);
    let max_norm = 0.5 * (n as f64 / 3.0).sqrt();
    // The last vec4 is not trained.
    let trained = if n > 4 { n - 4 } else { n };
    let args = GradNormArgs { params: n as u32 / 4, trained: trained as u32 / 4 };
    let coefficients = vec![Coefficients { max_norm: max_norm as f32, ..Default::default() }; replicas];
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let zeros = |n: usize| vec![0; n];
    let mut buffers =
        vec![words(&grads), zeros(replicas * PARTS as usize), zeros(SCALING_WORDS * replicas), zeros(4 * replicas)];
    for (entry_point, groups) in [("square", PARTS), ("root", 1)] {
        let grid = [groups, 1, replicas as u32];
        let first = dispatch(&kernels::grad_norm, &[], bytes_of(&args), pass, grid);
        buffers = Dispatch { entry_point, coefficients: &coefficients, ..first }.run(gpu, &buffers)?;
    }
    let (scaling, metrics): (&[Scaling], _) = (bytemuck::cast_slice(&buffers[2]), floats(&buffers[3]));
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for r in 0..replicas {
        got.extend([metrics[4 * r + 2], f64::from(scaling[r].clip)]);
        let (norm, scale) = cpu::grad_norm(&grads[r * n..][..trained], max_norm);
        want.extend([norm, scale]);
    }
    // A sum of n squares, all of one sign, halved by the root; division and root add a few units.
    let tolerance = product_tolerance(n) + 8.0 * EPS;
    Ok(Check::new(format!("grad_norm {replicas}x{n}"), &got, &want, |x| tolerance * x.abs()))
}

/// The coefficients as a kernel reads them: rounded to f32.
pub(super) fn rounded(c: crate::optimizer::Coefficients) -> crate::optimizer::Coefficients {
    crate::optimizer::Coefficients {
        step_size: f64::from(c.step_size as f32),
        momentum: f64::from(c.momentum as f32),
        gain: f64::from(c.gain as f32),
        decay: f64::from(c.decay as f32),
        fresh: f64::from(c.fresh as f32),
        correction: f64::from(c.correction as f32),
        eps: f64::from(c.eps as f32),
        weight_decay: f64::from(c.weight_decay as f32),
        shrink: f64::from(c.shrink as f32),
    }
}

/// The weights of all replicas, and what an update changes beside them.
pub(super) struct Trained {
    pub w: Vec<f64>,
    /// The optimizer's vectors, and behind them the EMA where there is one.
    pub state: Vec<Vec<f64>>,
    /// The copy in halves, which is written if `mixed`.
    pub working: Vec<f64>,
    pub mixed: bool,
}

impl Trained {
    /// The twins' update with the gradient `g` of the weights from `first` on, of which so many are decayed.
    pub fn update(
        &mut self,
        optimizer: Optimizer,
        coefficients: crate::optimizer::Coefficients,
        clip: f64,
        first: usize,
        g: &[f64],
        decayed: usize,
    ) {
        let all: Constants<f64> = coefficients.into();
        for (range, c) in [(0..decayed, all), (decayed..g.len(), all.without_decay())] {
            let at = first + range.start..first + range.end;
            let w = &mut self.w[at.clone()];
            let (state, ema) = self.state.split_at_mut(optimizer.state_vectors());
            let mut state: Vec<&mut [f64]> = state.iter_mut().map(|s| &mut s[at.clone()]).collect();
            cpu::update(optimizer.rule(), &c, clip, &g[range], w, &mut state);
            if let [ema] = ema {
                cpu::average(EMA, w, &mut ema[at.clone()]);
            }
            if self.mixed {
                self.working[at].copy_from_slice(w);
            }
        }
    }
}

/// The checks of an optimizer: the update alone; then with an EMA and a working copy in halves, whose last of several
/// replicas skips all but the EMA.
fn update(gpu: &Gpu, optimizer: Optimizer, n: usize, replicas: usize) -> Result<Vec<Check>> {
    let one = |mixed| OneUpdate { optimizer, n, replicas, mixed }.check(gpu);
    Ok([one(false)?, one(true)?].concat())
}

/// An update of `n` weights from a state that is not 0.
struct OneUpdate {
    optimizer: Optimizer,
    n: usize,
    replicas: usize,
    mixed: bool,
}

impl OneUpdate {
    /// The checks of weights, state and, if mixed, the working copy.
    fn check(&self, gpu: &Gpu) -> Result<Vec<Check>> {
        let (grads, mut trained) = (uniform(17, self.n * self.replicas, 1.0), self.first());
        let buffers = self.on_device(gpu, &grads, &trained)?;
        self.by_twins(&grads, &mut trained);
        let want = [trained.w, trained.state.concat()].concat();
        let got = [floats(&buffers[2]), floats(&buffers[3])].concat();

        let kernels::Update { kernel, flag, .. } = kernels::update(self.optimizer.rule());
        let flag_name = if flag.1 > 0.0 { flag.0.to_lowercase() } else { "plain".into() };
        let mixed = if self.mixed { " mixed" } else { "" };
        let name = format!("{} {}x{} {flag_name}{mixed}", kernel.name, self.replicas, self.n);
        // A dozen roundings of values below 4; a centered variance, above 0.2 of a second moment below 1, loses a factor
        // of 5 to cancellation, and half of that survives the root.
        let units = if flag == ("CENTERED", 1.0) { 2.5 * 12.0 } else { 12.0 };
        let bound = |x: f64| units * EPS * (1.0 + x.abs());
        let mut checks = vec![Check::new(name.clone(), &got, &want, bound)];
        if self.mixed {
            // Within one step of a half.
            let in_half = |x: f64| bound(x) + 2f64.powi(-10) * x.abs() + 2f64.powi(-24);
            checks.push(Check::new(name + " working", &of_halves(&buffers[4]), &trained.working, in_half));
        }
        Ok(checks)
    }

    fn first(&self) -> Trained {
        let all = self.n * self.replicas;
        // Second moments are not negative; a centered one, in state 0, lies above the square of the mean.
        let least = |i: usize| if i == 0 { 0.5 } else { 0.1 };
        let vector = |i| uniform(19 + i as u64, all, 0.3).into_iter().map(|x| x.abs() + least(i)).collect();
        Trained {
            w: uniform(18, all, 1.0),
            state: (0..self.optimizer.state_vectors() + usize::from(self.mixed)).map(vector).collect(),
            working: if self.mixed { vec![UNTOUCHED; all] } else { vec![0.0; 8] },
            mixed: self.mixed,
        }
    }

    /// The number of trained weights: all but the last vec4.
    fn trained(&self) -> usize {
        if self.n > 4 { self.n - 4 } else { self.n }
    }

    /// The number of weights that the weight decay acts on: half of them.
    fn decayed(&self) -> usize {
        self.n / 8 * 4
    }

    fn coefficients(&self, r: usize) -> crate::optimizer::Coefficients {
        let rate = Rate { lr: 0.1 / (r + 1) as f64, momentum: self.optimizer.rate().momentum };
        self.optimizer.coefficients(3, rate)
    }

    /// The factor that replica r's gradient is multiplied with.
    fn clip(&self, r: usize) -> f64 {
        1.0 / (1 << r) as f64
    }

    fn is_skipped(&self, r: usize) -> bool {
        self.mixed && r > 0 && r + 1 == self.replicas
    }

    /// The buffers after the kernel, the weights being the third, and state and working copy the next.
    fn on_device(&self, gpu: &Gpu, grads: &[f64], trained: &Trained) -> Result<Vec<Vec<u32>>> {
        let kernels::Update { kernel, flag, .. } = kernels::update(self.optimizer.rule());
        let kernel = if self.mixed { kernel.with_stored(Stored::half(gpu)) } else { kernel };
        let scaling = |r| {
            let factor = if self.is_skipped(r) { 0.0 } else { 1.0 };
            Scaling { clip: self.clip(r) as f32, factor, ..Scaling::new(1.0) }
        };
        let scaling: Vec<Scaling> = (0..self.replicas).map(scaling).collect();
        let coefficients = |r| Coefficients { ema: EMA as f32, ..self.coefficients(r).into() };
        let coefficients: Vec<Coefficients> = (0..self.replicas).map(coefficients).collect();
        let args = UpdateArgs {
            params: self.n as u32 / 4,
            first: 0,
            trained: self.trained() as u32 / 4,
            decayed: self.decayed() as u32 / 4,
        };
        let pass = Pass { replicas: self.replicas as u32, ..Pass::default() };
        let ema = if self.mixed { self.optimizer.state_vectors() as f64 } else { 0.0 };
        let constants = [flag, ("LANES", f64::from(LANES)), ("EMA", ema), ("MIXED", f64::from(self.mixed))];
        let buffers = [
            bytemuck::cast_slice(&scaling).to_vec(),
            words(grads),
            words(&trained.w),
            words(&trained.state.concat()),
            bytemuck::pod_collect_to_vec(&halves(&trained.working)),
        ];
        let dispatch = dispatch(&kernel, &constants, bytes_of(&args), pass, two_rows(&args, self.replicas));
        Dispatch { coefficients: &coefficients, ..dispatch }.run(gpu, &buffers)
    }

    fn by_twins(&self, grads: &[f64], trained: &mut Trained) {
        for r in 0..self.replicas {
            let at = r * self.n..r * self.n + self.trained();
            if self.is_skipped(r) {
                let ema = &mut trained.state[self.optimizer.state_vectors()];
                cpu::average(EMA, &trained.w[at.clone()], &mut ema[at]);
                continue;
            }
            let (c, first) = (rounded(self.coefficients(r)), at.start);
            trained.update(self.optimizer, c, self.clip(r), first, &grads[at], self.decayed());
        }
    }
}

/// The workgroups in two rows, as a long vector has.
pub(super) fn two_rows(args: &UpdateArgs, replicas: usize) -> [u32; 3] {
    [args.params.div_ceil(LANES).div_ceil(2), 2, replicas as u32]
}

/// Runs a kernel over vectors of `n` values, of which so many are trained.
fn vectors(
    gpu: &Gpu,
    kernel: &Kernel,
    [n, trained, replicas]: [usize; 3],
    coefficients: &[Coefficients],
    buffers: &[Vec<u32>],
) -> Result<Vec<Vec<u32>>> {
    let args = UpdateArgs { params: n as u32 / 4, first: 0, trained: trained as u32 / 4, decayed: 0 };
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let constants = [("LANES", f64::from(LANES))];
    let dispatch = dispatch(kernel, &constants, bytes_of(&args), pass, two_rows(&args, replicas));
    Dispatch { coefficients, ..dispatch }.run(gpu, buffers)
}

/// The check of `average`: the mean.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn average(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let (weights, mut want) = (uniform(26, n * replicas, 1.0), uniform(27, n * replicas, 1.0));
    let k = |r: usize| 1.0 / (1 << (r + 1)) as f64;
    let coefficients: Vec<Coefficients> =
        (0..replicas).map(|r| Coefficients { swa: k(r) as f32, ..Default::default() }).collect();
    let got = vectors(gpu, &kernels::average, [n, n, replicas], &coefficients, &[words(&weights), words(&want)])?;
    for (r, mean) in want.chunks_exact_mut(n).enumerate() {
        cpu::average(k(r), &weights[r * n..][..n], mean);
    }
    // A difference, a product and a sum of values below 2.
    Ok(Check::new(format!("average {replicas}x{n}"), &floats(&got[1]), &want, |x| 2.0 * EPS * (1.0 + x.abs())))
}

/// The checks of `sgd`: weights and state, and the working copy in halves.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn sgd(gpu: &Gpu, n: usize, replicas: usize, nesterov: bool) -> Result<Vec<Check>> {
    let optimizer = Optimizer::Sgd { lr: 0.1, momentum: 0.9, dampening: 0.1, weight_decay: 0.01, nesterov };
    update(gpu, optimizer, n, replicas)
}

/// The checks of `adam`: weights and state, and the working copy in halves.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn adam(gpu: &Gpu, n: usize, replicas: usize, amsgrad: bool) -> Result<Vec<Check>> {
    let optimizer = Optimizer::Adamw { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.01, amsgrad };
    update(gpu, optimizer, n, replicas)
}

/// The checks of `rmsprop`: weights and state, and the working copy in halves.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn rmsprop(gpu: &Gpu, n: usize, replicas: usize, centered: bool) -> Result<Vec<Check>> {
    let optimizer = Optimizer::Rmsprop { lr: 0.1, alpha: 0.9, eps: 1e-8, weight_decay: 0.01, momentum: 0.5, centered };
    update(gpu, optimizer, n, replicas)
}

/// The check of `lookahead`: the fast and the slow weights.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn lookahead(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let (mut weights, mut slow) = (uniform(28, n * replicas, 1.0), uniform(29, n * replicas, 1.0));
    let alpha = |r: usize| 0.75 / (1 << r) as f64;
    let coefficients: Vec<Coefficients> =
        (0..replicas).map(|r| Coefficients { lookahead: alpha(r) as f32, ..Default::default() }).collect();
    let trained = if n > 4 { n - 4 } else { n };
    let sizes = [n, trained, replicas];
    let got = vectors(gpu, &kernels::lookahead, sizes, &coefficients, &[words(&weights), words(&slow)])?;
    for r in 0..replicas {
        let at = r * n..r * n + trained;
        cpu::lookahead(alpha(r), &mut weights[at.clone()], &mut slow[at]);
    }
    let got: Vec<f64> = got.iter().flat_map(|b| floats(b)).collect();
    weights.extend(slow);
    // A difference, a product and a sum of values below 2.
    Ok(Check::new(format!("lookahead {replicas}x{n}"), &got, &weights, |x| 2.0 * EPS * (1.0 + x.abs())))
}

/// Values at the ends of what halves hold, and beyond them.
const EDGES: [f64; 12] = [
    65504.0,
    -65504.0,
    65504.004,
    65519.0,
    -65520.0,
    65536.0,
    1e6,
    -1e38,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    6e-8,
];

/// The check of `to_half`, on weights of which some do not fit into a half.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn to_half(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let mut weights = uniform(30, n * replicas, 1.0);
    weights.iter_mut().step_by(7).for_each(|w| *w *= 1e5);
    weights.iter_mut().skip(1).step_by(3).zip(EDGES.into_iter().cycle()).for_each(|(w, edge)| *w = edge);
    let trained = if n > 4 { n - 4 } else { n };
    let mut got = Vec::new();
    let stored: Vec<Stored> = Stored::all(gpu).into_iter().filter(|&s| s != Stored::F32).collect();
    for &stored in &stored {
        let kernel = kernels::to_half.with_stored(stored);
        let untouched = bytemuck::pod_collect_to_vec(&halves(&vec![UNTOUCHED; n * replicas]));
        let buffers = vectors(gpu, &kernel, [n, trained, replicas], &[], &[words(&weights), untouched])?;
        got.extend(of_halves(&buffers[1]));
    }
    let mut want = vec![f16::from_f64(UNTOUCHED); n * replicas];
    for r in 0..replicas {
        let at = r * n..r * n + trained;
        cpu::to_half(&weights[at.clone()], &mut want[at]);
    }
    let want: Vec<f64> = want.iter().map(|h| h.to_f64()).collect();
    // Infinity is compared as a number above all others, and NaN as one above that.
    let number = |v: f64| if v.is_nan() { 2e6 } else { v.clamp(-1e6, 1e6) };
    let finite = |values: Vec<f64>| values.into_iter().map(number).collect::<Vec<_>>();
    let (got, want) = (finite(got), finite(want.repeat(stored.len())));
    // One step of a half, whichever way the device rounds.
    Ok(Check::new(format!("to_half {replicas}x{n}"), &got, &want, |x| 2f64.powi(-10) * x.abs() + 2f64.powi(-24)))
}

/// The factors of the replicas, which differ.
fn factors(replicas: usize) -> Vec<f64> {
    (0..replicas).map(|r| f64::from(0.3f32) - r as f64).collect()
}

/// The results of `y + α x` in f32: the device's, the twin's, which rounds once, and that of a product and a sum, which
/// round twice: WGSL leaves it to the device which of them its `fma` is.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn axpy_in_f32(gpu: &Gpu, n: usize, replicas: usize) -> Result<[Vec<f32>; 3]> {
    let (alpha, x, y) = (factors(replicas), uniform(31, n * replicas, 1.0), uniform(32, n * replicas, 1.0));
    let buffers = [words(&alpha), words(&x), words(&y)];
    let got = vectors(gpu, &kernels::axpy, [n, n, replicas], &[], &buffers)?;
    let [x, mut once] = [x, y].map(|v| v.into_iter().map(|v| v as f32).collect::<Vec<_>>());
    let mut twice = once.clone();
    for r in 0..replicas {
        let (alpha, at) = (alpha[r] as f32, r * n..(r + 1) * n);
        cpu::axpy(alpha, &x[at.clone()], &mut once[at.clone()]);
        twice[at.clone()].iter_mut().zip(&x[at]).for_each(|(y, x)| *y += alpha * x);
    }
    Ok([bytemuck::cast_slice(&got[2]).to_vec(), once, twice])
}

/// The check of `axpy`: y.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn axpy(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let [got, want, _] = axpy_in_f32(gpu, n, replicas)?.map(|v| v.into_iter().map(f64::from).collect::<Vec<_>>());
    // A product of up to 2 and a sum.
    Ok(Check::new(format!("axpy {replicas}x{n}"), &got, &want, |x| 2.0 * EPS * (1.0 + x.abs())))
}

/// The check of `scale`: x.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn scale(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let (alpha, mut want) = (factors(replicas), uniform(33, n * replicas, 1.0));
    let got = vectors(gpu, &kernels::scale, [n, n, replicas], &[], &[words(&alpha), words(&want)])?;
    for (r, x) in want.chunks_exact_mut(n).enumerate() {
        cpu::scale(alpha[r], x);
    }
    Ok(Check::new(format!("scale {replicas}x{n}"), &floats(&got[1]), &want, |x| EPS * x.abs()))
}

/// The check of `dot`, whose parts are added up on the host.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn dot(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let (x, y) = (uniform(34, n * replicas, 1.0), uniform(35, n * replicas, 1.0));
    let args = DotArgs { params: n as u32 / 4 };
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let untouched = words(&vec![UNTOUCHED; replicas * PARTS as usize]);
    let got = dispatch(&kernels::dot, &[], bytes_of(&args), pass, [PARTS, 1, replicas as u32])
        .run(gpu, &[words(&x), words(&y), untouched])?;
    let got: Vec<f64> = floats(&got[2]).chunks_exact(PARTS as usize).map(|parts| parts.iter().sum()).collect();
    let want: Vec<f64> = x.chunks_exact(n).zip(y.chunks_exact(n)).map(|(x, y)| cpu::dot(x, y)).collect();
    // Terms of either sign and below 1, whose sums stay below √n.
    let tolerance = product_tolerance(n);
    Ok(Check::new(format!("dot {replicas}x{n}"), &got, &want, |x| tolerance + EPS * x.abs()))
}
