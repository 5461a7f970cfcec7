//! A chart of curves over steps, made of characters.

use std::sync::LazyLock;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use ratatui::widgets::canvas::{self, Canvas, Context, Points};

use super::ticks::{Scale, label, range, ticks};
use crate::cli::thousands;

/// The colour of what a smoothed line leaves out.
const FAINT: Color = Color::DarkGray;

/// The number of points from which on a curve is long.
const LONG: usize = 100;

/// Whether the user wants colours (no-color.org).
fn has_colors() -> bool {
    static HAS_COLORS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()));
    *HAS_COLORS
}

/// The colour in which one of the terminal's sixteen is shown.
fn shown(color: Color) -> Color {
    if has_colors() { color } else { Color::Reset }
}

/// One curve of a plot.
pub struct Curve {
    pub name: String,
    /// The character that stands for it in the legend, and at each of its points where these are few.
    pub mark: char,
    pub has_marks: bool,
    pub color: Color,
    /// Steps and values, in the order of steps; a value that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    /// What is drawn as dots beside the line, as the values that it smooths.
    pub dots: Vec<(f64, f64)>,
}

/// Curves over the steps from 0 to `end`.
pub struct Plot<'a> {
    pub title: &'a str,
    pub curves: &'a [Curve],
    pub scale: Scale,
    pub end: u64,
    /// The step at which the run is, where the plot shows more than what was.
    pub cursor: Option<u64>,
    /// The words that stand where there is no curve.
    pub empty: &'a str,
}

impl Plot<'_> {
    /// The lines that name the curves, those of every step with their last value.
    fn legend(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = vec![Line::from(Span::styled(self.title.to_string(), Modifier::BOLD))];
        for curve in self.curves {
            let last = curve.points.iter().rev().find(|point| point.1.is_finite() && !curve.has_marks);
            let value = last.map_or(String::new(), |&(_, value)| format!(" {}", label(value)));
            let entry = [
                Span::styled(
                    format!("  {} ", curve.mark),
                    Style::new().fg(shown(curve.color)).add_modifier(Modifier::BOLD),
                ),
                Span::raw(format!("{}{value}", curve.name)),
            ];
            let length: usize = entry.iter().map(Span::width).sum();
            match lines.last_mut() {
                Some(line) if line.width() + length <= width => line.extend(entry),
                _ => lines.push(Line::from_iter(entry)),
            }
        }
        lines
    }

    /// The points of a curve as they are drawn: those that the scale has a place for.
    fn places(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        points.iter().map(|&(x, y)| (x, self.scale.place(y))).collect()
    }

    /// The places that the axis is to reach. A linear one leaves out the first moments of a long curve, and other outliers, beside
    /// which nothing else would be seen.
    fn usual(&self, curve: &Curve) -> Vec<f64> {
        let places = curve.points.iter().map(|point| self.scale.place(point.1));
        let mut places: Vec<f64> = places.filter(|place| place.is_finite()).collect();
        let n = places.len();
        if self.scale == Scale::Log || n < LONG {
            return places;
        }
        places.sort_by(f64::total_cmp);
        places[n / 50..n - n / 50].to_vec()
    }

    fn draw(&self, context: &mut Context) {
        for curve in self.curves {
            // Without colours nobody could tell them from the line.
            if has_colors() {
                context.draw(&Points { coords: &self.places(&curve.dots), color: FAINT });
            }
        }
        // A line hides the dots of the characters that it runs through.
        context.layer();
        for curve in self.curves {
            let (points, color) = (self.places(&curve.points), shown(curve.color));
            context.draw(&Points { coords: &points, color });
            for pair in points.windows(2).filter(|pair| pair[0].1.is_finite() && pair[1].1.is_finite()) {
                let [(x1, y1), (x2, y2)] = [pair[0], pair[1]];
                context.draw(&canvas::Line { x1, y1, x2, y2, color });
            }
        }
        for curve in self.curves.iter().filter(|curve| curve.has_marks) {
            let style = Style::new().fg(shown(curve.color)).add_modifier(Modifier::BOLD);
            for (x, y) in self.places(&curve.points).into_iter().filter(|point| point.1.is_finite()) {
                context.print(x, y, Span::styled(curve.mark.to_string(), style));
            }
        }
    }

    /// The numbers below: 0, the last step, and between them the cursor's, which stands under its line.
    fn draw_steps(&self, curves: Rect, buffer: &mut Buffer) {
        let (y, last) = (curves.bottom(), thousands(self.end));
        let right = curves.right().saturating_sub(last.len() as u16);
        buffer.set_string(curves.x, y, "0", Style::new());
        buffer.set_string(right.max(curves.x + 2), y, &last, Style::new());
        let (middle, words) = match self.cursor {
            Some(step) => {
                let share = (step as f64 / self.end.max(1) as f64).min(1.0);
                let column = curves.x + (share * f64::from(curves.width - 1)).round() as u16;
                for y in curves.top()..curves.bottom() {
                    buffer.set_string(column, y, "│", Modifier::BOLD);
                }
                (column, thousands(step))
            }
            None => (curves.x + curves.width / 2, "step".to_string()),
        };
        let left = middle.saturating_sub(words.len() as u16 / 2);
        if left > curves.x + 1 && left + (words.len() as u16) < right {
            buffer.set_string(left, y, words, Style::new());
        }
    }
}

impl Widget for &Plot<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        if area.width < 20 || area.height < 4 {
            return;
        }
        let legend = self.legend(area.width as usize);
        let rows = (legend.len() as u16).min(area.height - 3);
        for (y, line) in (area.y..area.y + rows).zip(&legend) {
            buffer.set_line(area.x, y, line, area.width);
        }
        let Some(bounds) = range(self.curves.iter().flat_map(|curve| self.usual(curve))) else {
            buffer.set_stringn(area.x + 2, area.y + area.height / 2, self.empty, area.width as usize - 2, Style::new());
            return;
        };
        let height = area.height - rows - 1;
        let ticks: Vec<(f64, String)> = ticks(self.scale, bounds, usize::from(height / 2).max(2));
        let gutter = ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0) as u16 + 1;
        let inner = Rect { x: area.x + gutter, y: area.y + rows, width: area.width - gutter, height };
        let [bottom, top] = bounds;
        for (place, text) in &ticks {
            let row = ((top - place) / (top - bottom) * f64::from(height - 1)).round() as u16;
            let column = inner.x - 1 - text.chars().count() as u16;
            buffer.set_string(column, inner.y + row.min(height - 1), text, Style::new());
        }
        let canvas = Canvas::default().x_bounds([0.0, self.end.max(1) as f64]).y_bounds(bounds);
        canvas.paint(|context| self.draw(context)).render(inner, buffer);
        self.draw_steps(inner, buffer);
    }
}
