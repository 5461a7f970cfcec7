//! Picture files, and what a network says of each.

use std::path::PathBuf;

use thalweg::data::{Features, Inputs, Picture};
use thalweg::loss::Loss;
use thalweg::run::Trained;

use super::{BAD_INPUT, complain, say, table};

/// The most classes that are told of a picture, the likeliest first.
const TOP: usize = 5;

/// The pictures, brought to `shape`; none where some cannot be read, each of which is told in a line.
pub fn read(paths: &[PathBuf], shape: [usize; 3]) -> Option<Vec<Picture>> {
    let (mut pictures, mut are_whole) = (Vec::new(), true);
    for path in paths {
        match Picture::read(path, shape) {
            Ok(picture) => pictures.push(picture),
            Err(error) => {
                complain(&error.to_string(), BAD_INPUT);
                are_whole = false;
            }
        }
    }
    are_whole.then_some(pictures)
}

/// The pictures as samples of this shape, without targets.
pub fn inputs(pictures: &[Picture], shape: [usize; 3]) -> Inputs {
    let pixels = pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect();
    Inputs { features: Features::U8(pixels), shape, targets: None }
}

/// What was done to each picture, a line each.
pub fn tell(pictures: &[Picture]) {
    for Picture { path, story, .. } in pictures {
        say!("{}: {story}", path.display());
    }
}

/// What the network says of each picture, as a table: the likeliest classes with their outputs, or the values of a regression.
pub fn show(pictures: &[Picture], trained: &Trained, outputs: &[f64]) -> String {
    let setup = trained.setup();
    let (is_classification, width) = (setup.dataset.is_classification(), setup.model.outputs());
    let names = setup.dataset.encoding.names();
    let header = match (is_classification, setup.loss) {
        (true, Loss::CrossEntropy) => ["file", "prediction", "probability"],
        (true, Loss::Mse) => ["file", "prediction", "output"],
        (false, _) => ["file", "target", "prediction"],
    };
    let mut rows = vec![header.map(String::from).to_vec()];
    for (picture, output) in pictures.iter().zip(outputs.chunks_exact(width)) {
        let mut file = picture.path.display().to_string();
        let told = if is_classification { likeliest(output) } else { (0..width).collect() };
        for i in told {
            let number = if is_classification { format!("{:.4}", output[i]) } else { output[i].to_string() };
            let name = names.get(i).filter(|_| is_classification).cloned().unwrap_or_else(|| i.to_string());
            rows.push(vec![std::mem::take(&mut file), name, number]);
        }
    }
    table(&rows)
}

/// The classes of the largest outputs, the largest first, of equal ones the first.
fn likeliest(outputs: &[f64]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..outputs.len()).collect();
    classes.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]));
    classes.truncate(TOP);
    classes
}
