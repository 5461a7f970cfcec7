//! What trains the tour's networks.

use serde_json::{Value, json};

use super::Tour;
use crate::data::{Dataset, Part};
use crate::engine::Setup;
use crate::error::{Error, Result};
use crate::explore::landscape::{Grid, Landscape, Options, Section, landscape, points_at_once, sampled};
use crate::gpu::Measuring;
use crate::model::Norm;
use crate::report::History;
use crate::report::history::short;
use crate::run::{Config, DataConfig};
use crate::train::Trainer;

/// The number of training samples by which batch normalisation's statistics are renewed, as `thalweg landscape` does.
const RENEWED: usize = 1000;

/// Trains networks by the lines that the page shows, and keeps the data sets that they share.
pub(super) struct Workshop<'a> {
    asked: Tour<'a>,
    device: String,
    data: Vec<(DataConfig, Dataset)>,
}

/// A training that is over.
pub(super) struct Run {
    /// The line that makes the same at home.
    pub command: String,
    pub config: Config,
    pub history: History,
    pub trainer: Trainer,
}

impl<'a> Workshop<'a> {
    /// # Errors
    /// No such device.
    pub fn open(asked: Tour<'a>) -> Result<Self> {
        let mut shop = Self { asked, device: String::new(), data: Vec::new() };
        let (config, setup) = shop.setup("--hidden 8")?;
        let (engine, _) = config.engine(setup, asked.measuring)?;
        shop.device = engine.describe();
        Ok(shop)
    }

    /// The device in words.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// One of two sizes: that of the whole tour, or that of the quick one.
    pub fn size<T>(&self, whole: T, quick: T) -> T {
        if self.asked.is_quick { quick } else { whole }
    }

    /// What a line of training adds to its flags, so that the quick tour trains on a tenth of the samples.
    pub fn fewer(&self) -> &'static str {
        self.size("", " --validation 0.9")
    }

    /// The steps of an epoch in batches of 25.
    pub fn per_epoch(&self) -> u64 {
        self.size(400, 40)
    }

    /// The line with the device that was asked for, where it is not the program's own choice.
    pub fn on_device(&self, line: &str) -> String {
        if self.asked.device == "auto" { line.into() } else { format!("{line} --device {}", self.asked.device) }
    }

    /// The configuration of a line of flags.
    pub fn config(&self, flags: &str) -> Result<Config> {
        (self.asked.read)(&self.on_device(flags))
    }

    /// The configuration of a line of flags, and its setup.
    pub fn setup(&mut self, flags: &str) -> Result<(Config, Setup)> {
        let config = self.config(flags)?;
        let found = self.data.iter().find(|(data, _)| *data == config.data).map(|(_, dataset)| dataset.clone());
        let dataset = match found {
            Some(dataset) => dataset,
            None => {
                let dataset = config.dataset()?;
                self.data.push((config.data.clone(), dataset.clone()));
                dataset
            }
        };
        let setup = config.setup(dataset)?;
        Ok((config, setup))
    }

    /// Trains as `thalweg train` does with these flags. A loss that is no longer finite ends the run.
    pub fn train(&mut self, flags: &str) -> Result<Run> {
        self.train_as(flags, None)
    }

    /// Trains as [`train`](Self::train) does; the line that is shown leaves the run in a folder of this name.
    pub fn train_as(&mut self, flags: &str, name: Option<&str>) -> Result<Run> {
        let (config, setup) = self.setup(flags)?;
        let (engine, _) = config.engine(setup, self.asked.measuring)?;
        let mut trainer = Trainer::new(engine, config.plan())?;
        trainer.init(config.model.init)?;
        let mut history = History::default();
        match trainer.run_with(&mut history) {
            Ok(()) | Err(Error::Diverged { .. }) => {}
            Err(error) => return Err(error),
        }
        let run = name.map_or(String::new(), |name| format!(" --run {name}"));
        let command = format!("thalweg train {}{run}", self.on_device(flags));
        Ok(Run { command, config, history, trainer })
    }

    /// The loss of `run`'s network over a section, on samples of a part that are drawn as `thalweg landscape` draws them.
    pub fn landscape(
        &self,
        run: &mut Run,
        section: &Section,
        grid: &Grid,
        (part, samples): (Part, usize),
    ) -> Result<Landscape> {
        let setup = run.trainer.engine().setup().clone();
        let places = setup.dataset.draw(part, Some(samples), 0)?;
        let renewed =
            (setup.model.norm == Norm::Batch).then(|| setup.dataset.draw(Part::Train, Some(RENEWED), 0)).transpose()?;
        let (setup, part) = sampled(&setup, part, &places, renewed.as_deref())?;
        let replicas = points_at_once(&setup, grid.len() + section.marks.len());
        let (mut engine, _) = run.config.engine(Setup { replicas, ..setup }, self.asked.measuring)?;
        let options = Options { renew: renewed.is_some(), exact: false };
        let found = landscape(engine.as_mut(), part, section, grid, options, &mut |_| true)?;
        found.ok_or_else(|| Error::config("landscape", "expected it whole, found it cut short"))
    }

    /// Who hears of what is measured on the device.
    pub fn measuring(&self) -> Measuring {
        self.asked.measuring
    }
}

impl Run {
    /// The run as the page knows it.
    pub fn json(&self, name: &str) -> Value {
        json!({ "name": name, "command": self.command, "history": self.history.to_json() })
    }
}

/// A landscape as the page knows it: coordinates, losses row after row, and marks.
pub(super) fn pictured(found: &Landscape, section: &Section) -> Value {
    let width = found.grid.x.len();
    let numbers = |values: &[f64]| values.iter().map(|&value| short(value)).collect::<Value>();
    let rows = found.values.chunks(width).map(|row| row.iter().map(|value| short(value.loss)).collect::<Value>());
    let marks = section.marks.iter().zip(&found.marks).map(|(mark, value)| {
        json!({ "name": mark.name, "at": numbers(&mark.at), "loss": short(value.loss), "accuracy": short(value.accuracy) })
    });
    json!({
        "x": numbers(&found.grid.x), "y": numbers(&found.grid.y), "z": rows.collect::<Value>(),
        "marks": marks.collect::<Value>(),
    })
}
