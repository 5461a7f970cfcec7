//! The forms of a matrix product: how it is cut into workgroups. All compute the same, and with the same slices and parts to
//! the same bits, but for staged and cooperative ones; which is the fastest depends on the device and the shape, so it is measured there.

use std::fmt;
use std::str::FromStr;

use super::adapter::Gpu;
use super::kernels::{self, Kernel, Product, Stored, Way};
use crate::engine::{MOST_PARTS, stride};
use crate::error::{Error, Result};

/// One form of `linear`, `linear_dx` or `linear_dw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The kernel's variant.
    pub variant: Variant,
    /// The shader's ROWS: rows of a workgroup; of `linear_dw`, rows of vec4s.
    pub rows: u32,
    /// The shader's COLUMNS: vec4s along the outputs of an invocation; `linear_dx` has always one. Of a staged
    /// or cooperative variant, those of a workgroup.
    pub columns: u32,
    /// The shader's LANES: invocations side by side, of a staged variant's slice, or of a cooperative variant's subgroup.
    pub lanes: u32,
    /// The shader's SLICES: parts that each sum is cut into, and invocations to a lane.
    pub slices: u32,
    /// The shader's PARTS: parts that each sum is cut into, and workgroups to a tile; 1 but for a split variant.
    pub parts: u32,
}

/// The variant of a kernel: how the invocations of a workgroup share what they load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Each invocation loads what it needs: `linear`.
    Plain,
    /// Invocations hand rows round in subgroups: `linear_broadcast`.
    Broadcast,
    /// Invocations hand rows round as in broadcast, with the gradients of at most so many samples in registers:
    /// `linear_dw_few`.
    Few(u32),
    /// Invocations stage both factors in workgroup memory: `linear_staged`.
    Staged,
    /// Subgroups multiply matrices of halves with so many rows and columns: `linear_cooperative`.
    Cooperative(u32),
    /// Several workgroups share each sum, else as in plain: `linear_split`, and `linear_sum` as a second pass.
    Split,
}

/// The sizes of a product, or of any kernel that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The number of models side by side.
    pub replicas: usize,
    /// The number of samples of the pass.
    pub rows: usize,
    /// The number of inputs of the layer, or of features of a sample.
    pub inputs: usize,
    /// The number of outputs of the layer, or of classes.
    pub outputs: usize,
    /// The memory in which rows, and the weights that products read, lie.
    pub stored: Stored,
}

impl fmt::Display for Form {
    /// The text of a form, as `broadcast 16x2x8x1x1`: the variant, with its number where it has one, then rows,
    /// columns, lanes, slices and parts.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { variant, rows, columns, lanes, slices, parts } = self;
        let (name, number) = variant.words();
        let number = number.map_or(String::new(), |number| format!("-{number}"));
        write!(f, "{name}{number} {rows}x{columns}x{lanes}x{slices}x{parts}")
    }
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad =
            || Error::config("forms.products", format!("expected a form as broadcast 16x2x8x1x1, found {text:?}"));
        let (variant, sizes) = text.split_once(' ').ok_or_else(bad)?;
        let sizes: Option<Vec<u32>> = sizes.split('x').map(|size| size.parse().ok()).collect();
        let &[rows, columns, lanes, slices, parts] = &sizes.ok_or_else(bad)?[..] else { return Err(bad()) };
        let (name, number) = match variant.split_once('-') {
            Some((name, number)) => (name, Some(number.parse().map_err(|_| bad())?)),
            None => (variant, None),
        };
        let variant = Variant::of_words(name, number).ok_or_else(bad)?;
        Ok(Self { variant, rows, columns, lanes, slices, parts })
    }
}

impl Variant {
    fn words(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Plain => ("plain", None),
            Self::Broadcast => ("broadcast", None),
            Self::Few(samples) => ("few", Some(samples)),
            Self::Staged => ("staged", None),
            Self::Cooperative(side) => ("cooperative", Some(side)),
            Self::Split => ("split", None),
        }
    }

    fn of_words(name: &str, number: Option<u32>) -> Option<Self> {
        let numbered = [Self::Few(number.unwrap_or_default()), Self::Cooperative(number.unwrap_or_default())];
        let mut all = [Self::Plain, Self::Broadcast, Self::Staged, Self::Split].into_iter().chain(numbered);
        all.find(|variant| variant.words() == (name, number))
    }
}

/// WebGPU's core limits of a workgroup.
pub(super) const WORKGROUP_BYTES: u32 = 16 << 10;
pub(super) const INVOCATIONS: u32 = 256;

/// The number of sums that an invocation of a staged variant holds.
const SUMS_OF_STAGED: u32 = 64;
/// The staged form that is never far from the best: that with tiles of 32 x 32. On an H100 2048x256x10 takes `linear_dw` 28 µs
/// in it, and 3.6 ms with rows handed round.
const MIDDLE_OF_STAGED: usize = 2;

/// The most slices that the invocations of a workgroup cut a sum into.
pub(super) const MOST_SLICES: u32 = 16;

/// The most vec4s of a result that workgroups may sum up parts of: more of them keep a device busy.
const SPLIT_VEC4S: usize = 2048;
/// The fewest terms of a sum that is split.
const SPLIT_TERMS: usize = 256;

/// The bytes that the parts of a product's sums take for each replica; 0 where they are too many or too short to be split.
///
/// The number of replicas has no say, so that a replica has the same bits among any.
pub(super) fn split_bytes(product: Product, shape: Shape) -> u64 {
    let Shape { rows, inputs, outputs, .. } = shape;
    let (terms, height, width) = match product {
        Product::Linear => (inputs, rows, outputs),
        Product::LinearDx => (outputs, rows, inputs),
        // Behind the weights are the biases.
        Product::LinearDw => (rows, stride(inputs) + 1, outputs),
    };
    let vec4s = height * width.div_ceil(4);
    if vec4s <= SPLIT_VEC4S && terms >= SPLIT_TERMS { u64::from(MOST_PARTS) * vec4s as u64 * 16 } else { 0 }
}

impl Form {
    /// Whether the form is of the cooperative variant.
    pub fn is_cooperative(&self) -> bool {
        matches!(self.variant, Variant::Cooperative(_))
    }

    /// The kernel that has this form of the product; the plain one where there is no such variant.
    pub fn kernel(&self, product: Product) -> Kernel {
        let (way, samples, side) = match self.variant {
            Variant::Plain => (Way::Plain, None, None),
            Variant::Broadcast => (Way::Broadcast, None, None),
            Variant::Few(samples) => (Way::Few, Some(samples), None),
            Variant::Staged => (Way::Staged, None, None),
            Variant::Cooperative(side) => (Way::Cooperative, None, Some(side)),
            Variant::Split => (Way::Split, None, None),
        };
        let kernel = product.kernel(way).unwrap_or_else(|| product.plain()).with_tile(self.rows, self.columns);
        Kernel { samples: samples.unwrap_or(kernel.samples), side: side.unwrap_or(kernel.side), ..kernel }
    }

    /// The kernel that makes a split form's second pass, the same for all forms of the product.
    pub fn sum(&self, product: Product) -> Kernel {
        product.kernel(Way::Sum).unwrap_or_else(|| product.plain())
    }

    /// The kernel's constants.
    pub(crate) fn constants(&self) -> Vec<(&'static str, f64)> {
        let mut constants = vec![("LANES", f64::from(self.lanes))];
        if self.slices > 1 {
            constants.push(("SLICES", f64::from(self.slices)));
        }
        if self.parts > 1 {
            constants.push(("PARTS", f64::from(self.parts)));
        }
        constants
    }

    /// The constants of the second pass of a split product.
    pub(crate) fn constants_of_sum(&self) -> [(&'static str, f64); 2] {
        [("LANES", f64::from(kernels::LANES)), ("PARTS", f64::from(self.parts))]
    }

    /// The number of vec4s along the outputs of a workgroup; of `linear_dx`, along the inputs.
    pub(crate) fn width(&self) -> u32 {
        match self.variant {
            Variant::Staged | Variant::Cooperative(_) => self.columns,
            _ => self.lanes * self.columns,
        }
    }

    /// The form for passes of `rows` rows where nothing was measured; `lanes` is a subgroup.
    pub(super) fn built_in(gpu: &Gpu, product: Product, rows: u32, lanes: u32) -> Self {
        let large = Self::large(gpu, product, lanes);
        if rows < FEW_ROWS {
            let rows = if product == Product::LinearDw { 1 } else { rows.min(large.rows) };
            Self { variant: Variant::Plain, rows, ..large }
        } else if gpu.description.hardware {
            Self::staged(product)[MIDDLE_OF_STAGED]
        } else {
            large
        }
    }

    /// The plain form for passes of many rows, with rows handed round where the device can.
    fn large(gpu: &Gpu, product: Product, lanes: u32) -> Self {
        let variant = if gpu.can_broadcast() { Variant::Broadcast } else { Variant::Plain };
        let (rows, columns) = match product {
            Product::Linear => (kernels::ROWS, kernels::COLUMNS),
            Product::LinearDx => (kernels::ROWS, 1),
            Product::LinearDw => (kernels::DW_ROWS, kernels::COLUMNS),
        };
        Self { variant, rows, columns, lanes, slices: 1, parts: 1 }
    }

    /// The form that others are compared with, and that works everywhere: a plain one of a small tile, which compiles soon; its
    /// sums in slices where they are longer than the loops of a software driver.
    pub(super) fn reference(gpu: &Gpu, product: Product, shape: Shape, lanes: u32) -> Self {
        let rows = if product == Product::LinearDw { 1 } else { 4 };
        let whole = Self { variant: Variant::Plain, rows, columns: 1, lanes, slices: 1, parts: 1 };
        let sliced = Self { lanes: 8, slices: MOST_SLICES, ..whole };
        if whole.fits(gpu, product, shape) || product == Product::LinearDw { whole } else { sliced }
    }

    /// One form of every variant that products of the shape have on the device, but for split ones.
    pub fn plain(gpu: &Gpu, product: Product, shape: Shape, lanes: u32) -> Vec<Self> {
        let large = Self::large(gpu, product, lanes);
        let mut forms = vec![Self { variant: Variant::Plain, ..large }, large];
        forms.dedup();
        forms.extend(Self::few(gpu, product, shape, lanes).first());
        forms.extend(Self::staged(product).first());
        forms.extend(Self::cooperative(gpu, product, shape.stored).first());
        forms
    }

    /// The forms worth trying for products of `shape`, the likely ones first, in case the time runs out: the cooperative ones,
    /// then the built-in one, which is the first on devices without them; `lanes` is a subgroup.
    pub fn candidates(gpu: &Gpu, product: Product, shape: Shape, lanes: u32) -> Vec<Self> {
        let rows = shape.rows as u32;
        let built_in = Self::built_in(gpu, product, rows, lanes);
        let form =
            |rows, columns, lanes, slices| Self { variant: Variant::Plain, rows, columns, lanes, slices, parts: 1 };
        let broadcast = |rows, columns| Self { variant: Variant::Broadcast, ..form(rows, columns, lanes, 1) };
        let split = |parts, of| Self { variant: Variant::Split, parts, ..of };
        let mut all = Vec::new();
        if rows >= FEW_ROWS {
            all.extend(Self::cooperative(gpu, product, shape.stored));
        }
        all.push(built_in);
        // These only take time from the others where workgroup memory is but a part of the processor's cache.
        if gpu.description.hardware && rows >= FEW_ROWS {
            all.extend(Self::staged(product));
        }
        let has_columns = product != Product::LinearDx;
        let columns = if has_columns { 2 } else { 1 };
        if product == Product::LinearDw {
            all.extend(Self::few(gpu, product, shape, lanes));
            if gpu.can_broadcast() && rows >= FEW_ROWS {
                all.extend([16, 4].map(|rows| broadcast(rows, 2)));
            }
            all.extend([4, 2, 1].map(|rows| form(rows, 2, lanes, 1)));
            all.push(form(2, 1, lanes, 1));
            if split_bytes(product, shape) > 0 {
                all.extend([split(8, form(2, 1, lanes, 1)), split(MOST_PARTS, form(1, 1, 8, 1))]);
            }
        } else {
            if gpu.can_broadcast() && rows > FEW_ROWS {
                if rows >= 64 {
                    all.push(broadcast(64, 1));
                }
                if rows >= 32 {
                    all.push(broadcast(32, columns));
                }
                all.push(broadcast(8, columns));
            }
            let tile = |most: u32| rows.min(most);
            all.extend([form(tile(8), columns, lanes, 1), form(tile(4), 1, lanes, 8), form(tile(2), 1, 8, 16)]);
            if split_bytes(product, shape) > 0 {
                all.extend([split(8, form(tile(4), 1, lanes, 8)), split(MOST_PARTS, form(tile(4), columns, lanes, 1))]);
            }
        }
        if gpu.description.hardware && rows >= FEW_ROWS {
            if product == Product::LinearDw {
                all.push(form(1, 1, lanes, 1));
            } else {
                all.extend([8, 4].map(|most| form(rows.min(most), 1, 8, 16)));
            }
        }
        all.retain(|form| form.fits(gpu, product, shape));
        let mut kept: Vec<Self> = Vec::new();
        for form in all {
            if !kept.contains(&form) {
                kept.push(form);
            }
        }
        kept
    }

    /// The forms of the variant for few samples; none where there are more, of the other products, on a device that cannot
    /// hand rows round, or where lanes would have nothing to store while they do so.
    fn few(gpu: &Gpu, product: Product, shape: Shape, lanes: u32) -> Vec<Self> {
        let columns = kernels::COLUMNS;
        let fills_tiles = shape.outputs.div_ceil(4).is_multiple_of((lanes * columns) as usize);
        let hands_round = shape.rows >= 8;
        if product != Product::LinearDw
            || !gpu.can_broadcast()
            || shape.rows > FEW_SAMPLES
            || (hands_round && !fills_tiles)
        {
            return Vec::new();
        }
        let variant = Variant::Few(shape.rows as u32);
        [32, kernels::DW_ROWS].map(|rows| Self { variant, rows, columns, lanes, slices: 1, parts: 1 }).to_vec()
    }

    /// The forms of the staged variant, the largest tile first; of `linear_dw`, one for few outputs as well.
    pub fn staged(product: Product) -> Vec<Self> {
        let is_dw = product == Product::LinearDw;
        let tile = |(rows, columns, invocations): (u32, u32, u32)| {
            let lanes = rows * columns / SUMS_OF_STAGED;
            let rows = if is_dw { rows / 4 } else { rows };
            let (columns, slices) = (columns / 4, invocations / lanes);
            Self { variant: Variant::Staged, rows, columns, lanes, slices, parts: 1 }
        };
        // 256 invocations hold so many registers that an H100 runs half as many at once: 2048x3072x512 took 291 µs, not 177.
        let mut tiles = vec![(64, 64, 128), (32, 64, 128), (32, 32, 128)];
        if is_dw {
            tiles.push((16, 16, 256));
        }
        tiles.into_iter().map(tile).collect()
    }

    /// The forms of the cooperative variant; none for rows that are not halves of the device's own type, or where the
    /// device has no such matrices.
    fn cooperative(gpu: &Gpu, product: Product, stored: Stored) -> Vec<Self> {
        let of = |side| cooperative(side, gpu.description.subgroup[1], product == Product::LinearDw);
        gpu.cooperative.filter(|_| stored == Stored::F16).map(of).unwrap_or_default()
    }
}

/// Subgroups of a cooperative workgroup: each makes two by two fragments, and those that are more than the tile has parts of
/// that size take a slice of the sum each.
const SUBGROUPS: u32 = 4;

/// The forms of a cooperative variant with fragments of `side` rows and columns, on subgroups of `lanes`: the largest tile
/// first, which loads least, and the smallest for a small result. None where an invocation would have to stage more than four
/// vec4s, or would have no place for what it sums of the bias.
fn cooperative(side: u32, lanes: u32, is_dw: bool) -> Vec<Form> {
    let unit = if is_dw { 4 } else { 1 };
    if 8 * lanes < side * side || SUBGROUPS * lanes > INVOCATIONS {
        return Vec::new();
    }
    let tile = |(down, across): (u32, u32)| {
        let (rows, columns) = (2 * down * side / unit, across * side / 2);
        Form { variant: Variant::Cooperative(side), rows, columns, lanes, slices: 1, parts: 1 }
    };
    [(2, 2), (2, 1), (1, 2), (1, 1)].map(tile).to_vec()
}

/// The most samples whose gradients an invocation holds in registers; for 64, Mesa takes two seconds to compile the kernel.
const FEW_SAMPLES: usize = 32;

/// The fewest rows of a pass that are worth handing round: at batch 1 `linear 0` of 3072-512-256-10 takes 0.9 ms
/// instead of 4.1 on the software driver.
const FEW_ROWS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_read_back() {
        for variant in [Variant::Plain, Variant::Few(8), Variant::Staged, Variant::Cooperative(16), Variant::Split] {
            let form = Form { variant, rows: 16, columns: 2, lanes: 32, slices: 1, parts: 8 };
            assert_eq!(form.to_string().parse::<Form>().unwrap(), form);
        }
        for text in ["", "plain", "plain 1x2x3x4", "few 1x1x1x1x1", "plain-3 1x1x1x1x1", "other 1x1x1x1x1"] {
            assert!(text.parse::<Form>().is_err(), "{text}");
        }
    }

    /// A staged kernel's invocations stage at most two vec4s of each factor, a whole number of terms apart, and its slices
    /// share a stage evenly.
    #[test]
    fn staged_forms_fit_their_memory() {
        const STAGE: u32 = 512;
        for product in Product::ALL {
            let is_dw = product == Product::LinearDw;
            for form in Form::staged(product) {
                assert!(form.fits_workgroups(), "{form:?}");
                let (height, columns) = (if is_dw { form.rows } else { form.rows / 4 }, form.columns);
                let depth = STAGE / (height + columns) / 16 * 16;
                let blocks = depth / 4;
                let invocations = form.lanes * form.slices;
                assert_eq!(SUMS_OF_STAGED * form.lanes, 16 * height * columns, "{form:?}: lanes");
                assert!((2 * STAGE).is_multiple_of(4 * height * columns), "{form:?}: tiles of sums");
                for factor in [height, columns] {
                    assert!(depth * factor <= 2 * invocations, "{form:?}: what is staged");
                    assert!(invocations.is_multiple_of(if is_dw { factor } else { blocks }), "{form:?}: terms apart");
                }
                if is_dw {
                    assert!(depth.is_multiple_of(form.slices), "{form:?}: slices");
                } else {
                    assert!(blocks.is_multiple_of(form.slices) && blocks.is_power_of_two(), "{form:?}: slices");
                    // Where one vec4 is not enough, all stage two.
                    assert!([1, 2].contains(&(depth * height / invocations)), "{form:?}: rows");
                    assert_eq!(depth * columns, 2 * invocations, "{form:?}: columns");
                }
            }
        }
    }

    /// What a cooperative kernel stores lies in its workgroup memory, and that in WebGPU's core limits; its invocations stage
    /// all of both factors, each the same columns of every row.
    #[test]
    fn cooperative_forms_fit_every_subgroup() {
        for (side, lanes) in [(8, 8), (8, 16), (8, 32), (8, 64), (16, 32), (16, 64)] {
            for is_dw in [false, true] {
                let forms = cooperative(side, lanes, is_dw);
                assert!(!forms.is_empty(), "{side} {lanes} {is_dw}");
                for form in forms {
                    let (rows, columns) = (if is_dw { 4 * form.rows } else { form.rows }, 4 * form.columns);
                    let (down, across) = (rows / (2 * side), columns / (2 * side));
                    let slices = SUBGROUPS / (down * across);
                    assert_eq!(
                        (2 * side * down, 2 * side * across, slices * down * across),
                        (rows, columns, SUBGROUPS)
                    );
                    let depth = slices.max(2) * side;
                    let tall = |height: u32, width: u32| height * (width + 8);
                    let linear = tall(rows, depth) + tall(depth, columns);
                    let dx = tall(rows, depth) + tall(columns, depth);
                    let dw = tall(depth, rows) + tall(depth, columns);
                    let stages = 2 * linear.max(dx).max(dw);
                    let sums = 4 * SUBGROUPS * (side * side).max(4 * lanes);
                    assert!(stages + sums <= WORKGROUP_BYTES, "{form:?}: {stages} + {sums}");
                    let invocations = SUBGROUPS * lanes;
                    for (height, width) in [(rows, depth), (columns, depth), (depth, columns), (depth, rows)] {
                        assert!(height * width <= 16 * invocations, "{form:?}: what is staged");
                        assert!(invocations.is_multiple_of(width / 4), "{form:?}: the same columns");
                    }
                }
            }
        }
    }
}
