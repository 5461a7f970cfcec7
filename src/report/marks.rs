//! What lies on a map: the way down it, and places.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The most moves that are drawn, the first of those that can be seen; more than that is a blot.
const MOVES: usize = 5000;

// Pixels. The backend rounds to whole ones, so the picture is drawn at twice its size.
pub(super) const SIDE: u32 = 1200;
pub(super) const TOP: u32 = 130;
pub(super) const LEFT: u32 = 140;

/// The colours of the path and of the marks: vermillion and black (Okabe and Ito, 2008).
const PATH: RGBColor = RGBColor(213, 94, 0);
pub(super) const MARK: RGBColor = BLACK;
/// The size of the words beside a point, and the pixels of one of their letters.
const NAME: u32 = 30;
const LETTER: i32 = 16;

pub(super) type Drawn = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The window of a map, which takes coordinates to pixels.
pub(super) struct Place(pub [[f64; 2]; 2]);

impl Place {
    pub fn of(&self, w: [f64; 2]) -> (i32, i32) {
        let [[left, right], [bottom, top]] = self.0;
        let side = f64::from(SIDE);
        let x = f64::from(LEFT) + side * (w[0] - left) / (right - left);
        let y = f64::from(TOP) + side * (top - w[1]) / (top - bottom);
        (x.round() as i32, y.round() as i32)
    }

    pub fn holds(&self, w: [f64; 2]) -> bool {
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

pub(super) fn draw_path(root: &Canvas, place: &Place, path: &[[f64; 2]]) -> Drawn {
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

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The start of a path.
    Start,
    /// The end of a path.
    End,
    /// A place where a surface is lowest.
    Minimum,
    /// A saddle, where a surface is flat and falls.
    Saddle,
    /// A place that has a name.
    Point,
}

impl Mark {
    /// What a legend calls it; nothing where its name stands beside it.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Start => Some("start"),
            Self::End => Some("end"),
            Self::Minimum => Some("minimum"),
            Self::Saddle => Some("saddle"),
            Self::Point => None,
        }
    }

    pub(super) fn draw(self, root: &Canvas, at: (i32, i32)) -> Drawn {
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
            Self::Point => {
                root.draw(&Circle::new(at, 13, WHITE.filled()))?;
                root.draw(&Circle::new(at, 10, MARK.filled()))?;
                root.draw(&Circle::new(at, 4, WHITE.filled()))?;
            }
            Self::Saddle => {
                root.draw(&TriangleMarker::new(at, 23, WHITE.filled()))?;
                root.draw(&TriangleMarker::new(at, 17, MARK.filled()))?;
            }
        }
        Ok(())
    }
}

/// Draws a name beside a place, on a light ground: to its right, or where there is no room, to its left.
pub(super) fn draw_name(root: &Canvas, name: &str, (x, y): (i32, i32)) -> Drawn {
    let (length, height) = (LETTER * name.chars().count() as i32, NAME as i32);
    let is_left = x + 20 + length > (LEFT + SIDE) as i32;
    let (near, far) = if is_left { (x - 20, x - 20 - length) } else { (x + 20, x + 20 + length) };
    // Over or under the place, within the map.
    let y = (y - height).max(TOP as i32 + height);
    let ground = [(near.min(far) - 4, y - height / 2 - 4), (near.max(far) + 4, y + height / 2 + 4)];
    root.draw(&Rectangle::new(ground, WHITE.mix(0.75).filled()))?;
    let anchor = Pos::new(if is_left { HPos::Right } else { HPos::Left }, VPos::Center);
    let style = ("sans-serif", NAME).into_font().color(&MARK).pos(anchor);
    root.draw(&Text::new(name.to_string(), (near, y), style))?;
    Ok(())
}

pub(super) fn text(words: &str, (x, y): (u32, u32), size: u32) -> Text<'_, (i32, i32), &str> {
    Text::new(words, (x as i32, y as i32), ("sans-serif", size).into_font())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_cut_at_the_window() {
        let place = Place([[-1.0, 1.0]; 2]);
        assert_eq!(place.clip([-3.0, 0.0], [1.0, 0.0]), Some([[-1.0, 0.0], [1.0, 0.0]]));
        assert_eq!(place.clip([0.0, 0.0], [0.0, 4.0]), Some([[0.0, 0.0], [0.0, 1.0]]));
        assert_eq!(place.clip([-2.0, 2.0], [2.0, 2.0]), None);
        assert_eq!(place.clip([0.0, 3.0], [3.0, 0.0]), None);
    }
}
