//! Files in other programs' formats.

pub mod columns;
mod names;
pub mod npz;
#[cfg(feature = "report")]
pub mod onnx;
pub mod safetensors;
pub(crate) mod sealed;
