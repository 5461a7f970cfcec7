//! A run on several ranks: what they agree on before the first step.

use serde::{Deserialize, Serialize};

use super::config::{Config, DistributedConfig, DistributedMode};
use super::folder::Place;
use super::load::{Loaded, Resolved};
use super::train::Prepared;
use crate::device::Device;
use crate::engine::{Forms, Precision, Setup};
use crate::error::{Error, Result};
use crate::gpu::Measuring;
use crate::gpu::adapter::{self, Preference};
use crate::mpi::{self, Distributed, Ranks, Sharing};

/// The steps of local SGD from one mean to the next, unless told otherwise.
const EVERY: u64 = 8;

/// What a rank tells rank 0 of itself.
#[derive(Serialize, Deserialize)]
struct Hello {
    version: String,
    config: String,
    data: String,
}

impl Prepared {
    /// Resolves a configuration as [`open`](Self::open) does, on rank 0 of several, whose others [`follow`]; each has the device of
    /// its place among those on its machine. One rank alone has the engine of one process.
    ///
    /// # Errors
    /// What [`open`](Self::open) refuses; ranks of another version, with another configuration or other data; what several ranks cannot
    /// share ([`Sharing::check`]).
    pub fn open_on(ranks: Ranks, config: Config, place: Place, measuring: Measuring) -> Result<Self> {
        config.expect_whole_checkpoints(&place)?;
        Self::open_with(config, place, measuring, Loaded::load_at, |config, setup, data| {
            if ranks.size == 1 {
                return config.on_rank(&ranks).engine(setup, measuring);
            }
            let sharing = config.sharing(&setup);
            sharing.check(&setup, &ranks)?;
            expect_alike(&ranks, config, data)?;
            let (engine, reason) = config.on_rank(&ranks).engine(setup, measuring)?;
            // With the forms of rank 0 the others repeat their bits as well.
            ranks.broadcast(&mut encode(&engine.forms())?);
            let devices = ranks.gather(engine.describe().as_bytes());
            let devices: Vec<String> = devices.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
            Ok((Box::new(Distributed::new(ranks, engine, sharing, &devices)?), reason))
        })
    }
}

/// Takes part, on another rank than the first, in the run that rank 0 [opens](Prepared::open_on) with the same configuration; returns
/// when that is over.
///
/// # Errors
/// What [`Prepared::open`] refuses; what the engine meets.
pub fn follow(ranks: Ranks, mut config: Config, place: &Place, measuring: Measuring) -> Result<()> {
    let Resolved { setup, data, .. } = config.resolve_with(|config| Loaded::load_at(config, place))?;
    let text = toml::to_string(&config).map_err(|error| Error::config("config", error.to_string()))?;
    ranks.gather(&encode(&Hello { version: env!("CARGO_PKG_VERSION").into(), config: text, data })?);
    let mut forms = Vec::new();
    ranks.broadcast(&mut forms);
    config.forms = decode::<Forms>(&forms)?;
    let sharing = config.sharing(&setup);
    let (engine, _) = config.on_rank(&ranks).engine(sharing.of_follower(setup, &ranks), measuring)?;
    ranks.gather(engine.describe().as_bytes());
    mpi::follow(ranks, engine, sharing)
}

/// Refuses ranks that would train something else than rank 0.
fn expect_alike(ranks: &Ranks, config: &Config, data: &str) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let hellos = ranks.gather(&encode(&Hello { version: version.into(), config: String::new(), data: data.into() })?);
    for (rank, bytes) in hellos.iter().enumerate().skip(1) {
        let hello: Hello = decode(bytes)?;
        if hello.version != version {
            let found = format!("expected thalweg {version}, as rank 0 is, found {} on rank {rank}", hello.version);
            return Err(Error::config("distributed", found));
        }
        Config::resolve(super::parse_table("config".as_ref(), &hello.config)?, Vec::new(), Vec::new())?
            .check_rank(config, rank)?;
        if hello.data != data {
            let found = format!("expected {data}, as rank 0 has, found {} on rank {rank}", hello.data);
            return Err(Error::config("data.source", found));
        }
    }
    Ok(())
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::config("distributed", error.to_string()))
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    let bad = |error| Error::config("distributed", format!("expected ranks of one version, found others: {error}"));
    serde_json::from_slice(bytes).map_err(bad)
}

impl Config {
    /// What the ranks share of a run with this setup.
    fn sharing(&self, setup: &Setup) -> Sharing {
        let DistributedConfig { mode, every, start } = self.distributed.unwrap_or_default();
        let per_epoch = self.plan().steps_per_epoch(setup);
        match mode {
            DistributedMode::Data => Sharing::Data,
            DistributedMode::Local => {
                Sharing::Local { from: start.unwrap_or(0).saturating_mul(per_epoch), every: every.unwrap_or(EVERY) }
            }
            DistributedMode::Swap => Sharing::Alone { order: self.train.order, per_epoch },
        }
    }

    /// Refuses checkpoints, which rank 0 writes, of weights that each rank has for itself.
    fn expect_whole_checkpoints(&self, place: &Place) -> Result<()> {
        if self.distributed.unwrap_or_default().mode != DistributedMode::Swap {
            return Ok(());
        }
        if matches!(place, Place::Resume(_)) {
            return Err(Error::config(
                "--resume",
                "expected another mode than swap, whose ranks have weights of their own",
            ));
        }
        if !self.train.checkpoint_every.is_none() {
            let found =
                "expected 0 where distributed.mode is swap, since each rank has weights of its own, found another";
            return Err(Error::config("train.checkpoint_every", found));
        }
        Ok(())
    }

    /// The configuration with the device of one rank: of a list, as `0,1`, the one at its place on its machine, over and over; of
    /// `auto` and `gpu`, the hardware adapter at that place, where there are any.
    pub fn on_rank(&self, ranks: &Ranks) -> Self {
        let mut config = self.clone();
        let devices: Vec<&str> = self.train.device.split(',').map(str::trim).collect();
        let is_list = devices.len() > 1 && devices.iter().all(|device| !device.is_empty());
        if is_list {
            config.train.device = devices[ranks.local % devices.len()].into();
        } else if self.is_any_gpu() && ranks.local_size > 1 {
            let preference = Preference::from_env();
            let is_there = |a: &&adapter::Description| a.hardware && preference.takes(a);
            let all = adapter::list();
            let hardware: Vec<usize> = all.iter().filter(is_there).map(|a| a.index).collect();
            if !hardware.is_empty() && preference.name.is_none() {
                config.train.device = hardware[ranks.local % hardware.len()].to_string();
            }
        }
        config
    }

    /// Whether any GPU will do.
    fn is_any_gpu(&self) -> bool {
        let is_any = matches!(self.train.device.parse(), Ok(Device::Auto | Device::Gpu));
        is_any && self.train.precision != Precision::F64
    }
}
