//! Files as people have them: other types, orders and spellings, archives and tables.

use crate::common;

use std::io::Write;
use std::path::Path;

use common::files::{array, gzip, idx, npy, write};
use tempfile::TempDir;
use thalweg::Result;
use thalweg::data::{Dataset, Encoding, Features, Hints, Layout, Part, Source, TargetKind, Targets};

fn load_with(source: &str, hints: &Hints) -> Result<Dataset> {
    source.parse::<Source>()?.load_with(0, hints)
}

fn load(source: &str) -> Dataset {
    load_with(source, &Hints::default()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn error(source: &str) -> String {
    load_with(source, &Hints::default()).unwrap_err().to_string()
}

fn labels(data: &Dataset) -> Vec<u32> {
    match &data.train.targets {
        Targets::Labels(labels) => labels.clone(),
        Targets::Values { .. } => panic!("{}: targets are values", data.name),
    }
}

fn features(data: &Dataset) -> Vec<f64> {
    (0..data.train.features.len()).map(|i| data.train.features.get(i)).collect()
}

/// Categories become features of every row, so that a small file could fill the memory.
#[test]
fn categories_are_bounded_in_all() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("many.csv");
    let header = (0..40).map(|c| format!("c{c},")).collect::<String>() + "target\n";
    let row = |r: usize| (0..40).map(|c| format!("w{},", r * 40 + c)).collect::<String>() + &format!("{}\n", r % 2);
    std::fs::write(&path, header + &(0..300).map(row).collect::<String>()).unwrap();
    let source = format!("csv:{},target=target", path.display());
    let error = source.parse::<thalweg::data::Source>().unwrap().load(0).unwrap_err().to_string();
    assert!(
        error.ends_with("expected up to 10000 categories in all columns, found more up to column \"c33\""),
        "{error}"
    );
}

#[test]
fn labels_may_have_any_type() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[3, 1], vec![1f32, 2., 3.]);
    let files = [
        npy(&dir, "i8.npy", &[3], vec![0i8, 2, 1]),
        npy(&dir, "i16.npy", &[3], vec![0i16, 2, 1]),
        npy(&dir, "u16.npy", &[3, 1], vec![0u16, 2, 1]),
        npy(&dir, "u32.npy", &[3], vec![0u32, 2, 1]),
        npy(&dir, "u64.npy", &[3], vec![0u64, 2, 1]),
        npy(&dir, "hot.npy", &[3, 3], vec![1f32, 0., 0., 0., 0., 1., 0., 1., 0.]),
        npy(&dir, "hot64.npy", &[3, 3], vec![1i64, 0, 0, 0, 0, 1, 0, 1, 0]),
        npy(&dir, "hotbool.npy", &[3, 3], vec![true, false, false, false, false, true, false, true, false]),
    ];
    for y in files {
        let data = load(&format!("npy:{x},{y}"));
        assert_eq!((labels(&data), data.outputs), (vec![0, 2, 1], 3), "{y}");
        assert!(data.encoding.labels.is_empty(), "nothing is mapped");
    }
    let y = npy(&dir, "bool.npy", &[3], vec![true, false, true]);
    assert_eq!(labels(&load(&format!("npy:{x},{y}"))), [1, 0, 1]);
    // What `np.array(["b", "c", "a"])` and `np.array(["0", "10", "2"])` are.
    let words = |words: [&str; 3]| {
        let header = b"{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }";
        let letter = |word: &str, i: usize| word.chars().nth(i).map_or(0, u32::from).to_le_bytes();
        let values: Vec<u8> = words.iter().flat_map(|word| [letter(word, 0), letter(word, 1)].concat()).collect();
        [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header, &values].concat()
    };
    let data = load(&format!("npy:{x},{}", write(&dir, "words.npy", words(["b", "c", "a"]))));
    assert_eq!((labels(&data), data.classes), (vec![1, 2, 0], ["a", "b", "c"].map(String::from).to_vec()));
    let source = format!("npy:{x},{}", write(&dir, "digits.npy", words(["0", "10", "2"])));
    let hints = Hints { targets: Some(TargetKind::Labels), ..Hints::default() };
    assert_eq!(labels(&load_with(&source, &hints).unwrap()), [0, 10, 2]);
    let bad = npy(&dir, "bad.npy", &[3, 2], vec![1i64, 0, 1, 1, 0, 1]);
    assert!(
        error(&format!("npy:{x},{bad}"))
            .contains("expected one label a row, or a single 1 among zeros, found 1, 1 in row 1")
    );
}

#[test]
fn features_may_have_any_type() {
    let dir = TempDir::new().unwrap();
    let y = npy(&dir, "y.npy", &[2], vec![0i64, 1]);
    let files = [
        npy(&dir, "i8.npy", &[2, 2], vec![1i8, 2, 3, 4]),
        npy(&dir, "i16.npy", &[2, 2], vec![1i16, 2, 3, 4]),
        npy(&dir, "u16.npy", &[2, 2], vec![1u16, 2, 3, 4]),
        npy(&dir, "i32.npy", &[2, 2], vec![1i32, 2, 3, 4]),
        npy(&dir, "i64.npy", &[2, 2], vec![1i64, 2, 3, 4]),
        npy(&dir, "u64.npy", &[2, 2], vec![1u64, 2, 3, 4]),
    ];
    for x in files {
        assert_eq!(features(&load(&format!("npy:{x},{y}"))), [1., 2., 3., 4.], "{x}");
    }
    let times = npy(&dir, "times.npy", &[2, 1], vec![1_700_000_000_123i64, 1_700_000_000_456]);
    assert_eq!(features(&load(&format!("npy:{times},{y}"))), [1_700_000_000_123., 1_700_000_000_456.]);
    let flags = npy(&dir, "flags.npy", &[2, 1], vec![false, true]);
    assert_eq!(features(&load(&format!("npy:{flags},{y}"))), [0., 1.]);
}

#[test]
fn arrays_may_lie_in_fortrans_order() {
    let dir = TempDir::new().unwrap();
    let x = write(&dir, "x.npy", array(npyz::Order::Fortran, &[2, 3], vec![1f64, 4., 2., 5., 3., 6.]));
    let y = write(&dir, "y.npy", array(npyz::Order::Fortran, &[2, 2], vec![0.5f32, 2.5, 1.5, 3.5]));
    let data = load(&format!("npy:{x},{y}"));
    assert_eq!(features(&data), [1., 2., 3., 4., 5., 6.]);
    assert_eq!(data.train.targets, Targets::Values { width: 2, values: vec![0.5, 1.5, 2.5, 3.5] });
}

#[test]
fn whole_floats_are_asked_about() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[3, 1], vec![1f32, 2., 3.]);
    let source = format!("npy:{x},{}", npy(&dir, "y.npy", &[3], vec![0f32, 1., 2.]));
    let text = error(&source);
    assert!(text.contains("y.npy: ") && text.contains("--loss cross_entropy or --classes"), "{text}");
    let with = |targets, classes| load_with(&source, &Hints { targets, classes, layout: None }).unwrap();
    assert_eq!(labels(&with(Some(TargetKind::Labels), None)), [0, 1, 2]);
    assert_eq!((labels(&with(None, Some(5))), with(None, Some(5)).outputs), (vec![0, 1, 2], 5));
    assert!(!with(Some(TargetKind::Values), None).is_classification());
    // Fractions are targets, and nothing is asked.
    let halves = npy(&dir, "halves.npy", &[3], vec![0f32, 1.5, 2.]);
    let source = format!("npy:{x},{halves}");
    assert!(!load(&source).is_classification());
    let hints = Hints { targets: Some(TargetKind::Labels), ..Hints::default() };
    let text = load_with(&source, &hints).unwrap_err().to_string();
    assert!(text.contains("halves.npy: expected whole numbers as labels, found 1.5 in row 1"), "{text}");
}

#[test]
fn labels_from_one_and_signs_are_mapped() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[4, 1], vec![1f32, 2., 3., 4.]);
    let of = |name: &str, y: Vec<i64>| format!("npy:{x},{}", npy(&dir, name, &[4], y));
    let ones = load(&of("ones.npy", vec![3, 1, 2, 1]));
    assert_eq!((labels(&ones), ones.outputs), (vec![2, 0, 1, 0], 3));
    assert_eq!(ones.encoding.describe(), ["labels 1, 2, 3 are classes 0 to 2"]);
    let signs = load(&of("signs.npy", vec![-1, 1, 1, -1]));
    assert_eq!((labels(&signs), signs.outputs), (vec![0, 1, 1, 0], 2));
    assert_eq!(signs.encoding.labels, ["-1", "1"]);
    // Where there are more classes than labels, they count from 0.
    let hints = Hints { classes: Some(4), ..Hints::default() };
    assert_eq!(labels(&load_with(&of("some.npy", vec![3, 1, 2, 1]), &hints).unwrap()), [3, 1, 2, 1]);
    let prices = of("prices.npy", vec![250_000, 180_000, 320_000, 99_000]);
    assert!(error(&prices).contains("found 250000 in row 0; --loss mse takes targets"));
    let hints = Hints { targets: Some(TargetKind::Values), ..Hints::default() };
    assert!(!load_with(&prices, &hints).unwrap().is_classification());
    assert!(error(&of("three.npy", vec![-1, 0, 1, 1])).contains("expected labels 0 to 65535, found -1 in row 0"));

    // Others are read in the same way, whatever they show.
    let some: Source = of("two.npy", vec![2, 2, 3, 3]).parse().unwrap();
    assert_eq!(labels(&some.load_as(0, &ones.encoding).unwrap()), [1, 1, 2, 2]);
    let text = some.load_as(0, &signs.encoding).unwrap_err().to_string();
    assert!(text.contains("two.npy: expected one of the labels -1, 1, found 2 in row 0"), "{text}");
    let encoding: Encoding = serde_json::from_str(&serde_json::to_string(&ones.encoding).unwrap()).unwrap();
    assert_eq!(encoding, ones.encoding);
}

#[test]
fn a_source_without_labels_is_read_for_predictions() {
    let dir = TempDir::new().unwrap();
    let x = npy(&dir, "x.npy", &[2, 1], vec![1f32, 2.]);
    let source: Source = format!("npy:{x}").parse().unwrap();
    assert!(
        source.load(0).unwrap_err().to_string().contains("x.npy: expected targets beside the features, found none")
    );
    let inputs = source.inputs(0, &Encoding::default(), Some(Part::Train)).unwrap();
    assert_eq!((inputs.shape, inputs.features, inputs.targets), ([1, 1, 1], Features::F32(vec![1., 2.]), None));
    assert!(
        source
            .inputs(0, &Encoding::default(), Some(Part::Test))
            .unwrap_err()
            .to_string()
            .contains("expected a test part")
    );
    let images = write(&dir, "t10k-images-idx3-ubyte", idx(&[1, 2, 2], &[1, 2, 3, 4]));
    for source in [format!("idx:{images}"), format!("mnist:{}", dir.path().display())] {
        let inputs = source.parse::<Source>().unwrap().inputs(0, &Encoding::default(), Some(Part::Train)).unwrap();
        assert_eq!((inputs.shape, inputs.targets), ([1, 2, 2], None));
    }
    let mnist: Source = format!("mnist:{}", dir.path().display()).parse().unwrap();
    assert_eq!(
        mnist.inputs(0, &Encoding::default(), Some(Part::Test)).unwrap().features,
        Features::U8(vec![1, 2, 3, 4])
    );
    let text = mnist.load_as(0, &Encoding::default()).unwrap_err().to_string();
    assert!(text.contains("expected train-images-idx3-ubyte"), "one part is not taken for the other: {text}");
}

#[test]
fn channels_last_are_asked_about() {
    let dir = TempDir::new().unwrap();
    let y = npy(&dir, "y.npy", &[1], vec![0u8]);
    for (channels, kept) in [(3, vec![0u8, 3, 1, 4, 2, 5]), (1, vec![0, 1, 2, 3, 4, 5])] {
        let shape = [1, 2, 3 / channels, channels];
        let x = npy(&dir, "x.npy", &shape, (0u8..6).collect());
        let source = format!("npy:{x},{y}");
        let text = error(&source);
        assert!(text.contains("--layout nhwc") && text.contains("--layout nchw"), "{text}");
        let with = |layout| load_with(&source, &Hints { layout: Some(layout), ..Hints::default() }).unwrap();
        let data = with(Layout::Nhwc);
        let shape = shape.map(|n| n as usize);
        assert_eq!((data.shape, &data.train.features), ([shape[3], 2, shape[2]], &Features::U8(kept)));
        assert_eq!(data.encoding.layout, Some(Layout::Nhwc));
        assert_eq!(with(Layout::Nchw).shape, [2, shape[2], shape[3]]);
        let again = source.parse::<Source>().unwrap().load_as(0, &data.encoding).unwrap();
        assert_eq!(again.train, data.train);
    }
    let x = npy(&dir, "x.npy", &[1, 3, 2, 1], (0u8..6).collect());
    assert_eq!(load(&format!("npy:{x},{y}")).shape, [3, 2, 1], "channels come first");
}

#[test]
fn mnist_is_found_as_it_is_unpacked() {
    type Spelling = fn(&str) -> String;
    let spellings: [Spelling; 6] = [
        |stem| format!("{stem}-ubyte/{stem}-ubyte"),
        |stem| format!("{}-ubyte.gz", stem.replace("-idx", ".idx")),
        |stem| format!("{0}-ubyte/{0}-ubyte", stem.replace("-idx", ".idx")),
        |stem| format!("{stem}-ubyte/{}-ubyte.gz", stem.replace("-idx", ".idx")),
        |stem| format!("FashionMNIST/raw/{stem}-ubyte"),
        |stem| format!("raw/{stem}-ubyte.gz"),
    ];
    for spelling in spellings {
        let dir = TempDir::new().unwrap();
        for part in ["train", "t10k"] {
            let files = [("images-idx3", idx(&[2, 1, 2], &[1, 2, 3, 4])), ("labels-idx1", idx(&[2], &[7, 1]))];
            for (stem, bytes) in files {
                let name = spelling(&format!("{part}-{stem}"));
                write(&dir, &name, if name.ends_with(".gz") { gzip(&bytes) } else { bytes });
            }
        }
        let data = load(&format!("fashion-mnist:{}", dir.path().display()));
        assert_eq!((labels(&data), data.outputs, data.classes.len()), (vec![7, 1], 10, 10));
    }
}

#[test]
fn a_page_in_the_place_of_a_file_is_named() {
    let dir = TempDir::new().unwrap();
    let page = write(&dir, "train.gz", "\n<!DOCTYPE html><html><body>Not found</body></html>");
    for source in [format!("idx:{page},{page}"), format!("npy:{page},{page}"), format!("npz:{page}")] {
        let text = error(&source);
        assert!(text.contains("train.gz: ") && text.contains("found an HTML page"), "{text}");
    }
}

#[test]
fn cifar_keeps_its_classes_and_names_its_python_version() {
    let dir = TempDir::new().unwrap();
    let record = |label: u8| [&[label][..], &[0; 3072]].concat();
    write(&dir, "cifar-10-batches-bin/data_batch_1.bin", record(6));
    write(&dir, "cifar-10-batches-bin/test_batch.bin", record(7));
    for place in ["", "cifar-10-batches-bin"] {
        let data = load(&format!("cifar10:{}", dir.path().join(place).display()));
        assert_eq!((data.outputs, labels(&data)), (10, vec![6]));
    }
    let dir = TempDir::new().unwrap();
    write(&dir, "cifar-10-batches-py/data_batch_1", "pickle");
    for place in ["", "cifar-10-batches-py"] {
        let text = error(&format!("cifar10:{}", dir.path().join(place).display()));
        assert!(text.contains("pickles") && text.contains("cifar-10-batches-bin"), "{text}");
    }
}

fn npz(dir: &TempDir, arrays: &[(&str, Vec<u8>)]) -> String {
    let path = dir.path().join("arrays.npz");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (i, (name, bytes)) in arrays.iter().enumerate() {
        // As np.savez and np.savez_compressed have them.
        let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][i % 2];
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    path.display().to_string()
}

#[test]
fn archives_of_arrays_are_read_by_name() {
    let dir = TempDir::new().unwrap();
    let x = || array(npyz::Order::C, &[2, 1], vec![1f32, 2.]);
    let y = || array(npyz::Order::C, &[2], vec![0u8, 1]);
    for names in [["x", "y"], ["X", "y"], ["x_train", "y_train"], ["images", "labels"]] {
        let file = npz(&dir, &[(names[0], x()), (names[1], y())]);
        let data = load(&format!("npz:{file}"));
        assert_eq!((features(&data), labels(&data), data.test), (vec![1., 2.], vec![0, 1], None));
    }
    let file = npz(&dir, &[("x_train", x()), ("y_train", y()), ("x_test", x()), ("y_test", y())]);
    assert_eq!(load(&format!("npz:{file}")).test.unwrap().len(), 2);
    let file = npz(&dir, &[("a", x()), ("b", y())]);
    let text = error(&format!("npz:{file}"));
    assert!(text.contains("found a, b; x=NAME names it"), "{text}");
    assert_eq!(labels(&load(&format!("npz:{file},x=a,y=b"))), [0, 1]);
    assert!(error(&format!("npz:{file},x=a,y=c")).contains("expected an array c, found a, b; y=NAME"));
    let file = npz(&dir, &[("x", x())]);
    assert_eq!(
        format!("npz:{file}")
            .parse::<Source>()
            .unwrap()
            .inputs(0, &Encoding::default(), Some(Part::Train))
            .unwrap()
            .targets,
        None
    );
}

#[test]
fn tables_have_numbers_categories_and_a_target() {
    let dir = TempDir::new().unwrap();
    let file = write(
        &dir,
        "t.csv",
        "\u{feff},age,\"sex, given\",income,kind\n0,\"31\",f,1e3,cat\n1,45,m,2.5,dog\n2, 7 ,f,-1,cat\n",
    );
    let test = write(&dir, "test.csv", "kind,income,\"sex, given\",age\ndog,1,m,2\n");
    let data = load(&format!("csv:{file},target=kind,test={test}"));
    assert_eq!(features(&data), [31., 1., 0., 1000., 45., 0., 1., 2.5, 7., 1., 0., -1.]);
    assert_eq!((labels(&data), data.outputs), (vec![0, 1, 0], 2));
    assert_eq!((&data.classes[..], data.shape), (&["cat".to_string(), "dog".into()][..], [4, 1, 1]));
    let held = data.test.as_ref().unwrap();
    assert_eq!((held.features.get(2), &held.targets), (1.0, &Targets::Labels(vec![1])));

    // Another table, without its target and with a category less.
    let new = write(&dir, "new.csv", "income;age;\"sex, given\"\n1,5;3;m\n");
    let inputs = format!("csv:{new}").parse::<Source>().unwrap().inputs(0, &data.encoding, Some(Part::Train)).unwrap();
    assert_eq!((inputs.features, inputs.targets), (Features::F64(vec![3., 0., 1., 1.5]), None));
    let odd = write(&dir, "odd.csv", "income,age,\"sex, given\",kind\n1,3,x,cat\n");
    let text = format!("csv:{odd}").parse::<Source>().unwrap().load_as(0, &data.encoding).unwrap_err().to_string();
    assert!(text.contains("odd.csv: expected one of f, m, found \"x\" in row 2, column \"sex, given\""), "{text}");
}

#[test]
fn broken_tables_are_named() {
    let dir = TempDir::new().unwrap();
    let cases = [
        ("a,b\n1,2\n,3\n", "expected a value in every row, found \"\" in row 3, column \"a\""),
        ("a,b\n1,2\nNA,3\n", "expected a value in every row, found \"NA\" in row 3, column \"a\""),
        ("a,b\n1,2\nthree,3\n", "expected a number, as in other rows (or categories=a), found \"three\" in row 3"),
        ("a,b\n1,2\n3\n", "expected a table, found: "),
        ("1,2\n3,4\n", "expected a header of names in the first row, found 1, 2"),
        ("a,c\n3,4\n", "expected a column \"b\", found a, c"),
        ("a,a,b\n1,2,3\n", "found \"a\" twice"),
        ("b\n1\n", "expected a column beside the target"),
        ("a,b\n", "expected a header and at least one row"),
        ("a,b\n1,3\n2,7\n", "--loss cross_entropy or --classes"),
    ];
    for (text, want) in cases {
        let file = write(&dir, "t.csv", text);
        let text = error(&format!("csv:{file},target=b"));
        assert!(text.contains("t.csv: ") && text.contains(want) && !text.contains('\n'), "{text}");
    }
    let file = write(&dir, "t.csv", "a,b,id\n1,0,x1\n2,1,y2\n1,1,z3\n");
    assert!(error(&format!("csv:{file}")).contains("expected target=NAME, one of the columns a, b, id"));
    let data = load(&format!("csv:{file},target=b,without=id,categories=a"));
    assert_eq!((features(&data), labels(&data)), (vec![1., 0., 0., 1., 1., 0.], vec![0, 1, 1]));
    assert!(!load(&format!("csv:{file},target=a,without=id")).encoding.labels.is_empty(), "labels from 1");
}

#[test]
fn names_of_sources_are_read_back() {
    let home = std::env::home_dir().unwrap();
    let x = Path::new("~").join("a b.npy");
    let source: Source = format!(r"npy:{},c\,d.npy", x.display()).parse().unwrap();
    assert_eq!(source, Source::Npy(vec![home.join("a b.npy"), "c,d.npy".into()]));
    assert_eq!("cifar10:~/d,e".parse::<Source>().unwrap(), Source::Cifar10(home.join("d,e")));
    for text in [r"npz:a\,b.npz,x=p,test_y=q\,r", r"csv:t.csv,target=a\,b,test=u.csv,categories=c,without=d,without=e"]
    {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    assert!("npy:x".parse::<Source>().unwrap().absolute().unwrap().paths()[0].is_absolute());
}
