//! Adapters, and the opened device.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use wgpu::{Adapter, CooperativeScalarType, DeviceType, Features, Limits};

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
    /// The invocations of its smallest and of its largest subgroup.
    pub subgroup: [u32; 2],
    /// The most bytes of one storage binding.
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

/// All adapters, hardware first, with their place in the list.
pub fn list() -> Vec<Description> {
    adapters().iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

/// The instance, one for the whole process: NVIDIA's driver finds no adapters any more after some dozens of instances,
/// and fails where threads make them at once.
static INSTANCE: LazyLock<wgpu::Instance> =
    LazyLock::new(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()));

fn adapters() -> Vec<Adapter> {
    let mut adapters = pollster::block_on(INSTANCE.enumerate_adapters(wgpu::Backends::PRIMARY));
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

fn describe(index: usize, adapter: &Adapter) -> Description {
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
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        subgroup: [info.subgroup_min_size, info.subgroup_max_size],
        name: info.name,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
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

/// An opened device.
pub struct Gpu {
    /// The description of the adapter that the device belongs to.
    pub description: Description,
    /// The number of rows and columns of the matrices of halves that its subgroups multiply and sum up in f32, if they do.
    pub cooperative: Option<u32>,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The first error that no call of ours waited for.
    fault: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the adapter at `index` of [`list`].
    ///
    /// # Errors
    /// No such adapter, or one below WebGPU's core limits.
    pub fn open(index: usize) -> Result<Self> {
        let adapters = adapters();
        let Some(adapter) = adapters.get(index) else {
            return Err(Error::Device(format!("expected an adapter below {}, found {index}", adapters.len())));
        };
        let description = describe(index, adapter);
        // WebGPU's core limits, except for the size of buffers, which decides what can be trained, and of workgroups, which
        // a loss of many rows is faster with.
        let core = Limits::default();
        let invocations = description.invocations.max(core.max_compute_invocations_per_workgroup);
        let required_limits = Limits {
            max_buffer_size: description.buffer_bytes,
            max_storage_buffer_binding_size: description.binding_bytes,
            max_compute_invocations_per_workgroup: invocations,
            max_compute_workgroup_size_x: invocations,
            ..core
        };
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
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error::Device(format!("{} cannot be opened: {error}", description.name)))?;

        let fault = Arc::new(Mutex::new(None));
        let keep = |fault: &Arc<Mutex<Option<String>>>| {
            let fault = Arc::clone(fault);
            move |text: String| {
                if let Ok(mut fault) = fault.lock() {
                    fault.get_or_insert(text);
                }
            }
        };
        let (on_error, on_loss) = (keep(&fault), keep(&fault));
        device.on_uncaptured_error(Arc::new(move |error| on_error(error.to_string())));
        device
            .set_device_lost_callback(move |reason, text| on_loss(format!("the device is lost ({reason:?}): {text}")));
        Ok(Self { description, cooperative, device, queue, fault })
    }

    /// Opens the first adapter, hardware if there is any.
    ///
    /// # Errors
    /// No adapter.
    pub fn open_any() -> Result<Self> {
        if adapters().is_empty() {
            return Err(Error::Device(
                "no adapter found; install a Vulkan driver (software: mesa-vulkan-drivers on Debian and Ubuntu) or use --device cpu".into(),
            ));
        }
        Self::open(0)
    }

    /// The number of lanes of the products' workgroups: that of the largest subgroup, within 8 to 64.
    pub fn lanes(&self) -> u32 {
        self.description.subgroup[1].clamp(8, 64)
    }

    /// Whether subgroups are large enough for the variants that hand rows round in them.
    pub fn can_broadcast(&self) -> bool {
        self.device.features().contains(Features::SUBGROUP) && self.description.subgroup[0] >= LEAST_SUBGROUP
    }

    /// Fails if the device reported an error since the last call.
    pub(super) fn check(&self) -> Result<()> {
        match self.fault.lock().map(|mut fault| fault.take()) {
            Ok(None) => Ok(()),
            Ok(Some(text)) => Err(Error::Device(text)),
            Err(_) => Err(Error::Device("a device callback panicked".into())),
        }
    }
}
