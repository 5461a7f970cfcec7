//! meganeura on the GPU that it chooses.

use anyhow::Result;
use meganeura::{Graph, Session, SessionConfig};

use super::Peer;
use crate::task::{CLASSES, Task};

/// A compiled session whose steps end with the update.
///
/// Its SGD has no momentum, so it reads and writes one vector as long as the parameters less than the others. It holds
/// one batch: the next is copied into memory shared with the device before each step, and it waits for the step before.
pub struct Meganeura {
    session: Session,
    /// Features and one-hot labels.
    batches: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Meganeura {
    /// Builds the graph and tunes its products.
    pub fn new(task: &Task) -> Self {
        let mut graph = Graph::new();
        let x = graph.input("x", &[task.rows, task.network.inputs]);
        let labels = graph.input("labels", &[task.rows, CLASSES]);
        let mut a = x;
        let layers = task.network.layers();
        for (l, (inputs, outputs)) in layers.into_iter().enumerate() {
            let weight = graph.parameter(&format!("w{l}"), &[inputs, outputs]);
            let bias = graph.parameter(&format!("b{l}"), &[outputs]);
            let z = graph.matmul(a, weight);
            a = graph.bias_add(z, bias);
            if l + 1 < layers.len() {
                a = graph.relu(a);
            }
        }
        let loss = graph.cross_entropy_loss(a, labels);
        graph.set_outputs(vec![loss]);

        let (mut session, _) = meganeura::build(&graph, SessionConfig { tune: true, ..SessionConfig::default() });
        for l in 0..layers.len() {
            session.set_parameter(&format!("w{l}"), &task.weight_transposed(l));
            session.set_parameter(&format!("b{l}"), &task.bias(l));
        }
        let one_hot = |labels: &[u32]| -> Vec<f32> {
            let row = |&label: &u32| (0..CLASSES).map(move |c| if c == label as usize { 1.0 } else { 0.0 });
            labels.iter().flat_map(row).collect()
        };
        let batches = task.batches.iter().map(|batch| (batch.x.clone(), one_hot(&batch.labels))).collect();
        Self { session, batches }
    }

    fn step(&mut self, batch: usize) {
        let (x, labels) = &self.batches[batch];
        self.session.set_input("x", x);
        self.session.set_input("labels", labels);
        self.session.step();
    }
}

impl Peer for Meganeura {
    fn describe(&self) -> String {
        format!("meganeura 0.3 on {}, SGD without momentum", self.session.device_information().device_name)
    }

    fn momentum(&self) -> f64 {
        0.0
    }

    fn loss(&mut self, batch: usize) -> Result<f64> {
        self.session.clear_optimizer();
        self.step(batch);
        self.session.wait();
        Ok(f64::from(self.session.read_loss()))
    }

    fn run(&mut self, batches: &[usize], lr: f64) -> Result<()> {
        self.session.set_learning_rate(lr as f32);
        for &batch in batches {
            self.step(batch);
        }
        self.session.wait();
        Ok(())
    }
}
