//! Evaluations of the weights and of their means.

use crate::data::Part;
use crate::engine::{Engine, Evaluation, Slot, Step};
use crate::error::Result;
use crate::event::{Epoch, Mean};

/// Evaluates the last weights on the validation and test parts, and reports it.
pub(super) fn live(engine: &mut dyn Engine, report: &mut Epoch) -> Result<()> {
    report.validation = part(engine, Part::Validation, &[Slot::Live])?;
    report.test = part(engine, Part::Test, &[Slot::Live])?;
    Ok(())
}

/// Evaluates a mean of the weights, by its name and slots, on the validation and test parts, and adds it to the report.
///
/// `epoch` has all steps of an epoch, over whose samples batch normalisation's statistics are renewed: a mean of running
/// statistics is not the statistics of a mean.
pub(super) fn mean(
    engine: &mut dyn Engine,
    (name, slots): (&'static str, &[Slot]),
    epoch: &[Step],
    report: &mut Epoch,
) -> Result<()> {
    if let [slot @ (Slot::Swa | Slot::Ema)] = *slots {
        engine.renew_statistics(slot, epoch)?;
    }
    let validation = part(engine, Part::Validation, slots)?;
    let test = part(engine, Part::Test, slots)?;
    report.means.push(Mean { name, validation, test });
    Ok(())
}

fn part(engine: &mut dyn Engine, part: Part, slots: &[Slot]) -> Result<Option<Vec<Evaluation>>> {
    let is_there = engine.setup().dataset.part(part).is_some();
    is_there.then(|| engine.evaluate(part, slots)).transpose()
}

/// The first replica, with its loss, of which an evaluation is not finite.
pub(super) fn not_finite(report: &Epoch) -> Option<(usize, f64)> {
    let means = report.means.iter().flat_map(|mean| [&mean.validation, &mean.test]);
    let mut all = [&report.validation, &report.test].into_iter().chain(means).flatten();
    all.find_map(|evaluations| {
        let replica = evaluations.iter().position(|e| !e.loss.is_finite())?;
        Some((replica, evaluations[replica].loss))
    })
}
