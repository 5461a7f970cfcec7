//! Choosing the form of every matrix product: the one that is known, the fastest of those that are measured, or the built-in
//! one. Each is tried before it is used, and one that fails to compile, to run or to agree with the plain one is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use wgpu::BindGroup;

use super::adapter::Gpu;
use super::forms::{Form, Variant};
use super::kernels::Product;
use super::program::{Op, Share};
use crate::engine::{self, Forms};
use crate::error::{Error, Result};

/// The seconds that all measurements of an engine together take, about, without compiling; a product that is left over then gets
/// its built-in form, and is measured another time.
const BUDGET: f64 = 2.0;
/// The time after which no further product is measured, compiling included, which some drivers take long for.
const PATIENCE: Duration = Duration::from_secs(4);
/// The seconds that a turn lasts, about, so that submitting it does not count.
const TURN: f64 = 2e-3;
const MOST_DISPATCHES: u32 = 32;
/// The number of times that each form is timed; the best counts.
const TURNS: usize = 3;
/// The ratio of times to the best at first beyond which a form is not timed again.
const HOPELESS: f64 = 1.5;

/// What is told of the choice of forms.
#[derive(Clone, Copy, Debug)]
pub enum Tuning<'a> {
    /// The product of this key is about to be measured.
    Measuring(&'a str),
    /// A form was dropped: which, on what adapter, and why, in a line.
    Dropped(&'a str),
}

/// A function that is told how the forms of products are chosen.
pub type Measuring = fn(Tuning);

/// A product whose form is to be chosen.
pub(super) struct Question {
    /// The key of the product, its shape and what becomes of it.
    pub key: String,
    pub product: Product,
    /// The form that the others are compared with, which works everywhere.
    pub plain: Form,
    /// The form where nothing is known or measured.
    pub built_in: Form,
    /// The forms worth measuring; none if it is not to be measured.
    pub candidates: Vec<Form>,
}

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
    /// Whether the known forms are those of an engine that runs: they are in use, and nothing may be tried beside them.
    is_settled: bool,
    used: Mutex<BTreeMap<String, Choice>>,
    /// Whether products whose form is not known are measured.
    measures: bool,
    tell: Option<Measuring>,
    /// The kernels whose failure was told, since one may fail for every product.
    told: Mutex<BTreeSet<&'static str>>,
    /// The seconds that measurements took so far.
    spent: Mutex<f64>,
    /// The time of the first measurement.
    begun: OnceLock<Instant>,
}

impl Tuner {
    /// A tuner that knows `forms`, unless they were chosen on another adapter.
    ///
    /// # Errors
    /// A text that is no form.
    pub fn new(forms: &Forms, adapter: &str, measures: bool, tell: Option<Measuring>) -> Result<Self> {
        let mut known = BTreeMap::new();
        if forms.adapter == adapter || forms.adapter.is_empty() {
            for (key, choice) in &forms.products {
                let (form, microseconds) = (choice.form.parse()?, choice.microseconds);
                known.insert(key.clone(), Choice { form, microseconds });
            }
        }
        Ok(Self {
            adapter: adapter.into(),
            known,
            is_settled: false,
            used: Mutex::default(),
            measures,
            tell,
            told: Mutex::default(),
            spent: Mutex::default(),
            begun: OnceLock::new(),
        })
    }

    /// A tuner for more dispatches of an engine that runs with `forms`.
    ///
    /// # Errors
    /// A text that is no form.
    pub fn settled(forms: &Forms) -> Result<Self> {
        Ok(Self { is_settled: true, ..Self::new(forms, &forms.adapter, false, None)? })
    }

    /// What `make` makes in the known form, else in the fastest candidate, else in the built-in form, or the plain one where
    /// these fail; `time` gives the seconds of so many dispatches, and `agree` fails where a form does not make what the plain
    /// one makes.
    ///
    /// # Errors
    /// The plain form fails.
    pub fn choose<T: Send>(
        &self,
        question: &Question,
        make: impl Fn(Form) -> Result<T> + Sync,
        time: impl Fn(&T, u32) -> Result<f64>,
        agree: impl Fn(&T, Form) -> Result<()>,
    ) -> Result<T> {
        let Question { key, plain, built_in, candidates, .. } = question;
        let chosen = lock(&self.used).get(key).copied();
        let known = self.known.get(key).copied();
        if let Some(choice) = chosen.or(known.filter(|_| self.is_settled)) {
            return make(choice.form);
        }
        let tried = |form: Form| make(form).and_then(|made| agree(&made, form).map(|()| made));
        if let Some(choice) = known {
            // A record may come from a file.
            let known = if candidates.contains(&choice.form) { tried(choice.form) } else { Err(no_such_form()) };
            match known {
                Ok(made) => return Ok(self.settle(key, choice, made)),
                Err(error) => self.drop_known(question, choice.form, &error),
            }
        }
        if let Some((choice, made)) = self.fastest(question, &make, time, &agree) {
            return Ok(self.settle(key, choice, made));
        }
        let unmeasured = |form| Choice { form, microseconds: None };
        // The plain kernel asks nothing of a device, whatever its tile.
        let made = if built_in.variant == Variant::Plain { make(*built_in) } else { tried(*built_in) };
        match made {
            Ok(made) => Ok(self.settle(key, unmeasured(*built_in), made)),
            Err(error) => {
                self.drop_form(question, *built_in, &error);
                Ok(self.settle(key, unmeasured(*plain), make(*plain)?))
            }
        }
    }

    /// The fastest candidate that agrees; nothing if products are not measured, the time is over, or fewer than two candidates
    /// could be timed.
    fn fastest<T: Send>(
        &self,
        question: &Question,
        make: impl Fn(Form) -> Result<T> + Sync,
        time: impl Fn(&T, u32) -> Result<f64>,
        agree: impl Fn(&T, Form) -> Result<()>,
    ) -> Option<(Choice, T)> {
        let is_first = *lock(&self.spent) == 0.0;
        let is_patient = || self.begun.get_or_init(Instant::now).elapsed() < PATIENCE;
        if !self.measures || question.candidates.len() < 2 || !self.has_time() || !is_patient() {
            return None;
        }
        self.tell(Tuning::Measuring(&question.key));
        let timed = |made: &T, dispatches: u32| {
            let seconds = time(made, dispatches)?;
            *lock(&self.spent) += seconds;
            Ok(seconds / f64::from(dispatches))
        };
        let (mut tried, mut is_complete) = self.once(question, make, &time, timed);
        if tried.len() < 2 {
            return None;
        }
        let least = tried.iter().map(|(once, ..)| *once).fold(f64::INFINITY, f64::min);
        tried.retain(|(once, ..)| *once <= HOPELESS * least + TURN / 4.0);
        let dispatches = ((TURN / least) as u32).clamp(1, MOST_DISPATCHES);
        // Turn by turn, so that what else the machine does meets them alike.
        for _ in 0..TURNS {
            if !self.has_time() {
                is_complete = false;
                break;
            }
            for (seconds, _, made) in &mut tried {
                *seconds = timed(made, dispatches).map_or(f64::INFINITY, |again| seconds.min(again));
            }
        }
        tried.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
        for (seconds, form, made) in tried {
            match agree(&made, form) {
                Ok(()) => {
                    // One that the time left was too short for is measured another time; the first has had all there is.
                    let microseconds = Some((seconds * 1e7).round() / 10.0).filter(|_| is_complete || is_first);
                    return Some((Choice { form, microseconds }, made));
                }
                Err(error) => self.drop_form(question, form, &error),
            }
        }
        None
    }

    /// Every candidate that works, made and timed once, while there is time, which is there for two of them in any case; and
    /// whether there was for all.
    fn once<T: Send>(
        &self,
        question: &Question,
        make: impl Fn(Form) -> Result<T> + Sync,
        time: impl Fn(&T, u32) -> Result<f64>,
        timed: impl Fn(&T, u32) -> Result<f64>,
    ) -> (Vec<(f64, Form, T)>, bool) {
        // At once, since some drivers take a tenth of a second to compile each.
        let all: Vec<(Form, Result<T>)> = question.candidates.par_iter().map(|&form| (form, make(form))).collect();
        let mut tried = Vec::new();
        for (form, made) in all {
            if tried.len() > 1 && !self.has_time() {
                return (tried, false);
            }
            // Other drivers compile in the first dispatch, which does not count.
            let once =
                made.and_then(|made| time(&made, 1).and_then(|_| timed(&made, 1)).map(|once| (once, form, made)));
            match once {
                Ok(once) => tried.push(once),
                Err(error) => self.drop_form(question, form, &error),
            }
        }
        (tried, true)
    }

    fn has_time(&self) -> bool {
        *lock(&self.spent) < BUDGET
    }

    fn settle<T>(&self, key: &str, choice: Choice, made: T) -> T {
        lock(&self.used).insert(key.into(), choice);
        made
    }

    fn tell(&self, tuning: Tuning) {
        if let Some(tell) = self.tell {
            tell(tuning);
        }
    }

    /// Tells that a form does not work, once a kernel.
    fn drop_form(&self, question: &Question, form: Form, error: &Error) {
        if is_loss(error) {
            return;
        }
        let kernel = form.kernel(question.product).name;
        if lock(&self.told).insert(kernel) {
            let Question { key, .. } = question;
            self.tell(Tuning::Dropped(&format!(
                "{kernel} is not used on {}: {key} in its form {form:?} fails: {error}",
                self.adapter,
                form = form.to_string()
            )));
        }
    }

    /// Tells that a form which was recorded or remembered does not work.
    fn drop_known(&self, question: &Question, form: Form, error: &Error) {
        if is_loss(error) {
            return;
        }
        let Question { key, product, .. } = question;
        self.tell(Tuning::Dropped(&format!(
            "{} on {}: the recorded form {form:?} of {key} fails, and another takes its place, so a recorded run does not repeat its bits: {error}",
            form.kernel(*product).name,
            self.adapter,
            form = form.to_string()
        )));
    }

    /// The forms in use.
    pub fn used(self) -> Forms {
        let used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        let choice = |Choice { form, microseconds }: Choice| engine::Choice { form: form.to_string(), microseconds };
        Forms { adapter: self.adapter, products: used.into_iter().map(|(key, known)| (key, choice(known))).collect() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an error says nothing of the form that it came with.
fn is_loss(error: &Error) -> bool {
    matches!(error, Error::DeviceLost(_))
}

fn no_such_form() -> Error {
    Error::Device("products of this shape have no such form here".into())
}

/// The seconds from the submission of so many dispatches of `op`, for a pass of `rows` rows, to their end.
pub(super) fn seconds(gpu: &Gpu, op: &Op, step: &BindGroup, rows: u32, dispatches: u32) -> Result<f64> {
    let start = Instant::now();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut compute = encoder.begin_compute_pass(&Default::default());
        for _ in 0..dispatches {
            op.encode(&mut compute, step, 0, rows, Share::ALL);
        }
    }
    let submission = gpu.queue.submit([encoder.finish()]);
    gpu.wait(Some(&submission))?;
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(variant: Variant, rows: u32) -> Form {
        Form { variant, rows, columns: 2, lanes: 8, slices: 1, parts: 1 }
    }

    /// Of which the broadcast one is built in.
    fn question() -> Question {
        let plain = form(Variant::Plain, 16);
        let [broadcast, staged, small] =
            [form(Variant::Broadcast, 16), form(Variant::Staged, 32), form(Variant::Plain, 4)];
        Question {
            key: "linear 64x30x20".into(),
            product: Product::Linear,
            plain,
            built_in: broadcast,
            candidates: vec![broadcast, staged, small],
        }
    }

    fn tuner(recorded: Option<Form>, measures: bool, tell: Measuring) -> Tuner {
        let choice = |form: Form| (question().key, engine::Choice { form: form.to_string(), microseconds: None });
        let forms = Forms { adapter: "test".into(), products: recorded.map(choice).into_iter().collect() };
        Tuner::new(&forms, "test", measures, Some(tell)).unwrap()
    }

    thread_local! {
        static TOLD: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    fn tell(tuning: Tuning) {
        if let Tuning::Dropped(text) = tuning {
            TOLD.with_borrow_mut(|told| told.push(text.into()));
        }
    }

    fn fail<T>(fails: bool, made: T) -> Result<T> {
        if fails { Err(Error::Device("the driver refuses".into())) } else { Ok(made) }
    }

    /// The form that is chosen where the variant fails to compile, to run or to agree, and what is told.
    fn chosen(tuner: &Tuner, bad: Variant, fails_in: &str) -> (Form, Vec<String>) {
        TOLD.take();
        let is_bad = |form: Form, stage: &str| form.variant == bad && stage == fails_in;
        // The larger the tile, the faster.
        let time = |form: &Form, n: u32| fail(is_bad(*form, "run"), f64::from(n) * 1e-3 / f64::from(form.rows));
        let form = tuner.choose(
            &question(),
            |form| fail(is_bad(form, "compile"), form),
            time,
            |form, _| fail(is_bad(*form, "agree"), ()),
        );
        (form.unwrap(), TOLD.take())
    }

    #[test]
    fn a_candidate_that_fails_is_dropped_with_a_word() {
        let [built_in, staged, _] = question().candidates[..] else { panic!() };
        assert_eq!(chosen(&tuner(None, true, tell), Variant::Staged, "never"), (staged, vec![]));
        for stage in ["compile", "run", "agree"] {
            let (form, told) = chosen(&tuner(None, true, tell), Variant::Staged, stage);
            assert_eq!(form, built_in, "{stage}");
            assert_eq!(told.len(), 1, "{stage}: {told:?}");
            assert!(told[0].starts_with("linear_staged is not used on test: linear 64x30x20"), "{told:?}");
            assert!(told[0].ends_with("the driver refuses"), "{told:?}");
        }
    }

    #[test]
    fn a_built_in_form_that_fails_gives_way_to_the_plain_one() {
        for stage in ["compile", "agree"] {
            let tuner = tuner(None, false, tell);
            let (form, told) = chosen(&tuner, Variant::Broadcast, stage);
            assert_eq!((form, told.len()), (question().plain, 1), "{stage}");
            // Which is what the engine has from then on, and records.
            assert_eq!(chosen(&tuner, Variant::Broadcast, "never").0, question().plain);
            assert_eq!(tuner.used().products[&question().key].form, question().plain.to_string());
        }
    }

    #[test]
    fn a_recorded_form_that_fails_is_dropped_with_a_word() {
        let staged = question().candidates[1];
        assert_eq!(chosen(&tuner(Some(staged), false, tell), Variant::Staged, "never"), (staged, vec![]));
        for stage in ["compile", "agree"] {
            let (form, told) = chosen(&tuner(Some(staged), false, tell), Variant::Staged, stage);
            assert_eq!((form, told.len()), (question().built_in, 1), "{stage}");
            assert!(told[0].contains("does not repeat its bits"), "{told:?}");
        }
        // One that products of this shape cannot have, such as another adapter's.
        let other = form(Variant::Cooperative(16), 32);
        let (form, told) = chosen(&tuner(Some(other), false, tell), Variant::Staged, "never");
        assert_eq!((form, told.len()), (question().built_in, 1));
        assert!(told[0].contains("no such form"), "{told:?}");
    }

    /// However long the driver compiles, which these forms do in their first dispatch, two are timed before one is recorded.
    #[test]
    fn nothing_is_recorded_unless_two_were_timed() {
        let [built_in, staged, small] = question().candidates[..] else { panic!() };
        let run = |slow: &[Form], fails: &[Form]| {
            let tuner = tuner(None, true, tell);
            let dispatched = Mutex::new(Vec::new());
            let time = |form: &Form, _| {
                let mut dispatched = lock(&dispatched);
                let compiles = !dispatched.contains(form);
                dispatched.push(*form);
                let seconds = if compiles || slow.contains(form) { 2.0 * BUDGET } else { 1e-3 / f64::from(form.rows) };
                fail(fails.contains(form), seconds)
            };
            tuner.choose(&question(), Ok, time, |_, _| Ok(())).unwrap();
            let choice = tuner.used().products[&question().key].clone();
            (choice.form, choice.microseconds.is_some())
        };
        assert_eq!(run(&[], &[]), (staged.to_string(), true));
        assert_eq!(run(&[built_in], &[]), (staged.to_string(), true), "the second is timed though the time is over");
        assert_eq!(run(&[], &[staged, small]), (built_in.to_string(), false), "one alone is not measured");
    }
}
