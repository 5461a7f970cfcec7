//! Choosing the form of every matrix product by measuring it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use wgpu::BindGroup;

use super::adapter::Gpu;
use super::forms::Form;
use super::program::Op;
use crate::engine::{self, Forms};
use crate::error::{Error, Result};

/// The time that all measurements of an engine together take, about; a product that is left over then gets its built-in
/// form, and is measured another time.
const BUDGET: Duration = Duration::from_secs(2);
/// The seconds that a turn lasts, about, so that submitting it does not count.
const TURN: f64 = 2e-3;
const MOST_DISPATCHES: u32 = 32;
/// The number of times that each form is timed; the best counts.
const TURNS: usize = 3;
/// The ratio of times to the best at first beyond which a form is not timed again.
const HOPELESS: f64 = 1.5;

/// A function that is told the key of every product that is measured, before it is.
pub type Measuring = fn(&str);

/// A form, and how long one dispatch took where it was measured.
#[derive(Clone, Copy)]
struct Choice {
    form: Form,
    microseconds: Option<f64>,
}

/// The forms that are known, and those that an engine uses.
pub(super) struct Tuner {
    adapter: String,
    known: BTreeMap<String, Choice>,
    used: Mutex<BTreeMap<String, Choice>>,
    /// The function that is told of each measurement; none if forms that are not known are not to be measured.
    progress: Option<Measuring>,
    /// The end of the time for measuring, set at the first measurement.
    deadline: OnceLock<Instant>,
}

impl Tuner {
    /// A tuner that knows `forms`, unless they were chosen on another adapter.
    ///
    /// # Errors
    /// A text that is no form.
    pub fn new(forms: &Forms, adapter: &str, progress: Option<Measuring>) -> Result<Self> {
        let mut known = BTreeMap::new();
        if forms.adapter == adapter || forms.adapter.is_empty() {
            for (key, choice) in &forms.products {
                let (form, microseconds) = (choice.form.parse()?, choice.microseconds);
                known.insert(key.clone(), Choice { form, microseconds });
            }
        }
        Ok(Self { adapter: adapter.into(), known, used: Mutex::default(), progress, deadline: OnceLock::new() })
    }

    /// The dispatch that `make` makes in the known form for `key`, else in the fastest of `candidates` that `agrees`,
    /// else in the one that is `built_in`; `time` gives the seconds of so many dispatches.
    ///
    /// # Errors
    /// The device is lost.
    pub fn choose(
        &self,
        key: String,
        built_in: Form,
        candidates: &[Form],
        make: impl Fn(Form) -> Op + Sync,
        time: impl Fn(&Op, u32) -> Result<f64>,
        agrees: impl Fn(&Op, Form) -> Result<bool>,
    ) -> Result<Op> {
        let default = Choice { form: built_in, microseconds: None };
        // A record may come from a file. What this engine has chosen already was among the candidates then.
        let chosen = self.choices().get(&key).copied();
        let known = chosen.or(self.known.get(&key).copied().filter(|choice| candidates.contains(&choice.form)));
        let is_open = known.is_none() && candidates.len() > 1;
        let is_first = self.deadline.get().is_none();
        let has_time = || Instant::now() < *self.deadline.get_or_init(|| Instant::now() + BUDGET);
        let measured = match self.progress.filter(|_| is_open && has_time()) {
            Some(progress) => {
                progress(&key);
                fastest(candidates, &make, time, has_time, agrees)?
            }
            None => None,
        };
        let (choice, op) = match measured {
            Some((mut choice, op, is_complete)) => {
                // One that the time left was too short for is measured another time; the first has had all there is.
                choice.microseconds = choice.microseconds.filter(|_| is_complete || is_first);
                (choice, op)
            }
            None => {
                let choice = known.unwrap_or(default);
                (choice, make(choice.form))
            }
        };
        self.choices().insert(key, choice);
        Ok(op)
    }

    /// The forms in use.
    pub fn used(self) -> Forms {
        let used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        let choice = |Choice { form, microseconds }: Choice| engine::Choice { form: form.to_string(), microseconds };
        Forms { adapter: self.adapter, products: used.into_iter().map(|(key, known)| (key, choice(known))).collect() }
    }

    fn choices(&self) -> MutexGuard<'_, BTreeMap<String, Choice>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fastest form that agrees, and whether there was time for all of them and all turns; nothing if none agrees.
fn fastest(
    candidates: &[Form],
    make: impl Fn(Form) -> Op + Sync,
    time: impl Fn(&Op, u32) -> Result<f64>,
    has_time: impl Fn() -> bool,
    agrees: impl Fn(&Op, Form) -> Result<bool>,
) -> Result<Option<(Choice, Op, bool)>> {
    // At once, since some drivers take a tenth of a second to compile each; others do so in its first dispatch.
    let ops: Vec<Op> = candidates.par_iter().map(|&form| make(form)).collect();
    let mut tried = Vec::new();
    let mut is_complete = true;
    for (&form, op) in candidates.iter().zip(ops) {
        if !tried.is_empty() && !has_time() {
            is_complete = false;
            break;
        }
        time(&op, 1)?;
        tried.push((time(&op, 1)?, form, op));
    }
    let least = tried.iter().map(|(once, ..)| *once).fold(f64::INFINITY, f64::min);
    tried.retain(|(once, ..)| *once <= HOPELESS * least + TURN / 4.0);
    let dispatches = ((TURN / least) as u32).clamp(1, MOST_DISPATCHES);
    // Turn by turn, so that what else the machine does meets them alike.
    for _ in 0..TURNS {
        if !has_time() {
            is_complete = false;
            break;
        }
        for (seconds, _, op) in &mut tried {
            *seconds = seconds.min(time(op, dispatches)? / f64::from(dispatches));
        }
    }
    tried.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    for (seconds, form, op) in tried {
        if agrees(&op, form)? {
            let microseconds = Some((seconds * 1e7).round() / 10.0);
            return Ok(Some((Choice { form, microseconds }, op, is_complete)));
        }
    }
    Ok(None)
}

/// The seconds from the submission of so many dispatches of `op`, for a pass of `rows` rows, to their end.
pub(super) fn seconds(gpu: &Gpu, op: &Op, step: &BindGroup, rows: u32, dispatches: u32) -> Result<f64> {
    let start = Instant::now();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut compute = encoder.begin_compute_pass(&Default::default());
        for _ in 0..dispatches {
            op.encode(&mut compute, step, 0, rows);
        }
    }
    let submission = gpu.queue.submit([encoder.finish()]);
    let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
    gpu.device.poll(poll).map_err(|error| Error::Device(error.to_string()))?;
    gpu.check()?;
    Ok(start.elapsed().as_secs_f64())
}
