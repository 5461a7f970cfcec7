//! Whether an average of weights is in a flatter place, in words.

use thalweg::explore::curvature::LossShape;

/// The standard errors by which two numbers must differ for the difference to count.
const ERRORS: f64 = 2.0;

/// A measure of sharpness: its name, and the value with its error.
type Measure = (&'static str, fn(&LossShape) -> (f64, f64));

/// The measures that have an error, those that do not change with the scale of filters last. A rise that was only looked for by
/// steps up the slope has none.
const MEASURES: [Measure; 4] = [
    ("largest eigenvalue", |shape| (shape.eigenvalues[0], shape.eigenvalue_errors[0])),
    ("trace", |shape| (shape.trace.mean, shape.trace.error)),
    ("mean rise in the box", |shape| (shape.sharpness.mean.mean, shape.sharpness.mean.error)),
    ("mean rise as filters move", |shape| (shape.filter_sharpness.mean.mean, shape.filter_sharpness.mean.error)),
];

/// Whether each average among the sets is in a flatter place than the last weights, a sentence each, and what that is worth.
pub(super) fn verdict(sets: &[(String, LossShape)]) -> Vec<String> {
    let Some((_, last)) = sets.iter().find(|(name, _)| name == "last") else { return vec![CAVEAT.into()] };
    let others = sets.iter().filter(|(name, _)| name != "last");
    let mut sentences: Vec<String> = others.map(|(name, shape)| compare(name, shape, last)).collect();
    sentences.push(CAVEAT.into());
    sentences
}

/// What is always true.
const CAVEAT: &str = "Eigenvalues, trace and the box change when weights are rescaled so that the network's function stays the same \
                      (Dinh et al., 2017); the measure of filters, each moved by up to 5 % of its own length, does not. ± is \
                      the error of a number for these samples; other samples have other numbers. A largest rise is the \
                      largest that was found.";

fn compare(name: &str, shape: &LossShape, last: &LossShape) -> String {
    let mut found: [Vec<String>; 3] = Default::default();
    let mut sides = Vec::new();
    for (measure, of) in MEASURES {
        let ((value, error), (other, other_error)) = (of(shape), of(last));
        let bound = ERRORS * error.hypot(other_error);
        let side = if value < other - bound {
            0
        } else if value > other + bound {
            1
        } else {
            2
        };
        sides.push(side);
        found[side].push(format!(
            "{measure} ({} against {})",
            with_error(value, error),
            with_error(other, other_error)
        ));
    }
    let count = |wanted: usize| sides.iter().filter(|side| **side == wanted).count();
    let answer = match (sides.iter().all(|side| *side == 0), sides.iter().all(|side| *side == 1), sides[3]) {
        (true, ..) => format!("{name} is in a flatter place than last"),
        (_, true, _) => format!("{name} is in a sharper place than last"),
        (.., 0) if !sides.contains(&1) => {
            format!("{name} is in a flatter place than last by {} of 4 measures", count(0))
        }
        (.., 1) if !sides.contains(&0) => {
            format!("{name} is in a sharper place than last by {} of 4 measures", count(1))
        }
        _ if sides.iter().all(|side| *side == 2) => format!("No measure tells the places of {name} and last apart"),
        _ if sides.contains(&0) && sides.contains(&1) => {
            format!("Whether {name} is in a flatter place than last cannot be said: the measures do not agree")
        }
        _ => format!(
            "Whether {name} is in a flatter place than last cannot be said: only measures that change with the scale of the \
             weights tell them apart"
        ),
    };
    let words = ["lower", "higher", "within the uncertainty"];
    let parts: Vec<String> = words
        .iter()
        .zip(&found)
        .filter(|(_, list)| !list.is_empty())
        .map(|(word, list)| format!("{word}: {}", list.join(", ")))
        .collect();
    format!("{answer}. {}.", capital(&parts.join("; ")))
}

fn capital(text: &str) -> String {
    let mut all = text.chars();
    all.next().map_or(String::new(), |first| first.to_uppercase().chain(all).collect())
}

/// A number and its error, which is left out where it is none.
pub(super) fn with_error(value: f64, error: f64) -> String {
    if error == 0.0 { short(value) } else { format!("{} ± {error:.0e}", short(value)) }
}

/// A number of about four digits.
pub(super) fn short(value: f64) -> String {
    let digits = 3i32.saturating_sub(value.abs().log10().floor() as i32);
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => format!("{value:.*}", digits.clamp(0, 6) as usize),
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::explore::curvature::{Estimate, Rise};

    fn shape(values: [f64; 4]) -> LossShape {
        let estimate = |mean: f64| Estimate { mean, error: 0.1 };
        let rise = |mean: f64| Rise { mean: estimate(mean), ..Rise::default() };
        LossShape {
            eigenvalues: vec![values[0]],
            eigenvalue_errors: vec![0.0],
            trace: estimate(values[1]),
            sharpness: rise(values[2]),
            filter_sharpness: rise(values[3]),
            ..LossShape::default()
        }
    }

    /// No more is said than the numbers show.
    #[test]
    fn the_answer_follows_the_numbers() {
        let last = shape([4.0; 4]);
        let answer = |values: [f64; 4]| {
            let sets = vec![("last".to_string(), last.clone()), ("swa".to_string(), shape(values))];
            verdict(&sets)[0].clone()
        };
        assert!(
            answer([1.0; 4])
                .starts_with("swa is in a flatter place than last. Lower: largest eigenvalue (1.000 against 4.000)")
        );
        assert!(answer([5.0; 4]).starts_with("swa is in a sharper place than last. Higher: "));
        assert!(answer([4.0, 4.1, 3.9, 4.0]).starts_with("No measure tells the places of swa and last apart. Within"));
        assert!(
            answer([4.0, 3.0, 3.9, 3.0])
                .starts_with("swa is in a flatter place than last by 2 of 4 measures. Lower: trace (")
        );
        // What only rescaled weights would show is no flatter place.
        let answer_of_scale = answer([1.0, 1.0, 1.0, 4.0]);
        assert!(
            answer_of_scale.contains("cannot be said: only measures that change with the scale"),
            "{answer_of_scale}"
        );
        assert!(answer([1.0, 1.0, 5.0, 1.0]).starts_with("Whether swa is in a flatter place than last cannot be said"));
        assert!(answer([1.0; 4]).contains("(1.000 ± 1e-1 against 4.000 ± 1e-1)"));
        let alone = verdict(&[("swa".to_string(), last)]);
        assert!(alone.len() == 1 && alone[0].contains("Dinh"));
    }

    #[test]
    fn numbers_have_four_digits() {
        let all = [0.0, 1.0, -12.3456, 1234.56, 98765.4, 0.00123456, 1.5e-7, 2e9, f64::NAN];
        let words = ["0", "1.000", "-12.35", "1235", "98765", "0.001235", "1.500e-7", "2.000e9", "NaN"];
        assert_eq!(all.map(short), words);
        assert_eq!(with_error(2.0, 0.0), "2.000");
        assert_eq!(with_error(2.0, 0.0123), "2.000 ± 1e-2");
    }
}
