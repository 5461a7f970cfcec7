//! The table of kernels: a row names a kernel's own text and the shared ones that are joined to it, and says what bindings and
//! arguments it has, which form of a product it is, and what it costs.
//!
//! Joined is put one after the other, since WGSL does not care for the order of declarations. Some constants are replaced
//! before the text is compiled, since an override cannot stand there: the tile, which is the length of arrays, and the side of
//! cooperative matrices, which is a type.
//!
//! A kernel has one name, in the table, as `shaders/NAME.wgsl`, as its twin `src/cpu/NAME.rs` and as the test that
//! compares the two.

mod arguments;
mod compile;
mod cost;
mod parts;
mod table;

use super::adapter::Gpu;
use crate::optimizer::Rule;

pub use arguments::*;
pub(super) use compile::{Pipeline, step_layout};
pub use cost::{Cost, Work};
pub use parts::Part;
pub use table::*;

/// The use that a kernel makes of a binding of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The kernel's arguments. Read-only storage, since Mesa's software driver compiles a shader anew in every
    /// dispatch for the uniforms that its loops run to: that made the loss take 4.7 ms instead of 0.05, and the step of
    /// 784-256-128-10 at batch 1 16.5 ms instead of 2.5.
    Arguments,
    /// Storage that is read.
    Read,
    /// Storage that is written, and perhaps read.
    Write,
}

/// A row of the table: all there is to say of a kernel.
#[derive(Debug)]
pub struct Row {
    /// The name of the kernel, the same everywhere.
    pub name: &'static str,
    /// The kernel's own text.
    pub source: &'static str,
    /// The shared texts that are joined to it.
    parts: &'static [Part],
    /// The bindings of group 0, in order.
    pub bindings: &'static [Binding],
    /// The names and offsets of the fields of its arguments.
    pub fields: &'static [(&'static str, usize)],
    /// The memories that the rows may lie in which it reads or writes; none if it has no rows.
    pub memories: &'static [Stored],
    /// The product that it makes, or helps to make, and the way it does.
    pub form: Option<(Product, Way)>,
    /// Whether it runs without naga's checks, which its inner loop earns; see [`unchecked`].
    unchecked: bool,
    /// The function that tells what a dispatch of the kernel costs.
    pub cost: fn(&Work) -> Cost,
}

impl Row {
    /// The name of the kernel of which this is a form, or its own: `linear` of `linear_broadcast`. All have one twin, one test
    /// and one meaning.
    pub fn base(&self) -> &'static str {
        self.form.map_or(self.name, |(product, _)| product.name())
    }
}

/// The matrix products of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The forward product `z = a · Wᵀ + b`, and what becomes of it.
    Linear,
    /// The gradient of the layer's input.
    LinearDx,
    /// The gradient of the layer's weights and bias.
    LinearDw,
}

/// The way in which a kernel makes a product: by which [variant](super::forms::Variant) of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Way {
    Plain,
    Broadcast,
    Few,
    Staged,
    Cooperative,
    Split,
    /// The second pass of a split product.
    Sum,
}

impl Product {
    /// Every product.
    pub const ALL: [Self; 3] = [Self::Linear, Self::LinearDx, Self::LinearDw];

    /// The kernel that all others are forms of.
    pub fn plain(self) -> Kernel {
        match self {
            Self::Linear => linear,
            Self::LinearDx => linear_dx,
            Self::LinearDw => linear_dw,
        }
    }

    /// The name of the product, which is its plain kernel's.
    pub fn name(self) -> &'static str {
        self.plain().row.name
    }

    /// The product of the name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name() == name)
    }

    /// The kernel that makes the product in this way, if there is one.
    pub fn kernel(self, way: Way) -> Option<Kernel> {
        ALL.iter().find(|kernel| kernel.form == Some((self, way))).copied()
    }
}

/// A kernel: a row of the table, with what may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The row of the table: what is fixed.
    pub row: &'static Row,
    /// The rows and columns of the tile, in place of the shader's `ROWS` and `COLUMNS`: an override cannot be the
    /// length of an array.
    pub(super) tile: Option<[u32; 2]>,
    /// The rows and columns of a cooperative kernel's fragments, in place of the shader's 8.
    pub(super) side: u32,
    /// The number of samples in place of the shader's `SAMPLES`, where the kernel is one for few samples.
    pub(super) samples: u32,
    /// The memory in which rows, and the weights that products read, lie.
    pub(super) stored: Stored,
    /// The optimizer that uses a weight gradient up where it is made.
    pub(super) update: Option<&'static Row>,
    /// Whether it runs with naga's checks although its row does without them, for tests.
    pub(super) checked: bool,
}

impl std::ops::Deref for Kernel {
    type Target = Row;

    fn deref(&self) -> &Row {
        self.row
    }
}

/// The memory of four values of a row, or of the weights that the products read: the shaders' `Stored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stored {
    /// Single precision, as values are computed.
    #[default]
    F32,
    /// Half precision, by the device's own type.
    F16,
    /// Half precision, two values in a word, for devices without such a type.
    Packed,
}

impl Stored {
    /// The memory of half precision on the device.
    pub fn half(gpu: &Gpu) -> Self {
        if gpu.device.features().contains(wgpu::Features::SHADER_F16) { Self::F16 } else { Self::Packed }
    }

    /// The memories that the device has.
    pub fn all(gpu: &Gpu) -> Vec<Self> {
        let has_f16 = Self::half(gpu) == Self::F16;
        if has_f16 { vec![Self::F32, Self::F16, Self::Packed] } else { vec![Self::F32, Self::Packed] }
    }

    /// The part of a shader that says so: the alias, and how to load and store it.
    fn part(self) -> Part {
        match self {
            Self::F32 => parts::stored_f32,
            Self::F16 => parts::stored_f16,
            Self::Packed => parts::stored_packed,
        }
    }

    /// The bytes of one value.
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// The kernel that carries out an optimizer's rule, and its flag.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The kernel that carries out the rule by itself.
    pub kernel: Kernel,
    /// The flag that is fixed in the rule, as a constant of whatever kernel carries it out.
    pub flag: (&'static str, f64),
}

/// The kernel that carries out `rule`, and its flag.
pub fn update(rule: Rule) -> Update {
    let update = |kernel, name, flag| Update { kernel, flag: (name, f64::from(flag)) };
    match rule {
        Rule::Sgd { nesterov } => update(sgd, "NESTEROV", nesterov),
        Rule::Adam { amsgrad } => update(adam, "AMSGRAD", amsgrad),
        Rule::Rmsprop { centered } => update(rmsprop, "CENTERED", centered),
    }
}

/// The kernels that run without naga's runtime checks: the matrix products but for the second passes of split ones, which a test
/// compares, bit by bit, with themselves under the checks.
///
/// It is sound, since they clamp every row and column that they read to the last one of its matrix, or compare it with the end,
/// as they do every one that they write; they index workgroup memory by their tile, slices and lanes, which forms make fit; and
/// their loops run over dimensions of matrices, so they end. With the checks a product of 128x3072x512 takes 34 ms instead of 18
/// on Mesa's software driver.
pub fn unchecked() -> impl Iterator<Item = Kernel> {
    ALL.iter().filter(|kernel| kernel.unchecked).copied()
}

/// The kernels that carry out optimizers' rules.
pub fn updates() -> impl Iterator<Item = Kernel> + Clone {
    ALL.iter().filter(|kernel| kernel.parts.iter().any(Part::is_optimizer)).copied()
}

/// The number of invocations of a workgroup in the kernels that take one element each.
pub const LANES: u32 = 64;
/// The most invocations of the one workgroup that makes a loss.
const MOST_LOSS_LANES: u32 = 1024;

/// The number of invocations of the workgroup that makes the loss of so many rows: one to a row, as far as the device
/// has them.
pub fn loss_lanes(gpu: &Gpu, rows: usize) -> u32 {
    let most = 1 << gpu.description.invocations.ilog2();
    (rows as u32).next_power_of_two().clamp(LANES, MOST_LOSS_LANES.min(most))
}

/// The number of rows of a workgroup of `loss_scale`.
pub const LOSS_SCALE_ROWS: u32 = 16;
/// The number of rows of a workgroup of `linear` and `linear_dx`, where a form asks for no other.
pub const ROWS: u32 = 16;
/// The number of rows of vec4s of a workgroup of `linear_dw`, where a form asks for no other.
pub const DW_ROWS: u32 = 8;
/// The number of vec4s along the outputs of an invocation of `linear` and `linear_dw`, where a form asks for no other.
pub const COLUMNS: u32 = 2;
/// The number of vec4s along the outputs of a workgroup of `batch_norm` and `norm_dw`.
pub const NORM_COLUMNS: u32 = 4;
/// The number of workgroups of a replica in `grad_norm`, `ascent` and `dot`.
pub const PARTS: u32 = 64;

/// The most workgroups of a dispatch along each dimension, WebGPU's core limit.
pub(super) const MOST_GROUPS: u32 = 65_535;

/// The bytes between two passes in their uniform: WebGPU's largest alignment.
pub(super) const PASS_BYTES: u64 = 256;

/// The number of samples of `linear_dw_few`, where a form asks for no other.
pub const SAMPLES: u32 = 8;

/// The rows and columns of cooperative matrices in the shaders.
pub(super) const SIDE: u32 = 8;

/// The directive that the specification asks of shaders with subgroups, and that naga 30 does not know: it goes by the
/// device's feature alone.
const ENABLE_SUBGROUPS: &str = "enable subgroups;\n";

/// The text as naga takes it.
pub(super) fn for_naga(text: &str) -> String {
    text.replacen(ENABLE_SUBGROUPS, "", 1)
}

/// The text with cooperative matrices of `side` rows and columns.
pub(super) fn with_side(text: &str, side: u32) -> String {
    let (type_, constant) = (format!("coop_mat{SIDE}x{SIDE}"), format!("const SIDE: u32 = {SIDE}u;"));
    let text = text.replace(&type_, &format!("coop_mat{side}x{side}"));
    text.replace(&constant, &format!("const SIDE: u32 = {side}u;"))
}

/// The texts one after the other: after the first comment of the first, all that is enabled and overridden.
///
/// To WGSL the order is all one; but naga 30 panics where an override is declared after an array whose length is made of
/// overrides, unless the override is a part of a length itself.
fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let (mut enables, mut overrides, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts {
        let mut body = Vec::new();
        for line in text.lines() {
            match line.split(' ').next() {
                Some("enable") => enables.push(line),
                Some("override") => overrides.push(line),
                // What was taken out leaves no second blank line.
                _ if line.is_empty() && body.last().is_none_or(|last: &&str| last.is_empty()) => {}
                _ => body.push(line),
            }
        }
        bodies.push(body.join("\n").trim_end().to_string());
    }
    enables.sort_unstable();
    enables.dedup();
    let own = bodies.remove(0);
    let (header, own) = own.split_once("\n\n").unwrap_or((&own, ""));
    let first = [enables.join("\n"), header.to_string(), overrides.join("\n"), own.to_string()];
    let parts: Vec<String> = first.into_iter().chain(bodies).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

impl Kernel {
    const fn of(row: &'static Row) -> Self {
        Self { row, tile: None, side: SIDE, samples: SAMPLES, stored: Stored::F32, update: None, checked: false }
    }

    /// The same kernel with another tile; a shader without `COLUMNS` has one.
    pub fn with_tile(self, rows: u32, columns: u32) -> Self {
        Self { tile: Some([rows, columns]), ..self }
    }

    /// The same kernel with rows in other memory; one without rows has none.
    pub fn with_stored(self, stored: Stored) -> Self {
        Self { stored, ..self }
    }

    /// The same kernel, but a weight gradient is used up by the rule's update; other kernels make none.
    pub fn with_update(self, rule: Rule) -> Self {
        self.with_update_by(update(rule).kernel)
    }

    /// The same kernel, but a weight gradient is used up by the update of an optimizer's kernel.
    pub fn with_update_by(self, optimizer: Kernel) -> Self {
        Self { update: Some(optimizer.row), ..self }
    }

    /// The same kernel with naga's checks.
    pub(super) fn with_checks(self) -> Self {
        Self { checked: true, ..self }
    }

    /// Whether it runs without naga's checks.
    pub fn is_unchecked(&self) -> bool {
        self.row.unchecked && !self.checked
    }

    /// The texts that are joined to the kernel's own.
    pub fn parts(&self) -> Vec<Part> {
        let mut all = Vec::new();
        for part in self.parts {
            match self.update {
                Some(rule) if part.is_gradient() => {
                    all.extend([parts::update, Part { name: rule.name, text: rule.source }, parts::keep]);
                }
                _ => all.push(*part),
            }
        }
        let memories = self.memories;
        let stored = memories.iter().find(|stored| **stored == self.stored).or(memories.first());
        all.extend(stored.map(|stored| stored.part()));
        all
    }

    /// The whole text of the kernel, valid by WGSL's specification, with the memory, the tile and the fragments that
    /// were asked for.
    pub fn text(&self) -> String {
        let parts = self.parts();
        let joined = join(std::iter::once(self.source).chain(parts.iter().map(|part| part.text)));
        let mut lengths = vec![("SAMPLES", self.samples)];
        lengths.extend(self.tile.into_iter().flat_map(|[rows, columns]| [("ROWS", rows), ("COLUMNS", columns)]));
        let mut text = String::new();
        for line in with_side(&joined, self.side).lines() {
            let constant = line.strip_prefix("const ").and_then(|line| line.split_once(": u32 = "));
            let length = constant.and_then(|(name, _)| lengths.iter().find(|(length, _)| *length == name));
            match length {
                Some((name, length)) => text += &format!("const {name}: u32 = {length}u;"),
                None => text += line,
            }
            text.push('\n');
        }
        text
    }
}
