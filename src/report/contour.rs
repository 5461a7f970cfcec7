//! A surface of two parameters as a map, and a way down it.

use std::path::Path;

use plotters::prelude::*;

use super::isoline::Grid;
use super::marks::{Canvas, Drawn, LEFT, MARK, Mark, Place, SIDE, TOP, draw_name, draw_path, text};
use crate::error::{Error, Result};

/// The map that is drawn.
pub struct Contour<'a> {
    /// The first line over the picture.
    pub title: &'a str,
    /// The second line over the picture, a smaller one.
    pub subtitle: &'a str,
    /// The function that gives the height at `[x, y]`.
    pub value: &'a dyn Fn([f64; 2]) -> f64,
    /// The window of the map, `[[left, right], [bottom, top]]`. It is widened about its middle, up to so many times as `widest`
    /// says, to hold the path.
    pub window: [[f64; 2]; 2],
    /// The number of times as wide as it was that the window may become, at least 1; what is farther away is cut off.
    pub widest: f64,
    /// The labels of the two axes.
    pub axes: [&'a str; 2],
    /// The name of the height.
    pub height: &'a str,
    /// The points of the path, from its start to its end.
    pub path: &'a [[f64; 2]],
    /// The places that are marked, with the names that stand beside them, if they have any.
    pub marks: &'a [(Mark, [f64; 2], &'a str)],
}

/// The number of lines of equal height.
const LEVELS: usize = 14;
/// The number of nodes of the grid along each axis.
const NODES: usize = 241;
/// How many times as large as it is shown the picture is drawn, since the backend rounds to whole pixels.
const SCALE: u32 = 2;
const BOTTOM: u32 = 190;
const RIGHT: u32 = 220;

/// The colours from the lowest height to the highest: of one hue, and of a lightness that all eyes tell apart.
const LOW: RGBColor = RGBColor(24, 78, 140);
const HIGH: RGBColor = RGBColor(240, 246, 252);
/// The colour where the surface is not finite: darker than all bands near it.
const NOT_FINITE: RGBColor = RGBColor(110, 110, 110);

impl Contour<'_> {
    /// Draws the map as SVG: bands between log-spaced heights above the lowest, darker where it is deeper; the path with a dot for
    /// every step; its ends, and the marks. Where the surface is not finite, it is grey.
    ///
    /// # Errors
    /// What cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        draw(&mut svg, self).map_err(|error| Error::data("picture", error.to_string()))?;
        Ok(svg)
    }
}

/// Draws the map into a file.
///
/// # Errors
/// The file cannot be written.
pub fn contour(file: &Path, contour: &Contour) -> Result<()> {
    std::fs::write(file, contour.svg()?).map_err(Error::io(file))
}

fn draw(svg: &mut String, contour: &Contour) -> Drawn {
    let size = (LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM);
    let window = widened(contour.window, contour.widest, contour.path);
    let grid = Grid::new(NODES, window, contour.value);
    let levels = levels(&grid.sorted());
    {
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let place = Place(window);
        draw_bands(&root, &place, &grid, &levels)?;
        draw_path(&root, &place, contour.path)?;
        draw_marks(&root, &place, contour)?;
        draw_axes(&root, window, contour.axes)?;
        root.draw(&text(contour.title, (LEFT, 25), 40))?;
        root.draw(&text(contour.subtitle, (LEFT, 80), 30))?;
        draw_scale(&root, contour.height, &levels)?;
        draw_legend(&root, contour, grid.has_holes())?;
        root.present()?;
    }
    shrink(svg, size);
    Ok(())
}

/// Lets a picture that was drawn in so many pixels be shown at half its size.
pub(super) fn shrink(svg: &mut String, size: (u32, u32)) {
    let tag = |(width, height): (u32, u32)| format!("width=\"{width}\" height=\"{height}\" viewBox");
    *svg = svg.replacen(&tag(size), &tag((size.0 / SCALE, size.1 / SCALE)), 1);
}

/// The window, made as wide as the path needs.
fn widened(window: [[f64; 2]; 2], widest: f64, path: &[[f64; 2]]) -> [[f64; 2]; 2] {
    let middle = window.map(|[low, high]| (low + high) / 2.0);
    let half = window.map(|[low, high]| (high - low) / 2.0);
    let farthest = path.iter().flat_map(|w| [0, 1].map(|axis| (w[axis] - middle[axis]).abs() / half[axis]));
    let farthest = farthest.fold(1.0, f64::max);
    let factor = if farthest > 1.0 { (1.05 * farthest).min(widest) } else { 1.0 };
    [0, 1].map(|axis| [middle[axis] - factor * half[axis], middle[axis] + factor * half[axis]])
}

/// The heights of the lines, log-spaced above the lowest, from that under which a two-hundredth of the map lies to the
/// highest; none of a flat surface.
fn levels(heights: &[f64]) -> Vec<f64> {
    let (Some(&lowest), Some(&highest)) = (heights.first(), heights.last()) else { return Vec::new() };
    let range = highest - lowest;
    if range <= 0.0 {
        return Vec::new();
    }
    let first = (heights[heights.len() / 200] - lowest).max(1e-9 * range);
    (0..LEVELS).map(|k| lowest + first * (range / first).powf(k as f64 / LEVELS as f64)).collect()
}

fn draw_bands(root: &Canvas, place: &Place, grid: &Grid, levels: &[f64]) -> Drawn {
    let corner = (LEFT as i32, TOP as i32);
    let opposite = (corner.0 + SIDE as i32, corner.1 + SIDE as i32);
    let ground = if grid.has_holes() { NOT_FINITE } else { HIGH };
    root.draw(&Rectangle::new([corner, opposite], ground.filled()))?;
    if grid.has_holes() {
        draw_band(root, place, grid, f64::MAX, HIGH)?;
    }
    levels.iter().enumerate().rev().try_for_each(|(k, &level)| draw_band(root, place, grid, level, band(k)))
}

/// Fills all that lies below a level.
fn draw_band(root: &Canvas, place: &Place, grid: &Grid, level: f64, color: RGBColor) -> Drawn {
    // One polygon: from the first line's start to every other line and back, along the same way, encloses nothing.
    let mut ring: Vec<(i32, i32)> = Vec::new();
    for line in grid.loops(level) {
        let from = ring.len();
        ring.extend(line.iter().map(|&w| place.of(w)));
        ring.push(ring[from]);
        ring.push(ring[0]);
    }
    ring.dedup();
    root.draw(&Polygon::new(ring, color.filled()))?;
    Ok(())
}

/// The colour below level `k`.
fn band(k: usize) -> RGBColor {
    shade(k as f64 / LEVELS as f64)
}

/// The colour of a height, from 0 for the lowest to 1 for the highest.
pub(super) fn shade(t: f64) -> RGBColor {
    let mix = |low: u8, high: u8| (f64::from(low) + t * (f64::from(high) - f64::from(low))).round() as u8;
    RGBColor(mix(LOW.0, HIGH.0), mix(LOW.1, HIGH.1), mix(LOW.2, HIGH.2))
}

fn draw_marks(root: &Canvas, place: &Place, contour: &Contour) -> Drawn {
    let ends = contour.path.first().map(|&w| (Mark::Start, w, "")).into_iter();
    let ends = ends.chain(contour.path.last().map(|&w| (Mark::End, w, "")));
    let all = || contour.marks.iter().copied().chain(ends.clone()).filter(|&(_, w, _)| place.holds(w));
    all().filter(|(.., name)| !name.is_empty()).try_for_each(|(_, w, name)| draw_name(root, name, place.of(w)))?;
    all().try_for_each(|(mark, w, _)| mark.draw(root, place.of(w)))
}

fn draw_axes(root: &Canvas, [[left, right], [bottom, top]]: [[f64; 2]; 2], [x, y]: [&str; 2]) -> Drawn {
    // The labels take the rest, so that the plot is where the map has been drawn.
    let mut chart = ChartBuilder::on(root)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .margin_bottom(BOTTOM - 90)
        .margin_left(LEFT - 110)
        .x_label_area_size(90)
        .y_label_area_size(110)
        .build_cartesian_2d(left..right, bottom..top)?;
    let is_small = (right - left).min(top - bottom) < 1e-3;
    let number = |v: &f64| if is_small { format!("{v:.1e}") } else { format!("{}", (v * 1e6).round() / 1e6 + 0.0) };
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels(8)
        .y_labels(8)
        .label_style(("sans-serif", 28))
        .axis_desc_style(("sans-serif", 32))
        .axis_style(MARK.stroke_width(2))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    Ok(())
}

/// The bands and the heights between them, to the right of the map.
fn draw_scale(root: &Canvas, height_name: &str, levels: &[f64]) -> Drawn {
    let left = LEFT + SIDE + 40;
    let height = |k: usize| TOP + SIDE - SIDE * k as u32 / (LEVELS as u32 + 1);
    root.draw(&text(height_name, (left, TOP - 50), 28))?;
    for k in 0..=LEVELS {
        let corners = [(left as i32, height(k + 1) as i32), (left as i32 + 40, height(k) as i32)];
        root.draw(&Rectangle::new(corners, band(k).filled()))?;
    }
    for (i, label) in labels(levels.iter().step_by(2).copied()).iter().enumerate() {
        root.draw(&text(label, (left + 55, height(2 * i + 1) - 14), 28))?;
    }
    Ok(())
}

fn draw_legend(root: &Canvas, contour: &Contour, has_holes: bool) -> Drawn {
    let ends: &[Mark] = if contour.path.is_empty() { &[] } else { &[Mark::Start, Mark::End] };
    let mut kinds = ends.to_vec();
    contour.marks.iter().for_each(|(kind, ..)| kinds.extend((!kinds.contains(kind)).then_some(*kind)));
    let place = |i: usize| (LEFT + 20 + 250 * i as u32, TOP + SIDE + BOTTOM - 50);
    let mut next = 0;
    for (kind, name) in kinds.into_iter().filter_map(|kind| Some((kind, kind.name()?))) {
        let (x, y) = place(next);
        kind.draw(root, (x as i32, y as i32))?;
        root.draw(&text(name, (x + 30, y - 16), 30))?;
        next += 1;
    }
    if has_holes {
        let (x, y) = place(next);
        let corners = [(x as i32 - 14, y as i32 - 14), (x as i32 + 14, y as i32 + 14)];
        root.draw(&Rectangle::new(corners, NOT_FINITE.filled()))?;
        root.draw(&text("not finite", (x + 30, y - 16), 30))?;
    }
    Ok(())
}

/// Increasing numbers in three digits, or as many more as tell each from the next.
fn labels(numbers: impl Iterator<Item = f64> + Clone) -> Vec<String> {
    let with = |digits: i32| numbers.clone().map(|number| short(number, digits)).collect::<Vec<_>>();
    (3..=6).map(with).find(|labels| labels.windows(2).all(|pair| pair[0] != pair[1])).unwrap_or_else(|| with(6))
}

/// A number in so many digits.
fn short(value: f64, digits: i32) -> String {
    if value != 0.0 && !(1e-4..1e5).contains(&value.abs()) {
        return format!("{value:.0$e}", digits as usize - 2);
    }
    let after_point = digits - 1 - value.abs().max(1e-4).log10().floor() as i32;
    format!("{value:.0$}", after_point.max(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(path: &[[f64; 2]]) -> String {
        let contour = Contour {
            title: "bowl",
            subtitle: "x² + y²",
            value: &|[x, y]| x * x + y * y,
            window: [[-1.0, 1.0]; 2],
            widest: 3.0,
            axes: ["x", "y"],
            height: "value",
            path,
            marks: &[(Mark::Minimum, [0.0, 0.0], "")],
        };
        contour.svg().unwrap()
    }

    #[test]
    fn a_picture_has_a_polygon_for_every_level_and_a_dot_for_every_step() {
        let svg = picture(&[[0.9, 0.9], [-0.5, 0.5], [0.1, -0.1]]);
        assert_eq!(svg.matches("<polygon").count(), LEVELS);
        assert_eq!(svg.matches("r=\"6\"").count(), 3);
        assert!(svg.contains("width=\"780\" height=\"760\" viewBox=\"0 0 1560 1520\""), "{}", &svg[..200]);
        assert!(svg.contains("minimum") && !svg.contains("saddle") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_path_without_end_makes_no_picture_without_end() {
        let path: Vec<[f64; 2]> = (0..100_000).map(|i| [if i % 2 == 0 { -0.9 } else { 0.9 }, 0.1]).collect();
        let far: Vec<[f64; 2]> = (0..300).map(|i| [(-10.0f64).powi(i), 1.0]).collect();
        assert!(picture(&path).len() < 1 << 20);
        assert!(!picture(&far).contains("2147483647"));
    }

    #[test]
    fn labels_tell_neighbours_apart() {
        assert_eq!(labels([0.0, 0.25, 1.0, 30.0, 2e9].into_iter()), ["0.000000", "0.250", "1.00", "30.0", "2.0e9"]);
        assert_eq!(labels([0.2749, 0.27493, 0.31].into_iter()), ["0.27490", "0.27493", "0.31000"]);
    }
}
