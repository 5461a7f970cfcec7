//! Every shader through naga, without a GPU: valid WGSL, and code for Vulkan, Metal and DX12; and everything that two
//! places must agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, Layouter};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use thalweg::gpu;
use thalweg::internals::PROBES;
use thalweg::internals::forms::{Form, Variant};
use thalweg::internals::kernels::{self, ALL, Binding, Product, Stored, Way};

/// The text as naga 30 takes it, which does not know what the specification asks of shaders with subgroups.
fn for_naga(text: &str) -> String {
    text.replace("enable subgroups;\n", "")
}

fn parse(kernel: &kernels::Kernel) -> (Module, ModuleInfo) {
    let text = for_naga(&kernel.text());
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&text, kernel.name)));
    // Packing halves is WebGPU's core; subgroups and f16 are asked for, the rest is not.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SUBGROUP, enables(kernel, "subgroups"));
    capabilities.set(Capabilities::SHADER_FLOAT16, enables(kernel, "f16"));
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, is_cooperative(kernel));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&text)));
    (module, info)
}

/// Whether it enables an extension.
fn enables(kernel: &kernels::Kernel, extension: &str) -> bool {
    kernel.text().lines().any(|line| line == format!("enable {extension};"))
}

/// Whether it multiplies cooperative matrices, which DX12 has not.
fn is_cooperative(kernel: &kernels::Kernel) -> bool {
    matches!(kernel.form, Some((_, Way::Cooperative)))
}

/// Every kernel with rows in every memory that rows may lie in, and with every optimizer that may use up the gradients that it makes;
/// the cooperative ones with large fragments too.
fn all_compositions() -> Vec<kernels::Kernel> {
    let mut all = ALL.to_vec();
    for product in Product::ALL {
        let form = Form { variant: Variant::Cooperative(16), rows: 32, columns: 8, lanes: 32, slices: 2, parts: 1 };
        let kernel = form.kernel(product);
        assert!(kernel.text().contains("coop_mat16x16"), "{}: fragments of 16 x 16", kernel.name);
        all.push(kernel);
    }
    for kernel in all.clone() {
        if kernel.parts().iter().any(|part| part.name == "gradient") {
            all.extend(kernels::updates().map(|optimizer| kernel.with_update_by(optimizer)));
        }
    }
    for kernel in all.clone() {
        all.extend(kernel.memories.iter().skip(1).map(|&stored| kernel.with_stored(stored)));
    }
    all
}

/// The shader models that a kernel is compiled for: f16 came with 6.2, subgroups with 6.0; the others must do with 5.1, all that
/// Windows' own compiler has.
fn shader_models(kernel: &kernels::Kernel) -> Vec<hlsl::ShaderModel> {
    use hlsl::ShaderModel::{V5_1, V6_0, V6_2};
    match (enables(kernel, "f16"), enables(kernel, "subgroups")) {
        (true, _) => vec![V6_2],
        (false, true) => vec![V6_0],
        (false, false) => vec![V5_1, V6_0],
    }
}

#[test]
fn all_translate_to_spirv_msl_and_hlsl() {
    for kernel in &all_compositions() {
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
            for shader_model in shader_models(kernel) {
                let mut text = String::new();
                let options = hlsl::Options { fake_missing_bindings: true, shader_model, ..hlsl::Options::default() };
                hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
                    .write(&module, &info, None)
                    .unwrap_or_else(|error| panic!("{name}: HLSL {shader_model:?}: {error}"));
                assert!(text.contains("numthreads"), "{name}: HLSL {shader_model:?} has a compute shader");
            }
        }
    }
}

/// The probes too, f16 included.
#[test]
fn probes_are_valid() {
    for probe in PROBES {
        let source = for_naga(probe.source);
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, probe.name)));
        let capabilities = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP;
        Validator::new(ValidationFlags::all(), capabilities)
            .subgroup_stages(ShaderStages::COMPUTE)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}: {}", probe.name, error.emit_to_string(&source)));
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
    for kernel in ALL {
        assert_eq!(layout_of(kernel, "Args").unwrap().0, owned(kernel.fields), "{}: Args", kernel.name);
        if let Some((fields, size)) = layout_of(kernel, "Pass") {
            assert_eq!(fields, owned(kernels::Pass::FIELDS), "{}: Pass", kernel.name);
            assert_eq!(size, size_of::<kernels::Pass>(), "{}: Pass", kernel.name);
        }
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
        let text = kernel.text();
        let start = text.find(&format!("const {name}: u32 = ")).unwrap();
        let text = &text[start..];
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
    assert_eq!(constant(kernels::dot, "PARTS"), kernels::PARTS);
    assert_eq!(constant(kernels::loss_scale, "ROWS"), kernels::LOSS_SCALE_ROWS);
    for kernel in [kernels::batch_norm, kernels::norm_dw] {
        assert_eq!(constant(kernel, "COLUMNS"), kernels::NORM_COLUMNS);
    }
}

/// The names of the files in a folder of shaders.
fn files(folder: &str) -> BTreeSet<String> {
    let names = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".wgsl").map(String::from)).collect()
}

#[test]
fn every_shared_part_is_used() {
    let used: BTreeSet<String> =
        all_compositions().iter().flat_map(kernels::Kernel::parts).map(|part| part.name.to_string()).collect();
    let unused: Vec<String> = files("shaders/shared").into_iter().filter(|part| !used.contains(part)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// What shaders have in common is a shared part: no twelve lines, blank ones apart, stand in two files.
#[test]
fn nothing_stands_twice() {
    const MOST: usize = 11;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for folder in ["shaders", "shaders/shared", "shaders/probes"] {
        for name in files(folder) {
            let name = format!("{folder}/{name}.wgsl");
            let text = std::fs::read_to_string(root.join(&name)).unwrap();
            let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(String::from).collect();
            for run in lines.windows(MOST + 1) {
                if let Some(other) = seen.insert(run.to_vec(), name.clone()) {
                    assert_eq!(other, name, "{} lines stand in both:\n{}", run.len(), run.join("\n"));
                }
            }
        }
    }
}

/// What users can print is what is compiled, but for the directive that naga does not know.
#[test]
fn all_can_be_printed() {
    for shader in gpu::shaders() {
        let text = gpu::shader_text(&shader.name, shader.memories.last().copied()).unwrap();
        assert!(text.contains("@compute"), "{}", shader.name);
        let naga = for_naga(&text);
        naga::front::wgsl::parse_str(&naga)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&naga, &shader.name)));
    }
    assert!(gpu::shader_text("average", Some(Stored::F16)).is_none(), "a kernel without rows");
    assert!(gpu::shader_text("no_such_kernel", None).is_none());
}

/// A kernel has one name: as shader, as twin, in the table, and as the test that compares them.
#[test]
fn a_kernel_has_one_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table: BTreeSet<String> = ALL.iter().map(|kernel| kernel.name.to_string()).collect();
    assert_eq!(files("shaders"), table);
    let tests = std::fs::read_to_string(root.join("tests/library/kernels.rs")).unwrap();
    for name in ALL.iter().map(|kernel| kernel.base()) {
        let twin = root.join(format!("src/cpu/{name}.rs"));
        let text = std::fs::read_to_string(&twin).unwrap_or_else(|_| panic!("{} is missing", twin.display()));
        assert!(text.contains(&format!("pub fn {name}<")), "{} has no such function", twin.display());
        assert!(tests.contains(&format!("#[test]\nfn {name}()")), "no test is called {name}");
    }
}
