//! What a trajectory shows, in one word.

use serde::{Deserialize, Serialize};

use super::{Point, Surface, Trajectory};

/// The verdict on a descent: how it ended. Near means within a hundredth of the side of the surface's window, and at
/// rest, there for the last tenth of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The descent left the finite numbers, or the window and for a higher place than it came from.
    Diverged,
    /// The descent came to rest near one of the lowest points.
    Reached,
    /// The descent came to rest near a minimum that is not the lowest.
    LocalMinimum,
    /// The descent came to rest near a point without gradient from which the surface falls.
    Saddle,
    /// A third of the descent's last moves climbed or turned back, within a tenth of the window's side around a lowest
    /// point.
    Scattered,
    /// A third of the descent's last moves climbed or turned back, farther away from every lowest point.
    Bouncing,
    /// The descent was still going down: none of the other verdicts holds.
    UnderWay,
}

/// Judges a trajectory on `surface`; one without points has diverged.
pub fn verdict(surface: Surface, trajectory: &Trajectory) -> Verdict {
    let points = &trajectory.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Verdict::Diverged };
    let near = 0.01 * surface.width();
    let [[left, right], [bottom, top]] = surface.window();
    let is_inside = (left..=right).contains(&last.w[0]) && (bottom..=top).contains(&last.w[1]);
    if !trajectory.finite || (last.value > first.value && !is_inside) {
        return Verdict::Diverged;
    }
    if tail(points, 10).iter().all(|point| surface.distance(point.w) <= near) {
        return Verdict::Reached;
    }
    let is_at_rest = tail(points, 10).iter().all(|p| (p.w[0] - last.w[0]).hypot(p.w[1] - last.w[1]) <= near);
    if let Some(stationary) = Stationary::at(surface, last.w)
        && is_at_rest
        && stationary.distance <= near
    {
        if !stationary.is_minimum {
            return Verdict::Saddle;
        }
        // Nearer ones are the lowest itself.
        if surface.distance(last.w) > 2.0 * near {
            return Verdict::LocalMinimum;
        }
    }
    if !is_restless(tail(points, 2)) {
        return Verdict::UnderWay;
    }
    let quarter = tail(points, 4);
    let squares = quarter.iter().map(|point| surface.distance(point.w).powi(2)).sum::<f64>();
    let spread = (squares / quarter.len() as f64).sqrt();
    if spread <= 10.0 * near { Verdict::Scattered } else { Verdict::Bouncing }
}

/// The last of `parts` parts.
fn tail(points: &[Point], parts: usize) -> &[Point] {
    &points[points.len() - points.len().div_ceil(parts)..]
}

/// Whether a third of the moves climb, or turn back by more than a right angle.
fn is_restless(points: &[Point]) -> bool {
    let moved = |a: &Point, b: &Point| [b.w[0] - a.w[0], b.w[1] - a.w[1]];
    let turns = points.windows(3).filter(|p| {
        let (before, after) = (moved(&p[0], &p[1]), moved(&p[1], &p[2]));
        before[0] * after[0] + before[1] * after[1] < 0.0 || p[2].value > p[1].value
    });
    points.len() > 2 && 3 * turns.count() >= points.len() - 2
}

/// The nearest point without gradient.
struct Stationary {
    distance: f64,
    is_minimum: bool,
}

impl Stationary {
    /// The nearest point by one of Newton's steps, from second derivatives by central differences of the gradient; none
    /// where they vanish.
    fn at(surface: Surface, w: [f64; 2]) -> Option<Self> {
        let h = 1e-5 * surface.width();
        let derivative = |by: [f64; 2]| {
            let (after, before) = (
                surface.gradient([w[0] + h * by[0], w[1] + h * by[1]]),
                surface.gradient([w[0] - h * by[0], w[1] - h * by[1]]),
            );
            [(after[0] - before[0]) / (2.0 * h), (after[1] - before[1]) / (2.0 * h)]
        };
        let ([xx, xy], [_, yy]) = (derivative([1.0, 0.0]), derivative([0.0, 1.0]));
        let [dx, dy] = surface.gradient(w);
        let determinant = xx * yy - xy * xy;
        let step = [(yy * dx - xy * dy) / determinant, (xx * dy - xy * dx) / determinant];
        let distance = step[0].hypot(step[1]);
        distance.is_finite().then_some(Self { distance, is_minimum: determinant > 0.0 && xx > 0.0 })
    }
}
