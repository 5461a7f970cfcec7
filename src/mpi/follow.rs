//! What the ranks but the first do.

use super::command::Command;
use super::ranks::Ranks;
use super::sharing::Sharing;
use super::worker::Worker;
use crate::engine::Engine;
use crate::error::Result;

/// Does with `engine`, built for the setup of [`Sharing::of_follower`], what rank 0 tells until that
/// [finishes](super::Session::finish).
///
/// # Errors
/// What the engine meets; the others wait for this rank then, until [`Session::abort`](super::Session::abort) ends them.
pub fn follow(ranks: Ranks, engine: Box<dyn Engine>, sharing: Sharing) -> Result<()> {
    let mut worker = Worker::new(engine, ranks, sharing)?;
    loop {
        match Command::receive(&ranks)? {
            Command::Vector { slot, replica } => {
                let mut values = vec![0.0; worker.engine.layout().len];
                ranks.broadcast_values(&mut values);
                worker.engine.upload(slot, replica, &values)?;
            }
            Command::Order => {
                let setup = worker.engine.setup();
                let mut orders = vec![vec![0; setup.dataset.train.len()]; setup.replicas];
                orders.iter_mut().for_each(|order| ranks.broadcast_values(order));
                worker.engine.set_order(&orders)?;
            }
            Command::Run { steps } => drop(worker.run(&steps)?),
            Command::Update { step } => worker.engine.update(&step)?,
            Command::LossScales { scales } => worker.engine.set_loss_scales(&scales)?,
            Command::End => return Ok(()),
        }
    }
}
