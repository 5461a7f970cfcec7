//! Adapters, and the opened device.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use wgpu::{
    Adapter, Backends, CooperativeScalarType, DeviceLostReason, DeviceType, ErrorFilter, Features, InstanceFlags,
    PollType, PowerPreference, SubmissionIndex,
};

use super::needs;
use crate::error::{Error, Result};

/// The description of a listed adapter: what it is and can do.
#[derive(Clone, Debug)]
pub struct Description {
    /// The place of the adapter in the list, by which it can be chosen.
    pub index: usize,
    /// The driver's name for the adapter.
    pub name: String,
    /// The backend: Vulkan, Metal or DX12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Whether the adapter is a GPU, not a processor that imitates one.
    pub hardware: bool,
    /// Whether the driver conforms to the specification of its interface, by its own word; what works of another is unknown.
    pub conforms: bool,
    /// The invocations of its smallest and of its largest subgroup.
    pub subgroup: [u32; 2],
    /// The most bytes of one storage binding that are used: what the adapter offers, below 2 GiB.
    pub binding_bytes: u64,
    /// The most bytes of one buffer.
    pub buffer_bytes: u64,
    /// The most bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// The most invocations of a workgroup.
    pub invocations: u32,
    /// The features of the adapter, of those that matter here.
    pub features: Vec<&'static str>,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

impl Description {
    /// Whether the name contains this text, in any case.
    pub fn is_named(&self, text: &str) -> bool {
        self.name.to_lowercase().contains(&text.to_lowercase())
    }

    /// The number of lanes of the products' workgroups: that of the largest subgroup, within 8 to 64.
    pub fn lanes(&self) -> u32 {
        self.subgroup[1].clamp(LEAST_SUBGROUP, 64)
    }

    /// Whether subgroups are large enough for the variants that hand rows round in them.
    pub fn can_broadcast(&self) -> bool {
        self.features.contains(&"subgroups") && self.subgroup[0] >= LEAST_SUBGROUP
    }

    /// What a user should know of the adapter beside its numbers, each in a sentence.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.conforms {
            remarks.push(
                "its driver does not conform to Vulkan's specification, so results may be wrong; try thalweg verify"
                    .into(),
            );
        }
        let [least, most] = self.subgroup;
        if least != most && self.features.contains(&"subgroups") {
            let rows = if self.can_broadcast() { "hand rows round" } else { "hand no rows round" };
            let lanes = self.lanes();
            remarks.push(format!(
                "subgroups of {least} to {most} invocations: products take {lanes} lanes and {rows}, which needs {LEAST_SUBGROUP} in every subgroup"
            ));
        }
        remarks
    }
}

/// What wgpu's environment variables ask of the choice of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// A part of the name, in any case, that an adapter must have to be chosen by itself: `WGPU_ADAPTER_NAME`.
    pub name: Option<String>,
    /// Whether GPUs that share the processor's memory, and save power, come first: `WGPU_POWER_PREF=low`.
    pub low_power: bool,
    /// Whether adapters that do not conform are chosen by themselves, or not even listed:
    /// `WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER`. Default: listed, and taken only where they are asked for.
    pub nonconforming: Option<bool>,
}

impl Preference {
    /// The preference of this process's environment.
    pub fn from_env() -> Self {
        Self {
            name: std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.is_empty()),
            low_power: PowerPreference::from_env() == Some(PowerPreference::LowPower),
            nonconforming: std::env::var(NONCONFORMING).ok().map(|value| value != "0"),
        }
    }
}

impl Preference {
    /// Whether an adapter is one to choose where none is asked for.
    pub(crate) fn takes(&self, adapter: &Description) -> bool {
        let is_named = self.name.as_ref().is_none_or(|name| adapter.is_named(name));
        is_named && (adapter.conforms || self.nonconforming == Some(true))
    }
}

/// The first of `candidates` that `open` opens, with it, and what was said of those before.
pub(crate) fn first<'a, T>(
    candidates: impl IntoIterator<Item = &'a Description>,
    mut open: impl FnMut(&Description) -> Result<T>,
) -> (Option<(T, &'a Description)>, Vec<String>) {
    let mut refused = Vec::new();
    for candidate in candidates {
        match open(candidate) {
            Ok(opened) => return (Some((opened, candidate)), refused),
            Err(Error::Device(why)) => refused.push(why),
            Err(error) => refused.push(error.to_string()),
        }
    }
    (None, refused)
}

/// The error where no adapter could be opened.
pub(crate) fn none_opened(adapters: &[Description], preference: &Preference, refused: &[String]) -> Error {
    if !refused.is_empty() {
        return Error::Device(format!("{}; use --device cpu", refused.join("; ")));
    }
    if let (Some(name), false) = (&preference.name, adapters.is_empty()) {
        return Error::Device(format!("no adapter is named {name:?} (WGPU_ADAPTER_NAME); see thalweg devices"));
    }
    if let Some(other) = adapters.first() {
        return Error::Device(format!(
            "no adapter found that conforms; --device {} takes {}, which does not",
            other.index, other.name
        ));
    }
    let backend = std::env::var("WGPU_BACKEND").map_or(String::new(), |it| format!(" among WGPU_BACKEND={it}"));
    Error::Device(format!(
        "no adapter found{backend}; install a Vulkan driver (software: mesa-vulkan-drivers on Debian and Ubuntu) or use --device cpu"
    ))
}

/// wgpu's variable for adapters that do not conform.
const NONCONFORMING: &str = "WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER";

/// All adapters, hardware first and those that do not conform last, with their place in the list.
pub fn list() -> Vec<Description> {
    adapters().iter().enumerate().map(|(index, (adapter, conforms))| describe(index, adapter, *conforms)).collect()
}

/// The instance, one for the whole process: NVIDIA's driver finds no adapters any more after some dozens of instances,
/// and fails where threads make them at once.
static INSTANCE: LazyLock<wgpu::Instance> = LazyLock::new(|| instance(false));

/// The adapters that only an instance finds which takes those that do not conform.
static OTHERS: LazyLock<Vec<Adapter>> = LazyLock::new(|| {
    let conforming: Vec<wgpu::AdapterInfo> = enumerate(&INSTANCE).iter().map(Adapter::get_info).collect();
    let mut all = enumerate(&instance(true));
    all.retain(|adapter| !conforming.contains(&adapter.get_info()));
    all
});

fn instance(takes_nonconforming: bool) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.flags.set(InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER, takes_nonconforming);
    wgpu::Instance::new(descriptor)
}

fn enumerate(instance: &wgpu::Instance) -> Vec<Adapter> {
    pollster::block_on(instance.enumerate_adapters(Backends::PRIMARY.with_env()))
}

/// All adapters, and whether each conforms.
fn adapters() -> Vec<(Adapter, bool)> {
    let Preference { low_power, nonconforming, .. } = Preference::from_env();
    let mut adapters: Vec<(Adapter, bool)> = enumerate(&INSTANCE).into_iter().map(|adapter| (adapter, true)).collect();
    if nonconforming != Some(false) {
        adapters.extend(OTHERS.iter().map(|adapter| (adapter.clone(), false)));
    }
    adapters.sort_by_key(|(adapter, conforms)| {
        let is_last = !conforms && nonconforming.is_none();
        (is_last, rank(adapter.get_info().device_type, low_power))
    });
    adapters
}

/// The place of a kind of adapter among others.
fn rank(kind: DeviceType, low_power: bool) -> u32 {
    match kind {
        DeviceType::IntegratedGpu if low_power => 0,
        DeviceType::DiscreteGpu => 1,
        DeviceType::IntegratedGpu => 2,
        DeviceType::VirtualGpu => 3,
        DeviceType::Other => 4,
        DeviceType::Cpu => 5,
    }
}

fn describe(index: usize, adapter: &Adapter, conforms: bool) -> Description {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let known = [
        (Features::SHADER_F16, "f16"),
        (Features::SUBGROUP, "subgroups"),
        (Features::TIMESTAMP_QUERY, "timestamps"),
        (Features::IMMEDIATES, "immediates"),
    ];
    let mut found: Vec<_> = known.iter().filter(|(f, _)| features.contains(*f)).map(|(_, name)| *name).collect();
    found.extend(cooperative(adapter).map(|_| "cooperative matrices"));
    Description {
        index,
        hardware: info.device_type != DeviceType::Cpu,
        conforms,
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        subgroup: [info.subgroup_min_size, info.subgroup_max_size],
        name: info.name,
        binding_bytes: needs::binding_bytes(&limits),
        buffer_bytes: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: needs::invocations(&limits),
        features: found,
    }
}

/// The fewest invocations of a subgroup that the variants with broadcasts work with.
const LEAST_SUBGROUP: u32 = 8;

/// The number of rows and columns of the matrices of halves that subgroups of the adapter multiply and sum up in f32,
/// if they do: the larger of the sizes that WGSL has.
fn cooperative(adapter: &Adapter) -> Option<u32> {
    let needed = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SHADER_F16 | Features::SUBGROUP;
    if !adapter.features().contains(needed) {
        return None;
    }
    let sizes = adapter.cooperative_matrix_properties().into_iter().filter(|p| {
        let of_halves = p.ab_type == CooperativeScalarType::F16 && p.cr_type == CooperativeScalarType::F32;
        of_halves && p.m_size == p.n_size && p.n_size == p.k_size
    });
    sizes.map(|p| p.m_size).filter(|size| [8, 16].contains(size)).max()
}

/// An opened device; its clones are the same one.
#[derive(Clone)]
pub struct Gpu {
    /// The description of the adapter that the device belongs to.
    pub description: Description,
    /// The number of rows and columns of the matrices of halves that its subgroups multiply and sum up in f32, if they do.
    pub cooperative: Option<u32>,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    fault: Arc<Mutex<Fault>>,
}

/// What the device reported that no call of ours waited for.
#[derive(Default)]
struct Fault {
    /// Why the device is lost, once it is.
    lost: Option<String>,
    /// The first other error since the last look.
    error: Option<String>,
}

impl Gpu {
    /// Opens the adapter at `index` of [`list`].
    ///
    /// # Errors
    /// No such adapter, or one that has less than the kernels need.
    pub fn open(index: usize) -> Result<Self> {
        let adapters = adapters();
        let Some((adapter, conforms)) = adapters.get(index) else {
            return Err(Error::Device(format!("expected an adapter below {}, found {index}", adapters.len())));
        };
        let description = describe(index, adapter, *conforms);
        let refused = |why: String| Error::Device(format!("{} cannot be opened: {why}", description.name));
        let required_limits = needs::required_limits(&adapter.limits()).map_err(refused)?;
        // Used where they are, and never needed.
        let mut required_features =
            adapter.features() & (Features::TIMESTAMP_QUERY | Features::SHADER_F16 | Features::SUBGROUP);
        let cooperative = cooperative(adapter);
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if cooperative.is_some() {
            required_features |= Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            // SAFETY: what is experimental is used in the cooperative variants of the products, which only load and store
            // workgroup memory by it and are held to their twin on the device before they are used, and in a probe.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let label = Some("thalweg");
        let descriptor = wgpu::DeviceDescriptor {
            label,
            required_limits,
            required_features,
            experimental_features,
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| refused(error.to_string()))?;

        let fault: Arc<Mutex<Fault>> = Arc::default();
        let (on_error, on_loss) = (Arc::clone(&fault), Arc::clone(&fault));
        device.on_uncaptured_error(Arc::new(move |error| {
            lock(&on_error).error.get_or_insert(one_line(&error));
        }));
        device.set_device_lost_callback(move |reason, text| {
            let why = if reason == DeviceLostReason::Destroyed { "it was destroyed".into() } else { text };
            lock(&on_loss).lost = Some(why);
        });
        Ok(Self { description, cooperative, device, queue, fault })
    }

    /// Opens the first adapter that can be opened, hardware if there is any; of those that do not conform, only what
    /// [`Preference`] allows.
    ///
    /// # Errors
    /// No adapter, or none that can be opened.
    pub fn open_any() -> Result<Self> {
        let (adapters, preference) = (list(), Preference::from_env());
        let candidates = adapters.iter().filter(|adapter| preference.takes(adapter));
        match first(candidates, |adapter| Self::open(adapter.index)) {
            (Some((gpu, _)), _) => Ok(gpu),
            (None, refused) => Err(none_opened(&adapters, &preference, &refused)),
        }
    }

    /// The number of lanes of the products' workgroups; see [`Description::lanes`].
    pub fn lanes(&self) -> u32 {
        self.description.lanes()
    }

    /// Whether products may hand rows round in subgroups; see [`Description::can_broadcast`].
    pub fn can_broadcast(&self) -> bool {
        self.description.can_broadcast()
    }

    /// What `try_it` returns, or the first error that the device reports of what it does, which then counts no further.
    ///
    /// # Errors
    /// That error, in one line.
    pub(super) fn attempt<T>(&self, try_it: impl FnOnce() -> Result<T>) -> Result<T> {
        let filters = [ErrorFilter::OutOfMemory, ErrorFilter::Internal, ErrorFilter::Validation];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let tried = try_it();
        let errors = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop()));
        // All scopes must be taken away, whichever has an error.
        match errors.map(|error| one_line(&error)).collect::<Vec<_>>().into_iter().next() {
            Some(error) => Err(self.error(error)),
            None => tried,
        }
    }

    /// The wgpu device, for programs that share it.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Waits until the device is done with everything up to `submission`, by default with all that it was given.
    ///
    /// # Errors
    /// The device is lost, or reported an error since the last look.
    pub(super) fn wait(&self, submission: Option<&SubmissionIndex>) -> Result<()> {
        match self.poll(PollType::Wait { submission_index: submission.cloned(), timeout: None }) {
            Ok(()) => self.fault(),
            Err(why) => Err(self.error(why)),
        }
    }

    /// Fails if the device is lost, or reported an error since the last look.
    pub(super) fn check(&self) -> Result<()> {
        // That a device was destroyed is told while it is polled.
        match self.poll(PollType::Poll) {
            Ok(()) => self.fault(),
            Err(why) => Err(self.error(why)),
        }
    }

    /// The error of a call that failed, for which `why` is the reason unless the device is lost.
    pub(super) fn error(&self, why: impl fmt::Display) -> Error {
        if lock(&self.fault).lost.is_none() {
            // The loss is told once what is under way has ended.
            let _ = self.poll(PollType::wait_indefinitely());
        }
        match &lock(&self.fault).lost {
            Some(lost) => Error::DeviceLost(lost.clone()),
            None => Error::Device(why.to_string()),
        }
    }

    fn poll(&self, poll: PollType) -> std::result::Result<(), String> {
        // wgpu panics where the driver fails, as it does when it loses the device.
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(poll))) {
            Ok(polled) => polled.map(|_| ()).map_err(|error| error.to_string()),
            Err(_) => Err("the driver fails where it is waited for".into()),
        }
    }

    fn fault(&self) -> Result<()> {
        let (is_lost, error) = {
            let mut fault = lock(&self.fault);
            (fault.lost.is_some(), fault.error.take())
        };
        match error {
            Some(error) => Err(self.error(error)),
            None if is_lost => Err(self.error("")),
            None => Ok(()),
        }
    }
}

fn lock(fault: &Mutex<Fault>) -> MutexGuard<'_, Fault> {
    fault.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The words of an error that wgpu writes over several lines.
fn one_line(error: &wgpu::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
