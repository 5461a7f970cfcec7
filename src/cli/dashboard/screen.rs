//! The terminal's screen while the dashboard has it: how it is taken, and given back as it was.

use std::io::{BufWriter, Result, Stdout, Write, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use super::modes;

/// Takes the second screen of the terminal, empties it, and hides the cursor.
const TAKE: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
/// Plain letters, the cursor, and the screen as it was.
const GIVE_BACK: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// Whose the screen is: the shell's, the dashboard's, or the shell's for good.
const AWAY: u8 = 0;
const TAKEN: u8 = 1;
const OVER: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(AWAY);

/// Gives the screen back for good, if the dashboard has it. Any thread may call it, a panicking one too, and a handler of
/// signals.
pub fn give_back() {
    leave(OVER);
}

/// Whether the screen is the dashboard's now.
pub fn is_taken() -> bool {
    STATE.load(Ordering::SeqCst) == TAKEN
}

/// Whether the screen was given back for good.
pub fn is_over() -> bool {
    STATE.load(Ordering::SeqCst) == OVER
}

fn leave(next: u8) {
    if STATE.swap(next, Ordering::SeqCst) == TAKEN {
        write_at_once(GIVE_BACK);
        modes::restore();
    }
}

#[cfg(unix)]
fn write_at_once(bytes: &[u8]) {
    // SAFETY: the bytes are there; a handler of signals may make the call.
    unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len()) };
}

#[cfg(not(unix))]
fn write_at_once(bytes: &[u8]) {
    let _ = stdout().write_all(bytes).and_then(|()| stdout().flush());
}

/// Standard output, as long as the screen is the dashboard's; what is written later is dropped.
struct Output(Stdout);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if is_taken() { self.0.write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// The screen, to be drawn on. Dropping it gives it back for good.
pub struct Screen(Canvas);

type Canvas = Terminal<CrosstermBackend<BufWriter<Output>>>;

/// What is drawn on, which is empty.
fn canvas() -> Result<Canvas> {
    // A frame goes out in one piece.
    Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, Output(stdout()))))
}

impl Screen {
    /// Takes the screen, if the process is no background job.
    ///
    /// # Errors
    /// There is no terminal, or it refuses.
    pub fn open() -> Result<Self> {
        let is_in_front = modes::is_in_front()?;
        give_back_on_panic();
        let mut screen = Self(canvas()?);
        if is_in_front {
            screen.take()?;
        }
        Ok(screen)
    }

    /// Takes the screen, whatever was drawn on it since; not if it was given back for good.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn take(&mut self) -> Result<()> {
        if is_over() {
            return Ok(());
        }
        modes::make_raw()?;
        stdout().write_all(TAKE)?;
        stdout().flush()?;
        if STATE.swap(TAKEN, Ordering::SeqCst) == OVER {
            // A panic or a signal came in between.
            leave(OVER);
        }
        self.0 = canvas()?;
        Ok(())
    }

    /// Gives the screen back for a while.
    pub fn leave(&self) {
        leave(AWAY);
    }

    /// Lets the screen be the shell's, which has taken it already.
    pub fn lose(&self) {
        let _ = STATE.compare_exchange(TAKEN, AWAY, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The width of the last frame, in characters.
    pub fn width(&mut self) -> u16 {
        self.0.get_frame().area().width
    }

    /// Draws a frame, as large as the terminal is by now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, frame: impl FnOnce(&mut Frame)) -> Result<()> {
        self.0.draw(frame).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Lets a panic be told on the screen that was there before.
fn give_back_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
    });
}
