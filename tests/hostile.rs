//! Files and settings out of proportion: an error of one line, and memory in proportion to what is there. The bodies of the fuzz
//! targets run over their seeds, over every input that ever broke one, and over changes of the seeds.
#![cfg(all(feature = "run", feature = "fetch"))]

mod common;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::alloc::{GlobalAlloc, System};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::files::{array, gzip, write};
use targets::{TARGETS, Target};
use tempfile::TempDir;
use thalweg::data::Source;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST_HELD: AtomicUsize = AtomicUsize::new(0);

/// Counts the bytes that are held.
struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
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
