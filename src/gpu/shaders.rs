//! The shaders' texts, for whoever wants to read them.

use super::kernels::{self, Kernel, Part, Stored};
use super::limits::PROBES;

/// A shader that the GPU engine uses.
#[derive(Clone, Debug)]
pub struct Shader {
    /// The name of the shader, which is its kernel's; `linear_dw.sgd` and the like where an optimizer uses up the
    /// gradient that the kernel makes, and `probes/copy` and the like of those that measure what the device can do.
    pub name: String,
    /// The memories that rows may lie in which it reads or writes; none if it has no rows.
    pub memories: &'static [Stored],
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Kernel(Kernel),
    Probe(&'static str),
}

impl Shader {
    /// The whole text of the shader with its shared parts, valid by the specification of WGSL, with the tiles that its
    /// file names and rows in this memory.
    pub fn text(&self, stored: Stored) -> String {
        match self.source {
            Source::Kernel(kernel) => kernel.with_stored(stored).text(),
            Source::Probe(text) => text.to_string(),
        }
    }
}

/// Every shader, in the order of a step, the probes last.
pub fn shaders() -> impl Iterator<Item = Shader> {
    let kernels = kernels::ALL.iter().flat_map(|kernel| {
        let makes_gradients = kernel.parts().iter().any(Part::is_gradient);
        let fused = kernels::updates().filter(move |_| makes_gradients).map(|optimizer| {
            let name = format!("{}.{}", kernel.name, optimizer.name);
            Shader { name, memories: kernel.memories, source: Source::Kernel(kernel.with_update_by(optimizer)) }
        });
        let plain = Shader { name: kernel.name.into(), memories: kernel.memories, source: Source::Kernel(*kernel) };
        std::iter::once(plain).chain(fused)
    });
    let probes = PROBES.iter().map(|probe| Shader {
        name: format!("probes/{}", probe.name),
        memories: &[],
        source: Source::Probe(probe.source),
    });
    kernels.chain(probes)
}

/// A digest of every shader's text in every memory, FNV-1a: what was measured with one holds for no other.
#[cfg(feature = "run")]
pub(crate) fn digest() -> u64 {
    let texts = shaders().flat_map(|shader| {
        let memories = if shader.memories.is_empty() { &[Stored::F32][..] } else { shader.memories };
        memories.iter().map(|&stored| shader.text(stored)).collect::<Vec<_>>()
    });
    texts.fold(0xcbf2_9ce4_8422_2325, |digest, text| {
        text.bytes().fold(digest, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}

/// The text of the shader of that name with rows in this memory, or in the first that it has; nothing if there is no such shader,
/// or it has no rows in this memory.
///
/// ```
/// let text = thalweg::gpu::shader_text("axpy", None).unwrap();
/// assert!(text.contains("@compute"));
/// assert!(thalweg::gpu::shader_text("no_such_kernel", None).is_none());
/// ```
pub fn shader_text(name: &str, stored: Option<Stored>) -> Option<String> {
    let shader = shaders().find(|shader| shader.name == name)?;
    match stored {
        Some(stored) if !shader.memories.contains(&stored) => None,
        stored => Some(shader.text(stored.or(shader.memories.first().copied()).unwrap_or_default())),
    }
}
