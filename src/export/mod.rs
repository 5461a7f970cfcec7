//! Files in other programs' formats.

pub mod safetensors;
