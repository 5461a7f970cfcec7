//! Files in other programs' formats.

pub mod columns;
mod names;
pub mod npz;
#[cfg(feature = "report")]
pub mod onnx;
pub mod safetensors;
pub(crate) mod sealed;
#[cfg(feature = "report")]
pub(crate) mod tensorboard;

/// What an event file's name begins with, as TensorBoard asks for, and ends with, by which those of other programs are told.
const EVENTS: (&str, &str) = ("events.out.tfevents.", ".thalweg");

/// The name of an event file that was begun so many seconds after 1970.
#[cfg(feature = "report")]
fn event_file(seconds: u64) -> String {
    format!("{}{seconds:010}{}", EVENTS.0, EVENTS.1)
}

/// The seconds after 1970 at which an event file of this name was begun; none for files of other kinds and of other programs.
pub(crate) fn event_seconds(name: &str) -> Option<u64> {
    name.strip_prefix(EVENTS.0)?.strip_suffix(EVENTS.1)?.parse().ok()
}
