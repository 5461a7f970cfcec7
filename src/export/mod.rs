//! Files in other programs' formats.

pub mod columns;
mod names;
pub mod npz;
pub mod safetensors;
pub(crate) mod sealed;
