//! What an adapter must have for the kernels to run on it: of WebGPU's core limits, those that compute uses.

use wgpu::Limits;

/// The most bytes of a binding that are asked for: Metal counts the elements of an array in 32 bits, and beyond 2 GiB wraps.
const MOST_BINDING: u64 = i32::MAX as u64;

/// The bytes of one binding that can be used out of so many that an adapter offers.
pub(super) fn binding_bytes(limits: &Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(MOST_BINDING)
}

/// The invocations of a workgroup that an adapter has.
pub(super) fn invocations(limits: &Limits) -> u32 {
    limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x)
}

/// The limits to open an adapter with that has `offered`: WebGPU's core ones, or less of those that no kernel uses; the sizes of
/// buffers, which decide what can be trained, and of workgroups, which a loss of many rows is faster with, as large as they come.
///
/// # Errors
/// The names of the limits that kernels need more of, each with what was expected and what was found.
pub(super) fn required_limits(offered: &Limits) -> Result<Limits, String> {
    let core = Limits::default();
    // Every kernel reads the coefficients beside its own bindings, which a test bounds by as many.
    let buffers = core.max_storage_buffers_per_shader_stage;
    let of_compute = [
        ("max_bind_groups", offered.max_bind_groups, 2),
        ("max_bindings_per_bind_group", offered.max_bindings_per_bind_group, buffers),
        ("max_storage_buffers_per_shader_stage", offered.max_storage_buffers_per_shader_stage, buffers),
        ("max_uniform_buffers_per_shader_stage", offered.max_uniform_buffers_per_shader_stage, 1),
        ("max_dynamic_uniform_buffers_per_pipeline_layout", offered.max_dynamic_uniform_buffers_per_pipeline_layout, 1),
        (
            "max_compute_workgroup_storage_size",
            offered.max_compute_workgroup_storage_size,
            core.max_compute_workgroup_storage_size,
        ),
        (
            "max_compute_invocations_per_workgroup",
            offered.max_compute_invocations_per_workgroup,
            core.max_compute_invocations_per_workgroup,
        ),
        ("max_compute_workgroup_size_x", offered.max_compute_workgroup_size_x, core.max_compute_workgroup_size_x),
        // The kernels that sum over rows have sixteen invocations side by side that way.
        ("max_compute_workgroup_size_y", offered.max_compute_workgroup_size_y, 16),
        (
            "max_compute_workgroups_per_dimension",
            offered.max_compute_workgroups_per_dimension,
            core.max_compute_workgroups_per_dimension,
        ),
    ];
    let mut lacking: Vec<String> = of_compute
        .iter()
        .filter(|(_, found, least)| found < least)
        .map(|(name, found, least)| format!("{name}: expected at least {least}, found {found}"))
        .collect();
    // Where the uniforms of passes lie, and how long they are at most.
    let (alignment, most) = (offered.min_uniform_buffer_offset_alignment, core.min_uniform_buffer_offset_alignment);
    if alignment > most {
        lacking.push(format!("min_uniform_buffer_offset_alignment: expected at most {most}, found {alignment}"));
    }
    if offered.max_uniform_buffer_binding_size < u64::from(most) {
        let found = offered.max_uniform_buffer_binding_size;
        lacking.push(format!("max_uniform_buffer_binding_size: expected at least {most}, found {found}"));
    }
    if !lacking.is_empty() {
        return Err(lacking.join(", "));
    }
    Ok(Limits {
        max_buffer_size: offered.max_buffer_size,
        max_storage_buffer_binding_size: binding_bytes(offered),
        max_compute_invocations_per_workgroup: invocations(offered),
        max_compute_workgroup_size_x: invocations(offered),
        ..core.or_worse_values_from(offered)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Mesa's driver tells of the GPU of a Raspberry Pi 4, as far as it is less than WebGPU's core limits.
    fn raspberry_pi() -> Limits {
        Limits {
            max_texture_dimension_1d: 4096,
            max_texture_dimension_2d: 4096,
            max_color_attachments: 4,
            max_vertex_buffers: 8,
            max_inter_stage_shader_variables: 15,
            max_storage_buffer_binding_size: 1 << 27,
            max_buffer_size: 1 << 30,
            ..Limits::default()
        }
    }

    #[test]
    fn what_compute_does_not_use_is_not_asked_for() {
        for offered in [
            raspberry_pi(),
            Limits { max_sampled_textures_per_shader_stage: 0, max_samplers_per_shader_stage: 0, ..raspberry_pi() },
            Limits { max_vertex_buffers: 0, max_vertex_attributes: 0, max_texture_array_layers: 0, ..raspberry_pi() },
            Limits { max_storage_textures_per_shader_stage: 0, max_non_sampler_bindings: 1000, ..raspberry_pi() },
            // Bindings smaller than the core's.
            Limits { max_storage_buffer_binding_size: 1 << 26, max_buffer_size: 1 << 26, ..raspberry_pi() },
            Limits { max_dynamic_storage_buffers_per_pipeline_layout: 0, max_bind_groups: 2, ..raspberry_pi() },
            Limits { min_storage_buffer_offset_alignment: 4096, ..raspberry_pi() },
        ] {
            let required = required_limits(&offered).unwrap();
            // As wgpu checks them when it opens the adapter.
            assert!(required.check_limits(&offered), "{offered:?}");
        }
    }

    #[test]
    fn what_kernels_use_is_named_where_it_is_lacking() {
        let lacking = |offered: Limits| required_limits(&offered).unwrap_err();
        let few = lacking(Limits { max_compute_invocations_per_workgroup: 128, ..raspberry_pi() });
        assert_eq!(few, "max_compute_invocations_per_workgroup: expected at least 256, found 128");
        let two = lacking(Limits {
            max_storage_buffers_per_shader_stage: 4,
            max_compute_workgroup_storage_size: 8192,
            ..raspberry_pi()
        });
        assert!(two.contains("max_storage_buffers_per_shader_stage: expected at least 8, found 4, "), "{two}");
        assert!(two.ends_with("max_compute_workgroup_storage_size: expected at least 16384, found 8192"), "{two}");
        let coarse = lacking(Limits { min_uniform_buffer_offset_alignment: 512, ..raspberry_pi() });
        assert!(coarse.contains("at most 256, found 512"), "{coarse}");
    }

    #[test]
    fn large_bindings_stay_within_what_metal_counts() {
        let offered = Limits { max_storage_buffer_binding_size: 1 << 36, max_buffer_size: 1 << 36, ..raspberry_pi() };
        let required = required_limits(&offered).unwrap();
        assert_eq!(required.max_storage_buffer_binding_size, (1 << 31) - 1);
        assert_eq!(required.max_buffer_size, 1 << 36);
    }
}
