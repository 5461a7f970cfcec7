//! The command line.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::peers::GROUPS;
use crate::task::{NETWORKS, Network, SAMPLES};

/// What `peers --help` says.
pub const HELP: &str = "\
Times one training step of thalweg and of what one would use instead, in alternating turns.

Usage: peers [OPTIONS]

  --networks LIST   inputs of the networks to measure [default: 3072,784]
  --batches LIST    samples of a step [default: 1,8,32,128,512,2048]
  --peers LIST      thalweg-gpu, thalweg-mixed, burn-wgpu, meganeura, thalweg-cpu, burn-flex, candle-cpu [default: all]
  --rounds N        turns of each peer [default: 5]
  --json FILE       also writes all numbers there; `-`: to the standard output, instead of the tables
  --help            prints this";

/// What is to be done.
pub enum Task {
    /// Print [`HELP`].
    Help,
    /// Be one peer's process.
    Serve(&'static str, Network, usize),
    /// Measure.
    Measure(Options),
}

/// What is to be measured.
pub struct Options {
    /// The networks.
    pub networks: Vec<Network>,
    /// The batch sizes.
    pub batches: Vec<usize>,
    /// The peers.
    pub peers: Vec<&'static str>,
    /// Turns of each peer.
    pub rounds: usize,
    /// Where the numbers go.
    pub json: Option<String>,
}

/// Reads the arguments, without the program's name.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Task> {
    let mut options = Options {
        networks: NETWORKS.to_vec(),
        batches: vec![1, 8, 32, 128, 512, 2048],
        peers: GROUPS.iter().flat_map(|group| group.peers).copied().collect(),
        rounds: 5,
        json: None,
    };
    while let Some(arg) = args.next() {
        let mut value = |what: &str| args.next().with_context(|| format!("{arg}: expected {what}, found nothing"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(Task::Help),
            "serve" => {
                let peer = peer(&value("a peer")?)?;
                let network = network(&value("a network")?)?;
                return Ok(Task::Serve(peer, network, rows(&value("a batch size")?)?));
            }
            "--networks" => options.networks = list(&arg, &value("networks")?, network)?,
            "--batches" => options.batches = list(&arg, &value("batch sizes")?, rows)?,
            "--peers" => options.peers = list(&arg, &value("peers")?, peer)?,
            "--rounds" => options.rounds = number(&value("a number")?, 1000).with_context(|| arg.clone())?,
            "--json" => options.json = Some(value("a file")?),
            _ => bail!("expected an option that --help lists, found {arg:?}"),
        }
    }
    Ok(Task::Measure(options))
}

fn list<T>(option: &str, text: &str, item: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    text.split(',').map(|text| item(text.trim())).collect::<Result<_>>().with_context(|| option.to_owned())
}

fn number(text: &str, most: usize) -> Result<usize> {
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => bail!("expected a number from 1 to {most}, found {text:?}"),
    }
}

fn rows(text: &str) -> Result<usize> {
    number(text, SAMPLES)
}

fn network(text: &str) -> Result<Network> {
    let found = usize::from_str(text).ok().and_then(Network::of);
    found.with_context(|| format!("expected {}, found {text:?}", either(&NETWORKS.map(|network| network.inputs))))
}

fn peer(text: &str) -> Result<&'static str> {
    let all: Vec<&str> = GROUPS.iter().flat_map(|group| group.peers).copied().collect();
    let found = all.iter().find(|&&peer| peer == text).copied();
    found.with_context(|| format!("expected {}, found {text:?}", either(&all)))
}

fn either<T: Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(" or ")
}
