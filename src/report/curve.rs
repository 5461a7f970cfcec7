//! Curves over the steps, or over another number.

use std::ops::RangeInclusive;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::error::{Error, Result};

/// One curve of a picture.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// The name of what the vertical axis shows.
    pub name: String,
    /// The points `(x, y)` of the curve, each marked where they are few.
    pub points: Vec<(f64, f64)>,
    /// The length of an upright bar to either side of each point, in the units of the vertical axis; none where empty. Of a curve in
    /// a panel of its own.
    pub bars: Vec<f64>,
    /// Thin lines in the same panel, each with its name: what the points are compared with. Of a curve in a panel of its own.
    pub beside: Vec<(String, Vec<(f64, f64)>)>,
    /// The scale of the vertical axis. Default linear. Of a curve in a panel of its own.
    pub scale: Scale,
}

/// The scale of an axis. Default linear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// A linear scale, by the number itself.
    #[default]
    Linear,
    /// A logarithmic scale, by the number's power of ten.
    Log,
}

/// A picture of curves, each in a panel of its own, one below the other.
#[derive(Clone, Debug, Default)]
pub struct Panels<'a> {
    /// The title over the first panel.
    pub title: &'a str,
    /// The name of the horizontal axis.
    pub by: &'a str,
    /// The scale of the horizontal axis.
    pub scale: Scale,
    /// The curves, a panel each.
    pub curves: Vec<Curve>,
    /// The highest value that is shown; what is higher is cut off. None for all.
    pub highest: Option<f64>,
    /// The place on the horizontal axis that a line marks in every panel, with the word beside it. None for no line.
    pub mark: Option<(f64, &'a str)>,
    /// The part of the horizontal axis that is shaded in every panel. None for no part.
    pub band: Option<(f64, f64)>,
    /// Lines of text below the last panel: what the picture was measured on, so that it can be cited.
    pub notes: Vec<String>,
}

/// The width of a picture, and height of each of its panels, in pixels.
const SIZE: (u32, u32) = (800, 300);
/// The colours of the curves, distinct also to those who do not see red and green apart (Okabe and Ito, 2008).
pub(super) const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// The colours of the thin lines beside a curve.
const BESIDE: [RGBColor; 3] = [BLACK, RGBColor(110, 110, 110), RGBColor(170, 170, 170)];
/// The most points that are marked each.
const FEW: usize = 32;
/// The most ticks of a horizontal axis, and of a vertical one.
const TICKS: usize = 14;
const UPRIGHT_TICKS: usize = 11;
/// The height of a line of notes, and of its letters, in pixels.
const NOTE: (i32, u32) = (18, 12);

impl Panels<'_> {
    /// Draws the picture as SVG.
    ///
    /// # Errors
    /// What cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        draw(&mut svg, self).map_err(|error| Error::data("picture", error.to_string()))?;
        Ok(svg)
    }
}

/// Draws the picture into a file.
///
/// # Errors
/// The file cannot be written.
pub fn curves(path: &Path, panels: &Panels) -> Result<()> {
    std::fs::write(path, panels.svg()?).map_err(Error::io(path))
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn draw(svg: &mut String, panels: &Panels) -> Drawn {
    let (count, below) = (panels.curves.len(), NOTE.0 * panels.notes.len() as i32);
    let (height, below) = (SIZE.1 * count as u32, if below > 0 { below + NOTE.0 } else { 0 });
    let root = SVGBackend::with_string(svg, (SIZE.0, height + below as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(height);
    for (i, area) in upper.split_evenly((count, 1)).iter().enumerate() {
        draw_panel(area, panels, i)?;
    }
    for (i, note) in (0..).zip(&panels.notes) {
        lower.draw(&Text::new(note.as_str(), (15, NOTE.0 * i), ("sans-serif", NOTE.1)))?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &DrawingArea<SVGBackend, Shift>, panels: &Panels, i: usize) -> Drawn {
    let curve = &panels.curves[i];
    let across = across(panels.scale, &curve.points);
    let upright = upright(curve, panels.highest);
    let (bottom, top) = (upright.low, upright.high);
    let place = |x: f64| panels.scale.place(x);
    let mut chart = ChartBuilder::on(area)
        .caption(if i == 0 { panels.title } else { "" }, ("sans-serif", 16))
        .margin(10)
        .margin_right(25)
        .x_label_area_size(35)
        .y_label_area_size(75)
        .build_cartesian_2d(across.clone(), upright)?;
    if let Some((from, to)) = panels.band {
        let (from, to) = (place(from).max(across.low), place(to).min(across.high));
        let shade = Rectangle::new([(from, bottom), (to, top)], BLACK.mix(0.08).filled());
        chart.draw_series((from < to).then_some(shade))?;
    }
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(panels.by)
        .y_desc(&curve.name)
        .x_label_formatter(&|x| power(panels.scale.number(*x)))
        .y_label_formatter(&|y| match curve.scale {
            Scale::Log => decade(curve.scale.number(*y)),
            Scale::Linear if y.abs() < 1e-12 => "0".into(),
            Scale::Linear => short(*y),
        })
        .draw()?;
    draw_curve(&mut chart, panels, i, bottom..=top)?;
    if let Some((x, word)) = panels.mark.filter(|(x, _)| (across.low..=across.high).contains(&place(*x))) {
        let (x, style) = (place(x), BLACK.stroke_width(1));
        chart.draw_series([PathElement::new(vec![(x, bottom), (x, top)], style)])?;
        chart.draw_series([Text::new(word.to_string(), (x, top), ("sans-serif", 13))])?;
    }
    Ok(())
}

/// Draws the line of a curve, its marks and bars, and what stands beside it; `shown` is the range of the vertical axis.
fn draw_curve<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, panels: &Panels, i: usize, shown: RangeInclusive<f64>) -> Drawn {
    let (curve, color) = (&panels.curves[i], COLORS[i % COLORS.len()]);
    let place = |(x, y): (f64, f64)| (panels.scale.place(x), curve.scale.place(y));
    for (j, (name, points)) in curve.beside.iter().enumerate() {
        let style = BESIDE[j % BESIDE.len()].stroke_width(1);
        let inside = points.iter().copied().map(place).filter(|(_, y)| shown.contains(y));
        let line = chart.draw_series(LineSeries::new(inside, style))?;
        line.label(name).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
    }
    for line in below(&curve.points, panels.highest) {
        chart.draw_series(LineSeries::new(line.into_iter().map(place), color.stroke_width(2)))?;
    }
    for (&(x, y), &length) in curve.points.iter().zip(&curve.bars).filter(|((_, y), _)| y.is_finite()) {
        let ends = [y - length, y + length].map(|end| {
            let (x, y) = place((x, end));
            (x, if y.is_nan() { *shown.start() } else { y.clamp(*shown.start(), *shown.end()) })
        });
        chart.draw_series([PathElement::new(ends, color.stroke_width(1))])?;
    }
    let marked = curve.points.iter().copied().map(place);
    let marked = marked.filter(|(_, y)| curve.points.len() <= FEW && shown.contains(y));
    chart.draw_series(marked.map(|at| Circle::new(at, 3, color.filled())))?;
    if !curve.beside.is_empty() {
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::LowerLeft).background_style(WHITE.mix(0.8)).draw()?;
    }
    Ok(())
}

/// The horizontal axis of points.
fn across(scale: Scale, points: &[(f64, f64)]) -> Axis {
    let xs: Vec<f64> = points.iter().map(|p| p.0).collect();
    let (low, high) = range(xs.iter().map(|&x| scale.place(x)));
    let ticks = ticks(scale, &xs).into_iter().map(|x| scale.place(x)).collect();
    Axis { low, high: if high > low { high } else { low + 1.0 }, ticks }
}

/// The vertical axis of a curve: of what is shown of its points, and of their bars.
fn upright(curve: &Curve, highest: Option<f64>) -> Axis {
    let bars = curve.points.iter().zip(&curve.bars).flat_map(|(point, bar)| [point.1 - bar, point.1 + bar]);
    let shown = below(&curve.points, highest).concat().into_iter().map(|p| p.1).chain(bars);
    // Of a bar that goes down to 0 a logarithm shows no end.
    let shown: Vec<f64> = shown.map(|y| curve.scale.place(y)).filter(|y| y.is_finite()).collect();
    let (low, high) = range(shown.iter().copied());
    let margin = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(1e-12) };
    let (low, high) = (low - margin, high + margin);
    let number = |y: f64| curve.scale.number(y);
    let ticks = match curve.scale {
        Scale::Log => decades(number(low), number(high), UPRIGHT_TICKS).into_iter().map(f64::log10).collect(),
        Scale::Linear => RangedCoordf64::from(low..high).key_points(BoldPoints(UPRIGHT_TICKS)),
    };
    Axis { low, high, ticks }
}

impl Scale {
    /// The place of a number on the axis.
    fn place(self, x: f64) -> f64 {
        if self == Self::Log { x.log10() } else { x }
    }

    /// The number at a place of the axis.
    fn number(self, place: f64) -> f64 {
        if self == Self::Log { 10f64.powf(place) } else { place }
    }
}

/// An axis with given ticks.
#[derive(Clone)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, x: &f64, (left, right): (i32, i32)) -> i32 {
        left + ((x - self.low) / (self.high - self.low) * f64::from(right - left)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

/// The least and the greatest of the numbers; 0 and 0 of none.
pub(super) fn range(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (low, high) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

/// The parts of a curve where it is finite and not above `highest`, each up to the place where it goes higher.
fn below(points: &[(f64, f64)], highest: Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let most = highest.unwrap_or(f64::MAX);
    let mut lines: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (i, &(x, y)) in points.iter().enumerate() {
        let crossing = i
            .checked_sub(1)
            .map(|i| points[i])
            .filter(|(_, before)| (*before <= most) != (y <= most) && before.is_finite() && y.is_finite());
        let crossing = crossing.map(|(px, py)| (px + (x - px) * (most - py) / (y - py), most));
        let line = lines.last_mut().map_or(0, |line| line.len());
        if y <= most && y.is_finite() {
            lines.last_mut().into_iter().for_each(|line| line.extend(crossing.into_iter().chain([(x, y)])));
        } else if line > 0 {
            lines.last_mut().into_iter().for_each(|line| line.extend(crossing));
            lines.push(Vec::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The ticks of an axis: the places of the points themselves where they are few whole numbers, else 1, 2 and 5 times powers
/// of ten.
pub(super) fn ticks(scale: Scale, xs: &[f64]) -> Vec<f64> {
    if xs.len() <= TICKS && xs.iter().all(|x| x.fract() == 0.0) {
        return xs.to_vec();
    }
    let (low, high) = range(xs.iter().copied());
    if scale == Scale::Linear {
        let steps = (0..).flat_map(|k| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(k)));
        let step = steps.into_iter().find(|step| (high - low) / step < TICKS as f64).unwrap_or(1.0);
        let first = (low / step).ceil() as i64;
        return (first..).map(|i| i as f64 * step).take_while(|x| *x <= high).collect();
    }
    decades(low, high, TICKS)
}

/// 1, 2 and 5 times the powers of ten from `low` to `high`; the powers alone where those are more than `most`.
fn decades(low: f64, high: f64, most: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    // A rate of 1e-6 made by a power is not quite 1e-6.
    let is_inside = |x: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(x);
    let of = |factors: &[f64]| -> Vec<f64> {
        let all = (first..=last).flat_map(|k| factors.iter().map(move |m| m * 10f64.powi(k)));
        all.filter(is_inside).collect()
    };
    let fine = of(&[1.0, 2.0, 5.0]);
    if fine.len() <= most { fine } else { of(&[1.0]) }
}

/// A place of a tick: a whole number, or a power of ten and its factor.
fn power(x: f64) -> String {
    if x == 0.0 || (0.99..1e6).contains(&x) { format!("{x:.0}") } else { format!("{x:.0e}") }
}

/// A tick of a vertical axis of powers: a plain number where that is short.
fn decade(y: f64) -> String {
    if (1e-3..0.99).contains(&y) { format!("{}", (y * 1e6).round() / 1e6) } else { power(y) }
}

/// A number of about four digits.
fn short(y: f64) -> String {
    if (1e-3..1e4).contains(&y.abs()) { format!("{y:.4}") } else { format!("{y:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(scale: Scale, curves: Vec<Curve>, highest: Option<f64>, mark: Option<(f64, &str)>) -> String {
        let mut svg = String::new();
        let panels = Panels { title: "two", by: "step", scale, curves, highest, mark, ..Panels::default() };
        draw(&mut svg, &panels).unwrap();
        svg
    }

    /// Where the texts of a picture stand, and what they say.
    fn texts(svg: &str) -> Vec<(f64, String)> {
        let number = |text: &str| text.split_once('"').and_then(|(x, _)| x.parse().ok());
        let text = |tag: &str| Some((number(tag.split_once("x=\"")?.1)?, tag.split_once(">\n")?.1.trim().to_string()));
        svg.split("<text ").skip(1).filter_map(|tag| text(tag.split("</text>").next()?)).collect()
    }

    #[test]
    fn a_picture_has_a_line_and_marks_for_every_curve() {
        let curve = |name: &str, y: f64| Curve {
            name: name.into(),
            points: vec![(0.0, y), (1.0, y / 2.0), (2.0, y)],
            ..Curve::default()
        };
        let svg = picture(Scale::Linear, vec![curve("lr", 0.1), curve("constant", 0.0)], None, None);
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
        assert!(svg.contains("step") && svg.contains("constant") && svg.ends_with("</svg>\n"));
    }

    /// A batch size stands under its marker, and nothing else does.
    #[test]
    fn ticks_are_where_they_say() {
        let batches: Vec<f64> = (0..14).map(|i| f64::from(1 << i)).collect();
        let points = batches.iter().map(|&x| (x, 1e4 + x)).collect();
        let svg = picture(Scale::Log, vec![Curve { name: "speed".into(), points, ..Curve::default() }], None, None);
        let circles: Vec<f64> =
            svg.split("<circle cx=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
        let texts = texts(&svg);
        for (x, batch) in circles.iter().zip(&batches) {
            let named = texts.iter().find(|(_, text)| *text == batch.to_string()).unwrap();
            assert!((named.0 - x).abs() <= 1.0, "{batch}: {named:?}, marker at {x}");
        }
        assert_eq!(ticks(Scale::Log, &[3e-6, 0.5e-3, 4.0]), [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]);
        let rates: Vec<f64> = (0..100).map(|i| 1e-3 * 1.05f64.powi(i)).collect();
        assert_eq!(
            ticks(Scale::Log, &rates).iter().map(|&x| power(x)).collect::<Vec<_>>()[..4],
            ["1e-3", "2e-3", "5e-3", "1e-2"]
        );
        let steps: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(
            ticks(Scale::Linear, &steps),
            [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0]
        );
    }

    #[test]
    fn what_is_too_high_is_cut_off_and_the_rest_is_drawn() {
        let points = [(0.0, 1.0), (1.0, 3.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, f64::INFINITY)];
        assert_eq!(below(&points, Some(2.0)), [vec![(0.0, 1.0), (0.5, 2.0)], vec![(3.0, 1.0)]]);
        assert_eq!(below(&[(0.0, 3.0), (1.0, 1.0)], Some(2.0)), [[(0.5, 2.0), (1.0, 1.0)]]);
        let curve =
            Curve { name: "loss".into(), points: vec![(1e-3, 2.0), (1e-2, 1.0), (1e-1, 1e6)], ..Curve::default() };
        let svg = picture(Scale::Log, vec![curve], Some(2.5), Some((1e-2, "suggested")));
        let texts = texts(&svg);
        assert!(
            texts.iter().any(|(_, text)| text == "suggested") && texts.iter().all(|(_, text)| !text.contains("e5")),
            "{texts:?}"
        );
    }

    /// Decades are as far apart as each other; bars are as long as they say, and one that goes below 0 ends at the axis.
    #[test]
    fn a_logarithmic_panel_has_its_bars_and_notes() {
        let points = vec![(8.0, 1.0), (16.0, 10.0), (32.0, f64::NAN), (64.0, 100.0)];
        let curve = Curve {
            name: "steps".into(),
            points,
            bars: vec![0.5, 20.0, 0.0, 0.0],
            beside: vec![("fit".into(), vec![(8.0, 1.0), (64.0, 1e9)])],
            scale: Scale::Log,
        };
        let panels = Panels {
            by: "batch",
            scale: Scale::Log,
            curves: vec![curve],
            mark: Some((1e6, "beyond")),
            band: Some((16.0, f64::INFINITY)),
            notes: vec!["measured today".into()],
            ..Panels::default()
        };
        let svg = panels.svg().unwrap();
        let number = |text: &str| text.split('"').next().unwrap().parse::<f64>().unwrap();
        let ys: Vec<f64> =
            svg.split("<circle ").skip(1).map(|tag| number(tag.split_once("cy=\"").unwrap().1)).collect();
        let [low, middle, high] = ys[..] else { panic!("{ys:?}") };
        assert!((low - 2.0 * middle + high).abs() <= 2.0 && low > middle && middle > high, "{ys:?}");
        // The first bar goes from 0.5 to 1.5, a part of a decade.
        let decade = low - middle;
        let bar = |ends: [f64; 2]| ends.map(|end| (low - decade * end.log10()).round());
        let is_bar = |line: &&str| {
            let ends: Vec<f64> = line.split(' ').filter_map(|at| at.split(',').nth(1)?.parse().ok()).collect();
            ends.len() == 2 && ends.iter().zip(bar([0.5, 1.5])).all(|(end, want)| (end - want).abs() <= 1.0)
        };
        let lines: Vec<&str> =
            svg.split("points=\"").skip(1).map(|tag| tag.split('"').next().unwrap().trim()).collect();
        assert_eq!(lines.iter().filter(|line| is_bar(line)).count(), 1, "{lines:?}");
        assert!(svg.contains("measured today") && svg.contains("fit"), "{svg}");
        assert!(!svg.contains("beyond") && !svg.contains("NaN"), "{svg}");
        assert_eq!([0.5, 0.02, 1.0, 2000.0, 1e7].map(super::decade), ["0.5", "0.02", "1", "2000", "1e7"]);
    }
}
