//! What the pages say: their commands parse, their configurations resolve, their links lead somewhere, and none is long.
#![cfg(feature = "cli")]

use crate::common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use common::program::thalweg;
use tempfile::TempDir;
use thalweg::run::Config;
use thalweg::sweep::Design;
use toml::{Table, Value};

/// A page, cut into what stands in fences and what does not.
struct Page {
    /// Its path from the root of the repository.
    name: String,
    /// Its lines, without fences and what stands in them.
    prose: Vec<String>,
    /// The language of each fence, and what stands in it.
    fences: Vec<(String, String)>,
}

impl Page {
    fn new(name: &str, text: &str) -> Self {
        let mut page = Self { name: name.into(), prose: Vec::new(), fences: Vec::new() };
        let mut is_open = false;
        for line in text.lines() {
            match line.trim_start().strip_prefix("```") {
                Some(_) if is_open => is_open = false,
                Some(language) => {
                    is_open = true;
                    page.fences.push((language.trim().into(), String::new()));
                }
                None if is_open => page.fences.last_mut().unwrap().1.extend([line, "\n"]),
                None => {
                    assert!(line.matches('`').count() % 2 == 0, "{name}: a code goes over two lines: {line}");
                    page.prose.push(line.into());
                }
            }
        }
        assert!(!is_open, "{name}: a fence is not closed");
        page
    }

    fn read(name: &str) -> Self {
        Self::new(name, &std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
    }

    /// What stands between backquotes.
    fn codes(&self) -> Vec<&str> {
        self.prose.iter().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
    }

    /// Where its links lead, those in code left out.
    fn links(&self) -> Vec<String> {
        let of = |line: &String| -> Vec<String> {
            let text: String = line.split('`').step_by(2).collect();
            let inline = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
            let defined = text.strip_prefix('[').and_then(|rest| Some(rest.split_once("]:")?.1));
            inline.chain(defined).map(|target| target.trim().to_string()).collect()
        };
        self.prose.iter().flat_map(of).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for heading in self.prose.iter().filter(|line| line.starts_with('#')) {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let again = (1..).map(|i| format!("{anchor}-{i}"));
            let free = std::iter::once(anchor.clone()).chain(again).find(|name| !anchors.contains(name));
            anchors.extend(free);
        }
        anchors
    }

    /// Its commands, each as words.
    fn commands(&self) -> Vec<Vec<String>> {
        let shells = self.fences.iter().filter(|(language, _)| matches!(language.as_str(), "sh" | "console"));
        let fenced = shells
            .flat_map(|(language, text)| commands(&if language == "console" { typed(text) } else { text.clone() }));
        let inline = self.codes().into_iter().flat_map(commands);
        fenced.chain(inline).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages that document the program.
fn pages() -> Vec<Page> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = docs.map(|name| format!("docs/{}", name.to_str().unwrap())).collect();
    names.retain(|name| name.ends_with(".md"));
    names.push("README.md".into());
    names.sort();
    names.iter().map(|name| Page::read(name)).collect()
}

/// What a user typed, behind `$ `, with its continued lines.
fn typed(console: &str) -> String {
    let (mut text, mut goes_on) = (String::new(), false);
    for line in console.lines() {
        if goes_on || line.starts_with("$ ") {
            text.extend([line.trim_start_matches("$ "), "\n"]);
            goes_on = line.ends_with('\\');
        }
    }
    text
}

/// The commands of a shell's text as words: quotes, comments and continued lines, and nothing else that a shell knows.
fn commands(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut chars = text.chars().chain(['\n']).peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => word.get_or_insert_default().extend(chars.by_ref().take_while(|&d| d != c)),
            '\\' if chars.peek() == Some(&'\n') => drop(chars.next()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '#' if word.is_none() => while chars.next_if(|&d| d != '\n').is_some() {},
            ' ' | '\n' => {
                words.extend(word.take());
                if c == '\n' && !words.is_empty() {
                    all.push(std::mem::take(&mut words));
                }
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    all
}

/// The arguments for thalweg of the commands that run it; behind a `cd`, cargo runs another program.
fn of_thalweg(commands: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut is_here = true;
    let mut all = Vec::new();
    for words in commands {
        let start: Vec<&str> = words.iter().take(4).map(String::as_str).collect();
        match start[..] {
            ["cd", ..] => is_here = false,
            ["thalweg", ..] => all.push(words[1..].to_vec()),
            ["cargo", "run", "--release", "--"] if is_here => all.push(words[4..].to_vec()),
            _ => {}
        }
    }
    all
}

/// The flags of `train`, `lr-find` and `bench` that set no configuration, and whether a value follows.
const OWN: &[(&str, bool)] = &[
    ("--run", true),
    ("--resume", true),
    ("--overwrite", false),
    ("--dry-run", false),
    ("--quiet", false),
    ("--serve", false),
    ("--tui", false),
    ("--from", true),
    ("--to", true),
    ("--steps", true),
    ("--profile", false),
    ("--batches", true),
    ("--counts", true),
    ("--lr-rule", true),
    ("--noise-scale", false),
    ("--seeds", true),
    ("--evaluations", true),
    ("--csv", true),
    ("--json", false),
    ("--svg", true),
];

/// What of a command's arguments sets a configuration, for `thalweg schedule`, which resolves it without loading data.
fn settings<'a>(args: &[&'a str]) -> Option<Vec<&'a str>> {
    let rest = match args {
        ["train" | "lr-find", rest @ ..] | ["bench", "step" | "batch" | "population", rest @ ..] => rest,
        _ => return None,
    };
    let mut kept = vec!["schedule", "--steps", "100", "--json"];
    let mut rest = rest.iter();
    while let Some(&arg) = rest.next() {
        match OWN.iter().find(|(flag, _)| *flag == arg) {
            Some((_, true)) => drop(rest.next()),
            Some((_, false)) => {}
            // A file that is the reader's to write.
            None if arg.ends_with(".toml") && !root().join(arg).exists() => {}
            None => kept.push(arg),
        }
    }
    Some(kept)
}

/// What is wrong with a command's arguments, if anything.
fn complaint(args: &[&str]) -> Option<String> {
    let dir = TempDir::new().unwrap();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let help = thalweg(dir.path(), &[args, &["--help"]].concat());
    if !help.status.success() {
        return Some(said(&help));
    }
    // Names and values that the parser takes for text are read with the configuration; surfaces and curves take no time.
    let run = match settings(args) {
        Some(args) => thalweg(root(), &args),
        None if args.len() > 1 && matches!(args[0], "schedule" | "descend") => thalweg(dir.path(), args),
        None => return None,
    };
    (!run.status.success()).then(|| said(&run))
}

#[test]
fn commands_parse() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for args in of_thalweg(&page.commands()) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            checked += 1;
            wrong.extend(complaint(&args).map(|why| format!("{}: thalweg {}: {why}", page.name, args.join(" "))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 40, "only {checked} commands found");
}

#[test]
fn wrong_commands_are_caught() {
    for wrong in [
        "thalweg trian",
        "thalweg train --no-such-flag",
        "thalweg train a.toml b.toml",
        "thalweg train --optimizer no-such-one",
        "thalweg train --run first --set schedule.no_such_key=1",
        "thalweg bench batch --batches 1..8 --activation no-such-one",
        "thalweg descend --surface no-such-one",
        "thalweg schedule --steps 2 --schedule no-such-one",
        "cargo run --release -- train --no-such-flag",
    ] {
        let args = &of_thalweg(&commands(wrong))[0];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert!(complaint(&args).is_some(), "{wrong} passes");
    }
}

#[test]
fn flags_exist() {
    let help: String = common::program::commands().into_iter().map(|(_, help)| help).collect();
    let flag = |word: &str| word.trim_end_matches(',').to_string();
    let known: BTreeSet<String> = help.split_whitespace().filter(|word| word.starts_with("--")).map(flag).collect();
    for page in pages() {
        for code in page.codes().into_iter().filter(|code| code.starts_with("--")) {
            for word in code.split_whitespace().filter(|word| word.starts_with("--")) {
                assert!(known.contains(word), "{}: no command has {word}", page.name);
            }
        }
    }
}

/// The names that a key of the configuration takes, as the error for an unknown one lists them.
fn names(key: &str) -> Vec<String> {
    let unknown = vec![(key.to_string(), Value::String("".into()))];
    let refused = Config::resolve(Table::new(), unknown, vec![]).unwrap_err().to_string();
    refused.split_once("expected").unwrap().1.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// What can be chosen by name is named where one looks for it.
#[test]
fn names_are_listed() {
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase).collect()
    };
    let help = |command: &str| words(&String::from_utf8(thalweg(root(), &[command, "--help"]).stdout).unwrap());
    let policies = words(&Page::read("docs/policies.md").prose.join("\n"));
    for (key, places) in [
        ("model.activation", vec![("train --help", help("train"))]),
        ("optimizer.name", vec![("train --help", help("train")), ("descend --help", help("descend"))]),
        ("optimizer.name", vec![("docs/policies.md", policies.clone())]),
        ("schedule.name", vec![("train --help", help("train")), ("docs/policies.md", policies)]),
    ] {
        let names = names(key);
        assert!(names.len() > 3, "{key}: {names:?}");
        for (place, words) in places {
            let missing: Vec<_> = names.iter().filter(|name| !words.contains(*name)).collect();
            assert!(missing.is_empty(), "{place}: {key} takes {missing:?} too");
        }
    }
}

#[test]
fn a_shells_text_is_read() {
    let text =
        "cd a b # c\nthalweg x \\\n    --set 'y={a=\"b\",\n c=1}' -q\n\n# thalweg\nthalweg data#1 \"two words\"\n";
    let words = commands(text);
    assert_eq!(words[0], ["cd", "a", "b"]);
    assert_eq!(words[1], ["thalweg", "x", "--set", "y={a=\"b\",\n c=1}", "-q"]);
    assert_eq!(words[2], ["thalweg", "data#1", "two words"]);
    assert_eq!(words.len(), 3);
    assert_eq!(typed("$ thalweg a \\\n    -b\nthalweg c\n$ d\n"), "thalweg a \\\n    -b\nd\n");
    let cargo = commands("cargo run --release -- train\ncd x\ncargo run --release -- --peers y\nthalweg z");
    assert_eq!(of_thalweg(&cargo), [["train"], ["z"]]);
}

/// The page's links that lead nowhere.
fn broken(page: &Page) -> Vec<String> {
    let dir = Path::new(&page.name).parent().unwrap();
    let leads = |target: &String| {
        let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(f, a)| (f, Some(a)));
        if file.is_empty() {
            return anchor.is_some_and(|anchor| page.anchors().contains(anchor));
        }
        let path = dir.join(file);
        let has = |anchor| Page::read(path.to_str().unwrap()).anchors().contains(anchor);
        root().join(&path).exists() && anchor.is_none_or(has)
    };
    page.links()
        .into_iter()
        .filter(|t| !t.starts_with("http://") && !t.starts_with("https://"))
        .filter(|t| !leads(t))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let others = ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benches/peers/README.md"].map(Page::read);
    for page in pages().iter().chain(&others) {
        let broken = broken(page);
        assert!(broken.is_empty(), "{}: nothing is at {broken:?}", page.name);
    }
}

#[test]
fn broken_links_are_caught() {
    let links = "## A `b` c, d\n## A b c d\n[a](#a-b-c-d) [b](#a-b-c-d-1) [c](../README.md#license) [d](https://x.y)\n";
    assert_eq!(broken(&Page::new("docs/x.md", links)), [""; 0]);
    let wrong = "[a](no.md) `[b](no.md)` [`c`](../README.md#no) [d](#e)\n```\n[f](no.md)\n```\n[g]: no.md\n";
    assert_eq!(broken(&Page::new("docs/x.md", wrong)), ["no.md", "../README.md#no", "#e", "no.md"]);
}

#[test]
fn pages_are_short_and_found() {
    let length = |name: &str| std::fs::read_to_string(root().join(name)).unwrap().lines().count();
    let readme = Page::read("README.md");
    for page in pages() {
        let lines = length(&page.name);
        assert!(lines <= 180, "{}: {lines} lines", page.name);
        let is_linked = page.name == "README.md" || readme.links().contains(&page.name);
        assert!(is_linked, "{}: the README has no link to it", page.name);
    }
    let mut way = readme.prose.iter().skip_while(|line| *line != "## Finding your way");
    assert!(way.next().is_some(), "README.md: expected the section Finding your way");
    let lines = way.take_while(|line| !line.starts_with('#')).filter(|line| !line.is_empty()).count();
    assert!((1..=10).contains(&lines), "README.md: Finding your way has {lines} lines");
}

/// What stands behind a key at the start of a line of a file in YAML, without quotes.
fn value<'a>(yaml: &'a str, key: &str) -> Option<&'a str> {
    let line = yaml.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().trim_matches('"'))
}

/// The citation has the keys that its format requires, and is of this version.
#[test]
fn the_citation_is_of_this_version() {
    let text = std::fs::read_to_string(root().join("CITATION.cff")).unwrap();
    let is = |key: &str, want: &str| assert_eq!(value(&text, key), Some(want), "{key}");
    is("cff-version", "1.2.0");
    is("version", env!("CARGO_PKG_VERSION"));
    is("title", env!("CARGO_PKG_NAME"));
    is("type", "software");
    for key in ["message", "abstract"] {
        assert!(value(&text, key).is_some_and(|words| words.len() > 20), "{key}");
    }
    // A list of mappings, each of which has a name.
    let authors: Vec<&str> =
        text.split_once("\nauthors:\n").unwrap().1.lines().take_while(|l| l.starts_with(' ')).collect();
    assert_eq!(authors, ["  - name: \"The thalweg developers\""]);
    // Each line is a key with its value, or an entry of a list; no key stands twice.
    let keys: Vec<&str> =
        text.lines().filter(|line| !line.starts_with([' ', '#'])).map(|l| l.split_once(':').unwrap().0).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    let licences: Vec<&str> = env!("CARGO_PKG_LICENSE").split(" OR ").collect();
    licences.into_iter().for_each(|licence| assert!(text.contains(&format!("  - {licence}\n")), "{licence}"));
}

#[test]
fn configurations_resolve() {
    let mut checked = 0;
    for page in pages() {
        for (_, text) in page.fences.iter().filter(|(language, _)| language == "toml") {
            let mut table: Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}\n{text}", page.name));
            // A line of a Cargo.toml.
            if table.contains_key("thalweg") {
                continue;
            }
            checked += 1;
            let members = Design::take(&mut table).and_then(|design| {
                let base = Config::resolve(table, vec![], vec![])?;
                design.members(&base)?.iter().try_for_each(|member| member.config(&base).map(drop))
            });
            members.unwrap_or_else(|e| panic!("{}: {e}\n{text}", page.name));
        }
    }
    assert!(checked > 2, "only {checked} configurations found");
}
