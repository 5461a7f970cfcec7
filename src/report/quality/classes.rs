//! The scores of a classification, of many classes in short.

use std::collections::{BTreeSet, HashMap};
use std::slice;

use serde_json::{Value, json};

use super::number::shortened;
use crate::data::Dataset;
use crate::loss::Loss;
use crate::run::statistic;
use crate::score::{ClassScores, largest};

/// The most classes of which all scores are told.
const MOST_CLASSES: usize = 100;
/// The number of classes of the lowest F1 that are told where there are more.
const WORST_CLASSES: usize = 50;
/// The number of the most frequent confusions.
const MOST_CONFUSED: usize = 10;

/// Adds the scores of predictions for samples with these labels: those of each replica, and those of all replicas together.
pub fn describe(object: &mut Value, labels: &[u32], outputs: &[Vec<f64>], loss: Loss) {
    let of_each = |of_replica: &Vec<f64>| ClassScores::of(labels, slice::from_ref(of_replica), loss);
    let each: Vec<ClassScores> = outputs.iter().map(of_each).collect();
    let by_replica = |of: fn(&ClassScores) -> Option<f64>| {
        let values: Option<Vec<f64>> = each.iter().map(of).collect();
        values.map(|values| statistic(&values))
    };
    let [top5, error] = [by_replica(|scores| scores.top5_accuracy), by_replica(|scores| scores.calibration_error)];
    for (name, value) in [("top5_accuracy", top5), ("calibration_error", error)] {
        if let Some(value) = value {
            object[name] = value;
        }
    }
    let all = if let [only] = &each[..] { only.clone() } else { ClassScores::of(labels, outputs, loss) };
    object["scores"] = scores(all);
    object["confused"] = confused(labels, outputs);
}

/// The scores, of many classes those of the worst alone.
fn scores(mut scores: ClassScores) -> Value {
    let classes = scores.per_class.len();
    let mut shown: Vec<usize> = (0..classes).collect();
    if classes > MOST_CLASSES {
        scores.confusion.clear();
        shown.retain(|&class| scores.per_class[class].support > 0);
        shown.sort_by(|&a, &b| scores.per_class[a].f1.total_cmp(&scores.per_class[b].f1));
        shown.truncate(WORST_CLASSES);
    }
    let of_class = |&class: &usize| {
        let mut object = json!(scores.per_class[class]);
        object["class"] = class.into();
        object
    };
    let per_class: Vec<Value> = shown.iter().map(of_class).collect();
    let mut object = json!(ClassScores { per_class: Vec::new(), ..scores });
    object["per_class"] = per_class.into();
    object
}

/// The most frequent confusions, of those that are as frequent the first.
fn confused(labels: &[u32], outputs: &[Vec<f64>]) -> Value {
    let mut counts: HashMap<(u32, usize), u64> = HashMap::new();
    for of_replica in outputs {
        for (&label, row) in labels.iter().zip(of_replica.chunks_exact(of_replica.len() / labels.len())) {
            let prediction = largest(row);
            if prediction != label as usize {
                *counts.entry((label, prediction)).or_default() += 1;
            }
        }
    }
    let mut counts: Vec<_> =
        counts.into_iter().map(|((label, prediction), count)| (count, label, prediction)).collect();
    counts.sort_by_key(|&(count, label, prediction)| (std::cmp::Reverse(count), label, prediction));
    let pair = |&(count, label, prediction): &(u64, u32, usize)| json!({ "label": label, "prediction": prediction, "count": count });
    counts.iter().take(MOST_CONFUSED).map(pair).collect()
}

/// Adds the number of classes, and their names: of many classes of those alone that are spoken of.
pub fn name(object: &mut Value, dataset: &Dataset) {
    let mut spoken = BTreeSet::new();
    if dataset.outputs > MOST_CLASSES {
        speak(object, &mut spoken);
    } else {
        spoken.extend(0..dataset.outputs);
    }
    let names = dataset.encoding.names();
    let name = |class: usize| names.get(class).map_or(class.to_string(), |name| shortened(name));
    let named = |class: usize| (class.to_string(), name(class).into());
    object["class_count"] = dataset.outputs.into();
    object["classes"] = Value::Object(spoken.into_iter().map(named).collect());
}

/// Collects the classes that are spoken of.
fn speak(value: &Value, spoken: &mut BTreeSet<usize>) {
    match value {
        Value::Object(entries) => {
            let names_class = |key: &str| ["class", "label", "prediction"].contains(&key);
            spoken.extend(
                entries.iter().filter(|(key, _)| names_class(key)).filter_map(|(_, v)| Some(v.as_u64()? as usize)),
            );
            entries.values().for_each(|value| speak(value, spoken));
        }
        Value::Array(values) => values.iter().for_each(|value| speak(value, spoken)),
        _ => {}
    }
}
