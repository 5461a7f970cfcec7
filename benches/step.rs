//! One step of 3072-512-256-10 and of 784-256-128-10, SGD with momentum, on the CPU engine and on the first adapter.
//!
//! `cargo bench --bench step`; a name after `--` picks benches: `cargo bench --bench step -- cpu/3072`.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thalweg::activation::Activation;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Features, Normalize, Order, Samples, Targets};
use thalweg::engine::{Engine, Setup, Slot, Step};
use thalweg::gpu::adapter::{self, Gpu};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;
use thalweg::schedule::Rate;

const BATCHES: [usize; 6] = [1, 8, 32, 128, 512, 2048];
const SAMPLES: usize = 4096;

fn setup(inputs: usize, hidden: &[usize], batch: usize) -> Setup {
    let pixels = (0..SAMPLES * inputs).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
    let labels = (0..SAMPLES as u32).map(|i| i % 10).collect();
    let train = Samples { features: Features::U8(pixels), targets: Targets::Labels(labels) };
    let dataset = Dataset::new("noise", [1, 1, inputs], train, None).unwrap().normalize(Normalize::Channel);
    let model = Mlp::new(inputs, hidden, 10, Activation::Relu).unwrap();
    let optimizer = Optimizer::Sgd { lr: 1e-3, momentum: 0.9, dampening: 0.0, weight_decay: 0.0, nesterov: false };
    Setup { optimizer, batch, ..Setup::new(model, Arc::new(dataset)) }
}

/// Time of one step, measured over as many as the engine takes at once.
fn measure(criterion: &mut Criterion, device: &str, open: &dyn Fn(Setup) -> Box<dyn Engine>) {
    for (inputs, hidden) in [(3072, [512, 256]), (784, [256, 128])] {
        let mut group = criterion.benchmark_group(format!("{device}/{inputs}-{}-{}-10", hidden[0], hidden[1]));
        group.sample_size(10);
        for batch in BATCHES {
            let mut engine = open(setup(inputs, &hidden, batch));
            let weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, 0);
            engine.set_weights(Slot::Live, 0, &weights).unwrap();
            engine.set_order(&[Order::Sequential.permutation(SAMPLES, 0, 0)]).unwrap();
            let rates = vec![Rate { lr: 1e-3, momentum: 0.9 }];
            let step = Step { rows: batch, rates, ..Step::default() };
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
                bencher.iter_custom(|n| {
                    let steps = vec![step.clone(); n as usize];
                    let start = std::time::Instant::now();
                    for steps in steps.chunks(engine.steps_at_once()) {
                        engine.run(steps).unwrap();
                    }
                    engine.finish().unwrap();
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
    measure(criterion, "gpu", &|setup| {
        Box::new(GpuEngine::new(Gpu::open(0).unwrap(), setup, Options::default()).unwrap())
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
