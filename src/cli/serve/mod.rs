//! Pages for the browsers of this machine: of a run while it goes on, and of the runs in a folder.

mod answer;
mod guard;
mod live;
mod now;
mod query;
mod runs;
mod server;

use std::io::ErrorKind;
use std::sync::Arc;

use thalweg::event::Observer;

pub use answer::{Answer, Route, Site};
pub use query::values;
pub use runs::Runs;
pub use server::Server;

use live::{Live, Watch};
use server::Running;

/// The port of the page of a run, where none is named.
pub const PORT: &str = "8717";

/// A port of this machine, as a flag names it.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "expected a port from 0 to 65535; a configuration stands before the flag".into())
}

/// A server with its port, which the flag of this name asked for.
///
/// # Errors
/// The port is taken, or not the user's to take.
pub fn bind(flag: &str, port: u16) -> anyhow::Result<Server> {
    Server::bind(port).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow::anyhow!("{flag}: expected a free port, found {port} in use; 0 takes any free one")
        }
        _ => anyhow::anyhow!("{flag}: port {port} of 127.0.0.1: {error}"),
    })
}

/// The page of a run while it goes on.
pub struct LivePage {
    address: String,
    live: Arc<Live>,
    watch: Watch,
    server: Running,
}

impl LivePage {
    /// Begins to serve.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn open(server: Server) -> std::io::Result<Self> {
        let (address, live) = (server.address(), Arc::new(Live::default()));
        let server = server.start(Arc::clone(&live) as Arc<dyn Site>)?;
        Ok(Self { address, watch: live.observer(), live, server })
    }

    /// The address of the page, with the token.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The observer that leaves to the page what happens in the run.
    pub fn observer(&mut self) -> &mut dyn Observer {
        &mut self.watch
    }

    /// Tells the page what became of the run, with the rows of the last table, and ends the server when that has been sent.
    pub fn close(self, end: &str, table: &[Vec<String>]) {
        self.live.end(end, table);
        self.server.end();
    }
}
