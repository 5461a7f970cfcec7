//! The program while it serves pages, and a client that sends what no browser would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::program::program;

/// No answer takes so long, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program, which serves, and ends with the value.
pub struct Serving {
    child: Child,
    pub port: u16,
    pub token: String,
}

impl Serving {
    /// Starts it, and reads the address that it prints.
    #[track_caller]
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = program(dir, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("page    ") {
            line.clear();
            assert!(printed.read_line(&mut line).unwrap() > 0, "{args:?} printed no address");
        }
        // What it prints further must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut printed, &mut std::io::sink()));
        let (place, token) = line.trim().split_once("/?token=").unwrap();
        let port = place.strip_prefix("page    http://127.0.0.1:").unwrap().parse().unwrap();
        Self { child, port, token: token.into() }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.port, self.token)
    }

    /// Sends lines, `@` in which stands for the token, with the empty one at their end.
    pub fn send(&self, lines: &[&str]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = lines.join("\r\n").replace('@', &self.token) + "\r\n\r\n";
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// The status, the head and the body of the answer to such lines.
    #[track_caller]
    pub fn ask(&self, lines: &[&str]) -> (u16, String, String) {
        let mut answer = Vec::new();
        let _ = self.send(lines).read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{lines:?}: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.into())
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> (u16, String, String) {
        self.ask(&[&format!("GET {target} HTTP/1.1"), "Host: localhost"])
    }

    #[track_caller]
    pub fn post(&self, path: &str) -> (u16, String, String) {
        self.ask(&[&format!("POST {path} HTTP/1.1"), "Host: localhost", "Authorization: Bearer @", "Content-Length: 0"])
    }

    /// The states of the run, as they come.
    pub fn states(&self) -> impl Iterator<Item = Value> + use<> {
        let lines = BufReader::new(self.send(&["GET /events?token=@ HTTP/1.1", "Host: localhost"])).lines();
        let lines = lines.map_while(Result::ok);
        lines.filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap()))
    }

    /// Waits for its end; what it said on standard error.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    /// Sends it a signal by its number.
    #[cfg(unix)]
    pub fn signal(&self, signal: i32) {
        let kill =
            std::process::Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
