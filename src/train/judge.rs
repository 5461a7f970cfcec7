//! What follows the steps: evaluations, the best weights, and whether the run goes on.

use super::{Trainer, evaluate};
use crate::average::Sampler;
use crate::engine::{Evaluation, Slot, Step};
use crate::error::Result;
use crate::event::{Control, Ended, Epoch, Event, Observer};
use crate::model::Norm;
use crate::progress::{Sums, Underway, Within};
use crate::schedule::Unit;

impl Trainer {
    /// Evaluates in the middle of an epoch, and decides whether the run goes on; its end would be told with the epoch.
    pub(super) fn evaluate_within(&mut self, observer: &mut dyn Observer) -> Result<()> {
        // Somebody may have asked for the end while the last metrics arrived.
        if self.asked >= Control::Stop {
            return Ok(());
        }
        let last = self.underway.last.clone();
        let mut report = self.progress.report(&last);
        report.train = self.progress.window.means();
        if let Err(error) = self.judge(&mut report, &last) {
            return Err(self.tell_end(error, observer));
        }
        if self.ended.is_none() {
            let answer = observer.on(&Event::Evaluated(&report))?;
            self.ask(answer);
        }
        self.progress.within.is_evaluated = true;
        self.underway.evaluated = Some(report);
        Ok(())
    }

    /// Closes the epoch: its report, its evaluations, and whether the run goes on.
    pub(super) fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<Epoch> {
        let Underway { last, evaluated, .. } = std::mem::take(&mut self.underway);
        let mut epoch = self.progress.report(&last);
        // An epoch that was cut short is not over: a resumed run goes on within it.
        if self.progress.within.steps == self.steps_per_epoch() {
            self.progress.epoch += 1;
            self.progress.seconds += epoch.seconds;
            self.progress.within = Within::default();
        }
        if let Err(error) = self.judge_epoch(&mut epoch, evaluated, &last) {
            return Err(self.tell_end(error, observer));
        }
        let answer = observer.on(&Event::Epoch(&epoch))?;
        self.ask(answer);
        if self.ended.is_none() && self.asked == Control::Interrupt {
            self.ended = Some(Ended::Interrupted);
        }
        if self.ended.is_none()
            && self.asked == Control::Stop
            && let Err(error) = self.end_as_asked(&mut epoch, &last)
        {
            return Err(self.tell_end(error, observer));
        }
        if let Some(ended) = self.ended {
            observer.on(&Event::Ended(ended))?;
        }
        Ok(epoch)
    }

    /// Judges an epoch, unless the evaluation after its last step has; ends the run if that is its end.
    fn judge_epoch(&mut self, report: &mut Epoch, evaluated: Option<Epoch>, last: &Step) -> Result<()> {
        if let Some(Epoch { validation, test, means, is_best, .. }) = evaluated {
            *report = Epoch { validation, test, means, is_best, ..std::mem::take(report) };
        } else {
            if self.progress.epoch == self.plan.epochs {
                self.ended.get_or_insert(Ended::Epochs);
            }
            let train = self.show_window(report);
            self.judge(report, last)?;
            report.train = train;
        }
        if self.ended.is_some() { self.end_run(report, last) } else { Ok(()) }
    }

    /// Evaluates where that is due, takes up the metrics, and decides whether the run goes on.
    fn judge(&mut self, report: &mut Epoch, last: &Step) -> Result<()> {
        let setup = self.engine.setup();
        let is_due = self.plan.is_evaluated(setup, report.steps);
        // The metrics of training are those of every epoch.
        let is_heard = is_due || self.plan.eval_unit == Unit::Epoch && setup.dataset.validation.is_none();
        if is_due || self.ended.is_some() {
            self.evaluate(report, last)?;
        }
        if let Some(ended) = self.watch(report)? {
            self.ended = Some(ended);
        }
        // A run that goes on from its end must not have heard what it would not have heard without that end.
        if is_heard {
            self.plan.observe(self.engine.setup(), report, &mut self.progress.memories);
        }
        if is_due {
            self.progress.window = Sums::default();
        }
        if self.ended.is_none() && self.plan.is_rate_too_low(self.engine.setup(), report.steps, &self.progress) {
            self.ended = Some(Ended::MinLr);
        }
        self.progress.ended = self.ended.filter(|ended| ended.is_final());
        if self.ended.is_some() { self.evaluate_end(report, last) } else { Ok(()) }
    }

    /// Ends a run whose epoch was over.
    fn end_as_asked(&mut self, report: &mut Epoch, last: &Step) -> Result<()> {
        self.ended = Some(Ended::Asked);
        let train = self.show_window(report);
        self.evaluate_end(report, last)?;
        report.train = train;
        self.end_run(report, last)
    }

    /// Where evaluations are counted in steps, puts the metrics of training since the last one into the report; returns those
    /// of the epoch.
    fn show_window(&self, report: &mut Epoch) -> Vec<Evaluation> {
        match self.plan.eval_unit {
            Unit::Step => std::mem::replace(&mut report.train, self.progress.window.means()),
            Unit::Epoch => report.train.clone(),
        }
    }

    /// Evaluates a run that ends where no evaluation was due.
    fn evaluate_end(&mut self, report: &mut Epoch, last: &Step) -> Result<()> {
        if self.evaluated != report.steps {
            self.evaluate(report, last)?;
        }
        self.watch(report).map(drop)
    }

    /// Takes up the metric, and the weights if it is the best so far; returns why the run ends, if it does. Patience counts
    /// only what the plan has evaluated, not the end of a run that may go on.
    fn watch(&mut self, report: &mut Epoch) -> Result<Option<Ended>> {
        let stop = &self.plan.stop;
        let is_training = stop.metric.is_training();
        let is_counted = self.plan.is_evaluated(self.engine.setup(), report.steps)
            || is_training && self.plan.eval_unit == Unit::Epoch;
        let is_measured = is_counted || !is_training || self.ended.is_some();
        if self.watched == report.steps || !is_measured || !stop.is_seen(report) {
            return Ok(None);
        }
        self.watched = report.steps;
        let (is_best, ended) = stop.watch(report, is_counted, &mut self.progress.watch);
        report.is_best = is_best;
        if is_best && stop.keeps_best() {
            self.engine.copy(stop.metric.slot(), Slot::Best)?;
        }
        Ok(ended)
    }

    /// Evaluates the last weights and every mean that has samples.
    fn evaluate(&mut self, report: &mut Epoch, last: &Step) -> Result<()> {
        self.evaluated = report.steps;
        evaluate::live(self.engine.as_mut(), report)?;
        self.check_evaluations(report, last)?;
        let means = self.means(report.steps);
        let epoch = if means.is_empty() { Vec::new() } else { self.steps_of(report.epoch) };
        for (name, slots) in &means {
            evaluate::mean(self.engine.as_mut(), (name, slots), &epoch, report)?;
        }
        self.check_evaluations(report, last)
    }

    /// All steps of an epoch, over which batch normalisation's statistics are renewed; none without it.
    fn steps_of(&self, epoch: u64) -> Vec<Step> {
        let setup = self.engine.setup();
        let steps = if setup.model.norm == Norm::Batch { self.steps_per_epoch() } else { 0 };
        (0..steps).map(|i| self.plan.step(setup, &self.progress, &Sampler::default(), epoch, i)).collect()
    }

    /// Evaluates the best weights, where they are kept, and goes back to them, where that is asked for.
    fn end_run(&mut self, report: &mut Epoch, last: &Step) -> Result<()> {
        let (stop, watch) = (&self.plan.stop, &self.progress.watch);
        if stop.keeps_best() && watch.best.is_some() {
            evaluate::mean(self.engine.as_mut(), ("best", &[Slot::Best]), &[], report)?;
            if stop.restore_best {
                self.last_weights = self.last_good.spare();
                self.engine.copy(Slot::Live, self.last_weights)?;
                self.engine.copy(Slot::Best, Slot::Live)?;
                report.is_restored = watch.steps != report.steps || stop.metric.slot() != Slot::Live;
                if let Some(best) = report.means.last() {
                    (report.validation, report.test) = (best.validation.clone(), best.test.clone());
                }
            }
        }
        self.check_weights(last)
    }

    /// Stops if an evaluation is not finite.
    fn check_evaluations(&mut self, report: &Epoch, last: &Step) -> Result<()> {
        match evaluate::not_finite(report) {
            Some((replica, loss)) => Err(self.diverged(last, replica, loss)?),
            None => Ok(()),
        }
    }

    /// Stops if the last update left weights that are not finite, which no loss has shown.
    fn check_weights(&mut self, last: &Step) -> Result<()> {
        for replica in 0..self.replicas() {
            if self.engine.download(Slot::Live, replica)?.iter().any(|w| !w.is_finite()) {
                return Err(self.diverged(last, replica, f64::NAN)?);
            }
        }
        Ok(())
    }
}
