//! A surface of two parameters as a map, and a way down it.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::isoline::Grid;
use crate::error::{Error, Result};

/// The map that is drawn.
pub struct Contour<'a> {
    /// The first line over the picture.
    pub title: &'a str,
    /// The second line over the picture, a smaller one.
    pub subtitle: &'a str,
    /// The function that gives the height at `[x, y]`.
    pub value: &'a dyn Fn([f64; 2]) -> f64,
    /// The window of the map, `[[left, right], [bottom, top]]`. It is widened about its middle, up to [`WIDEST`] times,
    /// to hold the path.
    pub window: [[f64; 2]; 2],
    /// The points of the path, from its start to its end.
    pub path: &'a [[f64; 2]],
    /// The points where the surface is lowest.
    pub minima: &'a [[f64; 2]],
    /// The saddles, where the surface is flat and falls.
    pub saddles: &'a [[f64; 2]],
}

/// The number of times as wide as it was that a window may become; what is farther away is cut off.
pub const WIDEST: f64 = 3.0;

/// The number of lines of equal height.
const LEVELS: usize = 14;
/// The number of nodes of the grid along each axis.
const NODES: usize = 241;
/// The most moves that are drawn, the first of those that can be seen; more than that is a blot.
const MOVES: usize = 5000;

// Pixels. The backend rounds to whole ones, so the picture is drawn at twice its size.
const SCALE: u32 = 2;
const SIDE: u32 = 1200;
const TOP: u32 = 130;
const BOTTOM: u32 = 190;
const LEFT: u32 = 140;
const RIGHT: u32 = 220;

/// The colours from the lowest height to the highest: of one hue, and of a lightness that all eyes tell apart.
const LOW: RGBColor = RGBColor(24, 78, 140);
const HIGH: RGBColor = RGBColor(240, 246, 252);
/// The colours of the path and of the marks: vermillion and black (Okabe and Ito, 2008).
const PATH: RGBColor = RGBColor(213, 94, 0);
const MARK: RGBColor = BLACK;

type Drawn = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the map: bands between log-spaced heights above the lowest, darker where it is deeper; the path with a dot for
/// every step; its ends, and the minima and saddles.
///
/// # Errors
/// The file cannot be written.
pub fn contour(file: &Path, contour: &Contour) -> Result<()> {
    let mut svg = String::new();
    draw(&mut svg, contour).map_err(|error| Error::data(file, error.to_string()))?;
    std::fs::write(file, svg).map_err(Error::io(file))
}

fn draw(svg: &mut String, contour: &Contour) -> Drawn {
    let size = (LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM);
    let window = widened(contour.window, contour.path);
    let grid = Grid::new(NODES, window, contour.value);
    let levels = levels(&grid.sorted());
    {
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let place = Place(window);
        draw_bands(&root, &place, &grid, &levels)?;
        draw_path(&root, &place, contour.path)?;
        draw_marks(&root, &place, contour)?;
        draw_axes(&root, window)?;
        root.draw(&text(contour.title, (LEFT, 25), 40))?;
        root.draw(&text(contour.subtitle, (LEFT, 80), 30))?;
        draw_scale(&root, &levels)?;
        draw_legend(&root, !contour.saddles.is_empty())?;
        root.present()?;
    }
    let tag = |(width, height): (u32, u32)| format!("width=\"{width}\" height=\"{height}\" viewBox");
    *svg = svg.replacen(&tag(size), &tag((size.0 / SCALE, size.1 / SCALE)), 1);
    Ok(())
}

/// The window, made as wide as the path needs.
fn widened(window: [[f64; 2]; 2], path: &[[f64; 2]]) -> [[f64; 2]; 2] {
    let middle = window.map(|[low, high]| (low + high) / 2.0);
    let half = window.map(|[low, high]| (high - low) / 2.0);
    let farthest = path.iter().flat_map(|w| [0, 1].map(|axis| (w[axis] - middle[axis]).abs() / half[axis]));
    let farthest = farthest.fold(1.0, f64::max);
    let factor = if farthest > 1.0 { (1.05 * farthest).min(WIDEST) } else { 1.0 };
    [0, 1].map(|axis| [middle[axis] - factor * half[axis], middle[axis] + factor * half[axis]])
}

/// The heights of the lines, log-spaced above the lowest, from that under which a two-hundredth of the map lies to the
/// highest.
fn levels(heights: &[f64]) -> Vec<f64> {
    let (Some(&lowest), Some(&highest)) = (heights.first(), heights.last()) else { return Vec::new() };
    let range = highest - lowest;
    let first = (heights[heights.len() / 200] - lowest).max(1e-9 * range);
    (0..LEVELS).map(|k| lowest + first * (range / first).powf(k as f64 / LEVELS as f64)).collect()
}

/// The window of a map, which takes coordinates to pixels.
struct Place([[f64; 2]; 2]);

impl Place {
    fn of(&self, w: [f64; 2]) -> (i32, i32) {
        let [[left, right], [bottom, top]] = self.0;
        let side = f64::from(SIDE);
        let x = f64::from(LEFT) + side * (w[0] - left) / (right - left);
        let y = f64::from(TOP) + side * (top - w[1]) / (top - bottom);
        (x.round() as i32, y.round() as i32)
    }

    fn holds(&self, w: [f64; 2]) -> bool {
        self.0.iter().zip(w).all(|(&[low, high], w)| (low..=high).contains(&w))
    }

    /// The part of the segment from `a` to `b` inside the window (Liang and Barsky, 1984).
    fn clip(&self, a: [f64; 2], b: [f64; 2]) -> Option<[[f64; 2]; 2]> {
        let (mut enters, mut leaves) = (0.0f64, 1.0f64);
        for axis in 0..2 {
            let [low, high] = self.0[axis];
            let d = b[axis] - a[axis];
            if d == 0.0 && !(low..=high).contains(&a[axis]) {
                return None;
            }
            if d != 0.0 {
                let (t, u) = ((low - a[axis]) / d, (high - a[axis]) / d);
                (enters, leaves) = (enters.max(t.min(u)), leaves.min(t.max(u)));
            }
        }
        let at = |t: f64| [0, 1].map(|axis| a[axis] + t * (b[axis] - a[axis]));
        (enters <= leaves).then(|| [at(enters), at(leaves)])
    }
}

fn draw_bands(root: &Canvas, place: &Place, grid: &Grid, levels: &[f64]) -> Drawn {
    let corner = (LEFT as i32, TOP as i32);
    let opposite = (corner.0 + SIDE as i32, corner.1 + SIDE as i32);
    root.draw(&Rectangle::new([corner, opposite], HIGH.filled()))?;
    for (k, &level) in levels.iter().enumerate().rev() {
        // One polygon: from the first line's start to every other line and back, along the same way, encloses nothing.
        let mut ring: Vec<(i32, i32)> = Vec::new();
        for line in grid.loops(level) {
            let from = ring.len();
            ring.extend(line.iter().map(|&w| place.of(w)));
            ring.push(ring[from]);
            ring.push(ring[0]);
        }
        ring.dedup();
        root.draw(&Polygon::new(ring, shade(k).filled()))?;
    }
    Ok(())
}

/// The colour below level `k`.
fn shade(k: usize) -> RGBColor {
    let t = k as f64 / LEVELS as f64;
    let mix = |low: u8, high: u8| (f64::from(low) + t * (f64::from(high) - f64::from(low))).round() as u8;
    RGBColor(mix(LOW.0, HIGH.0), mix(LOW.1, HIGH.1), mix(LOW.2, HIGH.2))
}

fn draw_path(root: &Canvas, place: &Place, path: &[[f64; 2]]) -> Drawn {
    let path = seen(place, path);
    let mut lines: Vec<Vec<(i32, i32)>> = Vec::new();
    for [a, b] in path.windows(2).filter_map(|pair| place.clip(pair[0], pair[1])) {
        let (a, b) = (place.of(a), place.of(b));
        match lines.last_mut() {
            Some(line) if line.last() == Some(&a) => line.push(b),
            _ => lines.push(vec![a, b]),
        }
    }
    for (color, width) in [(WHITE.mix(0.7), 8), (PATH.to_rgba(), 4)] {
        for line in &lines {
            root.draw(&PathElement::new(line.as_slice(), color.stroke_width(width)))?;
        }
    }
    for &w in path.iter().filter(|&&w| place.holds(w)) {
        root.draw(&Circle::new(place.of(w), 6, PATH.filled()))?;
    }
    Ok(())
}

/// The first points of a path that lie a pixel or more apart.
fn seen(place: &Place, path: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut seen: Vec<[f64; 2]> = Vec::new();
    for &w in path {
        if seen.last().is_none_or(|&last| place.of(last) != place.of(w)) {
            seen.push(w);
        }
        if seen.len() > MOVES {
            break;
        }
    }
    seen
}

/// A mark at a place.
#[derive(Clone, Copy)]
enum Mark {
    Start,
    End,
    Minimum,
    Saddle,
}

impl Mark {
    fn draw(self, root: &Canvas, at: (i32, i32)) -> Drawn {
        match self {
            Self::Start => {
                root.draw(&Circle::new(at, 13, WHITE.filled()))?;
                root.draw(&Circle::new(at, 13, MARK.stroke_width(4)))?;
            }
            Self::End => {
                root.draw(&Circle::new(at, 12, WHITE.filled()))?;
                root.draw(&Circle::new(at, 9, MARK.filled()))?;
            }
            Self::Minimum => {
                root.draw(&Cross::new(at, 16, WHITE.stroke_width(10)))?;
                root.draw(&Cross::new(at, 15, MARK.stroke_width(4)))?;
            }
            Self::Saddle => {
                root.draw(&TriangleMarker::new(at, 23, WHITE.filled()))?;
                root.draw(&TriangleMarker::new(at, 17, MARK.filled()))?;
            }
        }
        Ok(())
    }
}

fn draw_marks(root: &Canvas, place: &Place, contour: &Contour) -> Drawn {
    let ends = contour.path.first().map(|&w| (Mark::Start, w)).into_iter();
    let ends = ends.chain(contour.path.last().map(|&w| (Mark::End, w)));
    let minima = contour.minima.iter().map(|&w| (Mark::Minimum, w));
    let saddles = contour.saddles.iter().map(|&w| (Mark::Saddle, w));
    for (mark, w) in minima.chain(saddles).chain(ends).filter(|&(_, w)| place.holds(w)) {
        mark.draw(root, place.of(w))?;
    }
    Ok(())
}

fn draw_axes(root: &Canvas, [[left, right], [bottom, top]]: [[f64; 2]; 2]) -> Drawn {
    // The labels take the rest, so that the plot is where the map has been drawn.
    let mut chart = ChartBuilder::on(root)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .margin_bottom(BOTTOM - 90)
        .margin_left(LEFT - 110)
        .x_label_area_size(90)
        .y_label_area_size(110)
        .build_cartesian_2d(left..right, bottom..top)?;
    let number = |v: &f64| format!("{}", (v * 1e6).round() / 1e6 + 0.0);
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc("x")
        .y_desc("y")
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
fn draw_scale(root: &Canvas, levels: &[f64]) -> Drawn {
    let left = LEFT + SIDE + 40;
    let height = |k: usize| TOP + SIDE - SIDE * k as u32 / (LEVELS as u32 + 1);
    root.draw(&text("value", (left, TOP - 50), 28))?;
    for k in 0..=LEVELS {
        let corners = [(left as i32, height(k + 1) as i32), (left as i32 + 40, height(k) as i32)];
        root.draw(&Rectangle::new(corners, shade(k).filled()))?;
    }
    for (k, &level) in levels.iter().enumerate().step_by(2) {
        root.draw(&text(&short(level), (left + 55, height(k + 1) - 14), 28))?;
    }
    Ok(())
}

fn draw_legend(root: &Canvas, has_saddles: bool) -> Drawn {
    let mut marks = vec![(Mark::Start, "start"), (Mark::End, "end"), (Mark::Minimum, "minimum")];
    marks.extend(has_saddles.then_some((Mark::Saddle, "saddle")));
    for (i, (mark, name)) in marks.into_iter().enumerate() {
        let (x, y) = (LEFT + 20 + 250 * i as u32, TOP + SIDE + BOTTOM - 50);
        mark.draw(root, (x as i32, y as i32))?;
        root.draw(&text(name, (x + 30, y - 16), 30))?;
    }
    Ok(())
}

fn text(words: &str, (x, y): (u32, u32), size: u32) -> Text<'_, (i32, i32), &str> {
    Text::new(words, (x as i32, y as i32), ("sans-serif", size).into_font())
}

/// A number of three digits.
fn short(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e5).contains(&value.abs()) {
        return format!("{value:.1e}");
    }
    let after_point = 2 - value.abs().max(1e-4).log10().floor() as i32;
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
            path,
            minima: &[[0.0, 0.0]],
            saddles: &[],
        };
        let mut svg = String::new();
        draw(&mut svg, &contour).unwrap();
        svg
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
    fn a_segment_is_cut_at_the_window() {
        let place = Place([[-1.0, 1.0]; 2]);
        assert_eq!(place.clip([-3.0, 0.0], [1.0, 0.0]), Some([[-1.0, 0.0], [1.0, 0.0]]));
        assert_eq!(place.clip([0.0, 0.0], [0.0, 4.0]), Some([[0.0, 0.0], [0.0, 1.0]]));
        assert_eq!(place.clip([-2.0, 2.0], [2.0, 2.0]), None);
        assert_eq!(place.clip([0.0, 3.0], [3.0, 0.0]), None);
    }
}
