//! The other end of a peer's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::task::Network;

/// A peer that has not answered for so long hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why there are no times of a peer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It ended, hung or said why it cannot go on.
    Failed(String),
    /// Its losses are not those of training.
    DoesNotTrain(String),
}

/// A peer in a process of its own.
pub struct Served {
    /// Where and how it computes.
    pub description: String,
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

impl Served {
    /// Starts the process, and waits until the peer is checked and warm.
    pub fn start(name: &str, network: Network, rows: usize) -> Result<Self, Fault> {
        let failed = |error: std::io::Error| Fault::Failed(format!("its process cannot be started: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["serve", name, &network.inputs.to_string(), &rows.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;

        let (sender, answers) = channel();
        if let Some(stdout) = child.stdout.take() {
            spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let Some(answer) = line.strip_prefix("> ") else { continue };
                    if sender.send(answer.to_owned()).is_err() {
                        break;
                    }
                }
            });
        }
        let complaints = child.stderr.take().map(|mut stderr| {
            spawn(move || {
                let mut bytes = Vec::new();
                // What was read before an error still tells something.
                let _ = stderr.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });

        let requests = child.stdin.take();
        let mut served = Self { description: String::new(), child, requests, answers, complaints };
        let answer = served.answer()?;
        served.description = match answer.split_once(' ') {
            Some(("ready", description)) => description.to_owned(),
            Some(("untrained", why)) => return Err(Fault::DoesNotTrain(why.to_owned())),
            _ => return Err(Fault::Failed(format!("expected that it is ready, found {answer:?}"))),
        };
        served.signal("-STOP");
        Ok(served)
    }

    /// The seconds of so many steps. Between its turns the process is stopped, since some peers are busy even when they have
    /// nothing to do: burn's takes an eighth of a core.
    pub fn turn(&mut self, steps: usize) -> Result<f64, Fault> {
        self.signal("-CONT");
        let seconds = self.seconds(steps);
        self.signal("-STOP");
        seconds
    }

    /// Where there are no such signals, the process just goes on.
    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
    }

    fn seconds(&mut self, steps: usize) -> Result<f64, Fault> {
        if let Some(requests) = &mut self.requests {
            // If the process has ended, the answer below says why.
            let _ = writeln!(requests, "{steps}");
        }
        let answer = self.answer()?;
        answer.parse().map_err(|_| Fault::Failed(format!("expected seconds, found {answer:?}")))
    }

    fn answer(&mut self) -> Result<String, Fault> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => match answer.strip_prefix("error ") {
                Some(why) => Err(Fault::Failed(why.to_owned())),
                None => Ok(answer),
            },
            Err(RecvTimeoutError::Timeout) => Err(Fault::Failed(format!("no answer in {} s", PATIENCE.as_secs()))),
            Err(RecvTimeoutError::Disconnected) => Err(Fault::Failed(self.last_words())),
        }
    }

    /// How the process ended.
    fn last_words(&mut self) -> String {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        // A panic's text is on the line after the place; a library's own last line is better than nothing.
        let mut lines = complaints.lines().skip_while(|line| !line.contains("panicked at"));
        let text = lines.nth(1).or_else(|| complaints.lines().rfind(|line| !line.trim().is_empty()));
        text.map_or_else(|| status.clone(), |text| format!("{status}: {text}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It ends with its input, unless it hangs.
        self.requests = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
