//! `thalweg devices`.

use std::process::ExitCode;

use serde_json::json;
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
                    "hardware": a.hardware, "subgroup": a.subgroup, "binding_bytes": a.binding_bytes,
                    "buffer_bytes": a.buffer_bytes, "workgroup_bytes": a.workgroup_bytes,
                    "invocations": a.invocations, "features": a.features,
                })
            })
            .collect();
        say!("{:#}", json!(list));
        return Ok(ExitCode::SUCCESS);
    }
    if adapters.is_empty() {
        say!("No adapter. Install a Vulkan driver (software: mesa-vulkan-drivers on Debian and Ubuntu).");
    } else {
        adapters.iter().for_each(|adapter| say!("{}", describe(adapter)));
    }
    let chosen = adapters.iter().find(|a| a.hardware).map_or("the CPU engine", |a| a.name.as_str());
    let threads = rayon::current_num_threads();
    let words = format!("--device auto takes {chosen}; --device cpu is the CPU engine, with {threads} threads.");
    say!("{}", wrap("\n", &words));
    Ok(ExitCode::SUCCESS)
}

/// The adapter's name behind its number, and below it what it is and has.
fn describe(adapter: &Description) -> String {
    let Description { index, name, backend, driver, subgroup: [least, most], .. } = adapter;
    let kind = if adapter.hardware { "GPU" } else { "software" };
    let subgroups = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let mib = |bytes: u64| bytes >> 20;
    let lines = [
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
    let below = lines.iter().map(|(label, text)| wrap(&format!("\n   {label:<9}  "), text));
    wrap(&format!("{index:<3}"), name) + &below.collect::<String>()
}
