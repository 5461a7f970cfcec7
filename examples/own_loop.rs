//! Embeds the trainer: data made here, a loop of our own, metrics read as they come.
//!
//! `cargo run --release --no-default-features --example own_loop`

use thalweg::data::{Normalize, Samples};
use thalweg::engine::Slot;
use thalweg::event::{Control, Event};
use thalweg::{Activation, Dataset, Mlp, Optimizer, Schedule, Training};

/// Two spirals, each a class; `offset` shifts the points along them.
fn spirals(n: usize, offset: f32) -> Samples {
    let place = |i: usize| (i % 2, (i as f32 + offset) / n as f32);
    let point = |(class, t): (usize, f32)| {
        let angle = 9.0 * t + std::f32::consts::PI * class as f32;
        [t * angle.cos(), t * angle.sin()]
    };
    Samples::labelled((0..n).map(place).flat_map(point).collect::<Vec<_>>(), (0..n).map(|i| place(i).0 as u32))
}

fn main() -> thalweg::Result<()> {
    let data = Dataset::new("spirals", [2, 1, 1], spirals(2000, 0.0), Some(spirals(500, 0.3)))?;
    let model = Mlp::new(2, 2).hidden([64, 64]).activation(Activation::Gelu);
    let training = Training::new(model, data.normalize(Normalize::Channel)).optimizer(Optimizer::adam(5e-3));
    let training = training.schedule(Schedule::cosine()).clip_norm(1.0).replicas(4).batch(50).epochs(30);
    let mut trainer = training.trainer()?;
    let mut steepest = 0.0f64;
    let mut watch = |event: &Event| {
        if let Event::Step(step) = event {
            steepest = step.replicas.iter().filter_map(|m| m.grad_norm).fold(steepest, f64::max);
        }
        Ok(Control::Continue)
    };
    while let Some(epoch) = trainer.epoch_with(&mut watch)? {
        let accuracies: Vec<f64> = epoch.test.iter().flatten().map(|e| e.accuracy).collect();
        println!("epoch {:2}  lr {:.4}  test accuracy of four seeds {accuracies:.3?}", epoch.epoch + 1, epoch.lr);
    }
    let weights = trainer.engine().download(Slot::Live, 0)?;
    println!("largest gradient norm {steepest:.2}; {} weights", weights.len());
    Ok(())
}
