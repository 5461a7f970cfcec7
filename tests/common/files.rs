//! Writing the files that data sets are read from.

use std::io::Write;

use npyz::WriterBuilder;
use tempfile::TempDir;

/// Writes a file, and the folders that it lies in; returns its path.
pub fn write(dir: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// The bytes of a NumPy array whose values lie in this order.
pub fn array<T: npyz::AutoSerialize>(order: npyz::Order, shape: &[u64], values: Vec<T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).order(order);
    let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Writes a NumPy array, row after row; returns its path.
pub fn npy<T: npyz::AutoSerialize>(dir: &TempDir, name: &str, shape: &[u64], values: Vec<T>) -> String {
    write(dir, name, array(npyz::Order::C, shape, values))
}

/// The bytes of an IDX file.
pub fn idx(dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| file.extend(d.to_be_bytes()));
    file.extend(bytes);
    file
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
