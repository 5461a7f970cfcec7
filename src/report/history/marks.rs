//! What happened on the way of a run, beside its curves.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::History;
use crate::average::Take;
use crate::error::Result;
use crate::run::{Config, read_config};

/// The most marks of one kind.
const MOST: usize = 200;

/// The kind of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// SWA took the weights.
    Swa,
    /// The ensemble took a copy of the weights.
    Snapshot,
    /// The learning rate rose again after it had fallen.
    Restart,
    /// The best evaluation so far.
    Best,
    /// The run went on after its device was lost.
    Recovered,
    /// The run ended.
    End,
}

impl MarkKind {
    /// The name of the kind, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swa => "swa",
            Self::Snapshot => "snapshot",
            Self::Restart => "restart",
            Self::Best => "best",
            Self::Recovered => "recovered",
            Self::End => "end",
        }
    }
}

/// A mark at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The kind.
    pub kind: MarkKind,
    /// The number of updates before it.
    pub step: u64,
    /// What happened, in words.
    pub text: String,
}

impl Mark {
    pub(super) fn new(kind: MarkKind, step: u64, text: impl Into<String>) -> Self {
        Self { kind, step, text: text.into() }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "kind": self.kind.name(), "step": self.step, "text": self.text })
    }
}

/// Adds the samples that averages took of a step.
pub(super) fn sampled(marks: &mut Vec<Mark>, step: u64, take: &Take) {
    if take.swa > 0.0 {
        let text = format!("SWA sample {:.0}", 1.0 / take.swa);
        push(marks, Mark::new(MarkKind::Swa, step + 1, text));
    }
    if let Some(number) = take.snapshot {
        push(marks, Mark::new(MarkKind::Snapshot, step + 1, format!("snapshot {number}")));
    }
}

/// Adds a mark; of many of its kind those are kept that stand apart, so that they are as dense everywhere.
fn push(marks: &mut Vec<Mark>, mark: Mark) {
    let (kind, step) = (mark.kind, mark.step);
    let steps = marks.iter().filter(|other| other.kind == kind).map(|other| other.step);
    let (count, first, last) = steps.fold((0, step, 0), |(n, first, _), at| (n + 1, first.min(at), at));
    let distance = |most: usize| (step - first) / most as u64;
    if count >= MOST / 5 && step.saturating_sub(last) < distance(MOST) {
        return;
    }
    marks.push(mark);
    if count >= MOST {
        let (least, mut before) = (distance(MOST / 2).max(1), None);
        marks.retain(|mark| {
            let is_kept = mark.kind != kind || before.is_none_or(|before| mark.step >= before + least);
            before = Some(mark.step).filter(|_| is_kept && mark.kind == kind).or(before);
            is_kept
        });
    }
}

/// Adds what the folder of a run tells: when averages sampled and the schedule restarted, which weights were the best, and how the
/// run ended.
///
/// # Errors
/// The configuration cannot be read.
pub(super) fn of_folder(history: &mut History, dir: &Path, summary: Option<&Map<String, Value>>) -> Result<()> {
    let config = Config::resolve(read_config(dir)?, Vec::new(), Vec::new())?;
    let told = history.steps_told();
    history.epochs = config.train.epochs;
    if let Some(last) = history.ticks.last() {
        let per_epoch = (last.steps / last.epochs).ceil() as u64;
        history.steps = per_epoch * config.train.epochs;
        of_plan(history, &config, per_epoch, told);
    }
    let Some(summary) = summary else { return Ok(()) };
    if let Some(steps) = summary.get("best").and_then(|best| best["steps"].as_u64()) {
        let metric = summary["best"]["metric"].as_str().unwrap_or("evaluation").replace('_', " ");
        history.marks.push(Mark::new(MarkKind::Best, steps, format!("best {metric}")));
    }
    let text = format!("ended {}", ended(summary));
    history.marks.push(Mark::new(MarkKind::End, told, text.clone()));
    history.ended = Some(text);
    Ok(())
}

/// The reason why a run ended, in words.
fn ended(summary: &Map<String, Value>) -> String {
    let reason = summary.get("stopped_by").cloned().unwrap_or_default();
    let words = serde_json::from_value(reason.clone()).map(|ended: crate::event::Ended| ended.describe().to_string());
    words.unwrap_or_else(|_| format!("by {}", reason.as_str().unwrap_or("nothing that is known")))
}

/// Adds what follows from the plan of a run of which `told` steps are known.
fn of_plan(history: &mut History, config: &Config, per_epoch: u64, told: u64) {
    let (plan, base) = (config.plan(), config.optimizer.optimizer.rate());
    let clock = plan.clock(base, per_epoch);
    // What cannot be foreseen, as the minima of a plateau, the run itself has refused.
    let Ok(sampler) = config.average.sampler(&clock) else { return };
    let has_samples = config.average.swa.is_some() || config.average.snapshots.is_some();
    let marks = &mut history.marks;
    if has_samples {
        (0..told).for_each(|step| sampled(marks, step, &sampler.take(step)));
    }
    let Some(course) = clock.lr else { return };
    let mut restarts = Restarts::default();
    (0..told).for_each(|step| restarts.follow(marks, step, (course.lr)(step)));
}

/// A walk along the learning rates of steps, which marks where they rise again after they had fallen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restarts {
    /// The rate of the step before, if there was one.
    before: Option<f64>,
    has_fallen: bool,
}

impl Restarts {
    /// Goes on to a step with this rate.
    pub fn follow(&mut self, marks: &mut Vec<Mark>, step: u64, lr: f64) {
        let before = self.before.replace(lr).unwrap_or(lr);
        if self.has_fallen && lr > before {
            push(marks, Mark::new(MarkKind::Restart, step, "the learning rate rises again"));
        }
        self.has_fallen = lr < before || self.has_fallen && lr == before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_rise_after_they_fell_are_restarts() {
        let (mut marks, mut restarts) = (Vec::new(), Restarts::default());
        for (step, lr) in [0.1, 0.2, 0.2, 0.1, 0.1, 0.3, 0.4, 0.1, 0.2].into_iter().enumerate() {
            restarts.follow(&mut marks, step as u64, lr);
        }
        assert_eq!(marks.iter().map(|mark| mark.step).collect::<Vec<_>>(), [5, 8]);
    }

    #[test]
    fn many_marks_are_as_dense_everywhere() {
        let mut marks = vec![Mark::new(MarkKind::Best, 0, "")];
        for step in 1..=100_000 {
            push(&mut marks, Mark::new(MarkKind::Swa, step, ""));
            let of_kind = marks.len() - 1;
            assert!(of_kind <= MOST && of_kind >= (MOST / 5).min(step as usize), "{of_kind} at {step}");
        }
        let gaps: Vec<u64> = marks[1..].windows(2).map(|pair| pair[1].step - pair[0].step).collect();
        // Those that were thinned stand apart by one to two hundredths of the way then, those since by half a hundredth or more.
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(*most <= 4 * least, "{least} to {most}");
        assert_eq!((marks[0].kind, marks[1].step), (MarkKind::Best, 1));
    }

    #[test]
    fn few_marks_all_stay() {
        let steps = [10, 20, 1_000_000, 1_000_001, 1_000_001];
        let mut marks = Vec::new();
        steps.iter().for_each(|&step| push(&mut marks, Mark::new(MarkKind::Restart, step, "")));
        assert_eq!(marks.len(), steps.len());
    }
}
