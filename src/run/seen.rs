//! The weights that a run left of its way.

use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, newest_first};
use super::folder::read_summary;
use super::trained::Trained;
use crate::error::Result;
use crate::export::safetensors;

/// The most values of all weights that are read together.
const MOST_VALUES: usize = 1 << 27;
/// The most weights that are read.
const MOST: usize = 200;

/// The weights of one replica along the run in `dir`, each with the number of steps before, in their order, the last ones at the
/// end: those of its trajectory, or where it has none, of its checkpoints. Of many, 200 at even distances are read, and fewer
/// of a large network.
///
/// # Errors
/// No such replica; a file that cannot be read, or is of another network.
pub fn seen_weights(dir: &Path, trained: &mut Trained, replica: usize) -> Result<Vec<(u64, Vec<f64>)>> {
    let last = trained.values("last", replica)?;
    let most = (MOST_VALUES / last.len()).clamp(8, MOST);
    let files = files(dir, replica);
    let mut seen = if files.is_empty() {
        thinned(newest_first(dir), most)
            .iter()
            .map(|path| {
                let checkpoint = Checkpoint::read(path)?;
                Ok((checkpoint.steps, checkpoint.weights(replica, last.len())?))
            })
            .collect::<Result<Vec<_>>>()?
    } else {
        let read = |(steps, path): &(u64, PathBuf)| {
            let (layout, precision) = (trained.layout(), trained.setup().precision);
            Ok((*steps, safetensors::read(path, layout, precision)?))
        };
        thinned(files, most).iter().map(read).collect::<Result<Vec<_>>>()?
    };
    seen.sort_by_key(|(steps, _)| *steps);
    if seen.last().is_none_or(|(_, weights)| *weights != last) {
        let ended = read_summary(dir)?.and_then(|summary| summary.get("steps")?.as_u64());
        let steps = ended.or(seen.last().map(|(steps, _)| *steps)).unwrap_or(0);
        seen.push((steps, last));
    }
    Ok(seen)
}

/// At most so many items, at even distances, the first and the last among them.
fn thinned<T>(items: Vec<T>, most: usize) -> Vec<T> {
    let (n, kept) = (items.len(), items.len().min(most));
    let mut next = 0;
    let is_kept = |i: usize| {
        let is_kept = next < kept && i == next * (n - 1) / (kept - 1).max(1);
        next += usize::from(is_kept);
        is_kept
    };
    let kept: Vec<bool> = (0..n).map(is_kept).collect();
    items.into_iter().zip(kept).filter_map(|(item, kept)| kept.then_some(item)).collect()
}

/// The files of a replica's trajectory, each with its steps, in their order: `trajectory.200.safetensors`, of several replicas
/// `trajectory.200.1.safetensors`.
fn files(dir: &Path, replica: usize) -> Vec<(u64, PathBuf)> {
    let parse = |name: &str| {
        let inner = name.strip_prefix("trajectory.")?.strip_suffix(".safetensors")?;
        let (steps, r) = inner.split_once('.').map_or((inner, Some(0)), |(steps, r)| (steps, r.parse().ok()));
        Some((steps.parse().ok()?, r?))
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((parse(entry.file_name().to_str()?)?, entry.path())));
    let mut files: Vec<(u64, PathBuf)> =
        named.filter(|((_, r), _)| *r == replica).map(|((steps, _), path)| (steps, path)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_stay() {
        assert_eq!(thinned((0..5).collect(), 9), [0, 1, 2, 3, 4]);
        assert_eq!(thinned((0..100).collect(), 4), [0, 33, 66, 99]);
        assert_eq!(thinned(vec![7], 4), [7]);
        assert!(thinned(Vec::<u8>::new(), 4).is_empty());
    }

    #[test]
    fn a_trajectory_is_in_the_order_of_its_steps() {
        let dir = tempfile::TempDir::new().unwrap();
        for name in [
            "trajectory.20.1.safetensors",
            "trajectory.100.1.safetensors",
            "trajectory.3.0.safetensors",
            "trajectory.x.safetensors",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let steps = |replica| files(dir.path(), replica).into_iter().map(|(steps, _)| steps).collect::<Vec<_>>();
        assert_eq!((steps(0), steps(1), steps(2)), (vec![3], vec![20, 100], vec![]));
    }
}
