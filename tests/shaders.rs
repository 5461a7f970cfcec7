//! Every shader through naga, without a GPU: valid WGSL, and code for Vulkan, Metal and DX12; and everything that two
//! places must agree on.

use std::collections::BTreeSet;
use std::path::Path;

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, Layouter};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use thalweg::gpu::PROBES;
use thalweg::gpu::forms::{Form, Variant};
use thalweg::gpu::kernels::{self, ALL, Binding, Stored};

fn parse(kernel: &kernels::Kernel) -> (Module, ModuleInfo) {
    let text = kernel.text();
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&text, kernel.name)));
    // Packing halves is WebGPU's core; subgroups and f16 are asked for, the rest is not.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SUBGROUP, kernel.base() != kernel.name);
    capabilities.set(Capabilities::SHADER_FLOAT16, text.starts_with("enable f16;"));
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, is_cooperative(kernel));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&text)));
    (module, info)
}

/// Whether it multiplies cooperative matrices, which DX12 has not.
fn is_cooperative(kernel: &kernels::Kernel) -> bool {
    kernel.name.ends_with("_cooperative")
}

/// Every kernel, and those with rows in every memory that rows may lie in.
fn all_memories() -> Vec<kernels::Kernel> {
    let mut all = ALL.to_vec();
    for kernel in ALL.iter().filter(|kernel| kernel.source.contains(Stored::F32.text())) {
        all.extend([Stored::F16, Stored::Packed].map(|stored| kernel.with_stored(stored)));
    }
    for base in [kernels::linear, kernels::linear_dx, kernels::linear_dw] {
        let form = Form { variant: Variant::Cooperative(16), rows: 32, columns: 8, lanes: 32, slices: 2, parts: 1 };
        let kernel = form.kernel(&base);
        assert!(kernel.text().contains("coop_mat16x16"), "{}: fragments of 16 x 16", kernel.name);
        all.push(kernel);
    }
    all
}

#[test]
fn all_translate_to_spirv_msl_and_hlsl() {
    for kernel in &all_memories() {
        let (module, info) = parse(kernel);
        for entry in &module.entry_points {
            let name = format!("{}::{}", kernel.name, entry.name);
            let stage = (entry.stage, entry.name.as_str());
            let (module, info) = naga::back::pipeline_constants::process_overrides(
                &module,
                &info,
                Some(stage),
                &naga::back::PipelineConstants::default(),
            )
            .unwrap_or_else(|error| panic!("{name}: {error}"));

            // Subgroups came with SPIR-V 1.3.
            let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
            let pipeline = spv::PipelineOptions { shader_stage: entry.stage, entry_point: entry.name.clone() };
            let words = spv::write_vec(&module, &info, &options, Some(&pipeline))
                .unwrap_or_else(|error| panic!("{name}: SPIR-V: {error}"));
            assert_eq!(words[0], 0x0723_0203, "{name}: SPIR-V's magic number");

            let options = msl::Options {
                lang_version: (2, 4),
                fake_missing_bindings: true,
                bounds_check_policies: BoundsCheckPolicies::default(),
                ..msl::Options::default()
            };
            let (text, _) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
                .unwrap_or_else(|error| panic!("{name}: MSL: {error}"));
            assert!(text.contains("kernel void"), "{name}: MSL has a kernel");

            if is_cooperative(kernel) {
                continue;
            }
            let mut text = String::new();
            // f16 came with 6.2.
            let has_f16 = kernel.text().starts_with("enable f16;");
            let shader_model = if has_f16 { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 };
            let options = hlsl::Options { fake_missing_bindings: true, shader_model, ..hlsl::Options::default() };
            hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
                .write(&module, &info, None)
                .unwrap_or_else(|error| panic!("{name}: HLSL: {error}"));
            assert!(text.contains("numthreads"), "{name}: HLSL has a compute shader");
        }
    }
}

/// The probes too, f16 included.
#[test]
fn probes_are_valid() {
    for probe in PROBES {
        let module = naga::front::wgsl::parse_str(probe.source)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(probe.source, probe.name)));
        let capabilities = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP;
        Validator::new(ValidationFlags::all(), capabilities)
            .subgroup_stages(ShaderStages::COMPUTE)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}: {}", probe.name, error.emit_to_string(probe.source)));
    }
}

/// The table's bindings are the shader's.
#[test]
fn bindings_are_those_of_the_table() {
    for kernel in ALL {
        let (module, _) = parse(kernel);
        let mut found: Vec<(u32, Binding)> = module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| {
                let place = variable.binding.filter(|b| b.group == 0)?;
                let binding = match variable.space {
                    AddressSpace::Storage { .. } if variable.name.as_deref() == Some("args") => Binding::Arguments,
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Binding::Write,
                    AddressSpace::Storage { .. } => Binding::Read,
                    ref other => panic!("{}: unexpected address space {other:?}", kernel.name),
                };
                Some((place.binding, binding))
            })
            .collect();
        found.sort_by_key(|(binding, _)| *binding);
        let bindings: Vec<Binding> = found.iter().map(|(_, b)| *b).collect();
        assert_eq!(bindings, kernel.bindings, "{}", kernel.name);
        assert!(found.iter().enumerate().all(|(i, (b, _))| *b == i as u32), "{}: bindings count up", kernel.name);
        assert!(bindings.len() < 8, "{}: with the coefficients, WebGPU's core limit is 8 storage buffers", kernel.name);
    }
}

/// Names and offsets of the fields of a shader's struct, and its size.
fn layout_of(kernel: &kernels::Kernel, name: &str) -> Option<(Vec<(String, usize)>, usize)> {
    let (module, _) = parse(kernel);
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    module.types.iter().find_map(|(handle, ty)| match &ty.inner {
        TypeInner::Struct { members, .. } if ty.name.as_deref() == Some(name) => {
            let fields = members.iter().map(|m| (m.name.clone().unwrap(), m.offset as usize)).collect();
            Some((fields, layouter[handle].size as usize))
        }
        _ => None,
    })
}

#[test]
fn arguments_lie_as_the_shader_reads_them() {
    let owned = |fields: &[(&str, usize)]| fields.iter().map(|(n, o)| (n.to_string(), *o)).collect::<Vec<_>>();
    let arguments = [
        (kernels::gather, kernels::GatherArgs::FIELDS),
        (kernels::linear, kernels::LinearArgs::FIELDS),
        (kernels::linear_broadcast, kernels::LinearArgs::FIELDS),
        (kernels::linear_staged, kernels::LinearArgs::FIELDS),
        (kernels::linear_cooperative, kernels::LinearArgs::FIELDS),
        (kernels::linear_split, kernels::LinearArgs::FIELDS),
        (kernels::linear_sum, kernels::LinearArgs::FIELDS),
        (kernels::batch_norm, kernels::BatchNormArgs::FIELDS),
        (kernels::layer_norm, kernels::LayerNormArgs::FIELDS),
        (kernels::activate, kernels::ActivateArgs::FIELDS),
        (kernels::linear_dx, kernels::LinearDxArgs::FIELDS),
        (kernels::linear_dx_broadcast, kernels::LinearDxArgs::FIELDS),
        (kernels::linear_dx_staged, kernels::LinearDxArgs::FIELDS),
        (kernels::linear_dx_cooperative, kernels::LinearDxArgs::FIELDS),
        (kernels::linear_dx_split, kernels::LinearDxArgs::FIELDS),
        (kernels::linear_dx_sum, kernels::LinearDxArgs::FIELDS),
        (kernels::linear_dw, kernels::LinearDwArgs::FIELDS),
        (kernels::linear_dw_broadcast, kernels::LinearDwArgs::FIELDS),
        (kernels::linear_dw_few, kernels::LinearDwArgs::FIELDS),
        (kernels::linear_dw_staged, kernels::LinearDwArgs::FIELDS),
        (kernels::linear_dw_cooperative, kernels::LinearDwArgs::FIELDS),
        (kernels::linear_dw_split, kernels::LinearDwArgs::FIELDS),
        (kernels::linear_dw_sum, kernels::LinearDwArgs::FIELDS),
        (kernels::norm_dw, kernels::NormArgs::FIELDS),
        (kernels::batch_norm_dx, kernels::NormArgs::FIELDS),
        (kernels::layer_norm_dx, kernels::LayerNormDxArgs::FIELDS),
        (kernels::ensemble, kernels::EnsembleArgs::FIELDS),
        (kernels::softmax_cross_entropy, kernels::LossArgs::FIELDS),
        (kernels::mse, kernels::LossArgs::FIELDS),
        (kernels::loss_scale, kernels::LossScaleArgs::FIELDS),
        (kernels::grad_norm, kernels::GradNormArgs::FIELDS),
        (kernels::sgd, kernels::UpdateArgs::FIELDS),
        (kernels::adam, kernels::UpdateArgs::FIELDS),
        (kernels::rmsprop, kernels::UpdateArgs::FIELDS),
        (kernels::average, kernels::UpdateArgs::FIELDS),
        (kernels::lookahead, kernels::UpdateArgs::FIELDS),
        (kernels::halve, kernels::UpdateArgs::FIELDS),
    ];
    assert_eq!(arguments.len(), ALL.len());
    for (kernel, fields) in arguments {
        assert_eq!(layout_of(&kernel, "Args").unwrap().0, owned(fields), "{}: Args", kernel.name);
    }
    for kernel in ALL {
        let (fields, size) = layout_of(kernel, "Pass").unwrap();
        assert_eq!(fields, owned(kernels::Pass::FIELDS), "{}: Pass", kernel.name);
        assert_eq!(size, size_of::<kernels::Pass>(), "{}: Pass", kernel.name);
        if let Some((fields, size)) = layout_of(kernel, "Scaling") {
            assert_eq!(fields, owned(kernels::Scaling::FIELDS), "{}: Scaling", kernel.name);
            assert_eq!(size, size_of::<kernels::Scaling>(), "{}: Scaling", kernel.name);
        }
        if let Some((fields, size)) = layout_of(kernel, "Coefficients") {
            assert_eq!(fields, owned(kernels::Coefficients::FIELDS), "{}: Coefficients", kernel.name);
            assert_eq!(size, size_of::<kernels::Coefficients>(), "{}: Coefficients", kernel.name);
        }
    }
}

/// The tile sizes that the host computes its grids from are the shaders'.
#[test]
fn tiles_are_those_of_the_shaders() {
    let constant = |kernel: kernels::Kernel, name: &str| -> u32 {
        let start = kernel.source.find(&format!("const {name}: u32 = ")).unwrap();
        let text = &kernel.source[start..];
        text[text.find("= ").unwrap() + 2..text.find("u;").unwrap()].parse().unwrap()
    };
    for kernel in [kernels::linear, kernels::linear_broadcast, kernels::linear_split] {
        assert_eq!(constant(kernel, "ROWS"), kernels::ROWS);
        assert_eq!(constant(kernel, "COLUMNS"), kernels::COLUMNS);
    }
    for kernel in [kernels::linear_dx, kernels::linear_dx_broadcast, kernels::linear_dx_split] {
        assert_eq!(constant(kernel, "ROWS"), kernels::ROWS);
    }
    for kernel in [kernels::linear_dw, kernels::linear_dw_broadcast, kernels::linear_dw_few, kernels::linear_dw_split] {
        assert_eq!(constant(kernel, "ROWS"), kernels::DW_ROWS);
        assert_eq!(constant(kernel, "COLUMNS"), kernels::COLUMNS);
    }
    assert_eq!(constant(kernels::linear_dw_few, "SAMPLES"), kernels::SAMPLES);
    assert_eq!(constant(kernels::grad_norm, "PARTS"), kernels::PARTS);
    assert_eq!(constant(kernels::loss_scale, "ROWS"), kernels::LOSS_SCALE_ROWS);
    for kernel in [kernels::batch_norm, kernels::norm_dw] {
        assert_eq!(constant(kernel, "COLUMNS"), kernels::NORM_COLUMNS);
    }
}

/// What two shaders do alike stands in both, since WGSL has no include: it is the same text.
#[test]
fn functions_of_one_name_are_alike() {
    let functions = |kernel: kernels::Kernel, names: &[&str]| -> Vec<String> {
        let of = |name: &&str| {
            let start = kernel.source.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("{}: {name}", kernel.name));
            let text = &kernel.source[start..];
            text[..text.find("\n}").unwrap()].to_string()
        };
        names.iter().map(of).collect()
    };
    let finish = ["dropout", "hash", "stir", "activate", "tanh_", "erf"];
    for kernel in [
        kernels::linear_broadcast,
        kernels::linear_staged,
        kernels::linear_cooperative,
        kernels::linear_sum,
        kernels::activate,
    ] {
        assert_eq!(functions(kernels::linear, &finish), functions(kernel, &finish));
    }
    assert_eq!(functions(kernels::linear, &finish[1..3]), functions(kernels::gather, &finish[1..3]));
    let of_dw = [
        kernels::linear_dw,
        kernels::linear_dw_broadcast,
        kernels::linear_dw_few,
        kernels::linear_dw_staged,
        kernels::linear_dw_cooperative,
        kernels::linear_dw_sum,
    ];
    for kernel in of_dw {
        for update in [kernels::sgd, kernels::adam, kernels::rmsprop] {
            assert_eq!(functions(kernel, &[update.name]), functions(update, &[update.name]));
        }
    }
    let put = ["put", "keep", "average"];
    for kernel in of_dw {
        assert_eq!(functions(kernels::linear_dw, &put), functions(kernel, &put));
    }
    for kernel in [kernels::linear_dw_broadcast, kernels::linear_dw_few, kernels::linear_dw_split] {
        assert_eq!(functions(kernels::linear_dw, &["accumulate"]), functions(kernel, &["accumulate"]));
    }
    for kernel in [kernels::linear_dx_cooperative, kernels::linear_dw_cooperative] {
        let shared = ["in_tile", "sum", "slice_at"];
        assert_eq!(functions(kernels::linear_cooperative, &shared), functions(kernel, &shared));
    }
    for (one, other, factor) in [
        (kernels::linear_cooperative, kernels::linear_dx_cooperative, "w"),
        (kernels::linear_cooperative, kernels::linear_dw_cooperative, "a"),
        (kernels::linear_dx_cooperative, kernels::linear_dw_cooperative, "dz"),
    ] {
        let staging = ["four_of", "of", "put", "put_one"].map(|name| format!("{name}_{factor}"));
        let staging = staging.each_ref().map(String::as_str);
        assert_eq!(functions(one, &staging), functions(other, &staging));
    }
    for kernel in [kernels::linear_dx_staged, kernels::linear_dw_staged] {
        let shared = ["outer", "add", "sum"];
        assert_eq!(functions(kernels::linear_staged, &shared), functions(kernel, &shared));
    }
    let staged = ["place", "four_rows", "add_block"];
    assert_eq!(functions(kernels::linear_staged, &staged), functions(kernels::linear_dx_staged, &staged));
    for update in [kernels::sgd, kernels::adam, kernels::rmsprop] {
        assert_eq!(functions(kernels::linear_dw, &["keep", "average"]), functions(update, &["keep", "average"]));
    }
    assert_eq!(functions(kernels::mse, &["main"]), functions(kernels::softmax_cross_entropy, &["main"]));
    // Whatever loads or stores rows does so as the other memories do.
    for kernel in ALL.iter().filter(|kernel| kernel.source.contains("Stored")) {
        let stored = if is_cooperative(kernel) { Stored::F16 } else { Stored::F32 };
        assert!(kernel.source.contains(stored.text()), "{}", kernel.name);
    }
}

/// A kernel has one name: as shader, as twin, in the table, and as the test that compares them.
#[test]
fn a_kernel_has_one_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: BTreeSet<String> = std::fs::read_dir(root.join("shaders"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "probes" && name != "stored")
        .collect();
    let table: BTreeSet<String> = ALL.iter().map(|kernel| format!("{}.wgsl", kernel.name)).collect();
    assert_eq!(files, table);
    let tests = std::fs::read_to_string(root.join("tests/kernels.rs")).unwrap();
    for name in ALL.iter().map(kernels::Kernel::base) {
        let twin = root.join(format!("src/cpu/{name}.rs"));
        let text = std::fs::read_to_string(&twin).unwrap_or_else(|_| panic!("{} is missing", twin.display()));
        assert!(text.contains(&format!("pub fn {name}<")), "{} has no such function", twin.display());
        assert!(tests.contains(&format!("#[test]\nfn {name}()")), "no test is called {name}");
    }
}
