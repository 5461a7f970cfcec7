//! Ranks that take steps apart: local SGD, and SWAP.

use std::path::Path;
use std::sync::Arc;

use thalweg::Optimizer;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Order, Source};
use thalweg::engine::{Engine, Precision, Setup, Slot, Step, initialize};
use thalweg::export::safetensors;
use thalweg::model::{Init, Mlp};
use thalweg::schedule::Rate;

use crate::common::program::{ok, words};
use crate::common::{Tolerance, assert_close};
use crate::ranks::{SMALL, mpirun, said, table, trains, trains_by, values};

const EXACT: Tolerance = Tolerance { abs: 1e-12, rel: 1e-12 };
const SGD: &str = "--precision f64 --optimizer sgd --lr 0.1 --momentum 0.9";

fn weights(dir: &Path, run: &str) -> Vec<f64> {
    values(&dir.join(run).join("weights.safetensors"))
}

/// A mean after every step moves weights and momentum by the mean gradient.
#[test]
fn a_mean_after_every_step_shares_the_step() {
    let dir = table();
    let line = format!("{SMALL} {SGD} --batch 9 --drop-last");
    ok(dir.path(), &words(&format!("train {line} --run one")));
    trains_by(dir.path(), 3, "local", &format!("{line} --average-every 1 --run local"));
    assert_close("weights", &weights(dir.path(), "local"), &weights(dir.path(), "one"), EXACT);
}

/// Local SGD in one process: engines of their own, whose vectors are averaged on the host after every third step and each epoch.
#[test]
fn local_steps_are_those_of_engines_apart() {
    let dir = table();
    let path = dir.path();
    trains_by(path, 3, "local", &format!("{SMALL} {SGD} --batch 10 --drop-last --average-every 3 --run local"));

    let file = |name: &str| path.join(name).display().to_string();
    let source: Source = format!("npy:{},{}", file("x.npy"), file("y.npy")).parse().unwrap();
    let dataset = source.load(0).unwrap().normalize(thalweg::data::Normalize::default());
    let model = Mlp::new(12, dataset.outputs).hidden([16, 8]);
    let setup =
        Setup { batch: 10, optimizer: Optimizer::sgd(0.1).momentum(0.9), ..Setup::new(model, Arc::new(dataset)) };
    let mut engines: Vec<_> = (0..3).map(|_| CpuEngine::<f64>::new(setup.clone()).unwrap()).collect();
    engines.iter_mut().for_each(|engine| initialize(engine, Init::default()).unwrap());
    for index in 0..30 {
        let (epoch, i) = (index / 10, index % 10);
        for (rank, engine) in engines.iter_mut().enumerate() {
            if i == 0 {
                engine.set_order(&[Order::Shuffle.permutation(101, 0, epoch)]).unwrap();
            }
            let at = |rank: usize| 10 * i as usize + 10 * rank / 3;
            let rates = vec![Rate { lr: 0.1, momentum: 0.9 }];
            let (first, rows) = (at(rank), at(rank + 1) - at(rank));
            engine.run(&[Step { index, first, rows, rates, ..Step::default() }]).unwrap();
        }
        if i % 3 == 2 || i == 9 {
            for slot in [Slot::Live, Slot::State(0)] {
                let all: Vec<Vec<f64>> = engines.iter_mut().map(|engine| engine.download(slot, 0).unwrap()).collect();
                let mean: Vec<f64> = (0..all[0].len()).map(|j| all.iter().map(|v| v[j]).sum::<f64>() / 3.0).collect();
                engines.iter_mut().for_each(|engine| engine.upload(slot, 0, &mean).unwrap());
            }
        }
    }
    let want = engines[0].download(Slot::Live, 0).unwrap();
    let found =
        safetensors::read(&path.join("local/weights.safetensors"), engines[0].layout(), Precision::F64).unwrap();
    assert_close("weights", &found, &want, EXACT);
}

/// Before the epoch of `start` the ranks share every step, as one process.
#[test]
fn post_local_steps_come_after_shared_ones() {
    let dir = table();
    let path = dir.path();
    let line = format!("{SMALL} {SGD} --norm layer");
    ok(path, &words(&format!("train {line} --run one")));
    trains_by(path, 2, "local", &format!("{line} --set distributed.start=3 --run all"));
    assert_close("weights", &weights(path, "all"), &weights(path, "one"), EXACT);
    trains_by(path, 2, "local", &format!("{line} --set distributed.start=2 --run some"));
    let far = weights(path, "some").iter().zip(weights(path, "one")).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far > 1e-6, "{far}");
}

/// The second phase of SWAP is, rank by rank, the replicas of one process, and its average their mean.
#[test]
fn swap_is_the_mean_of_replicas() {
    let dir = table();
    let path = dir.path();
    trains(path, 3, &format!("{SMALL} {SGD} --batch 30 --run large"));
    let line = format!("{SMALL} {SGD} --init-from large --batch 5 --dropout 0.2 --checkpoint-every 0");
    let sets = "--set average.swa.start=62";
    ok(path, &words(&format!("train {line} {sets} --replicas 3 --run replicas")));
    trains_by(path, 3, "swap", &format!("{line} {sets} --run swap"));
    let of = |r: usize| values(&path.join(format!("replicas/weights.swa.{r}.safetensors")));
    let (all, count) = ([of(0), of(1), of(2)], of(0).len());
    let mean: Vec<f64> = (0..count).map(|i| all.iter().map(|w| w[i]).sum::<f64>() / 3.0).collect();
    assert_close("swap", &values(&path.join("swap/weights.swa.safetensors")), &mean, EXACT);
}

#[test]
fn what_ranks_apart_cannot_have_is_refused() {
    let dir = table();
    for (mode, flags, key) in [
        ("local", "--average-every 0", "distributed.every"),
        ("local", "--set average={ema={}}", "average"),
        ("swap", "", "train.checkpoint_every"),
        ("swap", "--checkpoint-every 0", "average.swa"),
    ] {
        let line = format!("train {SMALL} --distributed {mode} --run r {flags}");
        let text = said(&mpirun(dir.path(), 2, &[&line]).output().unwrap());
        assert!(text.contains(&format!("error: rank 0: {key}: expected ")), "{line}: {text}");
    }
}
