//! The loaders, on files made here: what they read, and what they say of files that are not right.

use crate::common;

use std::path::Path;

use common::files::{gzip, idx, npy, write};
use tempfile::TempDir;
use thalweg::Result;
use thalweg::data::{Dataset, Features, Order, Source, Targets};

fn load(source: &str) -> Result<Dataset> {
    source.parse::<Source>()?.load(0)
}

fn error(source: &str) -> String {
    load(source).unwrap_err().to_string()
}

fn record(labels: &[u8], shade: u8) -> Vec<u8> {
    let mut record = labels.to_vec();
    record.extend((0..3072).map(|i| (i / 1024) as u8 * 10 + shade));
    record
}

fn cifar10(dir: &TempDir) -> String {
    for i in 1..=2 {
        write(dir, &format!("data_batch_{i}.bin"), [record(&[i], 1), record(&[9], 2)].concat());
    }
    write(dir, "test_batch.bin", record(&[3], 4));
    write(dir, "batches.meta.txt", b"airplane\nautomobile\n\n");
    format!("cifar10:{}", dir.path().display())
}

#[test]
fn cifar_records_are_label_then_channels() {
    let dir = TempDir::new().unwrap();
    let data = load(&cifar10(&dir)).unwrap();
    assert_eq!((data.shape, data.outputs, data.train.len()), ([3, 32, 32], 10, 4));
    assert_eq!(data.train.targets, Targets::Labels(vec![1, 9, 2, 9]));
    assert_eq!(data.train.features.get(3072 + 2048), 22.0);
    assert_eq!(data.classes, ["airplane", "automobile"]);
    assert_eq!(data.test.unwrap().targets, Targets::Labels(vec![3]));

    let dir = TempDir::new().unwrap();
    write(&dir, "train.bin", record(&[19, 99], 0));
    write(&dir, "test.bin", record(&[0, 7], 0));
    let data = load(&format!("cifar100:{}", dir.path().display())).unwrap();
    assert_eq!((data.outputs, data.train.targets), (100, Targets::Labels(vec![99])));
}

#[test]
fn broken_cifar_files_are_named() {
    let dir = TempDir::new().unwrap();
    let source = cifar10(&dir);
    let cases: [(Vec<u8>, &str); 4] = [
        (record(&[1], 0)[..3000].to_vec(), "data_batch_2.bin: expected 1 to 10000 records of 3073 bytes, found 3000"),
        (Vec::new(), "found 0 bytes"),
        (record(&[1], 0).repeat(10_001), "found 30730001 bytes or more"),
        ([record(&[1], 0), record(&[10], 0)].concat(), "expected labels 0 to 9, found 10 in record 1"),
    ];
    for (bytes, want) in cases {
        write(&dir, "data_batch_2.bin", &bytes);
        let text = error(&source);
        assert!(text.contains(want), "{text}");
    }
    std::fs::rename(dir.path().join("data_batch_2.bin"), dir.path().join("data_batch_3.bin")).unwrap();
    assert!(error(&source).contains("data_batch_2.bin: No such file"), "a gap is an error");
}

fn mnist(dir: &TempDir) -> String {
    let images: Vec<u8> = (0..12).collect();
    write(dir, "train-images-idx3-ubyte.gz", gzip(&idx(&[3, 2, 2], &images)));
    write(dir, "train-labels-idx1-ubyte", idx(&[3], &[0, 9, 4]));
    write(dir, "t10k-images-idx3-ubyte", idx(&[1, 2, 2], &[9, 9, 9, 9]));
    write(dir, "t10k-labels-idx1-ubyte.gz", gzip(&idx(&[1], &[5])));
    format!("mnist:{}", dir.path().display())
}

#[test]
fn idx_files_are_read_plain_and_gzipped() {
    let dir = TempDir::new().unwrap();
    let data = load(&mnist(&dir)).unwrap();
    assert_eq!((data.shape, data.outputs, data.width()), ([1, 2, 2], 10, 4));
    assert_eq!(data.train.features, Features::U8((0..12).collect()));
    assert_eq!(data.train.targets, Targets::Labels(vec![0, 9, 4]));
    assert_eq!(data.test.unwrap().len(), 1);
}

#[test]
fn broken_idx_files_are_named() {
    let dir = TempDir::new().unwrap();
    let source = mnist(&dir);
    let images = "train-images-idx3-ubyte.gz";
    let cases = [
        (images, idx(&[3, 2, 2], &[0; 11]), "the header [3, 2, 2] promises 12 bytes, found 11"),
        (images, idx(&[3, 2, 2], &[0; 13]), "promises 12 bytes, found 13"),
        (images, idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), "promises more bytes than can be addressed"),
        (images, gzip(&idx(&[3, 2, 2], &[0; 12]))[..20].to_vec(), "expected a whole gzip file"),
        (images, b"PNG".to_vec(), "expected an IDX header (0, 0, type, rank), found [80, 78, 71]"),
        (images, [0, 0, 0x0d, 3].to_vec(), "expected type 0x08 (unsigned bytes), found 0x0d"),
        (images, [0, 0, 8, 3, 0].to_vec(), "expected a header of 16 bytes, found 5"),
        (images, idx(&[0, 2, 2], &[]), "train-labels-idx1-ubyte: expected 0 labels"),
        ("train-labels-idx1-ubyte", idx(&[2], &[0, 1]), "expected 3 labels, one an image, found [2]"),
        ("train-labels-idx1-ubyte", idx(&[3], &[0, 10, 1]), "expected labels 0 to 9, found 10 in sample 1"),
        ("t10k-images-idx3-ubyte", idx(&[1, 2, 3], &[0; 6]), "expected images of [1, 2, 2], found [1, 2, 3]"),
    ];
    for (name, bytes, want) in cases {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let text = error(&source);
        assert!(text.contains(want), "{text}");
        std::fs::write(&path, good).unwrap();
    }
    std::fs::remove_file(dir.path().join(images)).unwrap();
    assert!(error(&source).contains("expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz, found neither"));
}

#[test]
fn npy_pairs_are_features_and_labels_or_targets() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[3, 2], vec![1f32, 2., 3., 4., 5., 6.]);
    for labels in [
        npy(&dir, "i64.npy", &[3], vec![0i64, 2, 1]),
        npy(&dir, "i32.npy", &[3, 1], vec![0i32, 2, 1]),
        npy(&dir, "u8.npy", &[3], vec![0u8, 2, 1]),
    ] {
        let data = load(&format!("npy:{x},{labels}")).unwrap();
        assert_eq!(data.train.targets, Targets::Labels(vec![0, 2, 1]));
        assert_eq!((data.outputs, data.shape), (3, [2, 1, 1]));
    }
    let y = npy(&dir, "y.npy", &[3, 2], vec![0.5f64, 1., 1.5, 2., 2.5, 3.]);
    let images = npy(&dir, "images.npy", &[3, 2, 1, 2], (0u8..12).collect());
    let data = load(&format!("npy:{images},{y},{images},{y}")).unwrap();
    assert_eq!((data.shape, data.outputs, data.is_classification()), ([2, 1, 2], 2, false));
    assert_eq!(data.test.unwrap(), data.train);
    let halves = npy(&dir, "f16.npy", &[3, 1], [1.5, -2.0, 0.25].map(half::f16::from_f64).to_vec());
    let data = load(&format!("npy:{halves},{y}")).unwrap();
    assert_eq!(data.train.features, Features::F32(vec![1.5, -2.0, 0.25]));
}

#[test]
fn broken_npy_files_are_named() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[2, 2], vec![1f32, 2., 3., 4.]);
    let y = npy(&dir, "y.npy", &[2], vec![0i64, 1]);
    let nan = npy(&dir, "nan.npy", &[2, 2], vec![1f64, 2., f64::NAN, 4.]);
    let three = npy(&dir, "three.npy", &[3], vec![0i64, 1, 0]);
    let negative = npy(&dir, "negative.npy", &[2], vec![0i64, -1]);
    let header = b"{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }";
    let complex = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header, &[0; 16]].concat();
    let complex = write(&dir, "complex.npy", &complex);
    let none = npy(&dir, "none.npy", &[0, 2], Vec::<f32>::new());
    let no_labels = npy(&dir, "no_labels.npy", &[0], Vec::<i64>::new());
    let scalar = npy(&dir, "scalar.npy", &[], vec![f32::NAN]);
    let bytes = std::fs::read(&x).unwrap();
    let short = write(&dir, "short.npy", &bytes[..bytes.len() - 4]);
    let text = write(&dir, "text.npy", b"1,2,3");
    let missing = dir.path().join("missing.npy").display().to_string();
    let cases = [
        (&nan, &y, "nan.npy: expected finite features, found NaN in sample 1, feature 0".to_string()),
        (&scalar, &y, "scalar.npy: expected finite features, found NaN".into()),
        (&x, &three, "three.npy: expected 2 rows".into()),
        (&x, &negative, "expected labels 0 to 65535, found -1 in row 1".into()),
        (&complex, &y, "complex.npy: expected features of type float16, float32, float64, bool or an integer".into()),
        (&x, &complex, "expected labels of an integer type, bool or text, or targets of type float16".into()),
        (&none, &no_labels, "expected at least one train sample, found none".into()),
        (&short, &y, "short.npy: the header promises 16 bytes, the file has 12".into()),
        (&text, &y, "text.npy: expected a .npy file".into()),
        (&missing, &y, "missing.npy: No such file".into()),
    ];
    for (x, y, want) in cases {
        let text = error(&format!("npy:{x},{y}"));
        assert!(text.contains(&want), "{text}");
    }
}

#[test]
fn a_source_that_is_none_is_refused() {
    for bad in
        ["cifar", "cifar10:", "npy:a.npy,", "idx:1,2,3", "npz:a,b", "csv:a,tagret=b", "csv:a,target=", "mnits:DIR", ""]
    {
        assert!(
            bad.parse::<Source>().unwrap_err().to_string().starts_with("data.source: expected synthetic, "),
            "{bad}"
        );
    }
    assert_eq!("idx:a,b".parse::<Source>().unwrap().to_string(), "idx:a,b");
}

#[test]
fn the_synthetic_set_is_a_function_of_its_seed() {
    let data = load("synthetic").unwrap();
    assert_eq!((data.shape, data.outputs, data.train.len()), ([3, 32, 32], 10, 10_000));
    assert_eq!(data.train.histogram(10), [1000; 10]);
    assert!(data == load("synthetic").unwrap());
    assert!(data.train != Source::Synthetic.load(1).unwrap().train);
}

#[test]
fn an_epoch_takes_every_sample_once() {
    let order = Order::Shuffle.permutation(1000, 7, 3);
    assert_eq!(order, Order::Shuffle.permutation(1000, 7, 3));
    assert_ne!(order, Order::Shuffle.permutation(1000, 7, 4));
    assert_ne!(order, Order::Shuffle.permutation(1000, 8, 3));
    let mut sorted = order;
    sorted.sort_unstable();
    assert_eq!(sorted, Order::Sequential.permutation(1000, 7, 3));
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).exists());
}
