//! Files and settings out of proportion: an error of one line, and memory in proportion to what is there. The bodies of the fuzz
//! targets run over their seeds, over every input that ever broke one, and over changes of the seeds.
#![cfg(all(feature = "report", feature = "fetch"))]

mod common;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::alloc::{GlobalAlloc, System};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::files::{gzip, idx, npy, write};
use common::program::{fails, ok};
use targets::{TARGETS, Target};
use tempfile::TempDir;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Samples, Source, fetch};
use thalweg::engine::Setup;
use thalweg::loss::Loss;
use thalweg::{Mlp, Result};

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST_HELD: AtomicUsize = AtomicUsize::new(0);

/// The most bytes that are given at once: an allocation of more fails, as on a small machine.
const MOST_AT_ONCE: usize = 1 << 30;

/// Counts the bytes that are held.
struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        if layout.size() > MOST_AT_ONCE {
            return std::ptr::null_mut();
        }
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST_HELD.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: std::alloc::Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Held while memory is counted: all tests of this file share the count.
static ALONE: Mutex<()> = Mutex::new(());

/// The most bytes that `work` held at once beyond those that were held before.
fn held(work: impl FnOnce()) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    MOST_HELD.store(before, Ordering::Relaxed);
    work();
    MOST_HELD.load(Ordering::Relaxed).saturating_sub(before)
}

/// What any input may take, and how many bytes more for each of its own: packed ones become up to 1,032, of which each may be
/// eight in memory, twice.
const MOST_ANYWAY: usize = 4 << 20;
const MOST_RATIO: usize = 1032 * 8 * 2;

/// Runs a body over an input; memory out of proportion is a failure, as is a panic.
fn run((name, body): Target, input: &[u8], what: &str) {
    let most = MOST_ANYWAY + MOST_RATIO * input.len();
    let caught = std::panic::catch_unwind(|| held(|| body(input)));
    let bytes = caught.unwrap_or_else(|_| panic!("{name}: {what} panics"));
    assert!(bytes <= most, "{name}: {what}, {} bytes, takes {bytes} bytes of memory", input.len());
}

/// The inputs in a folder of `fuzz`, by name.
fn inputs(folder: &str, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(name);
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A generator of numbers that are the same in every run (Vigna's splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Numbers that are too large for most places, as bytes and as text.
const EXTREME: [&[u8]; 12] = [
    &[0xff; 8],
    &[0xff; 4],
    &[0, 0, 0, 0x80],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0; 4],
    b"9223372036854775807",
    b"18446744073709551615",
    b"4294967296",
    b"1e308",
    b"1e-320",
    b"nan",
    b"-1",
];

/// The seed with something changed: a bit, a byte, its end, a number, or a part that stands twice.
fn changed(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => bytes[at] = numbers.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let part = bytes[at..].iter().take(numbers.below(64)).copied().collect::<Vec<u8>>();
                bytes.splice(at..at, part);
            }
            kind => {
                let number = EXTREME[numbers.below(EXTREME.len())];
                // In the place of the number that stands there, or of as many bytes.
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let end = if kind == 4 { at + digits } else { (at + number.len()).min(bytes.len()) };
                bytes.splice(at..end, number.iter().copied());
            }
        }
    }
    bytes
}

/// The changes of each target's seeds.
const CHANGES: usize = 2000;

#[test]
fn parsers_bear_seeds_and_what_once_broke_them() {
    let _alone = ALONE.lock().unwrap_or_else(|held| held.into_inner());
    for &target in TARGETS {
        let seeds = inputs("seeds", target.0);
        assert!(!seeds.is_empty(), "{} has no seeds", target.0);
        for (path, bytes) in seeds.into_iter().chain(inputs("regressions", target.0)) {
            run(target, &bytes, &path.display().to_string());
        }
    }
}

#[test]
fn parsers_bear_changed_seeds() {
    let _alone = ALONE.lock().unwrap_or_else(|held| held.into_inner());
    for &target in TARGETS {
        let seeds = inputs("seeds", target.0);
        for i in 0..CHANGES {
            let (path, seed) = &seeds[i % seeds.len()];
            let bytes = changed(seed, &mut Numbers(i as u64));
            run(target, &bytes, &format!("change {i} of {}: {:?}", path.display(), bytes.escape_ascii().to_string()));
        }
    }
}

/// The error of a data set, and the memory that it took.
fn refused(source: &str) -> (String, usize) {
    let mut error = String::new();
    let bytes = held(|| error = load(source).unwrap_err().to_string());
    (error, bytes)
}

fn load(source: &str) -> Result<Dataset> {
    source.parse::<Source>()?.load(0)
}

/// Packed files that unpack to a thousand times as much.
#[test]
fn bombs_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(|held| held.into_inner());
    let dir = TempDir::new().unwrap();
    // Members of a gzip file stand one after the other.
    let zeros = gzip(&vec![0; 1 << 20]).repeat(256);
    let rows = gzip("1,2\n".repeat(1 << 18).as_bytes()).repeat(256);
    // What is unpacked lies in a list that doubles, and while it grows there is the old one too.
    let most = |unpacked: usize| 3 * unpacked + (1 << 20);

    let label = write(&dir, "y", idx(&[1], &[0]));
    let promise = idx(&[1, 1 << 14, 1 << 14], &[]);
    let (error, bytes) =
        refused(&format!("idx:{},{label}", write(&dir, "x", [gzip(&promise), zeros.clone()].concat())));
    assert!(error.contains("packed ones, found a header that promises 268435472; unpack it"), "{error}");
    assert!(bytes < 1 << 20, "{bytes}");

    // More than the header says is not read.
    let file = [gzip(&idx(&[1, 2, 2], &[0; 4])), zeros.clone()].concat();
    let (error, bytes) = refused(&format!("idx:{},{label}", write(&dir, "x", file)));
    assert!(error.ends_with("promises 4 bytes, found 16368 or more"), "{error}");
    assert!(bytes < 1 << 20, "{bytes}");

    let table = [gzip(b"a,y\n"), rows].concat();
    let (error, bytes) = refused(&format!("csv:{},target=y", write(&dir, "x.csv", &table)));
    assert!(error.contains("packed ones, found more; unpack it, if that is right"), "{error}");
    assert!(bytes < most((64 << 20) + 128 * table.len()), "{bytes}");

    // A file of CIFAR-10 has at most 10,000 records.
    write(&dir, "data_batch_1.bin", &zeros);
    let (error, bytes) = refused(&format!("cifar10:{}", dir.path().display()));
    assert!(error.ends_with("expected 1 to 10000 records of 3073 bytes, found 30730001 bytes or more"), "{error}");
    assert!(bytes < most(30_730_001), "{bytes}");

    let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 268435456), }";
    let array = [&b"\x93NUMPY\x01\0"[..], &(header.len() as u16).to_le_bytes(), header, &[0; 1000]].concat();
    let y = npy(&dir, "y.npy", &[1], vec![0i64]);
    let (error, _) = refused(&format!("npy:{},{y}", write(&dir, "x.npy", gzip(&array))));
    assert!(error.contains("found a header that promises 268435"), "{error}");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut archive, &array).unwrap();
    let archive = archive.finish().unwrap().into_inner();
    let (error, bytes) = refused(&format!("npz:{}", write(&dir, "x.npz", archive)));
    assert!(error.contains("x.npz[x]: expected at most") && error.contains("a header that promises"), "{error}");
    assert!(bytes < 1 << 20, "{bytes}");
}

/// What is legal but does not fit is an error of one line, with the bytes.
#[test]
fn too_little_memory_is_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(|held| held.into_inner());
    let dir = TempDir::new().unwrap();
    // 1,000 categories become as many features of eight bytes.
    let rows: String = (0..150_000).map(|row| format!("c{},{}\n", row % 1000, row % 2)).collect();
    let (error, _) = refused(&format!("csv:{},target=y", write(&dir, "x.csv", "a,y\n".to_string() + &rows)));
    assert!(error.ends_with("x.csv: expected memory for its values, 1200000000 bytes, found less"), "{error}");

    let samples = Samples::labelled(vec![0f32; 3000], vec![0; 3000]);
    let dataset = Dataset::new("labels", [1, 1, 1], samples, None).unwrap().with_classes(65_536).unwrap();
    let setup = Setup { loss: Loss::Mse, ..Setup::new(Mlp::new(1, 65_536), dataset.into()) };
    let error = CpuEngine::<f32>::new(setup).err().unwrap().to_string();
    assert!(error.contains("expected memory for its values, 1572864000 bytes, found less"), "{error}");
}

#[test]
fn archives_write_nowhere_else() {
    for (path, bytes) in inputs("regressions", "tar") {
        let dir = TempDir::new().unwrap();
        let error = fetch::unpack(&bytes[..], bytes.len() as u64, dir.path()).unwrap_err().to_string();
        assert!(error.contains("expected an archive of ") && !error.contains('\n'), "{}: {error}", path.display());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{}", path.display());
    }
}

/// Settings far out of range, each with the line that it gets; ranges are checked before anything is made of them.
#[test]
fn settings_out_of_proportion_are_refused() {
    let dir = TempDir::new().unwrap();
    let small = ["--device", "cpu", "--hidden", "4", "--dry-run"];
    let x = npy(&dir, "x.npy", &[4, 2], vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let source = format!("npy:{x},{}", npy(&dir, "y.npy", &[4], vec![0i64, 1, 0, 1]));
    for (set, wanted) in [
        (
            "average={snapshots={max=2147483648,when={start=0}}}",
            "average.snapshots.max: expected 1 to 100, found 2147483648",
        ),
        ("average={snapshots={max=9223372036854775807}}", "average.snapshots.max: expected 1 to 100"),
        ("train.replicas=9223372036854775807", "train.replicas: expected 1 to 4095"),
        ("train.epochs=9223372036854775807", "train.epochs: expected at most 2^53 samples"),
        ("train.batch=9223372036854775807", "train.batch: expected 1 to 4 samples"),
        (
            "model.hidden=[9223372036854775807,9223372036854775807]",
            "model.hidden: expected at most 1073741824 parameters",
        ),
        ("data.classes=9223372036854775807", "data.classes: expected 1 to 65536"),
        ("augment.mixup=1e308", "augment.mixup: expected a number in [0, 1000]"),
    ] {
        let error = fails(dir.path(), 2, &[&["train", "--data", &source, "--set", set][..], &small].concat());
        assert!(error.contains(wanted), "{set}: {error}");
    }
    for (flags, wanted) in [
        (["--steps", "9223372036854775807"], "steps: expected 2 to 1000000, found 9223372036854775807"),
        (["--to", "1e308"], "from, to: expected rates 0 < from < to whose ratio is a number, found 1e-6 and 1e308"),
    ] {
        let all = [&["lr-find", "--data", &source, "--device", "cpu", "--hidden", "4"][..], &flags].concat();
        let error = fails(dir.path(), 2, &all);
        assert!(error.contains(wanted), "{flags:?}: {error}");
    }
    for mixup in ["1e-320", "1e-300", "1e-5"] {
        ok(dir.path(), &[&["train", "--data", &source, "--mixup", mixup][..], &small].concat());
    }
}
