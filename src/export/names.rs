//! The names that other programs give to tensors, and ours: those of `torch.nn.Sequential`.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Tensor;

/// The name and shape of a tensor.
type Named = (String, Vec<usize>);

/// What PyTorch puts before every name of a model that it has wrapped.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// The most names that an error lists.
const MOST_LISTED: usize = 12;

/// `tensors` under the names that `wanted` lists, and the names of biases that were missing and are 0 now.
///
/// The layers of the file are those of `map`, in the order of the network; without one they have our names, or other
/// numbers in ascending order, as where a `Sequential` counts modules that we do not, maybe all behind one name.
///
/// # Errors
/// A map that does not fit, or tensors that do not, with the names that are expected.
pub(super) fn rename(
    mut tensors: Vec<Tensor>,
    wanted: &[Named],
    map: Option<&str>,
) -> Result<(Vec<Tensor>, Vec<String>), String> {
    for tensor in &mut tensors {
        tensor.name = unwrapped(&tensor.name).to_string();
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let is_ours = tensors.iter().all(|tensor| wanted.iter().any(|(name, _)| *name == tensor.name));
    let layers = match map {
        Some(map) => Some(mapped(map, &tensors, wanted)?),
        None if is_ours => None,
        None => Some(numbered(&tensors, wanted).ok_or_else(|| refusal(&tensors, wanted))?),
    };
    if let Some(layers) = layers {
        for tensor in &mut tensors {
            let (layer, rest) = split(&tensor.name);
            if let Some(ours) = layers.get(layer) {
                tensor.name = format!("{ours}.{rest}");
            }
        }
        if tensors.iter().any(|tensor| wanted.iter().all(|(name, _)| *name != tensor.name)) {
            return Err(refusal(&tensors, wanted));
        }
    }
    // A count that nothing uses.
    for (name, shape) in wanted.iter().filter(|(name, _)| name.ends_with(".num_batches_tracked")) {
        if tensors.iter().all(|tensor| tensor.name != *name) {
            tensors.push(Tensor { name: name.clone(), shape: shape.clone(), values: vec![0.0] });
        }
    }
    let mut without = Vec::new();
    for (name, shape) in wanted.iter().filter(|(name, _)| name.ends_with(".bias")) {
        let weight = format!("{}.weight", split(name).0);
        let is_linear = tensors.iter().any(|tensor| tensor.name == weight && tensor.shape.len() == 2);
        if is_linear && tensors.iter().all(|tensor| tensor.name != *name) {
            let values = vec![0.0; shape.iter().product()];
            tensors.push(Tensor { name: name.clone(), shape: shape.clone(), values });
            without.push(name.clone());
        }
    }
    if wanted.iter().any(|(name, _)| tensors.iter().all(|tensor| tensor.name != *name)) {
        return Err(refusal(&tensors, wanted));
    }
    Ok((tensors, without))
}

/// The name without what PyTorch puts before it.
fn unwrapped(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    name
}

/// The layer and the rest of a tensor's name.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// Our layers, in the order of the network.
fn ours(wanted: &[Named]) -> Vec<&str> {
    let mut layers: Vec<&str> = wanted.iter().map(|(name, _)| split(name).0).collect();
    layers.dedup();
    layers
}

/// Our name for each layer of the file that `map` lists.
fn mapped(map: &str, tensors: &[Tensor], wanted: &[Named]) -> Result<BTreeMap<String, String>, String> {
    let ours = ours(wanted);
    let items: Vec<&str> = map.split(',').map(str::trim).collect();
    if items.len() != ours.len() {
        let (n, list) = (ours.len(), ours.join(", "));
        return Err(format!("init_map: expected {n} layers, those for {list}, found {} in {map:?}", items.len()));
    }
    let mut layers = BTreeMap::new();
    for (item, in_order) in items.into_iter().zip(&ours) {
        let (asked, number) = item.split_once('=').unwrap_or((item, in_order));
        let (theirs, number) = (unwrapped(asked.trim()), number.trim());
        if !ours.contains(&number) {
            return Err(format!("init_map: expected one of the layers {}, found {number:?}", ours.join(", ")));
        }
        if tensors.iter().all(|tensor| split(&tensor.name).0 != theirs) {
            let layers: BTreeSet<&str> = tensors.iter().map(|tensor| split(&tensor.name).0).collect();
            let list = layers.iter().copied().take(MOST_LISTED).collect::<Vec<_>>().join(", ");
            let more = if layers.len() > MOST_LISTED { ", ..." } else { "" };
            return Err(format!("init_map: expected a layer of the file, found {asked:?}; it has {list}{more}"));
        }
        if layers.values().any(|ours| ours == number) || layers.insert(theirs.into(), number.into()).is_some() {
            return Err(format!("init_map: expected every layer once, found {item:?} again"));
        }
    }
    Ok(layers)
}

/// Our name for each layer of a file that numbers them in ascending order, maybe behind one name: `net.0.weight`.
fn numbered(tensors: &[Tensor], wanted: &[Named]) -> Option<BTreeMap<String, String>> {
    let mut theirs: BTreeMap<u64, &str> = BTreeMap::new();
    let mut behind = None;
    for tensor in tensors {
        let layer = split(&tensor.name).0;
        let (name, number) = layer.rsplit_once('.').unwrap_or(("", layer));
        if *behind.get_or_insert(name) != name {
            return None;
        }
        theirs.insert(number.parse().ok()?, layer);
    }
    let ours = ours(wanted);
    let fits = |(ours, theirs): (&&str, &&str)| {
        let of_ours = wanted.iter().filter(|(name, _)| split(name).0 == *ours);
        let weight = of_ours.clone().find(|(name, _)| name.ends_with(".weight"));
        let mut of_theirs = tensors.iter().filter(|tensor| split(&tensor.name).0 == *theirs);
        of_theirs.any(|tensor| weight.is_some_and(|(_, shape)| *shape == tensor.shape))
    };
    let pairs = || ours.iter().zip(theirs.values());
    let is_fit = ours.len() == theirs.len() && pairs().all(fits);
    is_fit.then(|| pairs().map(|(ours, theirs)| (theirs.to_string(), ours.to_string())).collect())
}

/// The tensors that are expected and those that the file has.
fn refusal(tensors: &[Tensor], wanted: &[Named]) -> String {
    let list = |named: &mut dyn Iterator<Item = (&str, &[usize])>, n: usize| {
        let mut texts: Vec<String> = named.take(MOST_LISTED).map(|(name, shape)| format!("{name} {shape:?}")).collect();
        if n > MOST_LISTED {
            texts.push(format!("and {} more", n - MOST_LISTED));
        }
        texts.join(", ")
    };
    let wanted_list = list(&mut wanted.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())), wanted.len());
    let found = list(&mut tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())), tensors.len());
    let (extra, missing) = (
        tensors.iter().find(|tensor| wanted.iter().all(|(name, _)| *name != tensor.name)),
        wanted.iter().find(|(name, _)| tensors.iter().all(|tensor| tensor.name != *name)),
    );
    let first = match (extra, missing) {
        (Some(extra), _) => format!("tensor {:?} {:?} has no place in the model", extra.name, extra.shape),
        (None, Some((name, _))) => format!("tensor {name:?} is missing"),
        (None, None) => "tensors of other layers".into(),
    };
    format!("{first}: expected {wanted_list}; found {found}; --init-map names the layers in their order")
}
