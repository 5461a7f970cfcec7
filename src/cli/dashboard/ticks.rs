//! The upright axis of a chart.

/// How values stand on an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    /// By their logarithm; what is not above 0 has no place.
    Log,
}

impl Scale {
    /// The place of a value; not finite where it has none.
    pub fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log if value > 0.0 => value.log10(),
            Self::Log => f64::NAN,
        }
    }
}

/// The lowest and the highest place that is finite, with a little room where they are one; none where there is none.
pub fn range(places: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let finite = places.filter(|place| place.is_finite()).map(|place| [place, place]);
    let [low, high] = finite.reduce(|[low, high], [place, _]| [low.min(place), high.max(place)])?;
    let room = if low < high { 0.0 } else { (0.1 * low.abs()).max(1e-9) };
    Some([low - room, high + room])
}

/// The places and words of some `most` ticks between two places: 1, 2, 2.5 and 5 times powers of ten; on a long logarithmic axis
/// powers of ten alone.
pub fn ticks(scale: Scale, [low, high]: [f64; 2], most: usize) -> Vec<(f64, String)> {
    let values: Vec<f64> = match scale {
        Scale::Linear => round_numbers([low, high], most),
        Scale::Log if high - low >= 3.0 => {
            let apart = ((high - low) / most as f64).ceil();
            let powers = (low / apart).ceil() as i32..=(high / apart).floor() as i32;
            powers.map(|i| 10f64.powf(f64::from(i) * apart)).collect()
        }
        Scale::Log => {
            let factors = |power: i32| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power));
            let all = (low.floor() as i32..=high.ceil() as i32).flat_map(factors);
            let inside: Vec<f64> = all.filter(|value| (low..=high).contains(&value.log10())).collect();
            if inside.len() < 2 { round_numbers([low, high].map(|place| 10f64.powf(place)), most) } else { inside }
        }
    };
    values.into_iter().map(|value| (scale.place(value), label(value))).collect()
}

/// Some `most` numbers between two.
fn round_numbers([low, high]: [f64; 2], most: usize) -> Vec<f64> {
    let finest = (high - low) / most as f64;
    let power = 10f64.powf(finest.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|&step| step >= finest).unwrap_or(steps[4]);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).take(most + 1).map(|i| i as f64 * step).collect()
}

/// A number of at most four digits, without zeros at its end.
pub fn label(value: f64) -> String {
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    };
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => {
            let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            trimmed(format!("{value:.decimals$}"))
        }
        size if size.is_finite() => {
            let text = format!("{value:.2e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", trimmed(digits.into()))
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let words = |scale, range| -> Vec<String> { ticks(scale, range, 5).into_iter().map(|tick| tick.1).collect() };
        assert_eq!(words(Scale::Linear, [0.03, 0.98]), ["0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(words(Scale::Log, [-4.2, 0.1]), ["1e-4", "0.001", "0.01", "0.1", "1"]);
        assert_eq!(words(Scale::Linear, [-2e7, 3e7]), ["-2e7", "-1e7", "0", "1e7", "2e7", "3e7"]);
        assert_eq!(words(Scale::Log, [-0.9, 0.5]), ["0.2", "0.5", "1", "2"]);
        assert_eq!(words(Scale::Log, [-0.2, -0.1]), ["0.65", "0.7", "0.75"]);
        for range in [[0.0, 1e-9], [1e12, 1.1e12], [-1e-3, 1e3], [7.1234, 7.1235]] {
            let all = ticks(Scale::Linear, range, 4);
            assert!((2..=5).contains(&all.len()), "{range:?}: {all:?}");
            assert!(all.iter().all(|tick| (range[0]..=range[1]).contains(&tick.0)), "{range:?}: {all:?}");
        }
    }

    #[test]
    fn what_has_no_place_has_no_part_in_the_range() {
        let of = |scale: Scale, values: &[f64]| range(values.iter().map(|&value| scale.place(value)));
        assert_eq!(of(Scale::Log, &[0.0, -3.0, 10.0, f64::NAN, 1000.0]), Some([1.0, 3.0]));
        assert_eq!(of(Scale::Linear, &[f64::NAN, f64::INFINITY]), None);
        let [low, high] = of(Scale::Linear, &[2.0, 2.0]).unwrap();
        assert!(low < 2.0 && 2.0 < high);
    }

    #[test]
    fn labels_are_short() {
        let shown = [0.0, 0.1, 0.00105, 0.28946, 12.3456, 1234.56, 51090.0, 1e9, 1.5e-7, -0.5, f64::NAN].map(label);
        assert_eq!(shown, ["0", "0.1", "0.00105", "0.2895", "12.35", "1235", "51090", "1e9", "1.5e-7", "-0.5", "NaN"]);
    }
}
