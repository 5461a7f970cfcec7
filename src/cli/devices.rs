//! `thalweg devices`.

use std::process::ExitCode;

use serde_json::json;
use thalweg::device::Device;
use thalweg::engine::Precision;
use thalweg::gpu::adapter::{self, Description};

use super::{say, wrap};

#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let adapters = adapter::list();
    if args.json {
        let list: Vec<_> = adapters
            .iter()
            .map(|a| {
                json!({
                    "index": a.index, "name": a.name, "backend": a.backend, "driver": a.driver,
                    "hardware": a.hardware, "conforms": a.conforms, "subgroup": a.subgroup, "binding_bytes": a.binding_bytes,
                    "buffer_bytes": a.buffer_bytes, "workgroup_bytes": a.workgroup_bytes,
                    "invocations": a.invocations, "features": a.features, "remarks": a.remarks(),
                })
            })
            .collect();
        say!("{:#}", json!(list));
        return Ok(ExitCode::SUCCESS);
    }
    if adapters.is_empty() {
        let set = |name: &&str| std::env::var_os(name).is_some();
        let words = match ["WGPU_BACKEND", "WGPU_ADAPTER_NAME"].iter().find(|name| set(name)) {
            Some(name) => format!("No adapter. {name} is set, and hides those that it does not name."),
            None => "No adapter. Install a Vulkan driver (software: mesa-vulkan-drivers on Debian and Ubuntu).".into(),
        };
        say!("{}", wrap("", &words));
    } else {
        adapters.iter().for_each(|adapter| say!("{}", describe(adapter)));
    }
    let (chosen, reason) = Device::Auto.find(Precision::F32)?;
    let chosen = chosen.map_or("the CPU engine".into(), |gpu| gpu.description.name);
    let threads = rayon::current_num_threads();
    let words =
        format!("--device auto takes {chosen}: {reason}. --device cpu is the CPU engine, with {threads} threads.");
    say!("{}", wrap("\n", &words));
    Ok(ExitCode::SUCCESS)
}

/// The adapter's name behind its number, and below it what it is and has.
fn describe(adapter: &Description) -> String {
    let Description { index, name, backend, driver, subgroup: [least, most], .. } = adapter;
    let kind = if adapter.hardware { "GPU" } else { "software" };
    let subgroups = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let mib = |bytes: u64| bytes >> 20;
    let mut lines = vec![
        ("driver", format!("{driver} ({kind}, {backend})")),
        ("subgroups", format!("of {subgroups} invocations")),
        (
            "memory",
            format!(
                "{} MiB a binding, {} MiB a buffer, {} KiB a workgroup",
                mib(adapter.binding_bytes),
                mib(adapter.buffer_bytes),
                adapter.workgroup_bytes >> 10
            ),
        ),
        ("features", adapter.features.join(", ")),
    ];
    lines.extend(adapter.remarks().into_iter().map(|remark| ("note", remark)));
    let below = lines.iter().map(|(label, text)| wrap(&format!("\n   {label:<9}  "), text));
    wrap(&format!("{index:<3}"), name) + &below.collect::<String>()
}
