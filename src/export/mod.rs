//! Files in other programs' formats.

pub mod columns;
pub mod safetensors;
