//! `train --tui`, driven through tmux: what is on the screen, what keys do, and that the terminal is left as it was.
#![cfg(unix)]

use crate::common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::program::{fails, json, lines, npy, ok, program, table, words};
use serde_json::Value;
use tempfile::TempDir;

// The program's own files, so that a test can panic on the screen, which no run does when it is asked to.
#[allow(dead_code, reason = "a run does more with them")]
#[path = "../../src/cli/dashboard/modes.rs"]
mod modes;
#[allow(dead_code, reason = "a run does more with it")]
#[path = "../../src/cli/dashboard/screen.rs"]
mod screen;

/// How long a test waits for what is to appear. It appears at once, but for a machine that does ten other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// A shell in a terminal of its own, in a folder with the small table.
struct Shell {
    dir: TempDir,
    data: String,
}

impl Shell {
    /// Opens a terminal of a size; `None`, and loudly, where there is no tmux. It has to be there where `THALWEG_PYTHON` is set, since
    /// `tests/python.sh` installs both.
    fn open(columns: u16, rows: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(std::env::var_os("THALWEG_PYTHON").is_none(), "there is no tmux, which tests/python.sh installs");
            eprintln!("\n*** NOT RUN: this test needs tmux, which tests/python.sh installs ***\n");
            return None;
        }
        let dir = TempDir::new().unwrap();
        let data = table(&dir);
        let shell = Self { dir, data };
        let size = [columns, rows].map(|n| n.to_string());
        shell.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1], "env PS1='$ ' sh"]);
        shell.enter("stty -a > before");
        shell.wait("the shell", |_| shell.dir.path().join("before").metadata().is_ok_and(|file| file.len() > 0));
        Some(shell)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-u", "-S"]).arg(self.dir.path().join("tmux")).args(args).current_dir(self.dir.path());
        command.env("THALWEG", env!("CARGO_BIN_EXE_thalweg")).env("HOME", self.dir.path());
        command
            .env("XDG_CACHE_HOME", self.dir.path())
            .env("SHELL", "/bin/sh")
            .env_remove("TMUX")
            .env_remove("NO_COLOR");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Presses keys, by tmux's names.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line for the shell.
    fn enter(&self, line: &str) {
        self.press(&[line, "Enter"]);
    }

    /// Starts a run of many steps, about as long as a test may take, with flags of its own.
    fn train(&self, more: &str) {
        let line = format!(
            "\"$THALWEG\" train --tui --data {} --hidden 256,256 --batch 20 --device cpu --epochs 1000000 --eval-every 300 \
             --checkpoint-every 0 --run r {more}",
            self.data
        );
        self.enter(&line);
    }

    /// Waits for a screen; returns it.
    #[track_caller]
    fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(began.elapsed() < PATIENCE, "waited for {what}, and found\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Whether the second screen is shown, and the cursor.
    fn modes(&self) -> String {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim().to_string()
    }

    /// Expects that the shell goes on after this exit status, in a terminal that is as it was before.
    #[track_caller]
    fn is_left(&self, status: i32) -> String {
        // Until then what is typed is for the dashboard.
        self.wait("the first screen", |_| self.modes() == "0 1");
        self.enter("echo status $? && stty -a > after && echo written");
        let screen = self.wait("the shell", |screen| screen.contains("\nwritten"));
        assert!(screen.contains(&format!("status {status}\n")), "{screen}");
        let modes = ["before", "after"].map(|name| std::fs::read_to_string(self.dir.path().join(name)).unwrap());
        // The first line has the size, which is the window's.
        let modes = modes.map(|text| text.lines().skip(1).map(String::from).collect::<Vec<_>>());
        assert_eq!(modes[0], modes[1]);
        assert_eq!(self.modes(), "0 1", "the first screen, with a cursor");
        self.enter("clear");
        self.wait("an empty screen", |screen| !screen.contains("written"));
        screen
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("r").join(name)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(self.dir.path().join("tmux")).arg("kill-server").output();
    }
}

/// Whether a screen has the dots of a curve.
fn has_curve(screen: &str) -> bool {
    screen.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))
}

/// The numbers of a row of the table of averages.
fn row(screen: &str, name: &str) -> Option<Vec<String>> {
    let line = screen.lines().find(|line| line.starts_with(&format!("{name} ")))?;
    Some(line.split_whitespace().skip(1).take_while(|word| word.contains('.')).map(String::from).collect())
}

#[test]
fn a_run_is_shown_and_ended() {
    let Some(shell) = Shell::open(80, 24) else { return };
    shell.train("--schedule cosine --clip-norm 1");
    let screen = shell
        .wait("an evaluation", |screen| has_curve(screen) && row(screen, "last").is_some_and(|row| row.len() == 4));
    assert!(screen.starts_with("thalweg · r · npy:"), "{screen}");
    for words in ["3-256-256-2", "batch 20", "CPU engine", "samples/s", "memory ", "passed, ", " left", "epoch ", "lr "]
    {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    assert_eq!(shell.modes(), "1 0");
    let shown = row(&screen, "last").unwrap();
    let epochs = lines(shell.file("epochs.jsonl"));
    let of = |line: &Value, part: &str| {
        let text = |metric| format!("{:.4}", line[format!("{part}_{metric}")]["mean"].as_f64().unwrap());
        ["loss", "accuracy"].map(text)
    };
    assert!(epochs.iter().any(|epoch| of(epoch, "train") == shown[..2]), "{shown:?}");
    let evaluated = epochs.iter().filter(|epoch| epoch.get("test_loss").is_some());
    let tests: Vec<[String; 2]> = evaluated.map(|epoch| of(epoch, "test")).collect();
    // What is shown may be one evaluation behind what is written.
    assert!(tests.iter().rev().take(2).any(|test| *test == shown[2..]), "{shown:?}: {tests:?}");

    shell.press(&["2"]);
    assert!(has_curve(&shell.wait_for("\naccuracy  ─ steps")));
    shell.press(&["Tab"]);
    let schedule = shell.wait_for("\nlearning rate  ─");
    let last = schedule.lines().filter(|line| line.trim_end().ends_with("3,000,000")).count();
    assert!(has_curve(&schedule) && schedule.contains('│') && last == 1, "the whole schedule:\n{schedule}");
    shell.press(&["4"]);
    assert!(has_curve(&shell.wait_for("\ngradient norm  ─ norm ")));
    shell.press(&["Right"]);
    shell.wait("throughput", |screen| screen.contains("\nsamples/s  ─ now ") && has_curve(screen));
    shell.press(&["1", "l"]);
    assert!(has_curve(&shell.wait_for("log scale")));
    shell.press(&["?"]);
    shell.wait_for("take a checkpoint now");

    assert!(!shell.file("checkpoint.safetensors").exists());
    shell.press(&["?", "c"]);
    shell
        .wait("a checkpoint", |screen| screen.contains(" checkpoint") && shell.file("checkpoint.safetensors").exists());
    shell.press(&["s"]);
    shell.wait_for("Press s again");
    shell.press(&["x"]);
    shell.wait("no question", |screen| !screen.contains("Press s again"));
    shell.press(&["q", "s"]);
    let screen = shell.wait_for("Written to r");
    assert!(screen.contains("ended since it was asked to") && screen.contains("train (running mean)"), "{screen}");
    assert!(screen.contains("data    npy:"), "what the run said first is still there:\n{screen}");
    assert_eq!(json(shell.file("summary.json"))["stopped_by"], "asked");
    shell.is_left(0);
}

#[test]
fn interrupts_leave_the_terminal_as_it_was() {
    let Some(shell) = Shell::open(80, 24) else { return };
    shell.train("");
    shell.wait("an evaluation", |screen| row(screen, "last").is_some_and(|row| row.len() == 4));
    shell.press(&["C-c"]);
    shell.wait_for("interrupted, with a checkpoint");
    shell.is_left(130);
    assert!(shell.file("checkpoint.safetensors").exists() && !shell.file("summary.json").exists());

    // What was before is shown when the run goes on, before it has evaluated anything.
    let before = lines(shell.file("epochs.jsonl"));
    let steps = before.last().unwrap()["steps"].as_u64().unwrap();
    shell.enter("\"$THALWEG\" train --tui --resume r --eval-every 900000 & echo $! > pid; fg");
    let screen = shell.wait("what was", |screen| {
        row(screen, "last").is_some_and(|row| row.len() == 4) && screen.contains(" resumed")
    });
    let step = screen.split_once("step ").unwrap().1.split('/').next().unwrap().replace(',', "");
    assert!(step.parse::<u64>().unwrap() >= steps, "{screen}");
    shell.tmux(&["run-shell", &format!("kill -TERM $(cat {}/pid)", shell.dir.path().display())]);
    shell.wait_for("interrupted, with a checkpoint");
    shell.is_left(143);
}

/// A second Ctrl-C ends the program within a step, however long that takes.
#[test]
fn a_second_ctrl_c_ends_at_once() {
    let Some(shell) = Shell::open(80, 24) else { return };
    // One step: 6 operations for each of ten million weights and of some thousand images.
    shell.enter("\"$THALWEG\" train --tui --hidden 2000,2000 --batch full --device cpu --run r --checkpoint-every 0");
    shell.wait_for("1 loss");
    shell.press(&["C-c"]);
    shell.wait_for("leaving, with a checkpoint");
    shell.press(&["C-c"]);
    let screen = shell.is_left(130);
    assert!(!screen.contains("interrupted") && !shell.file("checkpoint.safetensors").exists(), "{screen}");
}

#[test]
fn a_job_is_stopped_and_goes_on() {
    let Some(shell) = Shell::open(80, 24) else { return };
    shell.enter("set -m");
    shell.train("--log-every 100");
    shell.wait("a curve", has_curve);
    shell.press(&["C-z"]);
    shell.wait_for("topped");
    shell.enter("stty -a > stopped; cmp before stopped && echo same");
    shell.wait_for("\nsame");
    assert_eq!(shell.modes(), "0 1");
    shell.enter("fg");
    shell.wait("the dashboard", |screen| has_curve(screen) && screen.starts_with("thalweg · r"));
    assert_eq!(shell.modes(), "1 0");

    // In the background the run goes on without the screen.
    shell.press(&["C-z"]);
    shell.wait("the shell", |_| shell.modes() == "0 1");
    let logged = || std::fs::read_to_string(shell.file("epochs.jsonl")).unwrap().lines().count();
    shell.enter("clear; bg");
    let before = logged();
    shell.wait("further epochs", |_| logged() > before + 3);
    assert_eq!(shell.modes(), "0 1");
    shell.enter("fg");
    shell.wait("the dashboard", |screen| has_curve(screen) && screen.starts_with("thalweg · r"));
    shell.press(&["C-c"]);
    shell.wait_for("interrupted");
    shell.is_left(130);
}

#[test]
fn every_size_has_its_picture() {
    let Some(shell) = Shell::open(80, 24) else { return };
    shell.train("");
    shell.wait("a curve", has_curve);
    let colours = |screen: &str| screen.contains("\u{1b}[32m") || screen.contains("38;5;2m");
    shell.wait("an evaluation", |screen| row(screen, "last").is_some_and(|row| row.len() == 4));
    assert!(colours(&shell.tmux(&["capture-pane", "-p", "-e"])));
    let resize = |columns: &str, rows: &str| shell.tmux(&["resize-window", "-x", columns, "-y", rows]);
    resize("40", "10");
    let small = shell.wait_for("Too small for charts: 40x10");
    assert!(small.contains("epoch ") && small.contains("loss ") && small.contains(" left"), "{small}");
    // Keys work all the same.
    shell.press(&["c"]);
    shell.wait("a checkpoint", |_| shell.file("checkpoint.safetensors").exists());
    resize("140", "40");
    let large = shell.wait("two charts", |screen| has_curve(screen) && screen.contains("accuracy  ─ steps"));
    let heading = large.lines().find(|line| line.contains("accuracy  ─ steps")).unwrap();
    assert!(heading.starts_with("loss  ─ steps"), "side by side:\n{large}");
    resize("50", "14");
    shell.wait("a small chart", |screen| has_curve(screen) && screen.lines().count() <= 14);
    shell.press(&["s", "s"]);
    shell.wait_for("Written to r");
    shell.is_left(0);
}

#[test]
fn without_colours_and_without_classes() {
    let Some(shell) = Shell::open(80, 24) else { return };
    npy(&shell.dir.path().join("t.npy"), &[60], (0..60).map(|i| f64::from(i) / 7.0 + 0.1).collect());
    shell.enter(
        "NO_COLOR=1 \"$THALWEG\" train --tui --data npy:x.npy,t.npy,x.npy,t.npy --validation 0.3 --hidden 256 --device cpu \
         --replicas 2 --epochs 1000000 --eval-every 100 --keep-best --run r \
         --set 'schedule={name=\"plateau\"}' --set 'average={ema={}}'",
    );
    let screen = shell.wait("the best", |screen| has_curve(screen) && row(screen, "best").is_some());
    assert!(!screen.contains("accuracy  ─") && screen.contains(" 2 rate  3 throughput"), "{screen}");
    assert!(screen.contains("E ema validation") && screen.contains(" best so far"), "{screen}");
    let widths = ["last", "ema", "best"].map(|name| row(&screen, name).map_or(0, |row| row.len()));
    assert_eq!(widths, [3, 2, 3], "losses alone:\n{screen}");
    // What a plateau will do nobody knows.
    shell.press(&["2"]);
    let rate = shell.wait_for("\nlearning rate  ─");
    assert!(!rate.contains('│') && !rate.contains("ends at"), "{rate}");
    let styled = shell.tmux(&["capture-pane", "-p", "-e"]);
    let is_coloured =
        |code: &str| (30..=38).chain(90..=97).any(|colour| code.split(';').any(|c| c == colour.to_string()));
    let codes = styled.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m'));
    assert!(codes.clone().count() > 0 && codes.clone().all(|(code, _)| !is_coloured(code)), "{styled:?}");
    shell.press(&["C-c"]);
    shell.wait_for("interrupted");
    shell.is_left(130);
}

/// Warnings wait until the screen is the shell's again.
#[test]
fn an_error_is_told_when_the_screen_is_given_back() {
    let Some(shell) = Shell::open(80, 24) else { return };
    shell.train("--optimizer sgd --lr 1e30");
    let screen = shell.wait_for("error: ");
    assert!(screen.contains("no longer finite") || screen.contains("loss"), "{screen}");
    shell.is_left(1);
}

/// What the test below runs in a terminal: it panics while another thread has the screen.
#[test]
#[ignore = "a_panic_gives_the_screen_back runs it in a terminal of its own"]
#[should_panic(expected = "on purpose")]
fn panics_on_the_screen() {
    let screen = screen::Screen::open();
    if screen.is_ok() {
        std::thread::sleep(Duration::from_secs(2));
    }
    let panic = std::thread::spawn(|| panic!("on purpose")).join();
    std::thread::sleep(Duration::from_secs(2));
    std::panic::resume_unwind(panic.unwrap_err());
}

#[test]
fn a_panic_gives_the_screen_back() {
    let Some(shell) = Shell::open(80, 24) else { return };
    let test = "dashboard::panics_on_the_screen";
    let this = std::env::current_exe().unwrap();
    shell.enter(&format!("{} --ignored --exact {test} --nocapture", this.display()));
    shell.wait("the second screen", |_| shell.modes() == "1 0");
    // The message is on the first screen, before anything has unwound.
    let screen = shell.wait_for("on purpose");
    assert!(screen.contains("panicked at") && shell.modes() == "0 1", "{screen}");
    shell.wait_for("1 passed");
    shell.is_left(0);
}

#[test]
fn without_a_terminal_there_is_a_bar() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let line = format!("train --tui --data {data} --hidden 8 --epochs 2 --device cpu");
    let output = program(dir.path(), &words(&line)).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "warning: --tui: standard output is no terminal; a bar takes its place\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("\nepoch  step  lr") && text.contains("Written to runs/1"),
        "{text}"
    );
    let plain = ok(dir.path(), &[&words(&line)[..], &["--dry-run"]].concat());
    assert!(plain.contains("buffer") && plain.contains("bytes"), "{plain}");
    let refused = fails(dir.path(), 2, &["train", "--tui", "--quiet"]);
    assert!(refused.contains("--tui") && refused.contains("--quiet"), "{refused}");

    let Some(shell) = Shell::open(80, 24) else { return };
    shell.enter("clear; TERM=dumb \"$THALWEG\" train --tui --data npy:x.npy,y.npy --hidden 8 --epochs 2 --device cpu");
    let screen = shell.wait_for("Written to");
    assert!(screen.contains("the terminal is dumb") && screen.contains("epoch  step  lr"), "{screen}");
}
