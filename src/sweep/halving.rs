//! Successive halving: bad settings leave their place to better ones.

use serde::{Deserialize, Serialize};

use super::group::ranked;
use super::row::{Row, judged_by};
use crate::error::{Error, Result};
use crate::run::Config;
use crate::schedule::Unit;

/// Successive halving (Jamieson and Talwalkar, 2016): all settings are trained for a few epochs, the best `1/eta` of them go on to
/// `eta` times as many, and so on to the last. A setting goes on or stays behind with all its seeds, by the mean of its metric over
/// them; one of which a seed failed comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Halving {
    /// The epochs after which settings are compared for the first time, a multiple of `train.eval_every`. At least 1, default 1.
    pub epochs: u64,
    /// The factor from one comparison's epochs to those of the next, of which one in so many settings goes on. At least 2,
    /// default 3.
    pub eta: u64,
}

impl Default for Halving {
    fn default() -> Self {
        Self { epochs: 1, eta: 3 }
    }
}

impl Halving {
    /// Refuses constants out of range, and a configuration whose evaluations are not those of comparisons.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self, base: &Config) -> Result<()> {
        if self.eta < 2 {
            return Err(Error::config("sweep.halving.eta", format!("expected at least 2, found {}", self.eta)));
        }
        let (epochs, every) = (self.epochs, base.train.eval_every);
        let expected = match every.unit {
            Unit::Step => "train.eval_every to count epochs".to_string(),
            Unit::Epoch if epochs == 0 || !epochs.is_multiple_of(every.count.max(1)) => {
                format!("a multiple of {} epochs (train.eval_every)", every.count)
            }
            Unit::Epoch if epochs >= base.train.epochs => {
                format!("fewer than the {} of a whole training (train.epochs)", base.train.epochs)
            }
            Unit::Epoch => return Ok(()),
        };
        Err(Error::config("sweep.halving.epochs", format!("expected {expected}, found {epochs}")))
    }

    /// The epochs after which settings are compared, those of a whole training last.
    ///
    /// ```
    /// # use thalweg::sweep::Halving;
    /// assert_eq!(Halving { epochs: 1, eta: 3 }.rungs(20), [1, 3, 9, 20]);
    /// ```
    pub fn rungs(&self, epochs: u64) -> Vec<u64> {
        let next = |&rung: &u64| rung.checked_mul(self.eta).filter(|&rung| rung < epochs);
        std::iter::successors(Some(self.epochs).filter(|&rung| rung < epochs), next).chain([epochs]).collect()
    }

    /// The members of the settings that go on: the best `1/eta` by their rows, and one at least.
    pub fn survivors(&self, rows: &[Row]) -> Vec<u64> {
        let ranked = ranked(rows, judged_by(rows));
        let most = (ranked.len() as u64 / self.eta).max(1) as usize;
        let best = ranked.into_iter().take(most).flat_map(|group| group.rows);
        best.filter(|row| !row.has_failed()).map(|row| row.member).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(member: u64, lr: f64, accuracy: f64, ended: &str) -> Row {
        let settings = [("optimizer.lr".to_string(), json!(lr))].into_iter().collect();
        Row { member, settings, test_accuracy: Some(accuracy), ended: ended.into(), ..Row::default() }
    }

    #[test]
    fn one_in_eta_goes_on_with_all_its_seeds() {
        let halving = Halving { epochs: 1, eta: 2 };
        let rows: Vec<Row> = [0.1, 0.5, 0.4, 0.2, 0.3]
            .into_iter()
            .enumerate()
            .flat_map(|(i, accuracy)| {
                let number = 2 * i as u64;
                [row(number, accuracy, accuracy, ""), row(number + 1, accuracy, accuracy + 0.05, "")]
            })
            .collect();
        assert_eq!(halving.survivors(&rows), [2, 3, 4, 5]);
        // The mean of the best is higher, but one of its seeds failed.
        let mut failed = rows.clone();
        failed[3].ended = "diverged".into();
        assert_eq!(halving.survivors(&failed), [4, 5, 8, 9]);
        assert_eq!(Halving { eta: 100, ..halving }.survivors(&rows), [2, 3]);
        let all: Vec<Row> = rows.iter().map(|row| Row { ended: "diverged".into(), ..row.clone() }).collect();
        assert!(halving.survivors(&all).is_empty());
    }

    #[test]
    fn comparisons_come_before_the_end() {
        let rungs = |epochs, eta, all| Halving { epochs, eta }.rungs(all);
        assert_eq!(rungs(1, 3, 27), [1, 3, 9, 27]);
        assert_eq!((rungs(2, 2, 5), rungs(5, 2, 5), rungs(u64::MAX, 2, 3)), (vec![2, 4, 5], vec![5], vec![3]));
    }

    #[test]
    fn comparisons_need_evaluations() {
        let base = |table: &str| Config::resolve(table.parse().unwrap(), Vec::new(), Vec::new()).unwrap();
        let refused = |halving: Halving, table: &str| halving.check(&base(table)).unwrap_err().to_string();
        let halving = Halving::default();
        assert!(halving.check(&base("train.epochs = 9")).is_ok());
        assert_eq!(
            refused(halving, "train.epochs = 9\ntrain.eval_every = 2"),
            "sweep.halving.epochs: expected a multiple of 2 epochs (train.eval_every), found 1"
        );
        assert!(refused(halving, "train.epochs = 1").contains("expected fewer than the 1 of a whole training"));
        assert!(refused(Halving { eta: 1, epochs: 1 }, "").starts_with("sweep.halving.eta: expected at least 2"));
        assert!(refused(Halving { epochs: 0, eta: 3 }, "").contains("expected a multiple of 1 epochs"));
    }
}
