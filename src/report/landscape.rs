//! The files of a landscape: arrays, tables and pictures.

use std::path::{Path, PathBuf};

use super::contour::Contour;
use super::curve::{Curve, Panels, Scale};
use super::marks::Mark;
use super::png::png;
use super::vtp;
use crate::disk::write_whole;
use crate::engine::{Evaluation, Layout, Precision};
use crate::error::Result;
use crate::explore::landscape::{Landscape, Section};
use crate::export::columns::{Cell, Table};
use crate::export::npz::Npz;
use crate::export::safetensors;

/// A landscape, and what its files say of it.
pub struct Pictured<'a> {
    /// The landscape.
    pub landscape: &'a Landscape,
    /// The section that it lies in.
    pub section: &'a Section,
    /// The layout of the weights.
    pub layout: &'a Layout,
    /// The precision in which directions are written.
    pub precision: Precision,
    /// The first line over the pictures.
    pub title: &'a str,
    /// The second line over the pictures.
    pub subtitle: &'a str,
    /// The seeds of the directions and of the samples.
    pub seeds: [u64; 2],
    /// Whether accuracies mean something, as they do of a classification.
    pub has_accuracy: bool,
}

/// Heights above the lowest that are so many times that of the lowest two-hundredth of a map are drawn as one: a direction that
/// leads far away would leave no colours for the basin.
const HIGHEST: f64 = 1e4;

/// Writes a landscape to `dir`, and returns the files: `landscape.npz` (`x`, `y`, `loss` and `accuracy` by y and x, `seeds`; the
/// names, places, losses and accuracies of `points`; `path` and its `path_steps`), `landscape.csv`, a plane's
/// `landscape.vtp`, `directions.safetensors` (`x.NAME` and `y.NAME` for each tensor), and the picture as `landscape.svg` and
/// `landscape.png`. Of a line, arrays have one axis. Each file appears whole or not at all.
///
/// # Errors
/// A file cannot be written.
pub fn write_landscape(dir: &Path, pictured: &Pictured) -> Result<Vec<PathBuf>> {
    let file = |name: &str| dir.join(name);
    let (grid, is_plane) = (&pictured.landscape.grid, pictured.section.axes.len() == 2);
    let mut files = vec![file("landscape.npz"), file("directions.safetensors"), file("landscape.csv")];
    arrays(pictured).write(&files[0])?;
    write_directions(pictured, &files[1])?;
    table(pictured).write(&files[2])?;
    if is_plane {
        files.push(file("landscape.vtp"));
        let mut values = vec![("loss", losses(&pictured.landscape.values))];
        if pictured.has_accuracy {
            values.push(("accuracy", accuracies(&pictured.landscape.values)));
        }
        write_whole(&files[3], vtp::surface(&grid.x, &grid.y, &values[0].1, &values).as_bytes())?;
    }
    let svg = if is_plane { plane(pictured)? } else { line(pictured)? };
    files.extend([file("landscape.svg"), file("landscape.png")]);
    write_whole(&file("landscape.svg"), svg.as_bytes())?;
    write_whole(&file("landscape.png"), &png(&svg)?)?;
    Ok(files)
}

fn losses(values: &[Evaluation]) -> Vec<f64> {
    values.iter().map(|value| value.loss).collect()
}

fn accuracies(values: &[Evaluation]) -> Vec<f64> {
    values.iter().map(|value| value.accuracy).collect()
}

fn arrays(pictured: &Pictured) -> Npz {
    let (Landscape { grid, values, marks }, section) = (pictured.landscape, pictured.section);
    let axes = section.axes.len();
    let mut npz = Npz::default();
    let shape = [grid.y.len(), grid.x.len()];
    let shape = &shape[2 - axes..];
    npz.array("x", &[grid.x.len()], &grid.x);
    if axes == 2 {
        npz.array("y", &[grid.y.len()], &grid.y);
    }
    npz.array("loss", shape, &losses(values));
    npz.array("point_loss", &[marks.len()], &losses(marks));
    if pictured.has_accuracy {
        npz.array("accuracy", shape, &accuracies(values));
        npz.array("point_accuracy", &[marks.len()], &accuracies(marks));
    }
    npz.array("seeds", &[2], &pictured.seeds);
    let places: Vec<f64> = section.marks.iter().flat_map(|mark| mark.at[..axes].to_vec()).collect();
    npz.array("points", &[section.marks.len(), axes], &places);
    npz.words("point_names", &section.marks.iter().map(|mark| &mark.name[..]).collect::<Vec<_>>());
    if !section.path.is_empty() {
        let places: Vec<f64> = section.path.iter().flat_map(|passed| passed.at).collect();
        npz.array("path", &[section.path.len(), 2], &places);
        npz.array("path_steps", &[section.path.len()], &section.path.iter().map(|p| p.steps).collect::<Vec<_>>());
    }
    npz
}

fn write_directions(pictured: &Pictured, path: &Path) -> Result<()> {
    let axes = pictured.section.axes.iter().zip(["x", "y"]);
    let vectors: Vec<(&str, &[f64])> = axes.map(|(axis, name)| (name, &axis.direction[..])).collect();
    safetensors::write_vectors(path, pictured.layout, &vectors, pictured.precision)
}

fn table(pictured: &Pictured) -> Table {
    let is_plane = pictured.section.axes.len() == 2;
    let names = [("x", true), ("y", is_plane), ("loss", true), ("accuracy", pictured.has_accuracy)];
    let row = |(point, value): ([f64; 2], &Evaluation)| {
        let cells = [point[0], point[1], value.loss, value.accuracy].into_iter().zip(names);
        cells.filter(|(_, (_, is_there))| *is_there).map(|(cell, _)| Cell::Real(cell)).collect()
    };
    Table {
        rows: pictured.landscape.grid.points().zip(&pictured.landscape.values).map(row).collect(),
        names: names.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name.to_string()).collect(),
    }
}

/// The contours of the loss.
fn plane(pictured: &Pictured) -> Result<String> {
    let (Landscape { grid, values, .. }, section) = (pictured.landscape, pictured.section);
    let heights = losses(values);
    let mut sorted: Vec<f64> = heights.iter().copied().filter(|height| height.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (lowest, low) = (sorted.first().copied().unwrap_or(0.0), sorted.get(sorted.len() / 200 + 1).copied());
    let cap = lowest + HIGHEST * low.map_or(0.0, |low| low - lowest);
    let cap = if cap > lowest { cap } else { f64::INFINITY };
    let window = [&grid.x, &grid.y].map(|along| [along[0], along[along.len() - 1]]);
    let path: Vec<[f64; 2]> = section.path.iter().map(|passed| passed.at).collect();
    // The last weights of a path are its end.
    let points = section.marks.iter().filter(|mark| path.last() != Some(&mark.at));
    Contour {
        title: pictured.title,
        subtitle: pictured.subtitle,
        value: &|at| {
            let height = between(&grid.x, &grid.y, &heights, at);
            // What is not finite stays so.
            if height > cap { cap } else { height }
        },
        window,
        widest: 1.0,
        axes: [&section.axes[0].label, &section.axes[1].label],
        height: "loss",
        path: &path,
        marks: &points.map(|mark| (Mark::Point, mark.at, &mark.name[..])).collect::<Vec<_>>(),
    }
    .svg()
}

/// The height at a place between nodes, linear along each axis; NaN where a corner of the cell is not finite.
fn between(x: &[f64], y: &[f64], heights: &[f64], at: [f64; 2]) -> f64 {
    let cell = |along: &[f64], at: f64| {
        let i = along.partition_point(|&node| node <= at).clamp(1, along.len() - 1) - 1;
        (i, ((at - along[i]) / (along[i + 1] - along[i])).clamp(0.0, 1.0))
    };
    let ((i, s), (j, t)) = (cell(x, at[0]), cell(y, at[1]));
    let corner = |i: usize, j: usize| heights[j * x.len() + i];
    let row = |j: usize| (1.0 - s) * corner(i, j) + s * corner(i + 1, j);
    let height = (1.0 - t) * row(j) + t * row(j + 1);
    if height.is_finite() { height } else { f64::NAN }
}

/// Loss and accuracy along a line.
fn line(pictured: &Pictured) -> Result<String> {
    let Landscape { grid, values, .. } = pictured.landscape;
    let curve = |name: &str, values: Vec<f64>| {
        let points = grid.x.iter().copied().zip(values).collect();
        Curve { name: name.into(), points, ..Curve::default() }
    };
    let mut curves = vec![curve("loss", losses(values))];
    if pictured.has_accuracy {
        curves.push(curve("accuracy", accuracies(values)));
    }
    let title = format!("{}: {}", pictured.title, pictured.subtitle);
    let by = &pictured.section.axes[0].label;
    Panels { title: &title, by, scale: Scale::Linear, curves, ..Panels::default() }.svg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::landscape::Grid;
    use crate::model::Mlp;

    /// Without a hole that is finite but high, and with one that is not.
    #[test]
    fn what_is_not_finite_is_shown() {
        let model = Mlp::new(2, 1);
        let layout = Layout::new(&model);
        let axis = |i: usize| (String::new(), (0..layout.len).map(|k| f64::from(u8::from(k == i))).collect());
        let section = Section::spanned(&layout, ("last", vec![0.0; layout.len]), vec![axis(0), axis(1)]).unwrap();
        let svg = |worst: f64| {
            let grid = Grid::over([[-1.0, 1.0]; 2], [9, 9], Precision::F32).unwrap();
            let loss = |[x, y]: [f64; 2]| if x == 1.0 && y == 1.0 { worst } else { x * x + y * y };
            let values = grid.points().map(|at| Evaluation { loss: loss(at), ..Evaluation::default() }).collect();
            let landscape = Landscape { grid, values, marks: vec![Evaluation::default()] };
            plane(&Pictured {
                landscape: &landscape,
                section: &section,
                layout: &layout,
                precision: Precision::F32,
                title: "",
                subtitle: "",
                seeds: [0; 2],
                has_accuracy: false,
            })
            .unwrap()
        };
        assert!(!svg(1e300).contains("not finite") && !svg(1e300).contains("e299"));
        assert!(svg(f64::NAN).contains("not finite") && svg(f64::INFINITY).contains("not finite"));
    }

    #[test]
    fn between_nodes_heights_are_linear_along_each_axis() {
        let (x, y) = ([0.0, 1.0, 3.0], [-1.0, 1.0]);
        let height = |x: f64, y: f64| 2.0 * x - y + 0.5 * x * y;
        let heights: Vec<f64> = y.iter().flat_map(|&y| x.iter().map(move |&x| height(x, y))).collect();
        for at in [[0.0, -1.0], [3.0, 1.0], [0.5, 0.25], [2.0, -0.5]] {
            assert!((between(&x, &y, &heights, at) - height(at[0], at[1])).abs() < 1e-14, "{at:?}");
        }
        assert!(between(&x, &y, &[0.0, 0.0, f64::INFINITY, 0.0, 0.0, 0.0], [2.0, 0.0]).is_nan());
    }
}
