//! Choosing where to compute.

use std::fmt;
use std::str::FromStr;

use crate::cpu::CpuEngine;
use crate::engine::{Engine, Precision, Setup};
use crate::error::{Error, Result};
use crate::gpu::adapter::{self, Description, Gpu, Preference};
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
        let (gpu, reason) = self.find(setup.precision)?;
        Ok((Self::build(gpu, setup, options)?, reason))
    }

    /// The adapter that is meant, opened, or none for the CPU engine, and in words why. Where none is named, one that cannot be
    /// opened is passed over, and the words say so.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::Config`] where there is no such adapter, or it cannot be opened.
    pub fn find(&self, precision: Precision) -> Result<(Option<Gpu>, String)> {
        let is_cpu = *self == Self::Cpu || *self == Self::Auto && precision == Precision::F64;
        let adapters = if is_cpu { Vec::new() } else { adapter::list() };
        self.find_in(precision, &adapters, &Preference::from_env(), |adapter| Gpu::open(adapter.index))
    }

    /// What [`find`](Self::find) finds among `adapters`, of which `open` opens one.
    fn find_in<T>(
        &self,
        precision: Precision,
        adapters: &[Description],
        preference: &Preference,
        open: impl FnMut(&Description) -> Result<T>,
    ) -> Result<(Option<T>, String)> {
        match self {
            Self::Cpu => Ok((None, "asked for".into())),
            Self::Auto if precision == Precision::F64 => Ok((None, "only the CPU engine has f64".into())),
            Self::Auto | Self::Gpu => {
                // Software is taken where it is asked for.
                let takes_software = *self == Self::Gpu || preference.name.is_some();
                let takes = |a: &&Description| preference.takes(a) && (a.hardware || takes_software);
                match adapter::first(adapters.iter().filter(takes), open) {
                    (Some((opened, adapter)), refused) => Ok((Some(opened), why_this(adapter, preference, &refused))),
                    (None, refused) if *self == Self::Auto => Ok((None, why_none(adapters, preference, &refused))),
                    (None, refused) => Err(adapter::none_opened(adapters, preference, &refused)),
                }
            }
            Self::Index(_) | Self::Name(_) => match self.choose(adapters) {
                Some(index) => Ok((adapters.get(index).map(open).transpose()?, "asked for".into())),
                None => {
                    let names: Vec<String> = adapters.iter().map(|a| format!("{} ({})", a.index, a.name)).collect();
                    let list = if names.is_empty() { "none".to_string() } else { names.join(", ") };
                    Err(Error::config(
                        "train.device",
                        format!("expected auto, cpu, gpu or an adapter of: {list}; found {:?}", self.to_string()),
                    ))
                }
            },
        }
    }

    /// The place in `adapters` of the one that a number or a name means; none for the other devices.
    pub fn choose(&self, adapters: &[Description]) -> Option<usize> {
        match self {
            Self::Index(index) => adapters.get(*index).map(|a| a.index),
            Self::Name(name) => adapters.iter().position(|a| a.is_named(name)),
            Self::Auto | Self::Cpu | Self::Gpu => None,
        }
    }

    /// The engine on an opened adapter, or on the CPU.
    pub(crate) fn build(gpu: Option<Gpu>, setup: Setup, options: Options) -> Result<Box<dyn Engine>> {
        Ok(match (gpu, setup.precision) {
            (None, Precision::F32 | Precision::Mixed) => Box::new(CpuEngine::<f32>::new(setup)?),
            (None, Precision::F64) => Box::new(CpuEngine::<f64>::new(setup)?),
            (Some(_), Precision::F64) => {
                return Err(Error::config("train.precision", "f64 needs the CPU engine: expected device cpu or auto"));
            }
            (Some(gpu), Precision::F32 | Precision::Mixed) => Box::new(GpuEngine::new(gpu, setup, options)?),
        })
    }
}

/// Why an adapter was chosen that nobody asked for by itself, after those that refused.
fn why_this(adapter: &Description, preference: &Preference, refused: &[String]) -> String {
    let reason = match (&preference.name, adapter.hardware) {
        (Some(_), _) => "named by WGPU_ADAPTER_NAME",
        (None, true) => "the first hardware GPU",
        (None, false) => "a software adapter, for want of a GPU",
    };
    let mark = if adapter.conforms { "" } else { ", though its driver does not conform" };
    let passed_over = refused.iter().map(|why| format!("; {why}"));
    format!("{reason}{mark}{}", passed_over.collect::<String>())
}

/// Why `auto` takes the CPU engine.
fn why_none(adapters: &[Description], preference: &Preference, refused: &[String]) -> String {
    if !refused.is_empty() {
        return format!("no GPU can be opened: {}", refused.join("; "));
    }
    if adapters.is_empty() {
        return "no GPU found".into();
    }
    if preference.name.is_some() {
        return "no adapter of the name in WGPU_ADAPTER_NAME found".into();
    }
    match adapters.iter().find(|a| a.hardware && !a.conforms) {
        Some(a) => format!("no GPU found that conforms; --device {} takes {}, which does not", a.index, a.name),
        None => "no hardware GPU found, only software ones; --device gpu takes those".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, hardware: bool, conforms: bool) -> Description {
        Description {
            index,
            name: name.into(),
            backend: "Vulkan".into(),
            driver: "test 1".into(),
            hardware,
            conforms,
            subgroup: [32, 32],
            binding_bytes: 1 << 27,
            buffer_bytes: 1 << 28,
            workgroup_bytes: 1 << 14,
            invocations: 256,
            features: vec![],
        }
    }

    /// The name of the adapter that is opened, unless its name is refused, and the reason.
    fn found(
        device: &str,
        adapters: &[Description],
        preference: &Preference,
        refuses: &str,
    ) -> (Option<String>, String) {
        let open = |a: &Description| {
            let refused = || Error::Device(format!("{} cannot be opened: too old", a.name));
            if refuses.contains(&a.name) { Err(refused()) } else { Ok(a.name.clone()) }
        };
        match device.parse::<Device>().unwrap().find_in(Precision::F32, adapters, preference, open) {
            Ok(found) => found,
            Err(error) => (None, error.to_string()),
        }
    }

    #[test]
    fn one_that_cannot_be_opened_is_passed_over_with_a_word() {
        let all = [adapter(0, "A", true, true), adapter(1, "B", true, true), adapter(2, "soft", false, true)];
        let any = Preference::default();
        assert_eq!(found("auto", &all, &any, ""), (Some("A".into()), "the first hardware GPU".into()));
        let (name, why) = found("auto", &all, &any, "A");
        assert_eq!((name, why), (Some("B".into()), "the first hardware GPU; A cannot be opened: too old".into()));
        // Then the CPU engine, not a software adapter, which is slower.
        let (name, why) = found("auto", &all, &any, "A B");
        assert_eq!(name, None);
        assert_eq!(why, "no GPU can be opened: A cannot be opened: too old; B cannot be opened: too old");
        let (name, why) = found("gpu", &all, &any, "A B");
        assert_eq!(name, Some("soft".into()));
        assert!(why.starts_with("a software adapter, for want of a GPU; A cannot"), "{why}");
        assert!(found("gpu", &all, &any, "A B soft").1.contains("soft cannot be opened: too old; use --device cpu"));
        // One that is asked for is not replaced.
        assert_eq!(found("0", &all, &any, "A"), (None, "device: A cannot be opened: too old".into()));
        assert_eq!(found("b", &all, &any, ""), (Some("B".into()), "asked for".into()));
        assert_eq!(found("auto", &[], &any, ""), (None, "no GPU found".into()));
    }

    #[test]
    fn one_that_does_not_conform_is_taken_where_it_is_asked_for() {
        let all = [adapter(0, "soft", false, true), adapter(1, "dozen", true, false)];
        let any = Preference::default();
        let (name, why) = found("auto", &all, &any, "");
        assert_eq!(name, None);
        assert!(why.contains("--device 1 takes dozen, which does not"), "{why}");
        assert_eq!(found("gpu", &all, &any, "").0, Some("soft".into()));
        assert_eq!(found("gpu", &all[1..], &any, "").0, None);
        assert_eq!(found("1", &all, &any, "").0, Some("dozen".into()));
        let allowing = Preference { nonconforming: Some(true), ..any };
        let (name, why) = found("auto", &all, &allowing, "");
        assert_eq!(name, Some("dozen".into()));
        assert_eq!(why, "the first hardware GPU, though its driver does not conform");
    }

    #[test]
    fn the_environment_names_an_adapter() {
        let all = [adapter(0, "A", true, true), adapter(1, "soft", false, true)];
        let named = |name: &str| Preference { name: Some(name.into()), ..Preference::default() };
        assert_eq!(found("auto", &all, &named("SOF"), ""), (Some("soft".into()), "named by WGPU_ADAPTER_NAME".into()));
        assert_eq!(found("gpu", &all, &named("soft"), "").0, Some("soft".into()));
        assert_eq!(found("auto", &all, &named("other"), "").0, None);
        assert!(found("gpu", &all, &named("other"), "").1.contains("WGPU_ADAPTER_NAME"));
        // What is asked for on the command line counts more.
        assert_eq!(found("0", &all, &named("soft"), "").0, Some("A".into()));
    }
}
