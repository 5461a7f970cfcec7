//! The order in which an epoch takes the samples.

use super::Trainer;
use crate::engine::Slot;
use crate::error::Result;

impl Trainer {
    /// Draws the epoch's orders; before the first, the slow weights of lookahead begin as the fast ones.
    pub(super) fn set_order(&mut self) -> Result<()> {
        let setup = self.engine.setup();
        let orders = self.plan.orders(setup, self.progress.epoch);
        if self.steps_taken() == 0 && setup.average.lookahead.is_some() {
            self.engine.copy(Slot::Live, Slot::Slow)?;
        }
        self.underway.has_order = true;
        self.engine.set_order(&orders)
    }

    /// Has the next step draw the epoch's orders again, since a caller has given the engine other ones in between.
    pub fn restore_order(&mut self) {
        self.underway.has_order = false;
    }
}
