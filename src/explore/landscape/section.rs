//! Sections through weight space: a centre, the directions of its axes, and what is known to lie in it.

use super::direction::{Random, dot, make_orthogonal, norm, scale_to};
use super::path::{Components, principal_components};
use crate::engine::Layout;
use crate::error::{Error, Result};

/// A section through weight space, a plane or a line: the weights `center + x·dx + y·dy`.
///
/// Vectors have the order of a [`Layout`]. Directions are 0 where running statistics of batch normalisation lie, which are
/// those of the centre everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The weights at the origin.
    pub center: Vec<f64>,
    /// The axes: two of a plane, one of a line.
    pub axes: Vec<Axis>,
    /// The named points that lie in the section.
    pub marks: Vec<Mark>,
    /// The weights along a run as the section shows them, from its start to its end; empty where there are none.
    pub path: Vec<Passed>,
    /// The window that shows all of it: `[[left, right], [bottom, top]]`.
    pub window: [[f64; 2]; 2],
}

/// An axis of a section.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The label, which says what the axis means.
    pub label: String,
    /// The direction: what a coordinate of 1 adds to the weights.
    pub direction: Vec<f64>,
}

/// A named point.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The name.
    pub name: String,
    /// The coordinates.
    pub at: [f64; 2],
}

/// The weights at a step of a run, projected into a section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passed {
    /// The number of steps before.
    pub steps: u64,
    /// The coordinates.
    pub at: [f64; 2],
}

/// The rounding of a weight, as a share of it; weights that are closer than it allows are one point.
const ROUNDING: f64 = f32::EPSILON as f64;
/// The least angle, in radians, between the sides of a triangle that spans a plane.
const LEAST_ANGLE: f64 = 1e-5;
/// How many times as far from its middle as what it shows a window reaches.
const MARGIN: f64 = 1.5;
/// The same for a path, which is long in one direction and short in the other.
const PATH_MARGIN: f64 = 1.4;

impl Section {
    /// The plane through `center`, whose name is given, along two random directions. The window reaches to 1.
    ///
    /// # Errors
    /// Weights of another number; directions that are one, as all are about weights of 0.
    pub fn random(layout: &Layout, (name, center): (&str, Vec<f64>), random: &Random) -> Result<Self> {
        check(layout, name, &center)?;
        let directions = random.draw(layout, &center);
        let label = |i: usize| format!("random direction {i}, {}", scaled(random));
        let axes = directions.into_iter().enumerate().map(|(i, direction)| (label(i + 1), direction));
        Self::spanned(layout, (name, center), axes.collect())
    }

    /// The plane through `center` along two directions of which each has a label, or the line along one, as they are; running
    /// statistics do not move. The window reaches to 1.
    ///
    /// # Errors
    /// Vectors of another number of values; directions that span no plane.
    pub fn spanned(layout: &Layout, (name, center): (&str, Vec<f64>), axes: Vec<(String, Vec<f64>)>) -> Result<Self> {
        check(layout, name, &center)?;
        axes.iter().try_for_each(|(label, direction)| check(layout, label, direction))?;
        let axes: Vec<Axis> = axes.into_iter().map(|(label, direction)| Axis { label, direction }).collect();
        let mut of_axes = axes.iter().map(|axis| &axis.direction[..layout.trained]);
        let (x, y) = (of_axes.next().unwrap_or_default(), of_axes.next());
        let mut rest = y.unwrap_or(x).to_vec();
        if y.is_some() {
            make_orthogonal(x, &mut rest);
        }
        if !(norm(x) > 0.0 && norm(&rest) > LEAST_ANGLE * norm(y.unwrap_or(x))) {
            return Err(Error::config(
                "plane",
                format!(
                    "expected two directions that span a plane, found {}",
                    if norm(x) > 0.0 { "them parallel" } else { "one of zeros" }
                ),
            ));
        }
        let marks = vec![Mark { name: name.into(), at: [0.0; 2] }];
        let mut section = Self { center, axes, marks, path: Vec::new(), window: [[-1.0, 1.0]; 2] };
        section.axes.iter_mut().for_each(|axis| axis.direction[layout.trained..].fill(0.0));
        Ok(section)
    }

    /// The plane through three weight vectors, whose axes count Euclidean distance (Izmailov et al., 2018): the first vector is
    /// the origin, the second lies on the first axis. All are marked.
    ///
    /// # Errors
    /// Weights of another number, or three on a line.
    pub fn through(layout: &Layout, points: [(&str, Vec<f64>); 3]) -> Result<Self> {
        let names = points.each_ref().map(|(name, _)| name.to_string());
        points.iter().try_for_each(|(name, values)| check(layout, name, values))?;
        let [(_, center), (_, b), (_, c)] = points;
        let (mut x, mut y) = (difference(layout, &b, &center), difference(layout, &c, &center));
        let (side, other, opposite) = (norm(&x), norm(&y), norm(&difference(layout, &c, &b)));
        make_orthogonal(&x, &mut y);
        let (height, least) = (norm(&y), 4.0 * ROUNDING * norm(&center).max(norm(&b)).max(norm(&c)));
        let longest = side.max(other).max(opposite);
        let [first, second, third] = &names;
        let found = match [(side, first, second), (other, first, third), (opposite, second, third)]
            .iter()
            .find(|(distance, ..)| *distance <= least)
        {
            Some((_, one, two)) => format!("{one} and {two} equal"),
            None if height <= least.max(LEAST_ANGLE * longest) => format!("{first}, {second} and {third} on a line"),
            None => String::new(),
        };
        if !found.is_empty() {
            return Err(Error::config(
                "plane",
                format!("expected three weight vectors that span a plane, found {found}"),
            ));
        }
        scale_to(1.0, &mut x);
        scale_to(1.0, &mut y);
        let third_at = [dot(&x, &difference(layout, &c, &center)), height];
        let marks: Vec<Mark> =
            names.into_iter().zip([[0.0; 2], [side, 0.0], third_at]).map(|(name, at)| Mark { name, at }).collect();
        let window = square(marks.iter().map(|mark| mark.at), MARGIN);
        let axis = |label: &str, direction| Axis { label: label.into(), direction };
        let axes = vec![axis("distance in weight space", x), axis("distance in weight space", y)];
        Ok(Self { center, axes, marks, path: Vec::new(), window })
    }

    /// The plane of the first two principal components of the weights along a run, each with the number of steps before it,
    /// through the last of them; the way is drawn in it. Axes count Euclidean distance, and point so that the way begins at the
    /// lower left.
    ///
    /// # Errors
    /// Fewer than three weight vectors, of another number, or on a line.
    pub fn along(layout: &Layout, seen: Vec<(u64, Vec<f64>)>) -> Result<Self> {
        seen.iter().try_for_each(|(steps, values)| check(layout, &format!("the weights at step {steps}"), values))?;
        if seen.len() < 3 {
            let found = format!(
                "expected the weights of three steps at least, found {}; train --trajectory keeps them",
                seen.len()
            );
            return Err(Error::config("plane", found));
        }
        let trained: Vec<&[f64]> = seen.iter().map(|(_, values)| &values[..layout.trained]).collect();
        let Components { directions, shares, places } = principal_components(&trained);
        if shares[1].is_nan() || shares[1] <= LEAST_ANGLE.powi(2) {
            return Err(Error::config(
                "plane",
                "expected weights along the run that span a plane, found them on a line",
            ));
        }
        let axis = |(i, mut direction): (usize, Vec<f64>)| {
            direction.resize(layout.len, 0.0);
            let share = 100.0 * shares[i];
            let digits = if share < 9.95 { 1 } else { 0 };
            Axis { label: format!("principal component {}, {share:.digits$} % of the variance", i + 1), direction }
        };
        let axes = directions.into_iter().enumerate().map(axis).collect();
        let path: Vec<Passed> = seen.iter().zip(places).map(|((steps, _), at)| Passed { steps: *steps, at }).collect();
        let window = around(path.iter().map(|passed| passed.at))
            .map(|[middle, half]| [middle - PATH_MARGIN * half, middle + PATH_MARGIN * half]);
        let center = seen.into_iter().last().map(|(_, values)| values).unwrap_or_default();
        Ok(Self { center, axes, marks: vec![Mark { name: "last".into(), at: [0.0; 2] }], path, window })
    }

    /// The line from one weight vector, at 0, to another, at 1; both are marked.
    ///
    /// # Errors
    /// Weights of another number, or equal ones.
    pub fn between(layout: &Layout, [(from, a), (to, b)]: [(&str, Vec<f64>); 2]) -> Result<Self> {
        check(layout, from, &a)?;
        check(layout, to, &b)?;
        let direction = difference(layout, &b, &a);
        let distance = norm(&direction);
        if distance == 0.0 {
            let found = format!("expected two weight vectors, found {from} and {to} equal");
            return Err(Error::config("line", found));
        }
        let label = format!("from {from} to {to}, {distance:.4} apart");
        let mark = |name: &str, x: f64| Mark { name: name.into(), at: [x, 0.0] };
        let marks = vec![mark(from, 0.0), mark(to, 1.0)];
        let axes = vec![Axis { label, direction }];
        Ok(Self { center: a, axes, marks, path: Vec::new(), window: [[0.0, 1.0], [0.0; 2]] })
    }

    /// The window that reaches so far from its middle along both axes; without a radius the section's own.
    ///
    /// # Errors
    /// A radius that is not above 0 and finite.
    pub fn window(&self, radius: Option<f64>) -> Result<[[f64; 2]; 2]> {
        let Some(radius) = radius else { return Ok(self.window) };
        if !(radius > 0.0 && radius.is_finite()) {
            return Err(Error::config("radius", format!("expected a number above 0, found {radius}")));
        }
        Ok(self.window.map(|[low, high]| [(low + high) / 2.0 - radius, (low + high) / 2.0 + radius]))
    }
}

/// What is scaled, in the words of a label.
fn scaled(random: &Random) -> &'static str {
    match random.normalized {
        super::Normalized::Filter => "filter-normalised",
        super::Normalized::Layer => "layer-normalised",
        super::Normalized::None => "not normalised",
    }
}

/// Refuses a vector of another number of values than the layout has, or with some that are not finite.
fn check(layout: &Layout, name: &str, values: &[f64]) -> Result<()> {
    if values.len() != layout.len {
        let found = format!("expected {} values, as the layout has, found {}", layout.len, values.len());
        return Err(Error::config(name, found));
    }
    match values.iter().find(|value| !value.is_finite()) {
        Some(found) => Err(Error::config(name, format!("expected finite weights, found {found}"))),
        None => Ok(()),
    }
}

/// The difference of two weight vectors, without running statistics.
fn difference(layout: &Layout, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    difference[layout.trained..].fill(0.0);
    difference
}

/// The middle of the box around points along each axis, and half of its length.
fn around(points: impl Iterator<Item = [f64; 2]> + Clone) -> [[f64; 2]; 2] {
    [0, 1].map(|axis| {
        let along = points.clone().map(|point| point[axis]);
        let (low, high) = (along.clone().fold(f64::INFINITY, f64::min), along.fold(f64::NEG_INFINITY, f64::max));
        [(low + high) / 2.0, (high - low) / 2.0]
    })
}

/// The square that shows all points, so that lengths compare.
fn square(points: impl Iterator<Item = [f64; 2]> + Clone, margin: f64) -> [[f64; 2]; 2] {
    let [x, y] = around(points);
    let half = margin * x[1].max(y[1]);
    [x, y].map(|[middle, _]| [middle - half, middle + half])
}
