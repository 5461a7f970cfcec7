//! `thalweg shader`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use thalweg::gpu::{self, Stored};

use super::say;

#[derive(clap::Args)]
pub struct Args {
    /// The shader to print, with all its parts; without a name and --out, the names are listed
    name: Option<String>,
    /// How rows lie in memory [default: the first of these that the shader has]
    #[arg(long, requires = "name")]
    stored: Option<Memory>,
    /// Write every shader into this folder: NAME.wgsl, with rows in halves NAME.f16.wgsl and NAME.packed.wgsl, and probes/
    #[arg(long, value_name = "DIR", conflicts_with_all = ["name", "stored"])]
    out: Option<PathBuf>,
}

/// [`Stored`] as a flag.
#[derive(Clone, Copy, ValueEnum)]
enum Memory {
    /// As they are computed
    F32,
    /// In halves, by the device's own type
    F16,
    /// In halves, two in a word
    Packed,
}

impl From<Memory> for Stored {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::F32 => Self::F32,
            Memory::F16 => Self::F16,
            Memory::Packed => Self::Packed,
        }
    }
}

/// What the names of files say of the memory.
fn suffix(stored: Stored) -> &'static str {
    match stored {
        Stored::F32 => "",
        Stored::F16 => ".f16",
        Stored::Packed => ".packed",
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.out {
        write_all(folder)?;
    } else if let Some(name) = &args.name {
        say!("{}", text(name, args.stored.map(Stored::from))?.trim_end());
    } else {
        gpu::shaders().for_each(|shader| say!("{}", shader.name));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(name: &str, stored: Option<Stored>) -> anyhow::Result<String> {
    if let Some(text) = gpu::shader_text(name, stored) {
        return Ok(text);
    }
    let names: Vec<String> = gpu::shaders().map(|shader| shader.name).collect();
    if names.iter().any(|known| known == name) {
        anyhow::bail!("--stored: {name} has no rows in this memory");
    }
    let likeness = |known: &String| strsim::jaro_winkler(name, known);
    let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    anyhow::bail!("unknown shader {name}; the nearest is {}", nearest.map_or("", |name| name));
}

fn write_all(folder: &Path) -> anyhow::Result<()> {
    let mut count = 0;
    for shader in gpu::shaders() {
        let memories = if shader.memories.is_empty() { &[Stored::F32] } else { shader.memories };
        for &stored in memories {
            let path = folder.join(format!("{}{}.wgsl", shader.name, suffix(stored)));
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
            std::fs::write(&path, shader.text(stored)).with_context(|| format!("{}", path.display()))?;
            count += 1;
        }
    }
    say!("{count} shaders written to {}", folder.display());
    Ok(())
}
