//! The points of a landscape: which are asked for, and their evaluation.

use std::path::Path;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use thalweg::Error;
use thalweg::data::Part;
use thalweg::engine::Setup;
use thalweg::explore::landscape::{Grid, Landscape, Options, Section, landscape, points_at_once};
use thalweg::run::Config;

use super::measuring;
use super::signals::Signals;

/// The numbers of points along the axes: `51x51`, or of a line `51`.
pub fn read_grid(text: &str, is_line: bool) -> anyhow::Result<[usize; 2]> {
    let numbers: Option<Vec<usize>> = text.split('x').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y]) if is_line && x != y => bail!("--grid: expected one number of points, of a line, found {text:?}"),
        Some(&[x, y]) => Ok([x, y]),
        Some(&[x]) if is_line => Ok([x, x]),
        _ => bail!("--grid: expected two numbers of points as 51x51, found {text:?}"),
    }
}

/// Makes the folder, and refuses one that cannot be written to before anything is computed.
pub fn check_writable(dir: &Path) -> anyhow::Result<()> {
    let made = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir).map(drop));
    made.map_err(|error| {
        anyhow::anyhow!("--out: expected a folder that can be written to, found {}: {error}", dir.display())
    })
}

/// Evaluates the section; as many points at once as memory holds. None where a signal came.
pub fn evaluate(
    config: &Config,
    setup: &Setup,
    part: Part,
    section: &Section,
    grid: &Grid,
    options: Options,
    signals: &Signals,
) -> anyhow::Result<Option<Landscape>> {
    let points = grid.len() + section.marks.len();
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} points  {eta} left");
    let bar = ProgressBar::new(points as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut replicas = points_at_once(setup, points);
    let found = loop {
        let tried = config.engine(Setup { replicas, ..setup.clone() }, measuring).and_then(|(mut engine, _)| {
            landscape(engine.as_mut(), part, section, grid, options, &mut |done| {
                bar.set_position(done as u64);
                signals.status().is_none()
            })
        });
        match tried {
            Err(Error::DeviceMemory { .. }) if replicas > 1 => replicas /= 2,
            tried => break tried,
        }
    };
    bar.finish_and_clear();
    Ok(found?)
}
