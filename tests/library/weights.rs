//! Weights under the names that PyTorch gives them.
#![cfg(feature = "run")]

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;
use thalweg::Mlp;
use thalweg::engine::{Layout, Precision};
use thalweg::export::safetensors as weights;
use thalweg::model::{Init, Norm};

fn layout(norm: Norm) -> Layout {
    Layout::new(&Mlp::new(3, 2).hidden([4, 4]).norm(norm))
}

fn first(norm: Norm) -> Vec<f64> {
    layout(norm).init(&Mlp::new(3, 2).hidden([4, 4]).norm(norm), Init::Pytorch, 1)
}

/// The tensors of the model in a file, under other names; those without one are left out.
fn file(dir: &TempDir, norm: Norm, name: impl Fn(&str) -> Option<String>) -> PathBuf {
    let tensors: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = layout(norm)
        .unpack(&first(norm))
        .into_iter()
        .filter_map(|t| {
            let bytes = t.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let (dtype, bytes) = match t.shape.is_empty() {
                true => (Dtype::I64, 0i64.to_le_bytes().to_vec()),
                false => (Dtype::F64, bytes),
            };
            Some((name(&t.name)?, t.shape, dtype, bytes))
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, dtype, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let path = dir.path().join("other.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

fn read(path: &Path, norm: Norm, map: Option<&str>) -> thalweg::Result<(Vec<f64>, Vec<String>)> {
    weights::read_mapped(path, &layout(norm), Precision::F64, map)
}

/// The name with other layers: those of `to` for 0, 2 and 4.
fn layers(name: &str, to: [&str; 3]) -> Option<String> {
    let (layer, rest) = name.split_once('.')?;
    let layer = ["0", "2", "4"].iter().position(|l| *l == layer)?;
    Some(format!("{}.{rest}", to[layer]))
}

#[test]
fn wrapped_and_otherwise_numbered_layers_are_found() {
    let dir = TempDir::new().unwrap();
    let same = |norm, path: &Path, map| {
        let (got, notes) = read(path, norm, map).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((got, notes), (first(norm), vec![]));
    };
    for wrapper in ["", "module.", "_orig_mod.", "_orig_mod.module.", "net.", "module.model.layers."] {
        // Sequential counts Dropout between the layers, and ReLU.
        for to in [["0", "2", "4"], ["0", "3", "6"], ["1", "9", "10"]] {
            let path = file(&dir, Norm::None, |name| Some(format!("{wrapper}{}", layers(name, to)?)));
            same(Norm::None, &path, None);
        }
    }
    let path = file(&dir, Norm::Batch, |name| Some(format!("module.{}", name.replacen('6', "7", 1))));
    same(Norm::Batch, &path, None);
    // Names may be given as they stand in the file, too.
    for map in [
        "fc1,fc2,fc3",
        "fc1=0,fc2=2,fc3=4",
        "fc3=4, fc2=2, fc1=0",
        "module.fc1,module.fc2,module.fc3",
        "module.fc3 = 4,module.fc2=2,fc1=0",
    ] {
        let path = file(&dir, Norm::None, |name| Some(format!("module.{}", layers(name, ["fc1", "fc2", "fc3"])?)));
        same(Norm::None, &path, Some(map));
    }
    let path = file(&dir, Norm::None, |name| layers(name, ["body.in", "body.mid", "head"]));
    same(Norm::None, &path, Some("body.in,body.mid,head"));
}

#[test]
fn a_layer_without_a_bias_has_one_of_zeros() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, Norm::None, |name| (name != "2.bias").then(|| name.to_string()));
    let (got, notes) = read(&path, Norm::None, None).unwrap();
    let layer = layout(Norm::None).layers[1];
    let mut want = first(Norm::None);
    want[layer.bias..][..4].fill(0.0);
    assert_eq!(got, want);
    assert!(notes.len() == 1 && notes[0].contains("lacks 2.bias"), "{notes:?}");
}

#[test]
fn names_that_do_not_fit_are_told_beside_those_that_would() {
    let dir = TempDir::new().unwrap();
    let named = file(&dir, Norm::None, |name| layers(name, ["fc1", "fc2", "fc3"]));
    let error = |path: &Path, map| read(path, Norm::None, map).unwrap_err().to_string();
    let text = error(&named, None);
    for want in ["0.weight [4, 3], 0.bias [4]", "4.bias [2]", "found fc1.bias [4]", "--init-map"] {
        assert!(text.contains(want), "{text}");
    }
    assert!(error(&named, Some("fc1,fc2")).contains("expected 3 layers, those for 0, 2, 4, found 2"));
    let text = error(&named, Some("fc1,fc2,fc4"));
    assert!(text.ends_with("expected a layer of the file, found \"fc4\"; it has fc1, fc2, fc3"), "{text}");
    assert!(error(&named, Some("fc1,fc2,fc2")).contains("expected every layer once"));
    assert!(error(&named, Some("fc1=0,fc2=2,fc3=3")).contains("expected one of the layers 0, 2, 4, found \"3\""));
    assert!(error(&named, Some("fc3,fc2,fc1")).contains("expected shape [4, 3], found [2, 4]"));
    let few = file(&dir, Norm::None, |name| (!name.starts_with('2')).then(|| name.to_string()));
    assert!(error(&few, None).contains("tensor \"2.weight\" is missing: expected 0.weight [4, 3]"));
    let shapes = file(&dir, Norm::None, |name| layers(name, ["6", "3", "0"]));
    assert!(error(&shapes, None).contains("has no place in the model"));
}

#[test]
fn batch_normalisation_needs_no_count_of_batches() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, Norm::Batch, |name| (!name.ends_with("num_batches_tracked")).then(|| name.to_string()));
    let (got, notes) = read(&path, Norm::Batch, None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((got, notes), (first(Norm::Batch), vec![]));
}

#[test]
fn files_of_torch_save_are_named() {
    let dir = TempDir::new().unwrap();
    for (bytes, want) in
        [(&b"PK\x03\x04\0\0\x08\x08"[..], "found a zip archive"), (b"\x80\x02\x8a\nl\xfc\x9c", "found a Python pickle")]
    {
        let path = dir.path().join("model.pt");
        std::fs::write(&path, bytes).unwrap();
        let text = read(&path, Norm::None, None).unwrap_err().to_string();
        assert!(text.contains("model.pt: expected a safetensors file, ") && text.contains(want), "{text}");
        assert!(text.contains("safetensors.torch.save_file(model.state_dict(), \"w.safetensors\")"), "{text}");
    }
}
