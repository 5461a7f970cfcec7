//! The loss over planes and lines in weight space.

use serde_json::{Value, json};

use super::workshop::{Run, Workshop, pictured};
use crate::data::Part;
use crate::engine::{Evaluation, Slot};
use crate::error::Result;
use crate::explore::landscape::{Grid, Mark, Random, Section};
use crate::report::history::short;

/// Three weights that SWA averages, in the plane through them, and on the line to their mean.
pub(super) fn swa(shop: &mut Workshop) -> Result<Value> {
    // Two epochs.
    let cycle = 2 * shop.per_epoch();
    let ends: Vec<String> = (3..=5).map(|i| (i * cycle - 1).to_string()).collect();
    let ends = ends.join(",");
    let mut run = shop.train_as(
        &format!(
            "--hidden 64 --dropout 0.2 --optimizer sgd --batch 25 --epochs 10{} \
             --set 'schedule={{name=\"swa_cyclic\",alpha_1=0.1,alpha_2=0.03,cycle={cycle}}}' \
             --set 'average={{swa={{after_updates=[{ends}]}},snapshots={{max=3,when={{after_updates=[{ends}]}}}}}}'",
            shop.fewer()
        ),
        Some("averaged"),
    )?;
    let snapshots = [0, 1, 2].map(Slot::Snapshot);
    let alone = [snapshots[0], snapshots[1], snapshots[2], Slot::Swa].map(|slot| vec![slot]);
    let mut test = Vec::new();
    for slots in alone.iter().chain([&snapshots.to_vec()]) {
        test.push(run.trainer.engine().evaluate(Part::Test, slots)?[0]);
    }
    let rows = ["w1", "w2", "w3", "mean of the weights", "mean of the predictions"].iter().zip(&test);
    let mut object = run.json("averaged");
    object["rows"] = rows.map(|(name, e)| evaluation(name, e)).collect();
    object["best_alone"] = short(test[..3].iter().map(|e| e.loss).fold(f64::INFINITY, f64::min));
    object["plane"] = plane(shop, &mut run)?;
    object["line"] = line(shop, &mut run)?;
    Ok(object)
}

fn evaluation(name: &str, e: &Evaluation) -> Value {
    json!({ "name": name, "loss": short(e.loss), "accuracy": short(e.accuracy) })
}

/// The test loss in the plane through three weights, with their mean.
fn plane(shop: &Workshop, run: &mut Run) -> Result<Value> {
    let engine = run.trainer.engine();
    let layout = engine.layout().clone();
    let mut kept = |i| engine.download(Slot::Snapshot(i), 0);
    let mut section = Section::through(&layout, [("w1", kept(0)?), ("w2", kept(1)?), ("w3", kept(2)?)])?;
    let mean = [0, 1].map(|axis| section.marks.iter().map(|mark| mark.at[axis]).sum::<f64>() / 3.0);
    section.marks.push(Mark { name: "SWA".into(), at: mean });
    let (nodes, samples) = shop.size((41, 2000), (11, 200));
    let grid = Grid::over(section.window, [nodes; 2], run.config.train.precision)?;
    let found = shop.landscape(run, &section, &grid, (Part::Test, samples))?;
    let mut object = pictured(&found, &section);
    let lowest = found.grid.points().zip(&found.values).min_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss));
    object["lowest"] = json!(lowest.map(|(at, value)| json!({ "at": at, "loss": short(value.loss) })));
    object["nearest"] = lowest.map(|(at, _)| nearest(&section.marks, at)).into();
    object["command"] = shop
        .on_device(&format!(
            "thalweg landscape averaged --plane weights snapshot.0,snapshot.1,snapshot.2 --part test --samples {samples} \
             --grid {nodes}x{nodes}"
        ))
        .into();
    Ok(object)
}

/// The name of the mark that is nearest to a place.
fn nearest(marks: &[Mark], place: [f64; 2]) -> &str {
    let distance = |mark: &&Mark| (mark.at[0] - place[0]).hypot(mark.at[1] - place[1]);
    marks.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map_or("none", |mark| &mark.name)
}

/// The loss of training and of test on the line from the last weights to SWA.
fn line(shop: &Workshop, run: &mut Run) -> Result<Value> {
    let engine = run.trainer.engine();
    let layout = engine.layout().clone();
    let ends = [("last", engine.download(Slot::Live, 0)?), ("SWA", engine.download(Slot::Swa, 0)?)];
    let section = Section::between(&layout, ends)?;
    let (nodes, samples) = shop.size((31, 2000), (11, 200));
    let grid = Grid::along(nodes, run.config.train.precision)?;
    let mut object = json!({ "x": grid.x.iter().map(|&x| short(x)).collect::<Vec<_>>() });
    let mut commands = Vec::new();
    for (name, part) in [("train", Part::Train), ("test", Part::Test)] {
        let found = shop.landscape(run, &section, &grid, (part, samples))?;
        let lowest = grid.x.iter().zip(&found.values).min_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss));
        object[name] = json!({
            "y": found.values.iter().map(|value| short(value.loss)).collect::<Vec<_>>(),
            "last": short(found.marks[0].loss), "swa": short(found.marks[1].loss),
            "lowest": lowest.map(|(&x, value)| json!({ "x": short(x), "loss": short(value.loss) })),
        });
        commands.push(shop.on_device(&format!(
            "thalweg landscape averaged --line last,swa --part {name} --samples {samples} --grid {nodes} --out {name}-line"
        )));
    }
    object["commands"] = json!(commands);
    Ok(object)
}

/// The network of many layers whose landscape is drawn.
const DEEP: &str = "--hidden 24,24,24,24,24,24,24,24,24,24,24,24 --init kaiming --optimizer sgd --momentum 0.9 --lr 0.02 \
                    --batch 100";

/// The landscape about a deep network without normalisation.
pub(super) fn plain(shop: &mut Workshop) -> Result<Value> {
    shape(shop, "plain", &format!("{DEEP} --epochs {}{}", shop.size(12, 3), shop.fewer()))
}

/// The landscape about the same network with batch normalisation.
pub(super) fn normed(shop: &mut Workshop) -> Result<Value> {
    shape(shop, "normed", &format!("{DEEP} --norm batch --epochs {}{}", shop.size(12, 3), shop.fewer()))
}

fn shape(shop: &mut Workshop, name: &str, flags: &str) -> Result<Value> {
    let mut run = shop.train_as(flags, Some(name))?;
    let engine = run.trainer.engine();
    let (layout, center) = (engine.layout().clone(), engine.download(Slot::Live, 0)?);
    let section = Section::random(&layout, ("last", center), &Random::default())?;
    let (nodes, samples) = shop.size((41, 1000), (11, 200));
    let grid = Grid::over(section.window, [nodes; 2], run.config.train.precision)?;
    let found = shop.landscape(&mut run, &section, &grid, (Part::Train, samples))?;
    let mut object = pictured(&found, &section);
    let highest = found.values.iter().map(|value| value.loss).filter(|loss| loss.is_finite()).fold(0.0, f64::max);
    object["highest"] = short(highest);
    object["train"] = run.command.into();
    object["command"] =
        shop.on_device(&format!("thalweg landscape {name} --samples {samples} --grid {nodes}x{nodes}")).into();
    Ok(object)
}
