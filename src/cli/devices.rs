//! `thalweg devices`.

use std::process::ExitCode;

use serde_json::json;
use thalweg::device::Device;
use thalweg::engine::Precision;
use thalweg::gpu::adapter;

use super::{say, table};

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
        say!("No adapter. Install a Vulkan driver (software: mesa-vulkan-drivers on Debian and Ubuntu).");
    } else {
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let header =
            ["", "name", "kind", "backend", "driver", "subgroup", "binding", "buffer", "workgroup", "features"];
        let mut rows = vec![header.map(String::from).to_vec()];
        rows.extend(adapters.iter().map(|a| {
            vec![
                a.index.to_string(),
                a.name.clone(),
                format!("{}{}", if a.hardware { "GPU" } else { "software" }, if a.conforms { "" } else { " *" }),
                a.backend.clone(),
                a.driver.clone(),
                if a.subgroup[0] == a.subgroup[1] {
                    a.subgroup[0].to_string()
                } else {
                    format!("{} to {}", a.subgroup[0], a.subgroup[1])
                },
                mib(a.binding_bytes),
                mib(a.buffer_bytes),
                format!("{} KiB", a.workgroup_bytes >> 10),
                a.features.join(", "),
            ]
        }));
        say!("{}", table(&rows));
    }
    for adapter in &adapters {
        for remark in adapter.remarks() {
            say!("\n{}{} {remark}", adapter.index, if adapter.conforms { ":" } else { " *:" });
        }
    }
    let (chosen, reason) = Device::Auto.find(Precision::F32)?;
    let chosen = chosen.map_or("the CPU engine".into(), |gpu| gpu.description.name);
    say!("\n--device auto takes {chosen}: {reason}.");
    say!("--device cpu is the CPU engine, with {} threads.", rayon::current_num_threads());
    Ok(ExitCode::SUCCESS)
}
