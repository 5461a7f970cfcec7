//! The columns of a table and their values, by name.

use serde_json::{Value, json};

use super::number::rounded;
use crate::data::{Column, Dataset, Features};

/// The columns of a data set, as its files have them: with their names, or a column without one for each feature.
pub fn columns(dataset: &Dataset) -> Vec<Column> {
    let known = &dataset.encoding.columns;
    let widths: usize = known.iter().map(width).sum();
    if widths == dataset.width() {
        return known.clone();
    }
    (0..dataset.width()).map(|i| Column { name: format!("feature {i}"), categories: None }).collect()
}

/// The number of features of a column.
fn width(column: &Column) -> usize {
    column.categories.as_ref().map_or(1, Vec::len)
}

/// The names of all features: that of the column, and of its category, if it has some.
pub fn names(dataset: &Dataset) -> Vec<String> {
    let of_column = |column: Column| match column.categories {
        Some(categories) => categories.iter().map(|category| format!("{} = {category}", column.name)).collect(),
        None => vec![column.name],
    };
    columns(dataset).into_iter().flat_map(of_column).collect()
}

/// The values of one sample in `columns`: a number, or the name of a category; `null` for that of none.
pub fn values(columns: &[Column], features: &Features, first: usize) -> Vec<Value> {
    let mut at = first;
    let mut value = |column: &Column| {
        let range = at..at + width(column);
        at = range.end;
        match &column.categories {
            Some(categories) => {
                json!(range.zip(categories).find(|(i, _)| features.get(*i) == 1.0).map(|(_, category)| category))
            }
            None => rounded(features.get(range.start)),
        }
    };
    columns.iter().map(&mut value).collect()
}
