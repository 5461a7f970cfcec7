//! The curves of each chart.

use ratatui::style::Color;
use thalweg::report::History;
use thalweg::report::history::Curve as Told;

use super::facts::{Course, Facts};
use super::plot::Curve;
use super::pulse::Pulse;
use super::view::Chart;

/// Curves that are drawn together.
pub struct Panel {
    pub title: &'static str,
    pub curves: Vec<Curve>,
    /// The last step of the axis, and whether the run's own step is marked on it.
    pub end: u64,
    pub has_cursor: bool,
    /// The words that stand where there is no curve.
    pub empty: &'static str,
}

/// What is evaluated: the start of its curves' names, what stands for it at its points, and its colour.
const EVALUATED: [(&str, char, Color); 9] = [
    ("train", 'r', Color::Reset),
    ("validation", 'V', Color::Cyan),
    ("test", 't', Color::Green),
    ("swa_validation", 'S', Color::Magenta),
    ("swa_test", 's', Color::Magenta),
    ("ema_validation", 'E', Color::Red),
    ("ema_test", 'e', Color::Red),
    ("snapshots_validation", 'N', Color::Blue),
    ("snapshots_test", 'n', Color::Blue),
];
/// What stands for a curve of every step.
const LINE: char = '─';

/// The panels of a chart.
pub fn panels(chart: Chart, facts: &Facts, history: &History, pulse: &Pulse) -> Vec<Panel> {
    let steps = history.steps_told();
    let measured = |title, empty, curves| Panel { title, curves, end: steps, has_cursor: false, empty };
    match chart {
        Chart::Loss => vec![measured("loss", "no step was told yet", of_metric(history, "loss"))],
        Chart::Accuracy => vec![measured("accuracy", "no step was told yet", of_metric(history, "accuracy"))],
        Chart::Rate => rates(facts.course.as_ref(), history),
        Chart::Gradient => {
            let norm = line("norm", points(history.curve("grad_norm")));
            let largest = line("largest", points(history.curve("curvature")));
            let norms = measured("gradient norm", "no step was told yet", norm.map(smoothed).into_iter().collect());
            let eigenvalues = measured("eigenvalue", "not measured yet", largest.into_iter().collect());
            let all = [(facts.has_gradients, norms), (facts.has_curvature, eigenvalues)];
            all.into_iter().filter_map(|(is_measured, panel)| is_measured.then_some(panel)).collect()
        }
        Chart::Throughput => {
            let mut curves: Vec<Curve> = line("now", pulse.points().to_vec()).into_iter().collect();
            let epochs = points(history.curve("samples_per_second"));
            curves.extend(marked("epochs, without evaluations", 'e', Color::Green, epochs));
            let limit = facts.pace.of_limit(1.0).map(|share| 1.0 / share);
            curves.extend(limit.map(|limit| Curve {
                mark: '┄',
                color: Color::Red,
                ..whole("limit", vec![(0.0, limit), (steps as f64, limit)])
            }));
            vec![measured("samples/s", "not measured yet", curves)]
        }
    }
}

/// The curve of every step, and those of all evaluations.
fn of_metric(history: &History, metric: &str) -> Vec<Curve> {
    let steps = line("steps", points(history.curve(metric))).map(smoothed);
    let evaluated = EVALUATED.into_iter().filter_map(|(name, mark, color)| {
        let told = history.curve(&format!("{name}_{metric}"))?;
        marked(&name.replace('_', " "), mark, color, points(Some(told)))
    });
    steps.into_iter().chain(evaluated).collect()
}

/// The learning rate and, where it moves, the momentum: over the whole run where that can be foreseen, or else as they were.
fn rates(course: Option<&Course>, history: &History) -> Vec<Panel> {
    let was = |name: &str| points(history.curve(name));
    let (lr, momentum) = match course {
        Some(course) => (course.lr.clone(), course.momentum.clone()),
        None => (was("lr"), was("momentum")),
    };
    let moves = momentum.iter().any(|point| point.1 != momentum[0].1);
    let end = if course.is_some() { history.total_steps() } else { history.steps_told() };
    let all = [("learning rate", "lr", lr, true), ("momentum", "momentum", momentum, moves)];
    let panel = |(title, name, points, _): (&'static str, &str, Vec<(f64, f64)>, bool)| {
        // The legend's value is that of the end.
        let told = was(name);
        let now = match told.last().filter(|_| course.is_some()) {
            Some(point) => format!("{:.3e} now, ends at", point.1),
            None if course.is_some() => "ends at".into(),
            None => "now".into(),
        };
        let curves = line(&now, points).into_iter().collect();
        Panel { title, curves, end, has_cursor: course.is_some(), empty: "no step was told yet" }
    };
    all.into_iter().filter(|(_, _, _, is_drawn)| *is_drawn).map(panel).collect()
}

fn points(told: Option<&Told>) -> Vec<(f64, f64)> {
    told.map_or(Vec::new(), |curve| curve.points().iter().map(|point| (point.step as f64, point.mean)).collect())
}

fn whole(name: &str, points: Vec<(f64, f64)>) -> Curve {
    Curve { name: name.into(), mark: LINE, has_marks: false, color: Color::Reset, points, dots: Vec::new() }
}

/// A curve of many points, if there are any.
fn line(name: &str, points: Vec<(f64, f64)>) -> Option<Curve> {
    (!points.is_empty()).then(|| whole(name, points))
}

/// A curve of few points, if there are any, each of which is marked.
fn marked(name: &str, mark: char, color: Color, points: Vec<(f64, f64)>) -> Option<Curve> {
    Some(Curve { mark, color, has_marks: true, ..line(name, points)? })
}

/// The running mean of a curve over about a fiftieth of it, with what was measured as dots.
fn smoothed(curve: Curve) -> Curve {
    let share = 1.0 / (curve.points.len() as f64 / 50.0).max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mean = |&(x, y): &(f64, f64)| {
        if !y.is_finite() {
            return (x, y);
        }
        // The weights of what came before the first point are taken out.
        (sum, weight) = ((1.0 - share) * sum + share * y, (1.0 - share) * weight + share);
        (x, sum / weight)
    };
    Curve { points: curve.points.iter().map(mean).collect(), dots: curve.points, ..curve }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_what_it_is_when_smoothed() {
        let points: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), if i == 250 { f64::NAN } else { 0.3 })).collect();
        let curve = smoothed(whole("loss", points));
        assert!(curve.points.iter().all(|point| point.1.is_nan() || (point.1 - 0.3).abs() < 1e-12));
        assert!(curve.points[250].1.is_nan() && curve.dots.len() == 500);
        // Few points are left as they are.
        let few = smoothed(whole("loss", vec![(0.0, 1.0), (1.0, 2.0)]));
        assert_eq!(few.points, few.dots);
    }
}
