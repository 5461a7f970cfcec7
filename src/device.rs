//! Choosing where to compute.

use std::fmt;
use std::str::FromStr;

use crate::cpu::CpuEngine;
use crate::engine::{Engine, Precision, Setup};
use crate::error::{Error, Result};
use crate::gpu::adapter::{self, Gpu};
use crate::gpu::{GpuEngine, Options};

/// The device that computes, as a user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// `auto`: a hardware GPU if there is one, else the CPU engine.
    #[default]
    Auto,
    /// `cpu`: the CPU engine.
    Cpu,
    /// `gpu`: the first adapter, hardware if there is any, else a software one.
    Gpu,
    /// The adapter of this number in the list of [`adapter::list`], counted from 0.
    Index(usize),
    /// The first adapter whose name contains this text, in any case.
    Name(String),
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            "" => return Err(Error::config("train.device", "expected auto, cpu, gpu, or an adapter's number or name")),
            _ => text.parse().map_or_else(|_| Self::Name(text.into()), Self::Index),
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::Gpu => write!(f, "gpu"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl Device {
    /// Opens the engine, and returns with it in words why it is this one.
    ///
    /// # Errors
    /// What [`find`](Self::find) refuses; f64 on an adapter; what [`Setup::check`] refuses; [`Error::DeviceMemory`].
    pub fn open(&self, setup: Setup, options: Options) -> Result<(Box<dyn Engine>, String)> {
        let (adapter, reason) = self.find(setup.precision)?;
        Ok((Self::build(adapter.map(|a| a.index), setup, options)?, reason))
    }

    /// The adapter that is meant, or none for the CPU engine, and in words why.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::Config`] where there is no such adapter.
    pub fn find(&self, precision: Precision) -> Result<(Option<adapter::Description>, String)> {
        let adapters = if matches!(self, Self::Cpu) { Vec::new() } else { adapter::list() };
        let (index, reason) = match self {
            Self::Cpu => (None, "asked for"),
            Self::Auto if precision == Precision::F64 => (None, "only the CPU engine has f64"),
            Self::Auto => match adapters.iter().position(|a| a.hardware) {
                Some(index) => (Some(index), "the first hardware GPU"),
                None if adapters.is_empty() => (None, "no GPU found"),
                None => (None, "no hardware GPU found, only software ones; --device gpu takes those"),
            },
            Self::Gpu if adapters.is_empty() => {
                return Err(Gpu::open_any().err().unwrap_or_else(|| Error::Device("no adapter found".into())));
            }
            Self::Gpu if adapters[0].hardware => (Some(0), "the first hardware GPU"),
            Self::Gpu => (Some(0), "a software adapter, for want of a GPU"),
            Self::Index(_) | Self::Name(_) => {
                let Some(index) = self.choose(&adapters) else {
                    let names: Vec<String> = adapters.iter().map(|a| format!("{} ({})", a.index, a.name)).collect();
                    let list = if names.is_empty() { "none".to_string() } else { names.join(", ") };
                    return Err(Error::config(
                        "train.device",
                        format!("expected auto, cpu, gpu or an adapter of: {list}; found {:?}", self.to_string()),
                    ));
                };
                (Some(index), "asked for")
            }
        };
        Ok((index.map(|index| adapters[index].clone()), reason.to_string()))
    }

    /// The place in `adapters` of the one that a number or a name means; none for the other devices.
    pub fn choose(&self, adapters: &[adapter::Description]) -> Option<usize> {
        match self {
            Self::Index(index) => adapters.get(*index).map(|a| a.index),
            Self::Name(name) => adapters.iter().position(|a| a.name.to_lowercase().contains(&name.to_lowercase())),
            Self::Auto | Self::Cpu | Self::Gpu => None,
        }
    }

    /// The engine on the adapter at `index`, or on the CPU.
    pub(crate) fn build(index: Option<usize>, setup: Setup, options: Options) -> Result<Box<dyn Engine>> {
        Ok(match (index, setup.precision) {
            (None, Precision::F32 | Precision::Mixed) => Box::new(CpuEngine::<f32>::new(setup)?),
            (None, Precision::F64) => Box::new(CpuEngine::<f64>::new(setup)?),
            (Some(_), Precision::F64) => {
                return Err(Error::config("train.precision", "f64 needs the CPU engine: expected device cpu or auto"));
            }
            (Some(index), Precision::F32 | Precision::Mixed) => {
                Box::new(GpuEngine::new(Gpu::open(index)?, setup, options)?)
            }
        })
    }
}
