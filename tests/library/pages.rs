//! What pages are made of.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Scripts of others are as their authors published them, with version and licence.
#[test]
fn scripts_of_others_are_theirs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/page/vendor");
    let sums = std::fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
    let listed: Vec<(&str, &str)> = sums.lines().filter_map(|line| line.split_once("  ")).collect();
    let mut files: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|name| name != "SHA256SUMS");
    files.sort();
    let mut names: Vec<&str> = listed.iter().map(|(_, name)| *name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
    for (sum, name) in listed {
        let digest = Sha256::digest(std::fs::read(dir.join(name)).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, sum, "{name}");
    }
    let script = std::fs::read_to_string(dir.join("uPlot-1.6.32.iife.min.js")).unwrap();
    assert!(script.starts_with("/*! https://github.com/leeoniya/uPlot (v1.6.32) */"), "{}", &script[..60]);
    assert!(std::fs::read_to_string(dir.join("uPlot-LICENSE")).unwrap().contains("The MIT License"));
}
