//! Sweeps whose members are dealt out to ranks.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::program::{ok, words};
use crate::ranks::{mpirun, said, table};

const SWEEP: &str = "sweep --data npy:x.npy,y.npy,x.npy,y.npy --hidden 8 --batch 20 --epochs 4 --device cpu --quiet \
                     --grid optimizer.lr=0.01,0.03,0.1 --grid train.batch=10,20 --seeds 2 --halving 1,2 --keep-weights";

/// The table of a sweep without the seconds.
fn members(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("members.csv")).unwrap();
    let at = text.lines().next().unwrap().split(',').position(|name| name == "seconds").unwrap();
    let cut = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[..at], &cells[at + 1..]].concat().join(",")
    };
    text.lines().map(cut).collect()
}

#[test]
fn members_are_those_of_one_process() {
    let dir = table();
    ok(dir.path(), &words(&format!("{SWEEP} --run one")));
    let one = members(&dir.path().join("one"));
    assert_eq!(one.len(), 13);
    for ranks in [1, 3] {
        let run = format!("on-{ranks}");
        let output = mpirun(dir.path(), ranks, &[&format!("{SWEEP} --ranks --run {run}")]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let run = dir.path().join(run);
        assert_eq!(members(&run), one, "{ranks} ranks");
        for number in 0..12 {
            let weights = |run: &Path| std::fs::read(run.join(format!("members/{number}/weights.safetensors"))).ok();
            assert!(weights(&run) == weights(&dir.path().join("one")), "member {number} on {ranks} ranks");
        }
        assert!(run.join("best/weights.safetensors").exists());
    }
}

#[test]
fn a_rank_that_cannot_train_ends_all() {
    let dir = table();
    let line = format!("{SWEEP} --ranks --run s");
    let output = mpirun(dir.path(), 2, &[&line, &format!("{line} --device cpu,99")]).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("error: rank 1: train.device: "), "{}", said(&output));
}

/// Left by a signal to the first rank, and by the death of another; it goes on with another number of ranks.
#[test]
fn a_sweep_that_was_left_goes_on() {
    let dir = table();
    let line = format!("{SWEEP} --epochs 60 --halving 20,2 --set train.checkpoint_every=2");
    ok(dir.path(), &words(&format!("{line} --run whole")));
    let run = dir.path().join("s");
    let pids = |of: &str| -> Vec<i32> {
        let found = std::process::Command::new("pgrep").args(["-f", of]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut args = format!("{line} --ranks --run {}", run.display());
    for (signal, victim) in [(libc::SIGINT, 0), (libc::SIGKILL, 1)] {
        let child = mpirun(dir.path(), 3, &[&args]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        let ranks = loop {
            assert!(begin.elapsed() < Duration::from_secs(60), "no rank begins");
            let logs = |member: u64| std::fs::read_to_string(run.join(format!("members/{member}/epochs.jsonl")));
            let has_begun = (0..12).any(|member| logs(member).is_ok_and(|text| text.lines().count() > 2));
            let ranks: Vec<i32> = pids(&format!("thalweg {}", &args[..5]))
                .into_iter()
                .filter(|pid| {
                    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                    let parent = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                    name.trim() == "thalweg" && parent.split(' ').nth(3) == Some(&child.id().to_string())
                })
                .collect();
            if has_begun && ranks.len() == 3 {
                break ranks;
            }
            sleep(Duration::from_millis(5));
        };
        // SAFETY: sends a signal to a process that this one has started by way of mpirun.
        unsafe { libc::kill(ranks[victim], signal) };
        let begin = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success() && begin.elapsed() < Duration::from_secs(30), "{}", said(&output));
        args = format!("sweep --quiet --ranks --resume {}", run.display());
    }
    let output = mpirun(dir.path(), 2, &[&args]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(members(&run), members(&dir.path().join("whole")));
}
