//! The tables and the JSON.

use serde_json::{Value, json};

use crate::child::Fault;
use crate::measure::{Cell, Times, median};

/// One network on one kind of device: a line a batch size, a column a peer.
pub fn table(cells: &[Cell]) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let mut text = format!("{}, {}: ms a step, median (least-most) xtimes thalweg's\n", first.network, first.device);

    let mut peers: Vec<&str> = Vec::new();
    let mut batches: Vec<usize> = Vec::new();
    for cell in cells {
        if !peers.contains(&cell.peer) {
            peers.push(cell.peer);
        }
        if !batches.contains(&cell.rows) {
            batches.push(cell.rows);
        }
    }
    let mut rows =
        vec![std::iter::once("batch".to_owned()).chain(peers.iter().map(|&p| p.to_owned())).collect::<Vec<_>>()];
    for batch in batches {
        let of = |peer: &&str| cells.iter().find(|cell| cell.rows == batch && cell.peer == *peer);
        let entries = peers.iter().map(|peer| of(peer).map(entry).unwrap_or_default());
        rows.push(std::iter::once(batch.to_string()).chain(entries).collect());
    }
    let widths: Vec<usize> =
        (0..=peers.len()).map(|c| rows.iter().map(|row| row[c].len()).max().unwrap_or_default()).collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(entry, width)| format!("{entry:<width$}")).collect();
        text += line.join("  ").trim_end();
        text += "\n";
    }
    for peer in peers {
        if let Some(cell) = cells.iter().find(|cell| cell.peer == peer && !cell.description.is_empty()) {
            text += &format!("{peer}: {}\n", cell.description);
        }
    }
    for cell in cells {
        if let Err(Fault::Failed(why) | Fault::DoesNotTrain(why)) = &cell.times {
            text += &format!("{} at {}: {why}\n", cell.peer, cell.rows);
        }
    }
    text
}

fn entry(cell: &Cell) -> String {
    match &cell.times {
        Err(Fault::Failed(_)) => "failed".into(),
        Err(Fault::DoesNotTrain(_)) => "does not train".into(),
        Ok(times) => {
            let [middle, least, most] = spread(times).map(digits);
            let ratio = median(&times.ratios).map_or(String::new(), |ratio| format!(" x{ratio:.2}"));
            format!("{middle} ({least}-{most}){ratio}")
        }
    }
}

/// Median, least and most milliseconds of a step.
fn spread(times: &Times) -> [f64; 3] {
    let least = times.rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [median(&times.rounds).unwrap_or(f64::NAN), least, most]
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let decimals = (2 - value.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}

/// All numbers of all cells.
pub fn json(cells: &[Cell]) -> Value {
    cells.iter().map(object).collect()
}

fn object(cell: &Cell) -> Value {
    let mut object = json!({
        "network": cell.network.to_string(),
        "batch": cell.rows,
        "device": cell.device,
        "peer": cell.peer,
        "description": cell.description,
    });
    let rest = match &cell.times {
        Err(Fault::Failed(why)) => json!({ "status": "failed", "why": why }),
        Err(Fault::DoesNotTrain(why)) => json!({ "status": "does not train", "why": why }),
        Ok(times) => {
            let [median_ms, min_ms, max_ms] = spread(times);
            json!({
                "status": "measured",
                "steps": times.steps,
                "median_ms": median_ms,
                "min_ms": min_ms,
                "max_ms": max_ms,
                "ratio": median(&times.ratios),
                "rounds_ms": times.rounds,
                "ratios": times.ratios,
            })
        }
    };
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}
