//! The landscape and the curvature that were computed of a run.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use npyz::{Deserialize, NpyFile};
use serde_json::{Map, Value, json};
use zip::ZipArchive;

use super::read_json;
use crate::error::{Error, Result};

/// The landscape in `landscape/` of a run, if it has one.
///
/// # Errors
/// A file is there and cannot be read.
pub(super) fn landscape(dir: &Path) -> Result<Option<Value>> {
    let path = dir.join("landscape/landscape.npz");
    if !path.exists() {
        return Ok(None);
    }
    let file = File::open(&path).map_err(Error::io(&path))?;
    let bad = |error: String| Error::data(&path, format!("expected what thalweg landscape writes, found {error}"));
    let mut archive = ZipArchive::new(file).map_err(|error| bad(error.to_string()))?;
    let mut numbers = |name: &str| array::<f64, _>(&mut archive, name).map_err(bad);
    let (x, y) = (numbers("x")?.unwrap_or_default(), numbers("y")?);
    let rows = |values: Vec<f64>| values.chunks(x.len().max(1)).map(list).collect::<Value>();
    let mut found = json!({ "x": list(&x), "loss": rows(numbers("loss")?.unwrap_or_default()) });
    if let Some(accuracy) = numbers("accuracy")? {
        found["accuracy"] = rows(accuracy);
    }
    if let Some(path) = numbers("path")? {
        found["path"] = path.chunks(2).map(list).collect();
    }
    let axes = if y.is_some() { 2 } else { 1 };
    if let Some(y) = y {
        found["y"] = list(&y);
    }
    let (at, loss, accuracy) =
        (numbers("points")?.unwrap_or_default(), numbers("point_loss")?, numbers("point_accuracy")?);
    let names = array::<String, _>(&mut archive, "point_names").map_err(bad)?.unwrap_or_default();
    let point = |(i, name): (usize, &String)| {
        let mut point = json!({ "name": name, "at": list(at.get(axes * i..axes * (i + 1)).unwrap_or_default()) });
        for (key, values) in [("loss", &loss), ("accuracy", &accuracy)] {
            if let Some(value) = values.as_ref().and_then(|values| values.get(i)) {
                point[key] = json!(value);
            }
        }
        point
    };
    found["points"] = names.iter().enumerate().map(point).collect();
    let picture = dir.join("landscape/landscape.svg");
    if picture.exists() {
        let svg = std::fs::read(&picture).map_err(Error::io(&picture))?;
        found["picture"] = format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)).into();
    }
    Ok(Some(found))
}

/// The curvature in `curvature/` of a run, if it has one.
///
/// # Errors
/// A file is there and cannot be read.
pub(super) fn curvature(dir: &Path) -> Result<Option<Value>> {
    let Some(weights) = read_json(&dir.join("curvature/curvature.json"))? else { return Ok(None) };
    let mut found = json!({ "weights": weights });
    let path = dir.join("curvature/density.csv");
    if path.exists() {
        found["density"] = columns(&path)?;
    }
    Ok(Some(found))
}

/// The columns of a table of numbers, by name.
fn columns(path: &Path) -> Result<Value> {
    let bad = |error: csv::Error| Error::data(path, format!("expected a table of numbers, found {error}"));
    let mut reader = csv::Reader::from_path(path).map_err(bad)?;
    let names: Vec<String> = reader.headers().map_err(bad)?.iter().map(String::from).collect();
    let mut columns = vec![Vec::new(); names.len()];
    for row in reader.records() {
        for (column, cell) in columns.iter_mut().zip(&row.map_err(bad)?) {
            column.push(json!(cell.parse().unwrap_or(f64::NAN)));
        }
    }
    Ok(Value::Object(names.into_iter().zip(columns.into_iter().map(Value::Array)).collect::<Map<_, _>>()))
}

/// The values of an array of a `.npz` file, if it has one of this name.
fn array<T: Deserialize, R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    name: &str,
) -> std::result::Result<Option<Vec<T>>, String> {
    let name = format!("{name}.npy");
    if archive.index_for_name(&name).is_none() {
        return Ok(None);
    }
    let file = archive.by_name(&name).map_err(|error| error.to_string())?;
    let values = NpyFile::new(file).and_then(NpyFile::into_vec);
    values.map(Some).map_err(|error| format!("{name}: {error}"))
}

/// Numbers as JSON; those that are not finite are null.
fn list(values: &[f64]) -> Value {
    json!(values)
}
