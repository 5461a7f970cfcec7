//! One step of 3072-512-256-10 and of 784-256-128-10, SGD with momentum, on the CPU engine and on the first adapter.
//!
//! `cargo bench --bench step`; a name after `--` picks benches: `cargo bench --bench step -- cpu/3072`.

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thalweg::cpu::CpuEngine;
use thalweg::engine::{Engine, Setup};
use thalweg::gpu::adapter;

const BATCHES: [usize; 6] = [1, 8, 32, 128, 512, 2048];

/// Time of one step, measured over as many as the engine takes at once.
fn measure(criterion: &mut Criterion, device: &str, open: &dyn Fn(Setup) -> Box<dyn Engine>) {
    for (inputs, hidden) in [(3072, [512, 256]), (784, [256, 128])] {
        let mut group = criterion.benchmark_group(format!("{device}/{inputs}-{}-{}-10", hidden[0], hidden[1]));
        group.sample_size(10);
        for batch in BATCHES {
            let mut engine = open(common::setup(inputs, &hidden, batch));
            let step = common::begin(engine.as_mut());
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
                bencher.iter_custom(|n| {
                    let steps = vec![step.clone(); n as usize];
                    let start = std::time::Instant::now();
                    for steps in steps.chunks(engine.steps_at_once()) {
                        engine.run(steps).unwrap();
                    }
                    engine.wait().unwrap();
                    start.elapsed()
                });
            });
        }
    }
}

fn steps(criterion: &mut Criterion) {
    measure(criterion, "cpu", &|setup| Box::new(CpuEngine::<f32>::new(setup).unwrap()));
    if adapter::list().is_empty() {
        eprintln!("no adapter: the GPU is not measured");
        return;
    }
    measure(criterion, "gpu", &|setup| Box::new(common::gpu(&setup)));
}

criterion_group!(benches, steps);
criterion_main!(benches);
