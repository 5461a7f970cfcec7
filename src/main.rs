//! The program: a thin shell over the library.

mod cli;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Without a folder of the session, the layer with which Mesa asks the display for the GPU to put first complains on standard
    // error. thalweg has an order of its own.
    let has_session = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).is_absolute());
    if !has_session && std::env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: no other thread has begun, which might read the environment meanwhile.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    cli::main()
}
