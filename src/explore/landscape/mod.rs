//! The loss in a section through weight space: over a plane, or along a line.
//!
//! A point `(x, y)` of a section is the weights `center + x·dx + y·dy`, which the engine makes of three vectors that it holds,
//! as many points at once as it has replicas.

mod direction;
mod grid;
mod path;
mod section;

pub use direction::{Normalized, Random};
pub use grid::{Barrier, Grid};
pub use path::{Components, principal_components};
pub use section::{Axis, Mark, Passed, Section};

use std::sync::Arc;

use crate::average::Average;
use crate::data::{Augment, Part};
use crate::engine::{Engine, Evaluation, Setup, Slot, Step, stride};
use crate::error::{Error, Result};
use crate::model::Mlp;
use crate::optimizer::Optimizer;

/// The loss in a section: what was found at the nodes of a grid, and at the section's marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Landscape {
    /// The grid.
    pub grid: Grid,
    /// The mean loss and accuracy at each node, row after row: `(y, x)`.
    pub values: Vec<Evaluation>,
    /// The same at each mark of the section.
    pub marks: Vec<Evaluation>,
}

/// The way in which points are evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether batch normalisation's running statistics become at each point the mean of those of the training part's batches, with
    /// the setup's dropout and augmentation ([`sampled`] has none); otherwise they are those of the section's centre. Default
    /// false.
    pub renew: bool,
    /// Whether every point is evaluated by itself, to the last bit as its weights are. Otherwise the first layer's product may be
    /// made once for the centre and each direction, and summed up at every point ([`Engine::project`]): a rounding away, and
    /// several times as fast. Default false.
    pub exact: bool,
}

/// The bytes that points evaluated side by side may take, for each thread of this machine.
const BYTES: usize = 128 << 20;
/// The most points side by side, where there are no more than half as many threads: beyond, nothing gets faster.
const MOST: usize = 16;

/// The setup of an engine that evaluates the samples of `part` at `places` as that of `setup` does, and the part that they are
/// there. With `renewed`, the places of at least two training samples, it can renew running statistics by them, as they are:
/// without augmentation and dropout.
///
/// # Errors
/// No such part.
pub fn sampled(setup: &Setup, part: Part, places: &[u32], renewed: Option<&[u32]>) -> Result<(Setup, Part)> {
    let evaluated = setup.dataset.only(part, places)?;
    let (dataset, part) = match renewed {
        None => (evaluated, Part::Train),
        Some(renewed) => {
            let mut dataset = setup.dataset.only(Part::Train, renewed)?;
            dataset.test = Some(evaluated.train);
            (dataset, Part::Test)
        }
    };
    let setup = Setup {
        model: Mlp { dropout: 0.0, ..setup.model.clone() },
        class_weights: Vec::new(),
        augment: Augment::default(),
        optimizer: Optimizer::sgd(1.0),
        clip_norm: None,
        average: Average::default(),
        batch: renewed.map_or(setup.batch.min(places.len()), <[u32]>::len),
        evaluation_only: renewed.is_none(),
        dataset: Arc::new(dataset),
        ..setup.clone()
    };
    Ok((setup, part))
}

/// The number of points that are worth evaluating at once, the replicas of an engine of `setup`: as many as a moderate share
/// of memory holds, up to a number from which on more make nothing faster.
pub fn points_at_once(setup: &Setup, points: usize) -> usize {
    let threads = rayon::current_num_threads();
    let activations: usize = setup.model.widths.iter().map(|&width| 2 * setup.room() * stride(width)).sum();
    // The weights, those being evaluated, and the three vectors that they are made of.
    let vectors = 5 * setup.model.parameters();
    let most = (threads * BYTES / (size_of::<f32>() * (activations + vectors))).clamp(1, MOST.max(2 * threads));
    // Threads that take a point each end together.
    let most = if most > threads { most - most % threads } else { most };
    most.min(points.max(1))
}

/// Evaluates loss and accuracy over `part` of the engine's data at every node of `grid` and every mark of `section`, as many points
/// at once as the engine has replicas. `watch` hears after every dispatch of the number of points that are done, and answers
/// whether to go on; none is returned where it says no.
///
/// What the engine holds in [`Slot::Live`] and the order of its samples are lost.
///
/// # Errors
/// A section of another network; `renew` with an engine for evaluation alone; too little memory; the device is lost.
pub fn landscape(
    engine: &mut dyn Engine,
    part: Part,
    section: &Section,
    grid: &Grid,
    options: Options,
    watch: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Landscape>> {
    let len = engine.layout().len;
    let vectors: Vec<&[f64]> = section.axes.iter().map(|axis| &axis.direction[..]).collect();
    if let Some(found) = std::iter::once(&&section.center[..]).chain(&vectors).find(|v| v.len() != len) {
        let found = format!("expected vectors of {len} values, as the layout has, found {}", found.len());
        return Err(Error::config("section", found));
    }
    let free: Vec<Slot> = (0..).map(Slot::Scratch).filter(|&slot| !engine.has(slot)).take(1 + vectors.len()).collect();
    let points: Vec<[f64; 2]> = grid.points().chain(section.marks.iter().map(|mark| mark.at)).collect();
    let result = load(engine, &free, &section.center, &vectors)
        .and_then(|()| renewing(engine, options.renew))
        .and_then(|steps| {
            let is_projected = !options.exact && engine.project(part, &free)?;
            evaluate(engine, part, &free, &points, &Way { renewing: &steps, is_projected }, watch)
        });
    engine.project(part, &[])?;
    free.into_iter()
        .filter(|&slot| engine.has(slot))
        .collect::<Vec<_>>()
        .into_iter()
        .try_for_each(|s| engine.free(s))?;
    Ok(result?.map(|mut values| {
        let marks = values.split_off(grid.len());
        Landscape { grid: grid.clone(), values, marks }
    }))
}

/// Hands every replica the centre and the directions.
fn load(engine: &mut dyn Engine, slots: &[Slot], center: &[f64], vectors: &[&[f64]]) -> Result<()> {
    for (&slot, values) in slots.iter().zip(std::iter::once(&center).chain(vectors)) {
        engine.allocate(slot)?;
        (0..engine.setup().replicas).try_for_each(|r| engine.upload(slot, r, values))?;
    }
    Ok(())
}

/// The steps over whose samples statistics are renewed; none where they are kept.
fn renewing(engine: &mut dyn Engine, renew: bool) -> Result<Vec<Step>> {
    if !renew {
        return Ok(Vec::new());
    }
    let (samples, batch, replicas) =
        (engine.setup().dataset.train.len(), engine.setup().batch, engine.setup().replicas);
    engine.set_order(&vec![(0..samples as u32).collect(); replicas])?;
    let rates = vec![engine.setup().optimizer.rate(); replicas];
    let step = |first| Step { first, rows: batch, rates: rates.clone(), ..Step::default() };
    // A last, short batch would count as much as the others.
    Ok((0..=samples - batch).step_by(batch).map(step).collect())
}

/// The steps that renew statistics at each point, and whether the first layer's products are known.
struct Way<'a> {
    renewing: &'a [Step],
    is_projected: bool,
}

/// Evaluates the points, in the order in which they come.
fn evaluate(
    engine: &mut dyn Engine,
    part: Part,
    slots: &[Slot],
    points: &[[f64; 2]],
    way: &Way,
    watch: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<Evaluation>>> {
    let mut values = Vec::with_capacity(points.len());
    for points in points.chunks(engine.setup().replicas) {
        engine.copy(slots[0], Slot::Live)?;
        for (axis, &direction) in slots[1..].iter().enumerate() {
            // What is left of the replicas stands at the centre.
            let mut alpha: Vec<f64> = points.iter().map(|point| point[axis]).collect();
            alpha.resize(engine.setup().replicas, 0.0);
            engine.axpy(&alpha, direction, Slot::Live)?;
        }
        if !way.renewing.is_empty() {
            engine.renew_statistics(Slot::Live, way.renewing)?;
        }
        let found = if way.is_projected {
            let mut coefficients: Vec<Vec<f64>> =
                points.iter().map(|point| [&[1.0], &point[..slots.len() - 1]].concat()).collect();
            coefficients.resize(engine.setup().replicas, vec![1.0; slots.len()]);
            engine.evaluate_projected(&coefficients)?
        } else {
            engine.evaluate(part, &[Slot::Live])?
        };
        values.extend(found.into_iter().take(points.len()));
        if !watch(values.len()) {
            return Ok(None);
        }
    }
    Ok(Some(values))
}
