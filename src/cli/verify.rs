//! `thalweg verify`.

use std::process::ExitCode;

use serde_json::json;
use thalweg::Error;
use thalweg::device::Device;
use thalweg::gpu::adapter::{self, Gpu};
use thalweg::verify::{self, Check, Precise};

use super::{FAILED, say, table};

#[derive(clap::Args)]
pub struct Args {
    /// gpu, an adapter's number or name, or cpu to check the CPU engine alone
    #[arg(long, default_value = "gpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checks = match args.device.parse::<Device>()? {
        Device::Cpu => verify::networks(&Precise)?,
        Device::Auto | Device::Gpu => verify::verify(announce(Gpu::open_any()?, args.json))?,
        device => {
            let adapters = adapter::list();
            let index = device.choose(&adapters).ok_or_else(|| {
                Error::Device(format!(
                    "expected one of {} adapters (see thalweg devices), found {device}",
                    adapters.len()
                ))
            })?;
            verify::verify(announce(Gpu::open(index)?, args.json))?
        }
    };
    let off = checks.iter().filter(|check| !check.passed()).count();
    if args.json {
        let list: Vec<_> = checks
            .iter()
            .map(|c| {
                json!({
                    "name": c.name, "passed": c.passed(), "elements": c.elements, "off": c.off, "worst": c.worst,
                    "got": c.got, "want": c.want, "tolerance": c.tolerance,
                })
            })
            .collect();
        say!("{:#}", json!(list));
    } else {
        let header = ["check", "elements", "off", "worst at", "got", "want", "error", "allowed", ""];
        let mut rows = vec![header.map(String::from).to_vec()];
        rows.extend(checks.iter().map(row));
        say!("{}\n\n{} checks, {off} off", table(&rows), checks.len());
    }
    Ok(if off == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn announce(gpu: Gpu, quiet: bool) -> Gpu {
    if !quiet {
        say!("device  {}\n", gpu.description);
    }
    gpu
}

fn row(check: &Check) -> Vec<String> {
    vec![
        check.name.clone(),
        check.elements.to_string(),
        check.off.to_string(),
        check.worst.to_string(),
        format!("{:.6e}", check.got),
        format!("{:.6e}", check.want),
        format!("{:.1e}", (check.got - check.want).abs()),
        format!("{:.1e}", check.tolerance),
        if check.passed() { "ok" } else { "OFF" }.to_string(),
    ]
}
