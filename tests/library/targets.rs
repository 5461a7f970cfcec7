//! Targets and columns that could be taken for something else: labels, numbers, types that differ between parts.

use crate::common;

use std::path::Path;

use common::files::{npy, write};
use tempfile::TempDir;
use thalweg::Result;
use thalweg::data::{Dataset, Encoding, Features, Hints, Samples, Source, TargetKind, Targets, expand};

const MSE: Hints = Hints { targets: Some(TargetKind::Values), classes: None, layout: None };

fn load_with(source: &str, hints: &Hints) -> Result<Dataset> {
    source.parse::<Source>()?.load_with(0, hints)
}

fn load(source: &str) -> Dataset {
    load_with(source, &Hints::default()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// The error, which is one line.
fn error(source: &str) -> String {
    let text = load_with(source, &Hints::default()).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

fn load_as(source: &str, encoding: &Encoding) -> Result<Dataset> {
    source.parse::<Source>()?.load_as(0, encoding)
}

fn labels(samples: &Samples) -> Vec<u32> {
    match &samples.targets {
        Targets::Labels(labels) => labels.clone(),
        Targets::Values { values, .. } => panic!("targets are values: {values:?}"),
    }
}

fn values(data: &Dataset) -> (usize, Vec<f64>) {
    match &data.train.targets {
        Targets::Labels(labels) => panic!("targets are labels: {labels:?}"),
        Targets::Values { width, values } => (*width, values.clone()),
    }
}

/// An array of one dimension of the type that NumPy's code names.
fn coded(dir: &TempDir, name: &str, code: &str, rows: usize, bytes: &[u8]) -> String {
    let header = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({rows},), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    write(dir, name, [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), bytes].concat())
}

/// What `np.array(words)` is, of words of up to two letters.
fn text(dir: &TempDir, name: &str, words: &[&str]) -> String {
    let letter = |word: &str, i: usize| word.chars().nth(i).map_or(0, u32::from).to_le_bytes();
    let bytes: Vec<u8> = words.iter().flat_map(|word| [letter(word, 0), letter(word, 1)].concat()).collect();
    coded(dir, name, "<U2", words.len(), &bytes)
}

#[test]
fn words_that_look_like_numbers_stay_words() {
    let dir = TempDir::new().unwrap();
    let (x3, x2) = (npy(&dir, "x3.npy", &[3, 1], vec![1f32, 2., 3.]), npy(&dir, "x2.npy", &[2, 1], vec![1f32, 2.]));
    let (train, test) = (text(&dir, "y3.npy", &["01", "02", "A"]), text(&dir, "y2.npy", &["01", "02"]));
    let table = write(&dir, "train.csv", "a,y\n1,01\n2,02\n3,A\n");
    let part = write(&dir, "test.csv", "a,y\n1,01\n2,02\n");
    let sources = [
        (format!("npy:{x3},{train},{x2},{test}"), format!("npy:{x3},{train}"), format!("npy:{x2},{test}")),
        (format!("csv:{table},target=y,test={part}"), format!("csv:{table},target=y"), format!("csv:{part},target=y")),
    ];
    for (both, alone, other) in sources {
        let data = load(&both);
        assert_eq!(data.encoding.labels, ["01", "02", "A"], "{both}");
        assert_eq!((labels(&data.train), labels(data.test.as_ref().unwrap())), (vec![0, 1, 2], vec![0, 1]));
        let encoding = load(&alone).encoding;
        assert_eq!(labels(&load_as(&other, &encoding).unwrap().train), [0, 1], "{other}");
    }
    // Numbers in all parts are numbers, however they are written; a word that was none of the labels is refused.
    let one = write(&dir, "one.csv", "a,y\n1,1\n2,2\n3,3\n");
    let encoding = load(&format!("csv:{one},target=y")).encoding;
    let padded = write(&dir, "padded.csv", "a,y\n1,03\n2,1.0\n");
    assert_eq!(labels(&load_as(&format!("csv:{padded},target=y"), &encoding).unwrap().train), [2, 0]);
    let words = load(&format!("csv:{table},target=y")).encoding;
    let stray = write(&dir, "stray.csv", "a,y\n1,01\n2,2\n");
    let text = load_as(&format!("csv:{stray},target=y"), &words).unwrap_err().to_string();
    assert!(text.contains("stray.csv: expected one of the labels 01, 02, A, found 2 in row 1"), "{text}");
    let zero = load(&format!("csv:{},target=y", write(&dir, "zero.csv", "a,y\n1,0\n2,1\n"))).encoding;
    let text = load_as(&format!("csv:{table},target=y"), &zero).unwrap_err().to_string();
    assert!(text.contains("expected labels 0 to 1, found A in row 2"), "{text}");
}

#[test]
fn integers_are_labels_or_targets() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[4, 1], vec![1f32, 2., 3., 4.]);
    let of = |name: &str, y: Vec<i64>| format!("npy:{x},{}", npy(&dir, name, &[4], y));
    // What looks like labels stays so, whatever the loss.
    for (y, want) in
        [(vec![0, 2, 1, 2], [0, 2, 1, 2]), (vec![3, 1, 2, 1], [2, 0, 1, 0]), (vec![-1, 1, 1, -1], [0, 1, 1, 0])]
    {
        let source = of("labels.npy", y);
        assert_eq!(labels(&load(&source).train), want);
        assert_eq!(labels(&load_with(&source, &MSE).unwrap().train), want);
    }
    // What does not is a target for --loss mse; without a word of the user, more classes than samples are asked about.
    let ages = of("ages.npy", vec![31, 45, 7, 60]);
    let incomes = of("incomes.npy", vec![20_000, 60_000, 35_000, 41_000]);
    for (source, classes) in [(&ages, 61), (&incomes, 60_001)] {
        assert!(!load_with(source, &MSE).unwrap().is_classification());
        let text = error(source);
        assert!(text.contains(".npy: expected labels or targets, found integers up to "), "{text}");
        assert!(text.contains("in 4 samples") && text.contains("--loss mse takes them for targets"), "{text}");
        assert!(text.contains(&format!("--classes {classes} for labels")), "{text}");
        let hints = Hints { classes: Some(classes), ..Hints::default() };
        assert_eq!(load_with(source, &hints).unwrap().outputs, classes);
        let hints = Hints { targets: Some(TargetKind::Labels), ..Hints::default() };
        assert_eq!(load_with(source, &hints).unwrap().outputs, classes);
    }
    assert_eq!(values(&load_with(&ages, &MSE).unwrap()), (1, vec![31., 45., 7., 60.]));
    let below = of("below.npy", vec![-5, 3, 0, 2]);
    assert_eq!(values(&load_with(&below, &MSE).unwrap()).1, [-5., 3., 0., 2.]);
    // Gaps are kept where the classes are no more than the samples.
    assert_eq!(load(&of("gap.npy", vec![0, 3, 3, 0])).outputs, 4);
    let text = load(&of("labels.npy", vec![0, 2, 1, 2])).standardize_targets().unwrap_err().to_string();
    assert!(text.contains("found labels; --loss mse takes numbers for targets"), "{text}");
}

#[test]
fn columns_of_integers_are_targets_if_asked_for() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[2, 1], vec![1f32, 2.]);
    let source = format!("npy:{x},{}", npy(&dir, "y.npy", &[2, 2], vec![3i64, 70, -2, 90]));
    assert_eq!(values(&load_with(&source, &MSE).unwrap()), (2, vec![3., 70., -2., 90.]));
    let text = error(&source);
    assert!(text.contains("a single 1 among zeros, found 3, 70 in row 0; --loss mse takes targets"), "{text}");
    let hot = format!("npy:{x},{}", npy(&dir, "hot.npy", &[2, 2], vec![0i64, 1, 1, 0]));
    assert_eq!(labels(&load_with(&hot, &MSE).unwrap().train), [1, 0]);
}

#[test]
fn parts_of_several_types_have_one_in_common() {
    let dir = TempDir::new().unwrap();
    let y = npy(&dir, "y.npy", &[2], vec![0u8, 1]);
    let files = [
        ("u8", npy(&dir, "u8.npy", &[2, 1], vec![1u8, 2])),
        ("f32", npy(&dir, "i16.npy", &[2, 1], vec![1i16, 2])),
        ("f32", npy(&dir, "f32.npy", &[2, 1], vec![1f32, 2.])),
        ("f64", npy(&dir, "i64.npy", &[2, 1], vec![1i64, 2])),
        ("f64", npy(&dir, "f64.npy", &[2, 1], vec![1f64, 2.])),
    ];
    for (train, a) in &files {
        for (test, b) in &files {
            let data = load(&format!("npy:{a},{y},{b},{y}"));
            let wanted = if train == test { *train } else { "f64" };
            let parts = [&data.train, data.test.as_ref().unwrap()];
            assert_eq!(parts.map(|part| part.features.kind()), [wanted; 2], "{a} {b}");
            assert_eq!(parts.map(|part| (part.features.get(0), part.features.get(1))), [(1., 2.); 2]);
        }
    }
}

#[test]
fn the_index_of_pandas_is_left_out() {
    let dir = TempDir::new().unwrap();
    for index in [[0, 1, 2], [7, 2, 5], [-1, 10, 3]] {
        let rows: String = index.iter().zip(0..).map(|(i, row)| format!("{i},{row}.5,{}\n", row % 2)).collect();
        let file = write(&dir, "t.csv", format!(",a,y\n{rows}"));
        let data = load(&format!("csv:{file},target=y"));
        assert_eq!((data.shape, data.train.features), ([1, 1, 1], Features::F64(vec![0.5, 1.5, 2.5])));
    }
    let others = [",a,y\n3,1,0\n3,2,1\n", ",a,y\nx,1,0\nz,2,1\n", "a,,y\n1,4,0\n2,3,1\n", ",,y\n1,4,0\n2,3,1\n"];
    for (other, column) in others.iter().zip([1, 1, 2, 2]) {
        let text = error(&format!("csv:{},target=y", write(&dir, "t.csv", other)));
        let want = format!("t.csv: expected a name for column {column}, found none; name it in the header");
        assert!(text.contains(&want) && text.contains("index=False"), "{text}");
    }
}

#[test]
fn types_are_told_by_name_and_with_what_helps() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[2, 1], vec![1f32, 2.]);
    let cases = [
        ("|O", "found object; save it with .astype(str) or a number type"),
        ("|S1", "found bytes; .astype(str)"),
        ("<M8[s]", "found datetime64; .astype(\"int64\")"),
        ("<m8[s]", "found timedelta64; .astype(\"int64\")"),
        ("<c8", "found complex64"),
    ];
    for (code, want) in cases {
        let odd = coded(&dir, "odd.npy", code, 2, &[0; 16]);
        for source in [format!("npy:{x},{odd}"), format!("npy:{odd},{x}")] {
            let text = error(&source);
            assert!(text.contains("odd.npy: expected ") && text.contains(want), "{text}");
        }
    }
}

#[test]
fn a_few_of_many_labels_are_listed() {
    let dir = TempDir::new().unwrap();
    let rows: String = (0..20).map(|i| format!("c{i:02},l{i:02}\n")).collect();
    let data = load(&format!("csv:{},target=y", write(&dir, "t.csv", format!("a,y\n{rows}"))));
    for (row, want) in [("c00,x", "labels l00, l01, "), ("x,l00", "expected one of c00, c01, ")] {
        let other = write(&dir, "other.csv", format!("a,y\n{row}\n"));
        let text = load_as(&format!("csv:{other},target=y"), &data.encoding).unwrap_err().to_string();
        assert!(text.contains(want) && text.contains("07, ... (20 in all), found "), "{text}");
    }
}

#[test]
fn a_table_that_is_not_utf8_is_told_so() {
    let dir = TempDir::new().unwrap();
    let utf16: Vec<u8> = "a,y\n1,0\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases = [
        (b"a,y\n1,caf\xe9\n".to_vec(), "found byte 0xe9 in row 2, as Latin-1"),
        (b"a,y\xe4\n1,0\n".to_vec(), "found byte 0xe4 in row 1"),
        ([&[0xff, 0xfe], &utf16[..]].concat(), "found UTF-16"),
        (utf16, "found UTF-16"),
    ];
    for (bytes, want) in cases {
        let text = error(&format!("csv:{},target=y", write(&dir, "t.csv", bytes)));
        assert!(text.contains("t.csv: expected text in UTF-8, ") && text.contains(want), "{text}");
        assert!(text.contains("save it as UTF-8"), "{text}");
    }
}

#[test]
fn the_home_folder_is_put_in_its_place() {
    let home = std::env::home_dir().unwrap();
    assert_eq!(expand("~/w.safetensors"), home.join("w.safetensors"));
    assert_eq!(expand("~w"), Path::new("~w"));
}
