//! The weights that a run left of its way.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::checkpoint::{Checkpoint, newest_first};
use super::folder::read_summary;
use super::trained::Trained;
use super::trajectory::trajectory;
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
    let files = trajectory(dir, replica);
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
    let summary = read_summary(dir)?.unwrap_or_default();
    let end = if summary.contains_key("restored") {
        summary.get("best").and_then(|best| best.get("steps"))
    } else {
        summary.get("steps")
    };
    let end = end.and_then(Value::as_u64).or(seen.last().map(|(steps, _)| *steps)).unwrap_or(0);
    // The way to weights that were restored ends where they were.
    seen.retain(|(steps, _)| *steps <= end);
    if seen.last().is_none_or(|(_, weights)| *weights != last) {
        seen.push((end, last));
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
}
