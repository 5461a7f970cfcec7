//! The observer that leaves a run when the process is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::signal::{SIGINT, SIGTERM};
use thalweg::event::{Control, Event, Observer};

use super::dashboard::screen;

/// The signals that ask for the end: of the keyboard, of the system, of a terminal that is closed.
#[cfg(unix)]
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::signal::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// What signals have asked for: the first to leave the run after the step under way, with a checkpoint; a second ends the
/// process at once.
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Takes the signals over that are not ignored.
    ///
    /// # Errors
    /// The system refuses.
    pub fn watch() -> std::io::Result<Self> {
        let (came, found) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in SIGNALS.into_iter().filter(|&signal| !is_ignored(signal)) {
            // In this order: the first signal finds that none came before.
            let has_come = Arc::clone(&came);
            let give_back = move || {
                if has_come.load(Ordering::SeqCst) {
                    screen::give_back();
                }
            };
            // SAFETY: a handler of signals may do that: it reads an atomic, and what it calls says so of itself.
            unsafe { signal_hook::low_level::register(signal, give_back)? };
            signal_hook::flag::register_conditional_shutdown(signal, status(signal), Arc::clone(&came))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&found), signal as usize)?;
            signal_hook::flag::register(signal, Arc::clone(&came))?;
        }
        Ok(Self(found))
    }

    /// The exit status that tells of the signal that came, if one did: 130, 143 or 129.
    pub fn status(&self) -> Option<u8> {
        let signal = self.0.load(Ordering::SeqCst) as i32;
        (signal != 0).then(|| status(signal) as u8)
    }
}

/// Whether whoever started the process wants it to ignore the signal, as `nohup` does.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: asks for a disposition, and changes none; the structure is plain numbers, which the call fills in.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn is_ignored(_: i32) -> bool {
    false
}

/// The exit status with which shells tell of a signal.
fn status(signal: i32) -> i32 {
    128 + signal
}

impl Observer for Signals {
    fn on(&mut self, _: &Event) -> thalweg::Result<Control> {
        Ok(if self.status().is_some() { Control::Interrupt } else { Control::Continue })
    }
}
