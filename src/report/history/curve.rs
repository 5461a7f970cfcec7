//! A curve that keeps its shape however long it grows.

use serde_json::{Map, Value};

use super::short;

/// The most buckets of a curve; each leaves two points, and a third where one is not finite.
const MOST: usize = 800;

/// A point of a curve: the mean over the replicas at a step, and how far they scatter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The step.
    pub step: u64,
    /// The mean over the replicas; not finite where a replica's value is not.
    pub mean: f64,
    /// The sample standard deviation over the replicas, 0 for one.
    pub deviation: f64,
}

impl Point {
    /// The point of the values that the replicas had at a step.
    pub(super) fn of(step: u64, values: impl Iterator<Item = f64> + Clone) -> Self {
        let (mut n, mut sum) = (0.0, 0.0);
        values.clone().for_each(|value| (n, sum) = (n + 1.0, sum + value));
        let mean: f64 = sum / n;
        if n < 2.0 {
            return Self { step, mean, deviation: 0.0 };
        }
        let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
        Self { step, mean, deviation: (squares / (n - 1.0)).sqrt() }
    }
}

/// The points that stand for a stretch of a curve: the lowest, the highest, and one that is not finite.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    low: Option<Point>,
    high: Option<Point>,
    broken: Option<Point>,
}

impl Bucket {
    fn push(&mut self, point: Point) {
        if !point.mean.is_finite() {
            self.broken = self.broken.or(Some(point));
            return;
        }
        self.low = self.low.filter(|low| low.mean <= point.mean).or(Some(point));
        self.high = self.high.filter(|high| high.mean >= point.mean).or(Some(point));
    }

    /// The points in the order of steps, each once.
    fn points(self) -> impl Iterator<Item = Point> {
        let mut points = [self.low, self.high, self.broken];
        points.sort_by_key(|point| point.map(|point| point.step));
        let mut before = None;
        points.into_iter().flatten().filter(move |point| before.replace(point.step) != Some(point.step))
    }
}

/// A named curve over steps. Of a long one it keeps the lowest and the highest point of every stretch, and the first and the last.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The name: `loss`, `test_accuracy`, ...
    pub name: String,
    buckets: Vec<Bucket>,
    /// The number of points of a bucket, and of the last one.
    size: u64,
    filled: u64,
    first: Option<Point>,
    last: Option<Point>,
}

impl Curve {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), buckets: Vec::new(), size: 1, filled: 0, first: None, last: None }
    }

    /// The points, in the order of steps.
    pub fn points(&self) -> Vec<Point> {
        let inner = self.buckets.iter().flat_map(|bucket| bucket.points());
        let mut points: Vec<Point> = self.first.into_iter().chain(inner).chain(self.last).collect();
        points.dedup_by_key(|point| point.step);
        points
    }

    /// The point that was added last.
    pub fn last(&self) -> Option<Point> {
        self.last
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Adds a point; steps increase.
    pub(super) fn push(&mut self, point: Point) {
        self.first = self.first.or(Some(point));
        self.last = Some(point);
        if self.filled == 0 {
            self.buckets.push(Bucket::default());
        }
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.push(point);
        }
        self.filled = (self.filled + 1) % self.size;
        if self.filled == 0 && self.buckets.len() == MOST {
            self.halve();
        }
    }

    /// Joins each two buckets.
    fn halve(&mut self) {
        let join = |pair: &[Bucket]| {
            let mut joined = Bucket::default();
            pair.iter().flat_map(|bucket| bucket.points()).for_each(|point| joined.push(point));
            joined
        };
        self.buckets = self.buckets.chunks(2).map(join).collect();
        self.size *= 2;
    }

    /// Puts points in the order of steps that came from two files, each step once.
    pub(super) fn sort(&mut self) {
        let mut points = self.points();
        if points.is_sorted_by_key(|point| point.step) {
            return;
        }
        points.sort_by_key(|point| point.step);
        points.dedup_by_key(|point| point.step);
        *self = points.into_iter().fold(Self::new(&self.name), |mut curve, point| {
            curve.push(point);
            curve
        });
    }

    /// Drops the points from step `end` on.
    pub(super) fn cut(&mut self, end: u64) {
        if self.last.is_none_or(|last| last.step < end) {
            return;
        }
        let kept = self.points().into_iter().filter(|point| point.step < end);
        *self = kept.fold(Self::new(&self.name), |mut curve, point| {
            curve.push(point);
            curve
        });
    }

    pub(super) fn to_json(&self, has_band: bool) -> Value {
        let points = self.points();
        let list = |value: fn(&Point) -> f64| points.iter().map(|point| short(value(point))).collect::<Value>();
        let mut curve = Map::new();
        curve.insert("name".into(), self.name.as_str().into());
        curve.insert("x".into(), list(|point| point.step as f64));
        curve.insert("mean".into(), list(|point| point.mean));
        if has_band && points.iter().any(|point| point.deviation > 0.0) {
            curve.insert("low".into(), list(|point| point.mean - point.deviation));
            curve.insert("high".into(), list(|point| point.mean + point.deviation));
        }
        Value::Object(curve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: impl Iterator<Item = f64>) -> Curve {
        values.enumerate().fold(Curve::new("loss"), |mut curve, (step, value)| {
            curve.push(Point::of(step as u64, std::iter::once(value)));
            curve
        })
    }

    #[test]
    fn a_long_curve_keeps_its_extremes_its_ends_and_what_is_not_finite() {
        let n = 1_000_003;
        let value = |i: usize| match i {
            123_457 => 9.0,
            777_777 => -9.0,
            500_001 => f64::NAN,
            _ => (i as f64 / 1e4).sin(),
        };
        let points = curve((0..n).map(value)).points();
        assert!((800..3 * MOST).contains(&points.len()), "{}", points.len());
        assert!(points.is_sorted_by(|a, b| a.step < b.step));
        for step in [0, 123_457, 777_777, 500_001, n as u64 - 1] {
            assert!(points.iter().any(|point| point.step == step), "{step}");
        }
    }

    #[test]
    fn a_short_curve_is_whole() {
        let points = curve((0..300).map(|i| f64::from(i % 7))).points();
        assert_eq!(points.len(), 300);
        assert!(points.iter().all(|point| point.mean == (point.step % 7) as f64));
    }

    #[test]
    fn a_cut_curve_goes_on() {
        let mut cut = curve((0..100_000).map(f64::from));
        cut.cut(50_000);
        assert!(cut.last().unwrap().step < 50_000);
        cut.push(Point::of(50_000, std::iter::once(1.0)));
        assert_eq!(cut.points().last().unwrap().step, 50_000);
    }

    #[test]
    fn replicas_have_a_mean_and_a_deviation() {
        let point = Point::of(3, [1.0, 2.0, 3.0].into_iter());
        assert_eq!((point.mean, point.deviation), (2.0, 1.0));
    }
}
