//! Ranks that die, differ or cannot begin, runs that are left, and what becomes of them.

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::program::{ok, tensors, words};
use crate::ranks::{SMALL, mpirun, said, table, trains};

/// The flags of a run that lasts for a while, and writes checkpoints on its way.
const LONG: &str =
    "--data npy:x.npy,y.npy --hidden 128,128 --batch 10 --epochs 250 --checkpoint-every 40steps --device cpu --quiet";

/// What ranks that cannot begin say; they end with an error.
#[track_caller]
fn refused(dir: &Path, ranks: usize, lines: &[&str]) -> String {
    let output = mpirun(dir, ranks, lines).output().unwrap();
    assert!(!output.status.success(), "{lines:?}");
    let text = said(&output);
    assert!(text.contains("error: "), "{lines:?}: {text}");
    text
}

#[test]
fn ranks_that_differ_are_refused_by_number() {
    let dir = table();
    let line = format!("train {SMALL} --distributed data --run r");
    let other = format!("{line} --lr 0.5");
    let text = refused(dir.path(), 3, &[&line, &line, &other]);
    assert!(text.contains("optimizer.lr: expected 0.001, as rank 0 has, found 0.5 on rank 2"), "{text}");
    let other = line.replace("y.npy", "z.npy");
    crate::common::program::npy(&dir.path().join("z.npy"), &[101], (0..101).map(|i| i64::from(i % 3)).collect());
    let text = refused(dir.path(), 2, &[&line, &other]);
    assert!(text.contains("data.source: expected ") && text.contains(" on rank 1"), "{text}");
    assert!(!dir.path().join("r").exists());
}

#[test]
fn a_rank_without_its_device_ends_all() {
    let dir = table();
    let text = refused(dir.path(), 2, &[&format!("train {SMALL} --distributed data --run r --device cpu,99")]);
    assert!(text.contains("error: rank 1: train.device: "), "{text}");
    assert!(!dir.path().join("r").exists());
}

#[test]
fn what_needs_a_whole_step_is_refused() {
    let dir = table();
    let gpu = "--norm batch --batch 12 --device gpu --no-tune";
    let flags = [
        ("--norm batch --drop-last", "train.batch"),
        (gpu, "model.norm"),
        ("--sam 0.05", "optimizer.sam"),
        ("--mixup 0.2", "augment.mixup"),
    ];
    for (flag, key) in flags {
        let line = format!("train {SMALL} --distributed data --run r {flag}");
        let text = refused(dir.path(), 2, &[&line]);
        assert!(text.contains(&format!(": {key}: expected ")), "{text}");
    }
}

/// A run goes on from its checkpoint, with as many ranks to the same bits, with another number of them with a note.
#[test]
fn runs_go_on_with_any_number_of_ranks() {
    let dir = table();
    let weights = |run: &str| tensors(&dir.path().join(run).join("weights.safetensors"));
    let line = format!("{SMALL} --momentum 0.9 --optimizer sgd --lr 0.05").replace("--quiet", "");
    trains(dir.path(), 2, &format!("{line} --epochs 4 --run whole"));
    trains(dir.path(), 2, &format!("{line} --epochs 2 --run parts"));
    let text = trains(dir.path(), 2, "--resume parts --epochs 4");
    assert!(!text.contains("the run was on"), "{text}");
    assert_eq!(weights("whole"), weights("parts"));
    let text = trains(dir.path(), 3, "--resume parts --epochs 5");
    assert!(text.contains(", 2 ranks before"), "{text}");
    let text = trains(dir.path(), 1, "--resume parts --epochs 6");
    assert!(text.contains(", 3 ranks before"), "{text}");
}

/// Starts a long run, whose ranks have so many seconds to end when they are asked to; returns when it has written a checkpoint
/// after its first steps.
fn start(dir: &Path, ranks: usize, line: &str, seconds: u64) -> Child {
    let run = words(line).into_iter().skip_while(|word| !matches!(*word, "--run" | "--resume")).nth(1).unwrap();
    let checkpoint = dir.join(run).join("checkpoint.safetensors");
    let written = || std::fs::metadata(&checkpoint).and_then(|file| file.modified()).ok();
    let (before, patience) = (written(), Instant::now());
    let mut command = mpirun(dir, ranks, &[&format!("train {line} --distributed data")]);
    command.env("OMPI_MCA_odls_base_sigkill_timeout", seconds.to_string());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while written() == before {
        assert!(patience.elapsed() < Duration::from_secs(100), "{line}: no checkpoint");
        sleep(Duration::from_millis(10));
    }
    child
}

/// The process numbers of the ranks that train `run`, in the order of the ranks.
fn processes(run: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let (Ok(line), Ok(environment)) =
            (std::fs::read(entry.path().join("cmdline")), std::fs::read(entry.path().join("environ")))
        else {
            continue;
        };
        let (line, environment) =
            (String::from_utf8_lossy(&line).into_owned(), String::from_utf8_lossy(&environment).into_owned());
        let rank = environment
            .split('\0')
            .find_map(|v| v.strip_prefix("OMPI_COMM_WORLD_RANK="))
            .and_then(|r| r.parse::<usize>().ok());
        if let Some(rank) = rank.filter(|_| line.split('\0').any(|word| word == run)) {
            found.push((rank, pid));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, pid)| pid).collect()
}

/// A rank that is killed at any moment ends all, with a message that names it, and the run goes on to the bits of one that was
/// not disturbed.
#[test]
fn a_killed_rank_ends_all_and_the_run_goes_on() {
    let dir = table();
    let path = dir.path();
    trains(path, 3, &format!("{LONG} --run whole"));
    // Names that no other test's ranks have.
    let run = format!("killed.{}", std::process::id());
    for rank in [1, 2, 0] {
        let begins = !path.join(&run).exists();
        let line = if begins { format!("{LONG} --run {run}") } else { format!("--resume {run}") };
        let child = start(path, 3, &line, 1);
        // Whatever the ranks do just then.
        sleep(Duration::from_millis(50 * rank as u64 + u64::from(std::process::id() % 97)));
        let pids = processes(&run);
        assert_eq!(pids.len(), 3, "the run is over already");
        let killed = Instant::now();
        // SAFETY: kills a process that this test has started.
        unsafe { libc::kill(pids[rank], libc::SIGKILL) };
        let output = child.wait_with_output().unwrap();
        let text = said(&output);
        eprintln!("all ended {:.1} s after rank {rank} was killed", killed.elapsed().as_secs_f64());
        assert!(!output.status.success(), "rank {rank} was killed: {text}");
        assert!(text.contains(&format!("rank {rank} ")), "{text}");
        assert!(processes(&run).is_empty());
    }
    trains(path, 3, &format!("--resume {run}"));
    let weights = |run: &str| tensors(&path.join(run).join("weights.safetensors"));
    assert_eq!(weights("whole"), weights(&run));
}

/// What asks `mpirun` to end has the run leave a checkpoint, from which it goes on.
#[test]
fn a_run_that_is_interrupted_goes_on() {
    let dir = table();
    let run = format!("interrupted.{}", std::process::id());
    let child = start(dir.path(), 2, &format!("{LONG} --checkpoint-every 5steps --epochs 9999 --run {run}"), 5);
    // What mpirun is told as it begins it keeps to itself.
    sleep(Duration::from_secs(2));
    // SAFETY: tells a process that this test has started to end.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let output = child.wait_with_output().unwrap();
    // What ranks say once mpirun ends is forwarded, or not.
    assert!(!output.status.success() && processes(&run).is_empty(), "{}", said(&output));
    assert!(!dir.path().join(&run).join("summary.json").exists(), "the run is over");
    ok(dir.path(), &words(&format!("eval {run} --device cpu")));
    trains(dir.path(), 2, &format!("--resume {run} --seconds 1"));
}
