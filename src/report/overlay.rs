//! Several curves over the same axes.

use plotters::prelude::*;

use super::curve::{Axis, COLORS, Curve, Scale, range};
use crate::error::{Error, Result};

/// A picture of several curves over the same axes, each with its name in a legend.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    /// The title of the picture.
    pub title: &'a str,
    /// The name of the horizontal axis, which is linear.
    pub by: &'a str,
    /// The name of the vertical axis.
    pub value: &'a str,
    /// The scale of the vertical axis.
    pub scale: Scale,
    /// The lowest and the highest value that are shown; none for all.
    pub shown: Option<(f64, f64)>,
    /// The curves, at most six.
    pub curves: Vec<Curve>,
}

/// The size of a picture, in pixels.
const SIZE: (u32, u32) = (800, 420);

impl Overlay<'_> {
    /// Draws the picture as SVG. Values that are not finite, or have no logarithm, are left out.
    ///
    /// # Errors
    /// What cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| Error::data("picture", error.to_string()))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let lines: Vec<Vec<(f64, f64)>> = self.curves.iter().map(|curve| self.line(curve)).collect();
        let xs: Vec<f64> = lines.iter().flatten().map(|point| point.0).collect();
        let (left, right) = range(xs.iter().copied());
        let (bottom, top) = self.window(&lines);
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 16))
            .margin(10)
            .margin_right(25)
            .x_label_area_size(35)
            .y_label_area_size(75)
            .build_cartesian_2d(
                Axis { low: left, high: if right > left { right } else { left + 1.0 }, ticks: rounds(left, right) },
                Axis { low: bottom, high: top, ticks: self.y_ticks(bottom, top) },
            )?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(self.by)
            .y_desc(self.value)
            .x_label_formatter(&|x| plain(*x))
            .y_label_formatter(&|y| if self.scale == Scale::Log { format!("1e{y:.0}") } else { plain(*y) })
            .draw()?;
        for (i, (line, curve)) in lines.iter().zip(&self.curves).enumerate() {
            let style = COLORS[i % COLORS.len()].stroke_width(2);
            let inside = |(x, y): &(f64, f64)| (*x, y.clamp(bottom, top));
            let drawn = chart.draw_series(LineSeries::new(line.iter().map(inside), style))?;
            drawn.label(&curve.name).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
        }
        let legend = &mut chart.configure_series_labels();
        legend.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).label_font(("sans-serif", 13)).draw()?;
        root.present()?;
        Ok(())
    }

    /// The points of a curve that can be shown, where they stand on the axes.
    fn line(&self, curve: &Curve) -> Vec<(f64, f64)> {
        let place = |y: f64| if self.scale == Scale::Log { y.log10() } else { y };
        let points = curve.points.iter().map(|&(x, y)| (x, place(y)));
        let lowest = place(self.shown.map_or(0.0, |(low, _)| low));
        points
            .map(|(x, y)| (x, if y == f64::NEG_INFINITY { lowest } else { y }))
            .filter(|(_, y)| y.is_finite())
            .collect()
    }

    /// The lowest and highest place of the vertical axis.
    fn window(&self, lines: &[Vec<(f64, f64)>]) -> (f64, f64) {
        let (low, high) = range(lines.iter().flatten().map(|point| point.1).collect::<Vec<_>>().into_iter());
        let margin = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(1e-12) };
        match (self.shown, self.scale) {
            (Some((low, high)), Scale::Log) => (low.log10(), high.log10()),
            (Some(shown), Scale::Linear) => shown,
            (None, _) => (low - margin, high + margin),
        }
    }

    fn y_ticks(&self, bottom: f64, top: f64) -> Vec<f64> {
        match self.scale {
            Scale::Log => (bottom.ceil() as i32..=top.floor() as i32).map(f64::from).collect(),
            Scale::Linear => rounds(bottom, top),
        }
    }
}

/// The ticks of a linear axis, at most twelve: multiples of 1, 2 or 5 times a power of ten.
pub(super) fn rounds(low: f64, high: f64) -> Vec<f64> {
    if high <= low {
        return vec![low];
    }
    let power = ((high - low) / 12.0).max(f64::MIN_POSITIVE).log10().floor();
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * 10f64.powf(power));
    let step = steps.into_iter().find(|step| (high - low) / step <= 12.0).unwrap_or(high - low);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|x| *x <= high).take(13).collect()
}

/// A tick without the digits that rounding has made.
fn plain(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e6).contains(&size) => format!("{}", (x * 1e6).round() / 1e6),
        _ => format!("{x:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_and_a_name_for_every_curve() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve {
            name: name.into(),
            points: points.to_vec(),
            ..Curve::default()
        };
        let curves = vec![
            curve("last", &[(-1.0, 1e-3), (0.0, 10.0), (1.0, 0.0), (2.0, f64::NAN)]),
            curve("swa", &[(-1.0, 1e-2), (2.0, 1.0)]),
        ];
        let picture = |scale, shown| {
            let (by, value) = ("eigenvalue", "density");
            Overlay { title: "spectra", by, value, scale, shown, curves: curves.clone() }.svg().unwrap()
        };
        for svg in [picture(Scale::Log, Some((1e-4, 1e2))), picture(Scale::Linear, None)] {
            // Each name stands beside a piece of its line.
            assert_eq!(svg.matches("stroke-width=\"2\"").count(), 4, "{svg}");
            assert!(svg.contains("last") && svg.contains("swa") && svg.contains("eigenvalue"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let log = picture(Scale::Log, Some((1e-4, 1e2)));
        assert!(["1e-4", "1e-2", "1e0", "1e2"].iter().all(|tick| log.contains(tick)), "{log}");
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(rounds(0.0, 10.0), (0..=10).map(f64::from).collect::<Vec<_>>());
        assert_eq!(rounds(-3.0, 118.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let words = |low, high| rounds(low, high).into_iter().map(plain).collect::<Vec<_>>();
        assert_eq!(words(0.05, 0.32), ["0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]);
        assert_eq!(words(-2e-7, 2e-7).len(), 9);
        assert_eq!(rounds(1.0, 1.0), [1.0]);
    }
}
