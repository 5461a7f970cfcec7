//! The modes of the terminal that keys are read from: raw while the dashboard is on the screen, otherwise as they were found.

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::{Error, IsTerminal, Result, stdin};
    use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
    use std::sync::OnceLock;

    /// The terminal, and its modes as they were found.
    static FOUND: OnceLock<(RawFd, libc::termios)> = OnceLock::new();

    fn find() -> Result<(RawFd, libc::termios)> {
        if let Some(found) = FOUND.get() {
            return Ok(*found);
        }
        let terminal = match stdin() {
            input if input.is_terminal() => input.as_raw_fd(),
            _ => File::options().read(true).write(true).open("/dev/tty")?.into_raw_fd(),
        };
        // SAFETY: plain numbers, which the call fills in.
        let modes = unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            checked(libc::tcgetattr(terminal, &raw mut modes))?;
            modes
        };
        Ok(*FOUND.get_or_init(|| (terminal, modes)))
    }

    fn checked(status: i32) -> Result<i32> {
        if status == -1 { Err(Error::last_os_error()) } else { Ok(status) }
    }

    /// Whether the process may use the terminal, and is no background job of its shell.
    ///
    /// # Errors
    /// There is no terminal of which it could be a job.
    pub fn is_in_front() -> Result<bool> {
        let (terminal, _) = find()?;
        // SAFETY: asks for numbers.
        unsafe { Ok(checked(libc::tcgetpgrp(terminal))? == libc::getpgrp()) }
    }

    /// Lets keys arrive as they are pressed, unechoed, and without making signals.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn make_raw() -> Result<()> {
        let (terminal, mut modes) = find()?;
        // SAFETY: changes a copy, which the terminal is given.
        unsafe {
            libc::cfmakeraw(&raw mut modes);
            checked(libc::tcsetattr(terminal, libc::TCSANOW, &raw const modes)).map(drop)
        }
    }

    /// Gives the terminal the modes that it had, and drops the keys that nobody has read, which were not meant for the shell. A
    /// handler of signals may call it.
    pub fn restore() {
        if let Some((terminal, modes)) = FOUND.get() {
            // SAFETY: a handler of signals may make both calls.
            unsafe {
                libc::tcsetattr(*terminal, libc::TCSANOW, &raw const *modes);
                libc::tcflush(*terminal, libc::TCIFLUSH);
            }
        }
    }
}

#[cfg(not(unix))]
mod other {
    use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};

    pub fn is_in_front() -> std::io::Result<bool> {
        Ok(true)
    }

    pub fn make_raw() -> std::io::Result<()> {
        enable_raw_mode()
    }

    pub fn restore() {
        let _ = disable_raw_mode();
    }
}

#[cfg(not(unix))]
pub use other::{is_in_front, make_raw, restore};
#[cfg(unix)]
pub use unix::{is_in_front, make_raw, restore};
