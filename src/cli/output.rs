//! Standard output, and what becomes of a command that cannot write it.

use std::fmt::Arguments;
use std::io::{ErrorKind, Result, Write, stdout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

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
