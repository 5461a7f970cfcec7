//! What the program shows on a terminal of eighty columns.

use crate::common;

use common::program::{fails, json, lines, ok, table, words};
use serde_json::Value;
use tempfile::TempDir;

/// Fails if a line is wider than a terminal.
#[track_caller]
fn fits(text: &str) {
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than 80 columns:\n{}", wide.join("\n"));
}

/// The line of a table that begins with `key`, as its cells.
#[track_caller]
fn cells<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
    let line = line.unwrap_or_else(|| panic!("no line {key}:\n{text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect()
}

#[test]
fn runs_are_compared() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let train = |more: &str| {
        let line = format!("train --data {data} --hidden 8 --batch 20 --epochs 2 --device cpu --quiet {more}");
        ok(dir.path(), &words(&line));
    };
    train("--run a --lr 0.01");
    train("--run b --lr 0.1 --schedule cosine --replicas 2");
    train("--run c --optimizer sgd --lr 0.1 --momentum 0.9");
    std::fs::remove_file(dir.path().join("c/summary.json")).unwrap();

    let text = ok(dir.path(), &["compare", "a", "b", "c"]);
    fits(&text);
    assert_eq!(cells(&text, "optimizer.lr"), ["0.01", "0.1", "0.1"]);
    assert_eq!(cells(&text, "optimizer.name"), ["adamw", "adamw", "sgd"]);
    assert_eq!(cells(&text, "optimizer.momentum"), ["-", "-", "0.9"]);
    assert_eq!(cells(&text, "schedule.name"), ["constant", "cosine", "constant"]);
    assert!(!text.contains("train.batch"), "{text}");
    let summary = json(dir.path().join("a/summary.json"));
    let shown = format!("{:.4}", summary["test_loss"]["mean"].as_f64().unwrap());
    let losses = cells(&text, "test_loss");
    assert!(losses[0] == shown && losses[1].contains('±') && losses[2] == "-", "{text}");
    assert_eq!(cells(&text, "epochs"), ["2", "2", "-"]);
    assert!(text.contains("c is unfinished"), "{text}");

    let compared: Value = serde_json::from_str(&ok(dir.path(), &["compare", "a", "b", "c", "--json"])).unwrap();
    let runs = compared["runs"].as_array().unwrap();
    assert_eq!(runs[1]["config"]["optimizer.lr"], 0.1);
    assert!(runs[0]["config"].get("train.batch").is_none() && runs[2]["summary"].is_null());
    assert_eq!(runs[0]["summary"], summary);
    assert!(ok(dir.path(), &["compare", "a", "a"]).contains("The configurations are the same."));

    // More than three are rows.
    let text = ok(dir.path(), &["compare", "a", "b", "a", "b", "a"]);
    fits(&text);
    assert_eq!(text.lines().filter(|line| line.starts_with("a ")).count() % 3, 0, "{text}");

    let none = fails(dir.path(), 2, &["compare", "a", "nowhere"]);
    assert!(none.contains("nowhere: expected the folder of a run"), "{none}");
    assert!(fails(dir.path(), 2, &["compare", "a"]).contains("<RUN>"));
}

/// The heading stands over the numbers, whatever is evaluated.
#[test]
fn epochs_are_a_table() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    npy_targets(&dir);
    let averages = "average={swa={start=1,every=1},ema={decay=0.9},snapshots={max=2,when={start=1,every=2}}}";
    let train = |args: &str, more: &[&str]| {
        let line = format!("train --hidden 8 --batch 10 --epochs 3 --device cpu {args}");
        let text = ok(dir.path(), &[&words(&line)[..], more].concat());
        let lines: Vec<String> = text.lines().skip_while(|line| !line.contains(" train ")).map(String::from).collect();
        fits(&lines[..lines.iter().position(String::is_empty).unwrap()].join("\n"));
        lines
    };
    let place = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("no {word} in {line:?}"));

    let lines = train(&format!("--data {data} --eval-every 2"), &[]);
    assert!(lines[1].starts_with("epoch  step  lr") && lines[1].matches("loss").count() == 2, "{lines:#?}");
    assert!(lines[2].starts_with("  1/3     6  1.0e-3") && lines[4].starts_with("  3/3    18  "), "{lines:#?}");
    // The second epoch alone has a test part.
    assert_eq!(lines[2].split_whitespace().count() + 2, lines[3].split_whitespace().count());
    let test = place(&lines[0], "test");
    assert!(lines[2][test..].trim_start().len() < lines[3][test..].trim_start().len(), "{lines:#?}");
    assert_eq!(lines[3][test..test + 13].split(' ').filter(|cell| cell.len() == 6).count(), 2, "{lines:#?}");

    // With all averages there is more than a line holds, and what has no column has a name.
    let lines = train(&format!("--data {data} --validation 0.3"), &["--set", averages]);
    assert!(place(&lines[0], "validation") < place(&lines[0], "test"), "{lines:#?}");
    assert!(place(&lines[0], "test") < place(&lines[0], "swa"), "{lines:#?}");
    assert!(lines[3].starts_with("       ema ") && lines[3].contains(", snapshots "), "{lines:#?}");

    // A regression has no accuracy.
    let lines = train("--data npy:x.npy,t.npy,x.npy,t.npy", &[]);
    assert!(lines[1].contains("loss") && !lines[1].contains("acc"), "{lines:#?}");
}

/// Targets of a regression, `t.npy`.
fn npy_targets(dir: &TempDir) {
    common::program::npy(&dir.path().join("t.npy"), &[60], (0..60).map(|i| (f64::from(i) + 0.5) * 25.0).collect());
}

#[test]
fn devices_fit() {
    let text = ok(std::path::Path::new("."), &["devices"]);
    fits(&text);
    assert!(text.contains("--device auto takes"), "{text}");
    if common::gpu().is_some() {
        assert!(text.starts_with("0  ") && text.contains("subgroups") && text.contains("MiB a binding"), "{text}");
    }
}

#[test]
fn short_help_is_of_the_command_alone() {
    let here = std::path::Path::new(".");
    for (command, own) in [
        ("lr-find", "--from"),
        ("schedule", "--list"),
        ("bench batch", "--lr-rule"),
        ("bench step", "--profile"),
        ("bench population", "--counts"),
    ] {
        let help = |flag: &str| ok(here, &[&words(command)[..], &[flag]].concat());
        let (short, long) = (help("-h"), help("--help"));
        assert!(short.lines().count() < 40 && short.contains(own), "{command}: {short}");
        assert!(!short.contains("--dropout") && short.contains("--help adds"), "{command}: {short}");
        assert!(long.contains("--dropout") && long.contains(own) && !long.contains("--help adds"), "{command}");
    }
    assert!(ok(here, &["schedule", "-h"]).contains("--schedule"));
    assert!(ok(here, &["train", "-h"]).contains("--dropout"));
}

/// Each schedule, and each argument that its configuration takes.
#[test]
fn schedules_are_listed() {
    let text = ok(std::path::Path::new("."), &["schedule", "--list"]);
    fits(&text);
    let known = |name: &str, key: &str| {
        let set = format!("schedule={{name=\"{name}\",{key}=[]}}");
        fails(std::path::Path::new("."), 2, &["schedule", "--steps", "2", "--set", &set])
    };
    let listed = |refused: &str, after: &str| -> Vec<String> {
        let list = refused.split_once(after).unwrap_or_else(|| panic!("{refused}")).1;
        list.split([';', '"'])
            .next()
            .unwrap()
            .trim_end_matches(", found ")
            .split(", ")
            .map(|key| key.trim().replace('`', ""))
            .collect()
    };
    let names = listed(
        &fails(std::path::Path::new("."), 2, &["schedule", "--steps", "2", "--schedule", "none"]),
        "expected one of ",
    );
    assert_eq!(names.len(), 14);
    for name in &names {
        assert!(text.contains(&format!("\n{name}\n")), "{name} is not listed:\n{text}");
        let refused = known(name, "no_such_key");
        for key in if refused.contains("expected none") { Vec::new() } else { listed(&refused, "expected one of ") } {
            let section = text.split_once(&format!("\n{name}\n")).unwrap().1.split("\n\n").next().unwrap();
            assert!(section.contains(&format!("\n    {key} ")), "{name} lacks {key}:\n{section}");
        }
    }
    assert!(text.contains("lr · gamma^⌊t / step_size⌋") && text.contains("Default 1/3."), "{text}");
}

/// What a batch size is measured with, whatever the model allows.
#[test]
fn batch_sizes_have_rates_and_fit_the_model() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = format!("bench batch --data {data} --device cpu --hidden 8 --norm batch --batch 16 --lr 0.01");
    let text = ok(dir.path(), &words(&args));
    fits(&text);
    let rows = |text: &str| -> Vec<(usize, String)> {
        let heading: Vec<&str> = text.lines().find(|line| line.contains("samples/s")).unwrap().split("  ").collect();
        assert!(heading.iter().any(|cell| cell.trim() == "lr"), "{text}");
        let row = |line: &str| {
            Some((line.split_whitespace().next()?.parse().ok()?, line.split_whitespace().nth(7)?.to_string()))
        };
        text.lines().filter_map(row).collect()
    };
    // A batch of one has no variance; rates go with the root of the size.
    let want = [(2, 0.01 / 8f64.sqrt()), (4, 0.005), (8, 0.01 / 2f64.sqrt()), (16, 0.01), (32, 0.01 * 2f64.sqrt())];
    assert_eq!(rows(&text), want.map(|(batch, lr)| (batch, format!("{lr:.2e}"))), "{text}");

    // Of 60 samples a batch of 59 leaves one, which no run can take.
    let refused = fails(dir.path(), 2, &[&words(&args)[..], &["--to", "0.9", "--batches", "2,59"]].concat());
    assert!(refused.contains("found a step of 1"), "{refused}");
    let all =
        [&words(&args)[..], &["--lr-rule", "linear", "--batches", "32,4", "--to", "0.1", "--epochs", "1"]].concat();
    fits(&ok(dir.path(), &all));
    let found: Value = serde_json::from_str(&ok(dir.path(), &[&all[..], &["--json"]].concat())).unwrap();
    let rates: Vec<f64> = found["batches"].as_array().unwrap().iter().map(|b| b["lr"].as_f64().unwrap()).collect();
    assert_eq!(rates, [0.02, 0.0025]);
    assert!(found["limits"]["cache"].as_f64().unwrap() >= 0.0);
}

/// Without a setting the program shows what it is for: nothing is learned by heart, and the averages are ahead.
#[test]
fn a_first_run_shows_a_schedule_and_averages() {
    let dir = TempDir::new().unwrap();
    let text = ok(dir.path(), &["train", "--device", "cpu"]);
    fits(&text);
    assert!(text.starts_with("config  built in, since no setting was given: examples/first.toml"), "{text}");
    let next = text.split_once("Look next at").expect("last lines").1;
    assert!(next.contains("thalweg eval runs/1") && next.contains("runs/1/config.toml"), "{text}");
    let epochs = lines(dir.path().join("runs/1/epochs.jsonl"));
    let of = |key: &str| -> Vec<f64> { epochs.iter().filter_map(|epoch| epoch[key]["mean"].as_f64()).collect() };
    // From epoch to epoch the loss of 2,000 images may rise by chance by a few hundredths of itself.
    let losses = of("test_loss");
    assert!(losses.windows(2).all(|pair| pair[1] < 1.05 * pair[0]) && losses[9] < 0.8 * losses[0], "{losses:?}");
    let last = |key: &str| *of(key).last().unwrap();
    assert!(last("train_accuracy") < last("test_accuracy") + 0.05, "{text}");
    assert!(last("swa_test_loss") < last("test_loss") && last("ema_test_loss") < last("test_loss"), "{text}");
    assert!(epochs[0]["lr"].as_f64() > epochs[9]["lr"].as_f64());
    // The run's own configuration repeats it, and any setting starts from the defaults.
    let config = |run: &str| std::fs::read_to_string(dir.path().join(run).join("config.toml")).unwrap();
    assert!(config("runs/1").contains("cosine"));
    ok(dir.path(), &["schedule", "runs/1/config.toml", "--steps", "790", "--json"]);
    let other = ok(dir.path(), &words("train --device cpu --epochs 1 --hidden 8 --run other"));
    assert!(
        !other.contains("config  ") && !other.contains("Look next") && config("other").contains("adamw"),
        "{other}"
    );
}
