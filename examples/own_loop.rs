//! Embeds the trainer: data made here, a loop of our own, metrics read as they come.
//!
//! `cargo run --release --no-default-features --example own_loop`

use std::sync::Arc;

use thalweg::activation::Activation;
use thalweg::data::{Dataset, Features, Normalize, Samples, Targets};
use thalweg::device::{Device, Precision};
use thalweg::engine::{Setup, Slot};
use thalweg::gpu::Options;
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;
use thalweg::schedule::Schedule;
use thalweg::train::{Plan, Trainer};

/// Two spirals, each a class; `offset` shifts the points along them.
fn spirals(n: usize, offset: f32) -> Samples {
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (class, t) = (i % 2, (i as f32 + offset) / n as f32);
        let angle = 9.0 * t + std::f32::consts::PI * class as f32;
        points.extend([t * angle.cos(), t * angle.sin()]);
        labels.push(class as u32);
    }
    Samples { features: Features::F32(points), targets: Targets::Labels(labels) }
}

fn main() -> thalweg::Result<()> {
    let dataset = Dataset::new("spirals", [2, 1, 1], spirals(2000, 0.0), Some(spirals(500, 0.3)))?;
    let model = Mlp::new(2, &[64, 64], 2, Activation::Gelu)?;
    let setup = Setup {
        optimizer: Optimizer::Adam { lr: 5e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, amsgrad: false },
        clip_norm: Some(1.0),
        replicas: 4,
        batch: 50,
        ..Setup::new(model, Arc::new(dataset.normalize(Normalize::Channel)))
    };
    let (mut engine, why) = Device::Auto.open(Precision::F32, setup, Options::default())?;
    println!("{}: {why}", engine.describe());

    let plan = Plan { epochs: 30, schedule: Schedule::Cosine { t_max: None, eta_min: 0.0 }, ..Plan::default() };
    let mut trainer = Trainer::new(engine.as_mut(), plan)?;
    trainer.init(Init::Pytorch)?;
    let mut steepest = 0.0f64;
    while let Some(epoch) = trainer.epoch(&mut |step| {
        steepest = step.replicas.iter().filter_map(|m| m.grad_norm).fold(steepest, f64::max);
    })? {
        let accuracies: Vec<f64> = epoch.test.iter().flatten().map(|e| e.accuracy).collect();
        println!("epoch {:2}  lr {:.4}  test accuracy of four seeds {accuracies:.3?}", epoch.epoch + 1, epoch.lr);
    }
    let weights = engine.weights(Slot::Live, 0)?;
    println!("largest gradient norm {steepest:.2}; {} weights", weights.len());
    Ok(())
}
