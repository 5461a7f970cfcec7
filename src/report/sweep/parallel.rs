//! Every setting of a sweep as a line across its axes.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Tick};
use super::{Sweep, Tried};
use crate::error::{Error, Result};
use crate::report::contour::{shade, shrink};
use crate::report::curve::COLORS;
use crate::report::marks::{Canvas, Drawn, text};

// Pixels; the picture is shown at half its size, since the backend rounds to whole ones.
const HEIGHT: u32 = 1000;
const LEFT: i32 = 150;
const RIGHT: i32 = 190;
const TOP: i32 = 180;
const BOTTOM: i32 = 850;
/// The height at which settings end that failed, below the axis of the metric.
const FAILED: i32 = 940;
/// The distance between two axes, the least width of all, and the width of a letter.
const APART: i32 = 270;
const LEAST: i32 = 1400;
const LETTER: i32 = 14;
const NAME: u32 = 28;

/// The colour of the best setting, and of those that failed.
const BEST: RGBColor = COLORS[1];
pub(super) const GREY: RGBColor = RGBColor(130, 130, 130);

/// The colour of a setting whose metric is at this share from the worst to the best: the best darkest, the worst light enough to stand
/// behind it and dark enough to be seen.
pub(super) fn color(share: f64) -> RGBColor {
    shade(0.75 * (1.0 - share))
}

/// Draws the sweep as parallel coordinates (Inselberg, 1985) in SVG: a line a setting, an axis a swept key, the metric on the last;
/// the darker the better, the best in vermillion, those that failed grey and dashed.
///
/// # Errors
/// What cannot be drawn.
pub(super) fn svg(sweep: &Sweep, value: &Axis) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, sweep, value).map_err(|error| Error::data("picture", error.to_string()))?;
    Ok(svg)
}

fn draw(svg: &mut String, sweep: &Sweep, value: &Axis) -> Drawn {
    let count = sweep.axes.len() as i32;
    let span = (APART * count).max(LEAST);
    let size = ((LEFT + span + RIGHT) as u32, HEIGHT);
    let x = |i: usize| LEFT + span * i as i32 / count;
    {
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        root.draw(&text(&format!("Sweep {}: {} by setting", sweep.name, sweep.metric), (40, 25), 38))?;
        root.draw(&text(
            "a line is a setting; the darker, the better; orange is the best; dashed failed",
            (40, 75),
            26,
        ))?;
        // The best last, so that it lies on top.
        for (rank, group) in sweep.groups.iter().enumerate().rev() {
            draw_group(&root, group, &x, rank == 0)?;
        }
        for (i, axis) in sweep.axes.iter().map(|setting| &setting.axis).chain([value]).enumerate() {
            draw_axis(&root, axis, x(i), i == sweep.axes.len())?;
        }
        if sweep.failed > 0 {
            draw_label(&root, "failed", (x(sweep.axes.len()), FAILED), true)?;
        }
        root.present()?;
    }
    shrink(svg, size);
    Ok(())
}

fn y(at: f64) -> i32 {
    BOTTOM - (at * f64::from(BOTTOM - TOP)).round() as i32
}

fn draw_group(root: &Canvas, group: &Tried, x: &dyn Fn(usize) -> i32, is_best: bool) -> Drawn {
    let last = x(group.places.len());
    let line = |end: i32| -> Vec<(i32, i32)> {
        let points = group.places.iter().enumerate().map(|(i, &at)| (x(i), y(at)));
        points.chain([(last, end)]).collect()
    };
    if group.failed > 0 {
        root.draw(&DashedPathElement::new(line(FAILED), 12, 10, GREY.stroke_width(2)))?;
    }
    if let Some((at, share)) = group.at.zip(group.share) {
        let (color, width) = if is_best { (BEST, 7) } else { (color(share), 3) };
        root.draw(&PathElement::new(line(y(at)), color.stroke_width(width)))?;
    }
    Ok(())
}

fn draw_axis(root: &Canvas, axis: &Axis, x: i32, is_last: bool) -> Drawn {
    root.draw(&PathElement::new(vec![(x, TOP), (x, BOTTOM)], BLACK.stroke_width(2)))?;
    let style = ("sans-serif", NAME + 2).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Bottom));
    let scale = if axis.is_log { " (log)" } else { "" };
    root.draw(&Text::new(format!("{}{scale}", axis.name), (x, TOP - 18), style))?;
    for Tick { at, label } in &axis.ticks {
        root.draw(&PathElement::new(vec![(x - 7, y(*at)), (x + 7, y(*at))], BLACK.stroke_width(2)))?;
        draw_label(root, label, (x, y(*at)), is_last)?;
    }
    Ok(())
}

/// Draws words to the left of an axis, or to its right, on a light ground.
fn draw_label(root: &Canvas, words: &str, (x, y): (i32, i32), is_right: bool) -> Drawn {
    let length = LETTER * words.chars().count() as i32;
    let (near, far, side) =
        if is_right { (x + 14, x + 18 + length, HPos::Left) } else { (x - 14, x - 18 - length, HPos::Right) };
    root.draw(&Rectangle::new([(near.min(far), y - 17), (near.max(far), y + 17)], WHITE.mix(0.75).filled()))?;
    let style = ("sans-serif", NAME - 2).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center));
    root.draw(&Text::new(words.to_string(), (near, y), style))?;
    Ok(())
}
