//! Every kernel of a step of 3072-512-256-10, SGD with momentum, on the first adapter, by the device's clock.
//!
//! `cargo bench --bench kernels`; a name after `--` picks benches: `cargo bench --bench kernels -- 'mixed/128/linear_dw 0'`.

mod common;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thalweg::engine::{Diagnose, Precision, Setup};
use thalweg::gpu::adapter;

const BATCHES: [usize; 3] = [1, 32, 128];

fn kernels(criterion: &mut Criterion) {
    if adapter::list().is_empty() {
        eprintln!("no adapter: nothing is measured");
        return;
    }
    for (name, precision) in [("f32", Precision::F32), ("mixed", Precision::Mixed)] {
        for batch in BATCHES {
            let setup = Setup { precision, ..common::setup(3072, &[512, 256], batch) };
            let mut engine = common::gpu(&setup);
            let step = common::begin(&mut engine);
            let timed = engine.profile(&step).unwrap();
            let mut group = criterion.benchmark_group(format!("{name}/{batch}"));
            group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            for (i, kernel) in timed.iter().enumerate() {
                group.throughput(Throughput::Bytes(kernel.bytes as u64));
                group.bench_function(BenchmarkId::from_parameter(&kernel.name), |bencher| {
                    bencher.iter_custom(|n| {
                        // A step is timed as a whole; its other kernels count for nothing here.
                        let seconds: f64 = (0..n).map(|_| engine.profile(&step).unwrap()[i].seconds).sum();
                        Duration::from_secs_f64(seconds)
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
