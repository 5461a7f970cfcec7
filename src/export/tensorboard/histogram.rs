//! Histograms of weights.

use super::messages::{Content, Histogram, Value};

/// The number of buckets, as many as TensorBoard draws.
const BUCKETS: usize = 30;

/// The histogram of `values`, in buckets of one width from the least to the largest; none where a value is not finite, or where
/// there are no values.
pub(crate) fn histogram(tag: &str, values: &[f64]) -> Option<Value> {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut sum, mut sum_squares) = (0.0, 0.0);
    for &x in values {
        (min, max) = (min.min(x), max.max(x));
        sum += x;
        sum_squares += x * x;
    }
    if values.is_empty() || !sum_squares.is_finite() {
        return None;
    }
    let width = (max - min) / BUCKETS as f64;
    let (bucket_limit, bucket) = if width > 0.0 {
        let mut counts = [0u64; BUCKETS];
        let per_width = 1.0 / width;
        for &x in values {
            counts[(((x - min) * per_width) as usize).min(BUCKETS - 1)] += 1;
        }
        let mut limits: Vec<f64> = (1..=BUCKETS).map(|k| min + k as f64 * width).collect();
        // What rounding has made of it.
        limits[BUCKETS - 1] = max;
        (limits, counts.map(|count| count as f64).to_vec())
    } else {
        (vec![max], vec![values.len() as f64])
    };
    let num = values.len() as f64;
    Some(Value::new(tag, Content::Histogram(Histogram { min, max, num, sum, sum_squares, bucket_limit, bucket })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Histogram {
        match histogram("w", values).unwrap().content {
            Some(Content::Histogram(histogram)) => histogram,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_value_is_in_its_bucket() {
        let values: Vec<f64> = (0..=300).map(|i| f64::from(i) / 10.0 - 7.0).collect();
        let found = of(&values);
        assert_eq!((found.min, found.max, found.num), (-7.0, 23.0, 301.0));
        assert_eq!((found.bucket_limit.len(), found.bucket_limit[29]), (30, 23.0));
        let mut low = f64::NEG_INFINITY;
        for (&limit, &count) in found.bucket_limit.iter().zip(&found.bucket) {
            // A value at a limit is in the bucket before it or after it, as rounding has it.
            let within = |slack: f64| values.iter().filter(|&&x| low - slack <= x && x < limit + slack).count() as f64;
            assert!(within(-1e-9) <= count && count <= within(1e-9), "{count} up to {limit}");
            low = limit;
        }
        assert_eq!(found.bucket.iter().sum::<f64>(), 301.0);
        let sums: (f64, f64) = values.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        assert_eq!((found.sum, found.sum_squares), sums);
    }

    #[test]
    fn values_that_are_all_one_have_one_bucket() {
        let found = of(&[0.0; 5]);
        assert_eq!((found.min, found.max, found.bucket, found.bucket_limit), (0.0, 0.0, vec![5.0], vec![0.0]));
        // So have those whose differences are too small to be divided.
        let (found, tiny) = (of(&[0.0, 5e-324]), 5e-324);
        assert_eq!((found.max, found.bucket, found.bucket_limit), (tiny, vec![2.0], vec![tiny]));
        assert!(histogram("w", &[]).is_none() && histogram("w", &[0.0, f64::NAN]).is_none());
        assert!(histogram("w", &[f64::NEG_INFINITY]).is_none());
    }
}
