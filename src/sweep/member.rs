//! One training of a sweep.

use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::run::{Config, Setting};

/// The setting that seeds are given by.
pub(super) const SEED: &str = "train.seed";

/// A member of a sweep: one training, with settings of its own and its seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The number of the member, from 0 on, in the order of its design.
    pub number: u64,
    /// The settings that its design decides, by their keys in the order of the alphabet.
    pub settings: Vec<Setting>,
    /// The seed of the training, `train.seed`.
    pub seed: u64,
}

impl Member {
    /// The configuration of the member: `base` with the member's settings over it, as `--set` puts them there, and its seed.
    ///
    /// # Errors
    /// What [`Config::resolve`] and the check of a run refuse, with the member's settings.
    pub fn config(&self, base: &Config) -> Result<Config> {
        self.resolve(base).map_err(|error| match error {
            Error::Config { key, message } if !self.settings.is_empty() => {
                Error::config(key, format!("{message}; in member {} ({})", self.number, self.words()))
            }
            error => error,
        })
    }

    fn resolve(&self, base: &Config) -> Result<Config> {
        let table = Table::try_from(base).map_err(|error| Error::config("config", error.to_string()))?;
        let mut config = Config::resolve(table, Vec::new(), self.settings.clone())?;
        if self.settings.iter().all(|(key, _)| key != SEED) {
            config.train.seed = self.seed;
        }
        config.check_run()?;
        Ok(config)
    }

    /// The settings in words: `optimizer.lr=0.1, optimizer.name=sgd`.
    pub fn words(&self) -> String {
        let words = self.settings.iter().map(|(key, value)| format!("{key}={}", word(value)));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// A value as it is written on a command line: text without quotes.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::setting;

    fn member(settings: &[&str]) -> Member {
        let settings = settings.iter().map(|text| setting(text).unwrap()).collect();
        Member { number: 3, settings, seed: 7 }
    }

    #[test]
    fn settings_lie_over_the_base() {
        let file = "[optimizer]\nname = \"sgd\"\nlr = 0.5\nmomentum = 0.8\n[train]\nepochs = 4\nseed = 5\nbatch = 16\n";
        let base = Config::resolve(file.parse().unwrap(), Vec::new(), Vec::new()).unwrap();
        assert_eq!(
            member(&[]).config(&base).unwrap(),
            Config { train: crate::run::TrainConfig { seed: 7, ..base.train.clone() }, ..base.clone() }
        );
        let config = member(&["optimizer.lr=0.25", "model.hidden=[8, 4]"]).config(&base).unwrap();
        let rate = config.optimizer.optimizer.rate();
        assert_eq!((rate.lr, rate.momentum, &config.model.hidden[..]), (0.25, 0.8, &[8, 4][..]));
        assert_eq!((config.train.epochs, config.train.seed), (4, 7));
        // Another optimizer has its own defaults, and the rate of the base.
        let rate = member(&["optimizer.name=adamw"]).config(&base).unwrap().optimizer.optimizer.rate();
        assert_eq!((rate.lr, rate.momentum), (0.5, 0.9));
        assert_eq!(member(&["train.seed=11"]).config(&base).unwrap().train.seed, 11);
    }

    #[test]
    fn mistakes_name_the_setting_and_the_member() {
        let error = |settings: &[&str]| member(settings).config(&Config::default()).unwrap_err().to_string();
        let text = error(&["optimizer.momentun=0.9"]);
        assert!(text.starts_with("optimizer.momentun: unknown key, expected one of"), "{text}");
        assert!(text.ends_with("; in member 3 (optimizer.momentun=0.9)"), "{text}");
        let text = error(&["optimizer.name=sgd", "train.epochs=-1"]);
        assert!(text.starts_with("train.epochs: "), "{text}");
        assert!(text.ends_with("in member 3 (optimizer.name=sgd, train.epochs=-1)"), "{text}");
        assert!(error(&["optimizer.lr=-1"]).starts_with("optimizer.lr: expected"), "{}", error(&["optimizer.lr=-1"]));
        assert!(error(&["optimizr.lr=1"]).starts_with("optimizr: unknown key"));
    }
}
