//! A step of the CPU engine allocates nothing, unless it crops, mirrors or mixes samples: eight cost as many allocations as
//! one, those of the list of metrics.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thalweg::cpu::CpuEngine;
use thalweg::data::{Normalize, Order, Source};
use thalweg::engine::{Engine, Setup, Slot, Step};
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;
use thalweg::sam::Sam;
use thalweg::schedule::Rate;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// Counts what is new; what only grows, as the list of metrics with its steps, it does not.
struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn a_step_allocates_nothing() {
    let dataset = Arc::new(Source::Synthetic.load(0).unwrap().normalize(Normalize::Channel));
    let (lr, momentum) = (1e-3, 0.9);
    // Rank-1 updates, the fused update of few rows and of many, the gradient by itself, and two of them.
    let sam = Some(Sam { rho: 0.05, adaptive: true });
    let cases =
        [(1, None, None), (8, None, None), (32, None, None), (128, None, None), (32, Some(1.0), None), (32, None, sam)];
    for (batch, clip_norm, sam) in cases {
        let model = Mlp::new(dataset.width(), 10).hidden([256, 128]);
        let optimizer = Optimizer::sgd(lr).momentum(momentum);
        let setup = Setup { optimizer, batch, clip_norm, sam, ..Setup::new(model, Arc::clone(&dataset)) };
        let mut engine = CpuEngine::<f32>::new(setup).unwrap();
        let weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, 0);
        engine.upload(Slot::Live, 0, &weights).unwrap();
        engine.set_order(&[Order::Sequential.permutation(dataset.train.len(), 0, 0)]).unwrap();
        let step = |index| Step { index, rows: batch, rates: vec![Rate { lr, momentum }], ..Step::default() };
        let steps: Vec<Step> = (0..8).map(step).collect();
        // Threads of the pool start, and keep what they need, in their first runs.
        let mut run = |n: usize| allocations(|| drop(engine.run(&steps[..n]).unwrap()));
        let _ = (0..20).map(|_| run(8)).sum::<usize>();
        let [one, eight] = [1, 8].map(|n| (0..5).map(|_| run(n)).min());
        assert_eq!(one, eight, "batch {batch}, clipping {clip_norm:?}, {sam:?}");
    }
}
