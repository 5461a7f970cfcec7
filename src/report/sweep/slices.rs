//! The metric of a sweep by each of its settings.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Sweep;
use super::axis::{Axis, Tick};
use super::parallel::{GREY, color};
use crate::error::{Error, Result};
use crate::report::curve;
use crate::report::marks::Drawn;

/// The size of a panel, and the height of the title, in pixels.
const PANEL: (u32, u32) = (340, 260);
const TITLE: u32 = 50;
/// The most panels beside each other.
const ACROSS: usize = 3;
/// The pixels from one end of an axis to the other, and the width of a letter beside it.
const ALONG: f64 = 220.0;
const LETTER: f64 = 7.0;
/// What a panel shows beyond its axes, as a share of them.
const MARGIN: f64 = 0.06;

/// Draws a panel a swept setting in SVG: its values against the metric, a dot a member, a cross at the bottom one that
/// failed, and lines that join the means of settings
/// which differ in nothing else.
///
/// # Errors
/// What cannot be drawn.
pub(super) fn svg(sweep: &Sweep, value: &Axis) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, sweep, value).map_err(|error| Error::data("picture", error.to_string()))?;
    Ok(svg)
}

fn draw(svg: &mut String, sweep: &Sweep, value: &Axis) -> Drawn {
    let across = sweep.axes.len().min(ACROSS);
    let down = sweep.axes.len().div_ceil(across);
    let size = (PANEL.0 * across as u32, TITLE + PANEL.1 * down as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(TITLE);
    let title = format!("Sweep {}: {} by each setting", sweep.name, sweep.metric);
    head.draw(&Text::new(title, (12, 8), ("sans-serif", 16)))?;
    head.draw(&Text::new(
        "a dot is a member, a cross one that failed; a line joins means that differ in nothing else",
        (12, 30),
        ("sans-serif", 12),
    ))?;
    for (i, area) in body.split_evenly((down, across)).iter().enumerate().take(sweep.axes.len()) {
        draw_panel(area, sweep, value, i)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &DrawingArea<SVGBackend, Shift>, sweep: &Sweep, value: &Axis, i: usize) -> Drawn {
    let setting = &sweep.axes[i].axis;
    let places = |low, high, ticks: Vec<f64>| curve::Axis { low, high, ticks };
    let ticks = value.ticks.iter().map(|tick| tick.at).collect();
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(18)
        .x_label_area_size(38)
        .y_label_area_size(62)
        .build_cartesian_2d(places(-MARGIN, 1.0 + MARGIN, apart(&setting.ticks)), places(0.0, 1.0, ticks))?;
    let scale = if setting.is_log { " (log)" } else { "" };
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(format!("{}{scale}", setting.name))
        .y_desc(&sweep.metric)
        .x_label_formatter(&|at| label(&setting.ticks, *at))
        .y_label_formatter(&|at| label(&value.ticks, *at))
        .draw()?;
    let mean = |&g: &usize| Some((sweep.groups[g].places[i], sweep.groups[g].at?));
    for line in &sweep.joins[i] {
        chart.draw_series(LineSeries::new(line.iter().filter_map(mean), GREY.mix(0.6).stroke_width(1)))?;
    }
    for group in sweep.groups.iter().rev() {
        let color = color(group.share.unwrap_or(0.0));
        let dots = group.points.iter().filter_map(|point| Some((group.places[i], point.at?)));
        chart.draw_series(dots.map(|at| Circle::new(at, 3, color.filled())))?;
        let failed = group.points.iter().filter(|point| point.at.is_none()).map(|_| (group.places[i], 0.0));
        chart.draw_series(failed.map(|at| Cross::new(at, 4, GREY.stroke_width(2))))?;
    }
    Ok(())
}

/// The places of those ticks whose labels do not run into one another.
fn apart(ticks: &[Tick]) -> Vec<f64> {
    let half = |tick: &Tick| tick.label.chars().count() as f64 * LETTER / 2.0;
    let mut places = Vec::new();
    let mut taken = f64::NEG_INFINITY;
    for tick in ticks.iter().filter(|tick| tick.label.chars().count() as f64 * LETTER < ALONG) {
        if tick.at * ALONG - half(tick) > taken {
            taken = tick.at * ALONG + half(tick) + LETTER;
            places.push(tick.at);
        }
    }
    places
}

/// The label of the tick at a place.
fn label(ticks: &[Tick], at: f64) -> String {
    ticks.iter().find(|tick| tick.at == at).map_or(String::new(), |tick| tick.label.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_run_into_one_another() {
        let ticks = |labels: &[(f64, &str)]| {
            labels.iter().map(|&(at, label)| Tick { at, label: label.into() }).collect::<Vec<_>>()
        };
        assert_eq!(apart(&ticks(&[(0.0, "0.001"), (0.1, "0.002"), (0.23, "0.005"), (1.0, "1")])), [0.0, 0.23, 1.0]);
        assert_eq!(apart(&ticks(&[(0.0, &"x".repeat(40)), (1.0, "b")])), [1.0]);
        assert_eq!(label(&ticks(&[(0.25, "a"), (0.5, "b")]), 0.5), "b");
    }
}
