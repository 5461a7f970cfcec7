//! What holds for every source of the crate.

use std::path::{Path, PathBuf};

/// The sources below a folder, with their texts.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            all.push((path, text));
        }
    }
    all
}

/// The time of day may be set back or forth while a run goes on, and files' times with it. `Instant` only goes forward, and its
/// differences are 0 at least. Three files tell people a time, and compute nothing with it: TensorBoard's events carry one, a list
/// of runs says when each was written, and what is to be cited has a date.
#[test]
fn nothing_reads_the_time_of_day() {
    const TELL: [&str; 3] = ["export/tensorboard/mod.rs", "cli/serve/runs.rs", "cli/date.rs"];
    let src = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(src.len() > 100 && src.iter().any(|(_, text)| text.contains("Instant::now()")));
    for (path, text) in src {
        for word in ["SystemTime", "UNIX_EPOCH", ".modified()", ".created()", ".accessed()"] {
            let tells = TELL.iter().any(|told| path.ends_with(told));
            assert!(tells || !text.contains(word), "{}: {word} goes backwards where the clock is set", path.display());
        }
    }
}
