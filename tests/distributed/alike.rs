//! Several ranks train what one process trains.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::program::{lines, ok, tensors, words};
use crate::common::{Tolerance, assert_close};
use crate::ranks::{SMALL, table, trains, values};

/// The values of f64 differ by the order of sums alone.
const EXACT: Tolerance = Tolerance { abs: 1e-12, rel: 1e-12 };

/// Trains in one process and on so many ranks, and compares the weights of all kinds and the losses of all epochs.
#[track_caller]
fn compare(dir: &Path, ranks: &[usize], line: &str, tolerance: Tolerance) {
    ok(dir, &words(&format!("train {line} --run one --overwrite")));
    for &n in ranks {
        trains(dir, n, &format!("{line} --run several --overwrite"));
        let files = names(&dir.join("one"));
        assert_eq!(files, names(&dir.join("several")), "{n} ranks, {line}");
        for file in files.iter().filter(|name| name.starts_with("weights")) {
            let of = |run: &str| values(&dir.join(run).join(file));
            assert_close(&format!("{n} ranks, {line}, {file}"), &of("several"), &of("one"), tolerance);
        }
        let curve = |run: &str| -> Vec<f64> {
            let of = |line: &serde_json::Value| ["train_loss", "test_loss"].map(|key| line[key]["mean"].as_f64());
            // Not every epoch is evaluated.
            lines(dir.join(run).join("epochs.jsonl")).iter().flat_map(of).flatten().collect()
        };
        assert_close(&format!("{n} ranks, {line}, losses"), &curve("several"), &curve("one"), tolerance);
    }
}

/// The names of the files in a folder.
fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn one_rank_is_one_process_bit_for_bit() {
    let dir = table();
    for more in ["", "--precision f64 --clip-norm 0.1", "--replicas 2 --dropout 0.2"] {
        ok(dir.path(), &words(&format!("train {SMALL} {more} --run one --overwrite")));
        trains(dir.path(), 1, &format!("{SMALL} {more} --run ranks --overwrite"));
        let names: &[&str] = if more.contains("replicas") { &["weights.0", "weights.1"] } else { &["weights"] };
        for file in names {
            let of = |run: &str| tensors(&dir.path().join(run).join(format!("{file}.safetensors")));
            assert_eq!(of("one"), of("ranks"), "{more}");
        }
    }
}

#[test]
fn every_optimizer_updates_alike() {
    let dir = table();
    let optimizers = [
        "--optimizer sgd --lr 0.1 --momentum 0.9 --nesterov",
        "--optimizer adam --lr 0.01 --amsgrad",
        "--optimizer adamw --lr 0.01",
        "--optimizer rmsprop --lr 0.01 --centered",
    ];
    for (i, optimizer) in optimizers.iter().enumerate() {
        compare(dir.path(), &[2 + i % 3], &format!("{SMALL} --precision f64 {optimizer}"), EXACT);
    }
}

/// Clipping, averages, dropout, augmentation, normalisation of layers, weights of samples and classes, replicas, other targets: and
/// every number of ranks.
#[test]
fn whatever_a_step_does_is_alike() {
    let dir = table();
    let sgd = "--precision f64 --optimizer sgd --lr 0.1 --momentum 0.9";
    let averages = "--schedule cosine_warm_restarts --set schedule.t_0=11 \
                    --set average={swa={start=11,every=3},ema={decay=0.9},snapshots={max=2},lookahead={every=4}}";
    let regression = "--data npy:x.npy,t.npy,x.npy,t.npy --standardize-targets";
    let kinds = [
        format!("--clip-norm 0.3 {averages}"),
        "--dropout 0.3 --noise 0.1 --norm layer --hidden 12,12 --residual --replicas 2".into(),
        "--sample-weights w.npy --class-weights balanced --label-smoothing 0.1 --drop-last".into(),
        format!("{regression} --schedule cosine --keep-best --metric test_loss --restore-best"),
        "--batch full --eval-every 2steps --epochs 5".into(),
        "--batch 3".into(),
    ];
    for (i, kind) in kinds.iter().enumerate() {
        compare(dir.path(), &[2 + i % 3], &format!("{SMALL} {sgd} {kind}"), EXACT);
    }
    compare(dir.path(), &[2, 3, 4], &format!("{SMALL} {sgd} --clip-norm 0.3"), EXACT);
}

/// Mean and variance are those of a step's samples on all ranks.
#[test]
fn batch_normalisation_goes_over_all_ranks() {
    let dir = table();
    let line = format!("{SMALL} --precision f64 --optimizer sgd --lr 0.1 --momentum 0.9 --norm batch --batch 12");
    compare(dir.path(), &[2, 3, 4], &format!("{line} --set average.swa.start=18"), EXACT);
}

/// A step of several passes, each of which a rank may have a part of.
#[test]
fn large_steps_are_alike() {
    let dir = table();
    let line = "--data synthetic --hidden 8 --batch 5000 --epochs 2 --device cpu --quiet --precision f64 --optimizer sgd --lr 0.1";
    compare(dir.path(), &[3], line, EXACT);
}

/// In f32 a gradient, of length at most 1, is off by √10 · ε after sums of 10 samples, and a weight by ε each time that it is moved;
/// 33 steps at a rate of 0.05 add up to 33 · (0.05 · 3.2 + 1) · 1.2e-7 = 5e-6, which the loss's curvature may double.
#[test]
fn f32_is_alike_within_rounding() {
    let dir = table();
    let tolerance = Tolerance { abs: 1e-5, rel: 0.0 };
    let line = format!("{SMALL} --optimizer sgd --lr 0.05 --clip-norm 1");
    compare(dir.path(), &[2, 4], &line, tolerance);
    if crate::common::gpu().is_some() {
        compare(dir.path(), &[2], &format!("{line} --device gpu --no-tune"), tolerance);
    }
}

/// The sums have an order, whatever the ranks' timing.
#[test]
fn the_same_ranks_repeat_their_bits() {
    let dir = table();
    let of = |run: &str| tensors(&dir.path().join(run).join("weights.safetensors"));
    ["a", "b"].iter().for_each(|run| drop(trains(dir.path(), 3, &format!("{SMALL} --run {run}"))));
    assert_eq!(of("a"), of("b"));
}

/// One sample's target is so far off that its gradient overflows, on the rank that has it alone: all skip the step, and halve their
/// loss scales as one process does. Halves round to 2⁻¹¹, so that a step at a rate of 0.01 is off by no more than 2⁻¹¹ of a weight's way.
#[test]
fn an_overflow_on_one_rank_is_one_on_all() {
    if crate::common::gpu().is_none() {
        return;
    }
    let dir = table();
    let path = dir.path();
    let targets: Vec<f32> = (0..202).map(|i| if i == 100 { 100.0 } else { (i % 7) as f32 / 7.0 }).collect();
    crate::common::program::npy(&path.join("far.npy"), &[101, 2], targets);
    let line = "--data npy:x.npy,far.npy,x.npy,far.npy --hidden 16,8 --batch 10 --epochs 3 --quiet --precision mixed \
                --device gpu --no-tune --optimizer sgd --lr 0.01 --clip-norm 1";
    compare(path, &[2, 3], line, Tolerance { abs: 33.0 * 0.01 / 2048.0, rel: 1e-3 });
    let scales = |run: &str| {
        let bytes = std::fs::read(path.join(run).join("checkpoint.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        header.metadata().as_ref().unwrap()["loss_scales"].clone()
    };
    assert_eq!(scales("one"), scales("several"));
    assert!(!scales("one").contains("65536"), "nothing overflowed: {}", scales("one"));
}
