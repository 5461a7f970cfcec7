//! Stopping and going on as a job of the shell: Ctrl-Z, `fg` and `bg`.

#[cfg(unix)]
mod unix {
    use std::io::Result;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::sleep;
    use std::time::Duration;

    use signal_hook::consts::signal::{SIGCONT, SIGSTOP, SIGTSTP};
    use signal_hook::{flag, low_level};

    use super::super::screen::{self, Screen};

    /// What the signals ask for that stop a job and let it go on.
    pub struct Jobs {
        is_stop_asked: Arc<AtomicBool>,
        has_gone_on: Arc<AtomicBool>,
    }

    impl Jobs {
        /// Takes the signals over.
        ///
        /// # Errors
        /// The system refuses.
        pub fn watch() -> Result<Self> {
            let (is_stop_asked, has_gone_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let asked = Arc::clone(&is_stop_asked);
            let stop = move || {
                if screen::is_taken() {
                    asked.store(true, Ordering::SeqCst);
                } else {
                    let _ = low_level::emulate_default_handler(SIGTSTP);
                }
            };
            // SAFETY: a handler of signals may do all of that: it reads and writes atomics, and raises a signal.
            unsafe { low_level::register(SIGTSTP, stop)? };
            flag::register(SIGCONT, Arc::clone(&has_gone_on))?;
            Ok(Self { is_stop_asked, has_gone_on })
        }

        /// Does what a terminal does at Ctrl-Z: stops the whole job, of which a `cargo run` may be a part.
        pub fn stop_all(&self, screen: &Screen) {
            // First, since the shell takes the terminal once it sees another process of the job stopped.
            screen.leave();
            // SAFETY: sends a signal.
            unsafe { libc::kill(0, SIGTSTP) };
            // It may arrive in another thread, and a little later.
            for _ in 0..100 {
                if self.has_gone_on() {
                    break;
                }
                sleep(Duration::from_millis(10));
            }
        }

        /// Stops the process if it was asked to, and returns when it goes on. The screen is nobody's then.
        pub fn follow(&self, screen: &Screen) {
            if self.is_stop_asked.swap(false, Ordering::SeqCst) {
                screen.leave();
                let _ = low_level::raise(SIGSTOP);
            }
            if self.has_gone_on() {
                screen.lose();
            }
        }

        fn has_gone_on(&self) -> bool {
            self.has_gone_on.swap(false, Ordering::SeqCst)
        }
    }

    /// Does what a terminal does at Ctrl-C.
    pub fn interrupt() {
        // SAFETY: sends a signal.
        unsafe { libc::kill(0, libc::SIGINT) };
    }
}

#[cfg(not(unix))]
mod other {
    use super::super::screen::Screen;

    /// Nothing: there are no jobs.
    pub struct Jobs;

    impl Jobs {
        pub fn watch() -> std::io::Result<Self> {
            Ok(Self)
        }

        pub fn stop_all(&self, _: &Screen) {}

        pub fn follow(&self, _: &Screen) {}
    }

    pub fn interrupt() {
        let _ = signal_hook::low_level::raise(signal_hook::consts::signal::SIGINT);
    }
}

#[cfg(not(unix))]
pub use other::{Jobs, interrupt};
#[cfg(unix)]
pub use unix::{Jobs, interrupt};
