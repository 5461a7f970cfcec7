// The bodies of the fuzz targets, which `main.rs` runs under libFuzzer, and `tests/hostile.rs` over seeds and their mutations.
// Each reads its bytes as one of the crate's parsers does, and uses what is no error as a run would.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thalweg::cpu::CpuEngine;
use thalweg::data::{
    Dataset, Encoding, Hints, Layout as Dimensions, Normalize, Part, Picture, Samples, Source, TargetKind,
};
use thalweg::engine::{Forms, Layout, Limits, Precision, Setup};
use thalweg::export::safetensors::read_mapped;
use thalweg::internals::forms::Form;
use thalweg::model::Norm;
use thalweg::plan::Plan;
use thalweg::run::{Checkpoint, Config, setting};
use thalweg::schedule::Memory;
use thalweg::{Error, Mlp, Trainer};

/// A target's name, and its body: it panics where a parser does what it should not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("checkpoint", checkpoint),
    ("cifar", cifar),
    ("config", config),
    ("csv", csv),
    ("encoding", encoding),
    ("forms", forms),
    ("idx", idx),
    ("limits", limits),
    ("npy", npy),
    ("npz", npz),
    ("picture", picture),
    ("safetensors", safetensors),
    ("settings", settings),
    ("source", source),
    ("tar", tar),
];

/// A folder of this thread's own, in memory where there is such a place.
fn folder() -> PathBuf {
    thread_local! {
        static FOLDER: tempfile::TempDir = {
            let memory = Path::new("/dev/shm");
            let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            made.expect("a folder for files")
        };
    }
    FOLDER.with(|folder| folder.path().to_path_buf())
}

/// The path of a file that holds `bytes`.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file to be read");
    path
}

/// The value, where there is one; an error is one line of bounded length, whatever the file holds.
fn accepted<T>(result: Result<T, Error>) -> Option<T> {
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(text.len() < 10_000 && !text.contains(char::is_control), "{text:?}");
    }
    result.ok()
}

/// Reads a data set in every way, and makes of it what a run does.
fn load(source: &Source) {
    let of_values = Hints { targets: Some(TargetKind::Values), ..Hints::default() };
    let of_images = Hints { layout: Some(Dimensions::Nhwc), targets: Some(TargetKind::Labels), classes: Some(10) };
    for hints in [Hints::default(), of_values, of_images] {
        let Some(dataset) = accepted(source.load_with(0, &hints)) else { continue };
        accepted(source.load_as(0, &dataset.encoding)).expect("what was read is read again");
        use_all(dataset);
    }
    accepted(source.inputs(0, &Encoding::default(), Some(Part::Train)));
}

fn use_all(dataset: Dataset) {
    dataset.encoding.describe();
    dataset.channel_statistics();
    if dataset.is_classification() {
        dataset.train.histogram(dataset.outputs);
    }
    let dataset = dataset.normalize(Normalize::Channel);
    if let Some(dataset) = accepted(dataset.hold_out(0.5, 0)) {
        dataset.rows(Part::Train);
    }
}

fn cifar(bytes: &[u8]) {
    for name in ["data_batch_1.bin", "test_batch.bin", "train.bin", "test.bin", "batches.meta.txt"] {
        file(name, bytes);
    }
    load(&Source::Cifar10(folder()));
    load(&Source::Cifar100(folder()));
}

fn idx(bytes: &[u8]) {
    let path = file("x", bytes);
    load(&Source::Idx(vec![path.clone(), path.clone()]));
    // One label for a file of one image.
    let label = file("y", &[0, 0, 8, 1, 0, 0, 0, 1, 3]);
    load(&Source::Idx(vec![path, label]));
}

fn npy(bytes: &[u8]) {
    let path = file("x.npy", bytes);
    load(&Source::Npy(vec![path.clone(), path.clone()]));
    accepted(thalweg::data::read_numbers(&path));
}

fn npz(bytes: &[u8]) {
    load(&Source::Npz { file: file("x.npz", bytes), names: [const { None }; 4] });
}

/// A picture, brought to shapes of each kind.
fn picture(bytes: &[u8]) {
    let path = file("picture", bytes);
    for shape in [[1, 28, 28], [3, 4, 9]] {
        if let Some(picture) = accepted(Picture::read(&path, shape)) {
            assert_eq!(picture.pixels.len(), shape.iter().product::<usize>());
        }
    }
}

fn csv(bytes: &[u8]) {
    let path = file("x.csv", bytes);
    load(&Source::Csv(thalweg::data::Csv { file: path, target: Some("y".into()), ..Default::default() }));
}

/// How a run read its data, by which other data is read.
fn encoding(bytes: &[u8]) {
    let Ok(encoding) = serde_json::from_slice::<Encoding>(bytes) else { return };
    encoding.describe();
    encoding.names();
    let table = file("x.csv", b"a,b,y\n1,cat,0\n2,dog,1\n3,cat,0\n");
    let table = Source::Csv(thalweg::data::Csv { file: table, target: Some("y".into()), ..Default::default() });
    let images = file("x", &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 7, 8]);
    let label = file("y", &[0, 0, 8, 1, 0, 0, 0, 1, 1]);
    for source in [table, Source::Idx(vec![images, label])] {
        if let Some(dataset) = accepted(source.load_as(0, &encoding)) {
            use_all(dataset);
        }
        accepted(source.inputs(0, &encoding, None));
    }
}

fn safetensors(bytes: &[u8]) {
    let path = file("x.safetensors", bytes);
    let plain = Mlp::new(3, 2).hidden([2]);
    for model in [plain.clone(), plain.norm(Norm::Batch)] {
        let layout = Layout::new(&model);
        for (precision, map) in
            [(Precision::F32, None), (Precision::F64, Some("0,2")), (Precision::F64, Some("a=0,b=2"))]
        {
            accepted(read_mapped(&path, &layout, precision, map));
        }
    }
}

/// A checkpoint, whose checksum fits where the bytes have a place for one, and the step that the run goes on with.
fn checkpoint(bytes: &[u8]) {
    const START: &[u8] = b"{\"__metadata__\":{\"checksum\":\"";
    let run = folder().join("run");
    std::fs::create_dir_all(&run).expect("a folder");
    let mut sealed = bytes.to_vec();
    let place = 8 + START.len()..16 + START.len();
    if sealed.get(8..place.start) == Some(START) && sealed.len() >= place.end {
        sealed[place.clone()].fill(b'0');
        let checksum = format!("{:08x}", crc32fast::hash(&sealed));
        sealed[place].copy_from_slice(checksum.as_bytes());
    }
    file("run/checkpoint.safetensors", &sealed);
    let Some(Some(checkpoint)) = accepted(Checkpoint::newest(&run, &mut Vec::new())) else { return };
    let setup = Setup { batch: 2, ..Setup::new(Mlp::new(1, 2).hidden([2]), three_samples().into()) };
    let engine = CpuEngine::<f32>::new(setup).expect("an engine");
    let mut trainer = Trainer::new(Box::new(engine), Plan::default()).expect("a trainer");
    let Some(progress) = accepted(checkpoint.restore(trainer.engine())) else { return };
    if accepted(trainer.resume(progress)).is_some() {
        accepted(trainer.advance(1));
    }
}

fn three_samples() -> Dataset {
    let samples = Samples::labelled(vec![0f32, 1.0, 2.0], [0, 1, 0]);
    Dataset::new("three", [1, 1, 1], samples, None).expect("three samples")
}

/// A configuration, as far as it decides a run over three samples.
fn config(bytes: &[u8]) {
    let Some(table) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) else { return };
    if let Some(config) = accepted(Config::resolve(table, Vec::new(), Vec::new())) {
        decide(&config);
    }
}

/// Lines of `--set`.
fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(sets) = text.lines().map(|line| accepted(setting(line))).collect() else { return };
    if let Some(config) = accepted(Config::resolve(toml::Table::new(), Vec::new(), sets)) {
        decide(&config);
    }
}

fn decide(config: &Config) {
    let text = toml::to_string(config).expect("a configuration can be written");
    let again = Config::resolve(text.parse().expect("what was written is read"), Vec::new(), Vec::new());
    accepted(again).expect("what was written is a configuration");
    accepted(config.data.source.parse::<Source>());
    accepted(config.train.device.parse::<thalweg::device::Device>());
    let Some(setup) = accepted(config.setup(three_samples())) else { return };
    let plan = config.plan();
    if accepted(setup.check(f64::MAX)).is_none() {
        return;
    }
    setup.slots();
    setup.step_bytes(setup.batch);
    let Some(sampler) = accepted(plan.check(&setup)) else { return };
    let last = plan.total_steps(&setup).saturating_sub(1);
    for step in [0, 1, last / 2, last] {
        plan.rate(&setup, step, &Memory::default());
    }
    sampler.take(0);
}

/// The table of forms that a run records.
fn forms(bytes: &[u8]) {
    let Some(forms) = std::str::from_utf8(bytes).ok().and_then(|text| toml::from_str::<Forms>(text).ok()) else {
        return;
    };
    for choice in forms.products.values() {
        if let Some(form) = accepted(choice.form.parse::<Form>()) {
            assert_eq!(form.to_string().parse::<Form>().ok(), Some(form));
        }
    }
}

/// The cache of what devices can do at most.
fn limits(bytes: &[u8]) {
    let Ok(devices) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    for (_, value) in devices {
        if let Ok(limits) = serde_json::from_value::<Limits>(value) {
            limits.best(&limits);
        }
    }
}

fn source(bytes: &[u8]) {
    let Some(source) = std::str::from_utf8(bytes).ok().and_then(|text| accepted(text.parse::<Source>())) else {
        return;
    };
    let again = source.to_string().parse::<Source>();
    assert_eq!(accepted(again).as_ref(), Some(&source));
    accepted(source.absolute());
}

/// An archive that `data fetch` unpacks: it writes files and folders into its folder, and nothing else anywhere.
fn tar(bytes: &[u8]) {
    let outer = tempfile::tempdir_in(folder()).expect("a folder");
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    accepted(thalweg::data::fetch::unpack(bytes, bytes.len() as u64, &inner));
    assert_eq!(std::fs::read_dir(outer.path()).expect("a folder").count(), 1, "it wrote beside its folder");
    let mut folders = vec![inner];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let kind = entry.file_type().expect("a type");
            assert!(kind.is_file() || kind.is_dir(), "{entry:?} is neither file nor folder");
            folders.extend(kind.is_dir().then(|| entry.path()));
        }
    }
}
