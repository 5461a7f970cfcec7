//! Everything that can go wrong, each in one line that says where, what was expected and what was found.

use std::path::{Path, PathBuf};

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate: what went wrong, in one line that says where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has a value it cannot have.
    #[error("{key}: {message}")]
    Config {
        /// The setting, as it stands in the configuration: `train.batch`.
        key: String,
        /// What was expected of the setting, and what was found.
        message: String,
    },
    /// A data set cannot be used.
    #[error("{place}: {message}")]
    Data {
        /// The path of the file, or the name of the data set.
        place: String,
        /// What was expected of the data, and what was found.
        message: String,
    },
    /// A file of weights does not fit the model.
    #[error("{path}: {message}")]
    Weights {
        /// The path of the file of weights.
        path: PathBuf,
        /// What was expected of the weights, and what was found.
        message: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The reason that the operating system gives.
        reason: std::io::Error,
    },
    /// No adapter of the wanted kind is there, or it refuses to work.
    #[error("device: {0}")]
    Device(String),
    /// The device is lost: its driver gave it up, it was unplugged or destroyed. Every call of an engine on it fails from then
    /// on, and what it held is gone; the reason, in words.
    #[error("device: lost: {0}; open it again, and go on from the last checkpoint (thalweg train --resume RUN)")]
    DeviceLost(String),
    /// The adapter has too little memory.
    #[error("device: {what} needs {needed} bytes, {place} offers {offered}; {advice}")]
    DeviceMemory {
        /// The name of the buffer, or `the run` for the sum of all buffers.
        what: String,
        /// The number of bytes needed.
        needed: u64,
        /// The number of bytes that can be had.
        offered: u64,
        /// The name of what limits the memory.
        place: String,
        /// What helps, in words: the largest batch and the most replicas that would fit, where there are any.
        advice: String,
    },
    /// The loss, or a weight, stopped being finite.
    #[error(
        "the loss of replica {replica} became {loss} at step {step} with learning rate {lr}; {}. Try a lower learning rate or clip_norm",
        kept(*restored)
    )]
    Diverged {
        /// The step whose loss is not finite, or after which an evaluation or a weight was not, counted from 0.
        step: u64,
        /// The learning rate of that step, for that replica.
        lr: f64,
        /// The number of the replica, counted from 0.
        replica: usize,
        /// The loss that is not finite; NaN for a weight.
        loss: f64,
        /// The step before which the weights were taken that the engine now holds, counted from 0; none where the weights of a
        /// run stay as they were, since no loss of those after them was finite.
        restored: Option<u64>,
    },
}

/// The most characters of a message: what a file holds may be quoted in it.
const MOST_SHOWN: usize = 2000;

/// The text as one line of bounded length, whatever it quotes.
fn one_line(text: String) -> String {
    if text.len() <= MOST_SHOWN && !text.contains(char::is_control) {
        return text;
    }
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        if line.len() > MOST_SHOWN {
            return line + "...";
        }
    }
    line
}

/// Which weights are left, in words.
fn kept(restored: Option<u64>) -> String {
    restored.map_or("the weights stay as they were".into(), |step| format!("the weights are those before step {step}"))
}

impl Error {
    pub(crate) fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { key: one_line(key.into()), message: one_line(message.into()) }
    }

    pub(crate) fn data(place: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Data { place: place.as_ref().display().to_string(), message: one_line(message.into()) }
    }

    #[cfg(feature = "run")]
    pub(crate) fn weights(path: &Path, message: impl Into<String>) -> Self {
        Self::Weights { path: path.into(), message: one_line(message.into()) }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Io { path, reason }
    }
}
