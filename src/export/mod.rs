//! Files in other programs' formats.

mod names;
pub mod safetensors;
