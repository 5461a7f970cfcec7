//! Threads that share the work of one step, over and over.
//!
//! rayon's threads sleep when they find nothing for some microseconds, and a step of a small network is over before they
//! are awake again. Those of a crew wait in a loop for as long as the crew is together, which is a few steps.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The fewest multiply-adds of a thread: less is done before it has noticed.
const WORTH_JOINING: usize = 1 << 17;

/// The number of turns of the waiting loop before a thread lets others have its core.
const PATIENCE: usize = 1 << 12;

/// The number of items that are handed out at once; more follow when they are done.
const AT_ONCE: usize = 64;

/// The threads of a crew, or one alone.
#[derive(Clone, Copy)]
pub(super) struct Crew<'a> {
    helpers: Option<&'a Helpers>,
    threads: usize,
}

impl Crew<'_> {
    /// A crew of this thread alone.
    pub fn alone() -> Self {
        Self { helpers: None, threads: 1 }
    }

    /// Gathers threads of the pool for `work`: as many as its largest part, of so many multiply-adds, is worth. A
    /// thread that is busy elsewhere is done without.
    pub fn gather<R: Send>(multiply_adds: usize, work: impl FnOnce(Crew) -> R + Send) -> R {
        let threads = worth(multiply_adds, rayon::current_num_threads());
        if threads == 1 {
            return work(Crew::alone());
        }
        let helpers = Helpers { gate: AtomicU64::new(0), job: UnsafeCell::new(&|_| {}) };
        rayon::scope(|scope| {
            for thread in 1..threads {
                let helpers = &helpers;
                scope.spawn(move |_| helpers.serve(thread));
            }
            // Also where `work` panics, since the scope waits for the helpers.
            let _dismissed = Dismissed(&helpers);
            work(Crew { helpers: Some(&helpers), threads })
        })
    }

    /// The number of threads that share work.
    pub fn threads(self) -> usize {
        self.threads
    }

    /// A crew of as many of these threads as so many multiply-adds, or what takes their time, are worth.
    pub fn worth(self, multiply_adds: usize) -> Self {
        Self { threads: worth(multiply_adds, self.threads), ..self }
    }

    /// Hands each item to the thread of its number, so that what it has in its cache stays there, or if that one is late, to
    /// another; returns when all are done.
    pub fn each<I: Iterator<Item: Send> + Send>(self, items: I, work: impl Fn(I::Item) + Sync) {
        let helpers = match self.helpers {
            Some(helpers) if self.threads > 1 => helpers,
            _ => return items.for_each(work),
        };
        // In an array, since a step allocates nothing.
        let mut items = items.peekable();
        while items.peek().is_some() {
            let mut count = 0;
            let slots: [Mutex<Option<I::Item>>; AT_ONCE] =
                std::array::from_fn(|_| Mutex::new(items.next().inspect(|_| count += 1)));
            let slots = &slots[..count];
            helpers.run(self.threads.min(slots.len()), &|thread| {
                for i in 0..slots.len() {
                    let item = slots[(thread + i) % slots.len()].lock().ok().and_then(|mut slot| slot.take());
                    if let Some(item) = item {
                        work(item);
                    }
                }
            });
        }
    }
}

fn worth(multiply_adds: usize, threads: usize) -> usize {
    (multiply_adds / WORTH_JOINING).clamp(1, threads)
}

/// The helpers of a crew: what its threads have in common.
struct Helpers {
    /// The gate, a word of these bits, from above: how often it was opened, whether it is `OVER`, how many threads are
    /// invited (none while it is closed), and how many helpers are inside.
    gate: AtomicU64,
    /// The job that those do who pass the open gate.
    job: UnsafeCell<*const (dyn Fn(usize) + Sync)>,
}

const INSIDE: u64 = INVITED - 1;
const INVITED: u64 = 1 << 16;
const OVER: u64 = 1 << 32;
const TURN: u64 = 1 << 33;

fn invited(gate: u64) -> usize {
    ((gate & (OVER - 1)) / INVITED) as usize
}

// SAFETY: `job` is written only while the gate is closed and nobody is inside, and read only by those inside.
unsafe impl Sync for Helpers {}
// SAFETY: the pointer is followed only while its job is borrowed, by `run`.
unsafe impl Send for Helpers {}

impl Helpers {
    /// Does `job` on this thread, and on each of the first `threads` that comes by before this one is done.
    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        let gate = self.gate.load(Ordering::Relaxed);
        assert_eq!(gate & (OVER - 1), 0, "a crew does one thing at a time");
        // SAFETY: the gate is closed and nobody is inside. The lifetime ends with `Closed`, after which nobody is again.
        unsafe {
            *self.job.get() =
                std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(job);
        }
        self.gate.store(gate + TURN + threads as u64 * INVITED, Ordering::Release);
        let _closed = Closed(self);
        job(0);
    }

    /// A helper's life.
    fn serve(&self, thread: usize) {
        let mut last = 0;
        let mut waited = 0;
        loop {
            let gate = self.gate.load(Ordering::Acquire);
            if gate & OVER != 0 {
                return;
            }
            let turn = gate / TURN;
            if thread >= invited(gate) || turn == last {
                wait(&mut waited);
                continue;
            }
            if self.gate.compare_exchange_weak(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let _inside = Inside(self);
                // SAFETY: inside, the job is that of this turn, and `run` is still at it.
                unsafe { (**self.job.get())(thread) };
                (last, waited) = (turn, 0);
            }
        }
    }
}

/// Closes the gate and waits until nobody is inside, even if the job panics.
struct Closed<'a>(&'a Helpers);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_and(!(OVER - INVITED), Ordering::Relaxed);
        let mut waited = 0;
        while self.0.gate.load(Ordering::Acquire) & INSIDE != 0 {
            wait(&mut waited);
        }
    }
}

/// A helper leaves, even if the job panics.
struct Inside<'a>(&'a Helpers);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_sub(1, Ordering::Release);
    }
}

/// The helpers go.
struct Dismissed<'a>(&'a Helpers);

impl Drop for Dismissed<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_or(OVER, Ordering::Relaxed);
    }
}

fn wait(waited: &mut usize) {
    *waited += 1;
    if *waited < PATIENCE { spin_loop() } else { std::thread::yield_now() }
}
