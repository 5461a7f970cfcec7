//! The forms of an engine's matrix products, as a run records them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The forms of an engine's matrix products: another form may add up in another order, so that a run repeats its bits
/// only with its own. Empty where there is no choice, as on the CPU engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forms {
    /// The adapter and driver that the forms were chosen on, as [`describe`](super::Diagnose::describe) names them.
    pub adapter: String,
    /// The form of each product, by product and shape, as `linear 128x3072x512`: rows, inputs, outputs; of a fused
    /// update with its rule, and in mixed precision with that word.
    pub products: BTreeMap<String, Choice>,
}

/// The form of one product; in a file, its text alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Choice {
    /// The text of the form, as `broadcast 16x2x8x1x1`.
    pub form: String,
    /// The microseconds of one dispatch, where the form was chosen by measuring it now or before; none of a built-in or
    /// recorded one.
    pub microseconds: Option<f64>,
}

impl From<String> for Choice {
    fn from(form: String) -> Self {
        Self { form, microseconds: None }
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> Self {
        choice.form
    }
}

impl Forms {
    /// Whether there are no forms.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }
}
