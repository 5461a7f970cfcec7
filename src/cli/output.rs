//! Standard output, and what becomes of a command that cannot write it; and lines for standard error that wait while a dashboard
//! has the screen.

use std::fmt::Arguments;
use std::io::{ErrorKind, Result, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Why standard output could not be written, the first time.
static FAILURE: OnceLock<std::io::Error> = OnceLock::new();
/// Whether the command has more to do than to print.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output. Where that fails the line is dropped, and [`failure`] tells of it.
macro_rules! say {
    ($($arg:tt)*) => { $crate::cli::output::print(format_args!($($arg)*)) };
}
pub(super) use say;

/// What [`say`] stands for.
pub(super) fn print(line: Arguments) {
    let mut output = stdout();
    record(writeln!(output, "{line}").and_then(|()| output.flush()));
}

/// Lets the command go on when nobody reads what it prints, since it writes files or comes to a verdict.
pub(super) fn go_on() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// Keeps the first failure to print. When nobody reads any more, as under `| head`, a command that only prints ends here.
pub(super) fn record(printed: Result<()>) {
    let Err(failure) = printed else { return };
    if failure.kind() == ErrorKind::BrokenPipe && !GOES_ON.load(Ordering::Relaxed) {
        std::process::exit(0);
    }
    let _ = FAILURE.set(failure);
}

/// Why standard output could not be written, if it could not.
pub(super) fn failure() -> Option<&'static std::io::Error> {
    FAILURE.get()
}

/// The lines that are held back, as long as any are to be.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

fn lines() -> MutexGuard<'static, Option<Vec<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a line on standard error, now or when lines are no longer held back.
pub(super) fn complain(line: String) {
    match &mut *lines() {
        Some(held) => held.push(line),
        None => drop(writeln!(stderr(), "{line}")),
    }
}

/// Holds back the lines for standard error from now on: the screen is a dashboard's.
pub(super) fn hold() {
    lines().get_or_insert_default();
}

/// The lines that are held back, but for the first `n`; none where they are not held.
pub(super) fn held(n: usize) -> Option<Vec<String>> {
    lines().as_ref().map(|held| held.iter().skip(n).cloned().collect())
}

/// Prints what was held back.
pub(super) fn release() {
    let held = lines().take();
    held.into_iter().flatten().for_each(complain);
}
