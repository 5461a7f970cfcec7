//! `thalweg verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use thalweg::Error;
use thalweg::device::Device;
use thalweg::gpu::adapter::{self, Gpu};
use thalweg::verify::{self, Check, Precise, Scope};

use super::{FAILED, say, table, wrap};

#[derive(clap::Args)]
pub struct Args {
    /// gpu, an adapter's number or name, or cpu to check the CPU engine alone
    #[arg(long, default_value = "gpu")]
    device: String,
    /// Check every form of every kernel and all networks, which takes minutes on a software driver
    #[arg(long)]
    full: bool,
    /// Print JSON: every check
    #[arg(long)]
    json: bool,
    /// Write every check into this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scope = if args.full { Scope::Full } else { Scope::Quick };
    let checks = match args.device.parse::<Device>()? {
        Device::Cpu => verify::networks(&Precise, scope)?,
        Device::Auto | Device::Gpu => verify::verify(announce(Gpu::open_any()?, args.json), scope)?,
        device => {
            let adapters = adapter::list();
            let index = device.choose(&adapters).ok_or_else(|| {
                Error::Device(format!(
                    "expected one of {} adapters (see thalweg devices), found {device}",
                    adapters.len()
                ))
            })?;
            verify::verify(announce(Gpu::open(index)?, args.json), scope)?
        }
    };
    if let Some(path) = &args.junit {
        std::fs::write(path, junit(&checks)).with_context(|| path.display().to_string())?;
    }
    let off: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
    if args.json {
        say!("{:#}", json!(checks.iter().map(object).collect::<Vec<_>>()));
    } else {
        say!("{}\n", summary(&checks));
        if !off.is_empty() {
            say!("{}\n", whole(&off));
        }
        let more = if args.full || !off.is_empty() { "" } else { "; --full checks every form and all networks" };
        say!("{} checks, {} off{more}", checks.len(), off.len());
    }
    Ok(if off.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn announce(gpu: Gpu, quiet: bool) -> Gpu {
    if !quiet {
        say!("{}\n", wrap("device  ", &gpu.description.to_string()));
    }
    gpu
}

fn object(c: &Check) -> Value {
    json!({
        "name": c.name, "passed": c.passed(), "elements": c.elements, "off": c.off, "worst": c.worst,
        "got": c.got, "want": c.want, "tolerance": c.tolerance,
    })
}

/// A line a kernel, and one a comparison of whole networks: how many checks and elements, and the worst of them all.
fn summary(checks: &[Check]) -> String {
    let mut subjects: Vec<(&str, Vec<&Check>)> = Vec::new();
    for check in checks {
        match subjects.iter_mut().find(|(subject, _)| *subject == check.subject()) {
            Some((_, all)) => all.push(check),
            None => subjects.push((check.subject(), vec![check])),
        }
    }
    let header = ["checked", "checks", "elements", "off", "worst error", "allowed", ""];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(subjects.iter().map(|(subject, all)| {
        let sum = |f: fn(&Check) -> usize| all.iter().map(|check| f(check)).sum::<usize>();
        let worst = all.iter().max_by(|a, b| a.share().total_cmp(&b.share())).unwrap_or(&all[0]);
        let is_ok = all.iter().all(|check| check.passed());
        vec![
            subject.to_string(),
            all.len().to_string(),
            sum(|check| check.elements).to_string(),
            sum(|check| check.off).to_string(),
            format!("{:.1e}", (worst.got - worst.want).abs()),
            format!("{:.1e}", worst.tolerance),
            if is_ok { "ok" } else { "OFF" }.to_string(),
        ]
    }));
    table(&rows)
}

/// Everything there is to say of checks that are off.
fn whole(off: &[&Check]) -> String {
    off.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The checks as a suite of tests, which people's CI shows.
fn junit(checks: &[Check]) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let case = |check: &Check| {
        let head = format!("  <testcase classname=\"{}\" name=\"{}\"", escape(check.subject()), escape(&check.name));
        if check.passed() {
            return head + "/>\n";
        }
        let message = escape(&whole(&[check]).replace('\n', ""));
        format!("{head}>\n    <failure message=\"{message}\"/>\n  </testcase>\n")
    };
    let off = checks.iter().filter(|check| !check.passed()).count();
    let cases: String = checks.iter().map(case).collect();
    let count = checks.len();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"thalweg verify\" tests=\"{count}\" failures=\"{off}\">\n{cases}</testsuite>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_told_whole() {
        let check = |name: &str, got: f64| Check::new(name, &[1.0, got], &[1.0, 2.0], |_| 0.5);
        let checks =
            [check("linear 1x2 y", 2.25), check("linear 3x4 y", 4.0), check("GPU vs CPU f64, mse <a>: dw", f64::NAN)];
        let table = summary(&checks);
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["linear", "2", "4", "1", "2.0e0", "5.0e-1", "OFF"]);
        assert_eq!(cells[2][cells[2].len() - 5..], ["2", "1", "NaN", "5.0e-1", "OFF"]);
        let text = whole(&checks.iter().skip(1).collect::<Vec<_>>());
        assert!(text.contains("linear 3x4 y\n  1 of 2 elements are off; worst is [1]: got 4e0, want 2e0"), "{text}");
        let xml = junit(&checks);
        assert!(
            xml.contains("tests=\"3\" failures=\"2\"") && xml.contains("name=\"GPU vs CPU f64, mse &lt;a>: dw\""),
            "{xml}"
        );
        assert_eq!((xml.matches("<failure").count(), xml.matches("/>").count()), (2, 3));
    }
}
