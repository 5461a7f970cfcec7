//! The losses.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The loss that is minimised, as the mean over the B samples of a batch; z are the outputs of a sample, dz is its
/// gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The cross-entropy over softmax, `−Σ_c q_c ln softmax(z)_c` with `q = (1−ε) onehot + ε/C` over C classes;
    /// `dz = (softmax(z) − q) / B`. ε is the label smoothing (Szegedy et al., 2016).
    #[default]
    CrossEntropy,
    /// The mean squared error, `mean_j (z_j − y_j)²`; `dz = 2 (z − y) / (B · outputs)`. Labels become one-hot targets.
    Mse,
}

/// The weights of classes in the loss of training, as a user names them.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// `balanced`: every class counts alike, whatever the number of its training samples, `n / (classes · count)`, as
    /// scikit-learn's; a class without samples gets 0, and is not among the `classes`.
    Balanced,
    /// The weight of each class: that of `torch.nn.CrossEntropyLoss(weight=...)`.
    Each(Vec<f64>),
}

impl ClassWeights {
    /// The weight of each class, of which there are so many training samples.
    ///
    /// ```
    /// use thalweg::loss::ClassWeights;
    /// assert_eq!(ClassWeights::Balanced.of(&[6, 2]), [8.0 / 12.0, 8.0 / 4.0]);
    /// ```
    pub fn of(&self, counts: &[usize]) -> Vec<f64> {
        let Self::Each(weights) = self else {
            let (n, classes) = (counts.iter().sum::<usize>(), counts.iter().filter(|&&count| count > 0).count());
            let balanced = |&count: &usize| if count == 0 { 0.0 } else { n as f64 / (classes * count) as f64 };
            return counts.iter().map(balanced).collect();
        };
        weights.clone()
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ClassWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, one a class, or \"balanced\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ClassWeights, E> {
                let bad = || E::invalid_value(de::Unexpected::Str(text), &self);
                (text == "balanced").then_some(ClassWeights::Balanced).ok_or_else(bad)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ClassWeights, A::Error> {
                let mut weights = Vec::new();
                while let Some(weight) = list.next_element()? {
                    weights.push(weight);
                }
                Ok(ClassWeights::Each(weights))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str("balanced"),
            Self::Each(weights) => weights.serialize(serializer),
        }
    }
}

/// The softmax of the `width` logits of each row, in their place: `exp(zᵢ) / Σⱼ exp(zⱼ)`.
///
/// ```
/// let mut rows = vec![0.0, 0.0, 1000.0, 0.0];
/// thalweg::loss::softmax(&mut rows, 2);
/// assert_eq!(rows, [0.5, 0.5, 1.0, 0.0]);
/// ```
pub fn softmax(logits: &mut [f64], width: usize) {
    for row in logits.chunks_exact_mut(width) {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|z| *z = (*z - top).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
}
