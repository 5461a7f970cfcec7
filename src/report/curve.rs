//! Curves over the steps, or over another number.

use std::path::Path;

use plotters::prelude::*;

use crate::error::{Error, Result};

/// One curve of a picture.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The name of what the vertical axis shows.
    pub name: String,
    /// The points `(x, y)` of the curve.
    pub points: Vec<(f64, f64)>,
}

/// The scale of the horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A linear scale, by the number itself.
    Linear,
    /// A logarithmic scale, by the number's power of ten.
    Log,
}

/// The width of a picture, and height of each of its panels, in pixels.
const SIZE: (u32, u32) = (800, 300);
/// The colours of the curves, distinct also to those who do not see red and green apart (Okabe and Ito, 2008).
const COLORS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

/// Draws each curve in a panel of its own, one below the other; `by` names the horizontal axis.
///
/// # Errors
/// The file cannot be written.
pub fn curves(path: &Path, title: &str, by: &str, scale: Scale, curves: &[Curve]) -> Result<()> {
    let mut svg = String::new();
    draw(&mut svg, title, by, scale, curves).map_err(|error| Error::data(path, error.to_string()))?;
    std::fs::write(path, svg).map_err(Error::io(path))
}

fn draw(
    svg: &mut String,
    title: &str,
    by: &str,
    scale: Scale,
    curves: &[Curve],
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = SVGBackend::with_string(svg, (SIZE.0, SIZE.1 * curves.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let place = |x: f64| if scale == Scale::Log { x.log10() } else { x };
    for (i, (area, curve)) in root.split_evenly((curves.len(), 1)).iter().zip(curves).enumerate() {
        let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
            let values = curve.points.iter().map(values);
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
            let margin = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(1e-12) };
            (low, high, margin)
        };
        let (x_low, x_high, _) = range(&|p| place(p.0));
        let (low, high, margin) = range(&|p| p.1);
        let mut chart = ChartBuilder::on(area)
            .caption(if i == 0 { title } else { "" }, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(35)
            .y_label_area_size(75)
            .build_cartesian_2d(
                x_low..if x_high > x_low { x_high } else { x_low + 1.0 },
                low - margin..high + margin,
            )?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(by)
            .y_desc(&curve.name)
            .x_label_formatter(&|x| {
                if scale == Scale::Log { format!("{:.0e}", 10f64.powf(*x)) } else { format!("{x:.0}") }
            })
            .y_label_formatter(&|y| if y.abs() < 1e-12 { "0".into() } else { short(*y) })
            .draw()?;
        let color = COLORS[i % COLORS.len()];
        chart.draw_series(LineSeries::new(curve.points.iter().map(|&(x, y)| (place(x), y)), color.stroke_width(2)))?;
    }
    root.present()?;
    Ok(())
}

/// A number of about four digits.
fn short(y: f64) -> String {
    if (1e-3..1e4).contains(&y.abs()) { format!("{y:.4}") } else { format!("{y:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_for_every_curve() {
        let curve = |name: &str, y: f64| Curve { name: name.into(), points: vec![(0.0, y), (1.0, y / 2.0), (2.0, y)] };
        let mut svg = String::new();
        draw(&mut svg, "two", "step", Scale::Linear, &[curve("lr", 0.1), curve("constant", 0.0)]).unwrap();
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2, "{svg}");
        assert!(svg.contains("step") && svg.contains("constant") && svg.ends_with("</svg>\n"));
    }
}
