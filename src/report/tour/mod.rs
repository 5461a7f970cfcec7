//! The tour: one page that walks through gradient descent, every picture of which is computed on the spot.

mod batches;
mod rates;
mod surfaces;
mod weights;
mod workshop;

use serde_json::{Map, Value, json};

use super::page::Page;
use crate::error::Result;
use crate::gpu::Measuring;
use crate::run::Config;
use workshop::Workshop;

/// The tour that is asked for.
#[derive(Clone, Copy)]
pub struct Tour<'a> {
    /// Whether everything is smaller: seconds instead of a minute, and curves that show less.
    pub is_quick: bool,
    /// The device that trains, as [`Device`](crate::device::Device) reads it.
    pub device: &'a str,
    /// The configuration that the flags of `thalweg train` on a line stand for; the page shows these lines, so that its readers make
    /// the same at home.
    pub read: &'a dyn Fn(&str) -> Result<Config>,
    /// Hears of what is measured on the device.
    pub measuring: Measuring,
}

/// The title of the page.
const TITLE: &str = "The way down: a tour of gradient descent";
/// What the page says.
const TEXT: &str = include_str!("tour.html");
const STYLE: &str = include_str!("tour.css");
/// The scripts, each of which uses those before it.
const SCRIPTS: [&str; 8] = [
    include_str!("descent.js"),
    include_str!("contour.js"),
    include_str!("controls.js"),
    include_str!("widget.js"),
    include_str!("surfaces.js"),
    include_str!("runs.js"),
    include_str!("weights.js"),
    include_str!("tour.js"),
];

/// A part of the page's data: its key, what it is in words, and what computes it.
type Part = (&'static str, &'static str, fn(&mut Workshop) -> Result<Value>);

/// The parts of the data, in the order in which they are computed.
const PARTS: [Part; 13] = [
    ("surfaces", "surfaces", |_| Ok(surfaces::surfaces())),
    ("draws", "noise", surfaces::draws),
    ("basins", "which start leads where", surfaces::basins),
    ("batches", "one sample a step, some, and all", batches::batches),
    ("speed", "what a batch size does to this machine", batches::speeds),
    ("falling", "rates that fall", rates::falling),
    ("cyclic", "rates that rise and fall", rates::cyclic),
    ("restarts", "warm restarts", rates::restarts),
    ("early", "a run that overfits", rates::early),
    ("plateau", "a rate that waits for a plateau", rates::plateau),
    ("swa", "three weights and their mean", weights::swa),
    ("plain", "the landscape of a deep network", weights::plain),
    ("normed", "the same with batch normalisation", weights::normed),
];

/// Computes the tour, and returns its page. `watch` hears before every part how many are done, how many there are, and in words
/// what comes next.
///
/// # Errors
/// No such device, or it is lost.
pub fn tour(asked: Tour, watch: &mut dyn FnMut(usize, usize, &str)) -> Result<Page> {
    let mut shop = Workshop::open(asked)?;
    let mut data = Map::new();
    data.insert("quick".into(), json!(asked.is_quick));
    data.insert("device".into(), json!(shop.device()));
    for (done, (key, words, compute)) in PARTS.into_iter().enumerate() {
        watch(done, PARTS.len(), words);
        data.insert(key.into(), compute(&mut shop)?);
    }
    let page = Page::new(TITLE).style(STYLE).body(TEXT).data("tour", data.into());
    Ok(SCRIPTS.into_iter().fold(page, Page::script))
}
