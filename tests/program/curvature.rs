//! `thalweg curvature`, and `train --curvature`.

use serde_json::Value;
use tempfile::TempDir;
use thalweg::event::{Control, Ended, Event};
use thalweg::run::{Config, Place, Prepared, read_config};

use crate::common::program::{fails, json, lines, ok, table, tensors, words};

/// Trains on the small table, with averages, in the folder `r`.
fn train(dir: &TempDir, more: &str) {
    let data = table(dir);
    let line = format!(
        "train --data {data} --hidden 6 --activation tanh --optimizer sgd --lr 0.5 --batch 8 --epochs 6 --device cpu --quiet \
         --keep-best --metric train_loss --set average={{swa={{start=10}},ema={{decay=0.9}}}} {more}"
    );
    ok(dir.path(), &words(&line));
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The contract: what is printed of each set of weights, and what is written.
#[test]
fn a_run_is_measured_side_by_side() {
    let dir = TempDir::new().unwrap();
    train(&dir, "--run r");
    let line = "curvature r --top 5 --samples 50 --part train --seed 3 --json";
    let printed = ok(dir.path(), &words(line));
    let all: Value = serde_json::from_str(&printed).unwrap();
    let names: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert_eq!(names, ["last", "swa", "ema", "best"]);
    for (name, one) in all.as_object().unwrap() {
        let eigenvalues = numbers(&one["eigenvalues"]);
        assert!(eigenvalues.len() == 5 && eigenvalues.is_sorted_by(|a, b| a >= b), "{name}: {one}");
        assert!(one["smallest"].as_f64().unwrap() <= eigenvalues[4]);
        // 3·6 + 6 + 6·2 + 2 parameters, all of whose eigenvalues are known.
        assert_eq!((one["parameters"].as_u64(), one["samples"].as_u64()), (Some(38), Some(50)));
        let (nodes, weights) = (numbers(&one["density"]["nodes"]), numbers(&one["density"]["weights"]));
        let trace = one["trace"]["mean"].as_f64().unwrap();
        assert_eq!((nodes.len(), one["trace"]["error"].as_f64()), (38, Some(0.0)));
        // Sums of 38 numbers in f32 up to the largest.
        let bound = 38.0 * 16.0 * f64::from(f32::EPSILON) * eigenvalues[0];
        assert!((nodes.iter().sum::<f64>() - trace).abs() <= bound, "{name}: {trace}");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() <= 1e-12);
        for measure in ["sharpness", "filter_sharpness"] {
            let rise = &one[measure];
            assert!(
                rise["largest"].as_f64().unwrap() >= rise["mean"]["mean"].as_f64().unwrap(),
                "{name} {measure}: {rise}"
            );
            assert!(rise["relative"].is_f64() && rise["ascent"].is_f64() && rise["mean"]["error"].is_f64());
        }
    }
    // The same again, to the bit, and in the file; the samples are all there are.
    assert_eq!(ok(dir.path(), &words(line)), printed);
    assert_eq!(json(dir.path().join("r/curvature/curvature.json")), all);
    let evaluated: Value = serde_json::from_str(&ok(dir.path(), &words("eval r --part train --json"))).unwrap();
    let all: Value = serde_json::from_str(&ok(dir.path(), &words("curvature r --samples 1000 --json"))).unwrap();
    let (loss, wanted) = (all["last"]["loss"].as_f64().unwrap(), evaluated["train_loss"]["mean"].as_f64().unwrap());
    assert!((loss - wanted).abs() <= 60.0 * f64::from(f32::EPSILON) * wanted, "{loss} {wanted}");
    let csv = std::fs::read_to_string(dir.path().join("r/curvature/density.csv")).unwrap();
    assert!(csv.starts_with("eigenvalue,last,swa,ema,best\n") && csv.lines().count() == 1002);
    let svg = std::fs::read_to_string(dir.path().join("r/curvature/density.svg")).unwrap();
    assert!(["last", "swa", "ema", "best", "eigenvalue"].iter().all(|word| svg.contains(word)));
}

/// The table answers, and says what its answer is worth.
#[test]
fn the_answer_is_a_sentence() {
    let dir = TempDir::new().unwrap();
    train(&dir, "--run r");
    let said = ok(dir.path(), &words("curvature r --weights last,swa --out seen"));
    let text = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("the Hessian of the mean loss over 60 train samples"), "{said}");
    assert!(text.contains("swa") && text.contains("last") && text.contains("(Dinh et al., 2017)"), "{said}");
    assert!(text.contains("largest eigenvalue (") && text.contains("mean rise as filters move ("), "{said}");
    assert!(dir.path().join("seen/density.svg").exists() && !dir.path().join("r/curvature").exists());
    assert!(said.lines().all(|line| line.chars().count() <= 80 || line.contains("seen/")), "{said}");
    // A file of weights is as good as a name, and the Gauss-Newton matrix has no negative eigenvalues.
    let line = "curvature r --weights swa,r/weights.swa.safetensors --gauss-newton --weights-only --json";
    let all: Value = serde_json::from_str(&ok(dir.path(), &words(line))).unwrap();
    let (one, other) = (&all["swa"], &all["r/weights.swa.safetensors"]);
    assert!(one == other && one["matrix"] == "gauss_newton" && one["parameters"] == 30, "{all}");
    let largest = numbers(&one["eigenvalues"])[0];
    assert!(one["smallest"].as_f64().unwrap() >= -16.0 * f64::from(f32::EPSILON) * largest, "{one}");
}

/// The landscape along the first two eigenvectors bends there as the eigenvalues say.
#[test]
fn a_landscape_lies_along_eigenvectors() {
    let dir = TempDir::new().unwrap();
    train(&dir, "--run r --precision f64");
    let all: Value = serde_json::from_str(&ok(dir.path(), &words("curvature r --weights swa --json"))).unwrap();
    let line = "landscape r --plane curvature --center swa --grid 3x3 --radius 1e-3 --json --out seen";
    let told: Value = serde_json::from_str(&ok(dir.path(), &words(line))).unwrap();
    let csv = std::fs::read_to_string(dir.path().join("seen/landscape.csv")).unwrap();
    let rows: Vec<Vec<f64>> =
        csv.lines().skip(1).map(|row| row.split(',').filter_map(|number| number.parse().ok()).collect()).collect();
    let loss = |x: f64, y: f64| {
        let node = rows.iter().find(|row| (row[0] - x).abs() < 1e-9 && (row[1] - y).abs() < 1e-9);
        node.unwrap_or_else(|| panic!("{csv}\n{told}"))[2]
    };
    let r = 1e-3;
    let bends = [[r, 0.0], [0.0, r]].map(|[x, y]| (loss(x, y) + loss(-x, -y) - 2.0 * loss(0.0, 0.0)) / (r * r));
    // A difference over 1e-3 has an error of about its square times fourth derivatives, of the order of the second.
    for (bend, wanted) in bends.iter().zip(numbers(&all["swa"]["eigenvalues"])) {
        assert!((bend / wanted - 1.0).abs() < 1e-3, "{bend} {wanted}");
    }
}

#[test]
fn bad_input_is_refused_in_a_line() {
    let dir = TempDir::new().unwrap();
    train(&dir, "--run r --norm batch --replicas 2");
    let refused = |more: &str| fails(dir.path(), 2, &words(&format!("curvature r {more}")));
    assert!(refused("--weights last,nothing").contains("expected one of last, swa, ema, best"));
    assert!(refused("--weights last,last").ends_with("--weights: expected each name once, found \"last\" twice"));
    assert!(refused("--replica 2").ends_with("--replica: expected one below 2, found 2"));
    assert!(refused("--samples 0").contains("samples: expected at least 1, found 0"));
    assert!(refused("--samples 1").contains("--samples: expected at least 2 under batch normalisation"));
    assert!(refused("--part validation").contains("expected one of train, test"));
    assert!(refused("--top 0").contains("top: expected 1 to 50"));
    assert!(refused("--top 51").contains("top: expected 1 to 50"));
    assert!(refused("--top 5 --steps 5").contains("steps: expected at least 6, found 5"));
    assert!(fails(dir.path(), 2, &words("curvature nowhere")).contains("nowhere"));
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(refused("--out file").contains("file"));
    let train = |more: &str| fails(dir.path(), 2, &words(&format!("train --device cpu --epochs 1 --quiet {more}")));
    assert!(train("--curvature every=0").contains("train.curvature_every: expected at least 1, found 0"));
    assert!(train("--curvature every=often").contains("train.curvature_every: "));
    assert!(train("--curvature 2 --curvature-samples 0").contains("train.curvature_samples: expected at least 1"));
    assert!(train("--curvature 2 --precision mixed").contains("train.curvature_every: expected train.precision to be"));
    assert!(!dir.path().join("runs").exists());
}

/// The eigenvalue along a run stands in its metrics, for each replica, where it is asked for; the run has the bits that it has
/// without, also where it goes on from a checkpoint at a step at which one is measured, or between.
#[test]
fn a_run_is_measured_on_its_way() {
    let dir = TempDir::new().unwrap();
    // Epochs of 8 steps; an odd distance meets ends of epochs and checkpoints.
    let more = "--replicas 2 --log-every 4 --checkpoint-every 6steps";
    train(&dir, &format!("{more} --run without"));
    train(&dir, &format!("{more} --curvature every=3 --curvature-samples 40 --run with"));
    let path = |name: &str| dir.path().join(name);
    let (plain, measured) = (lines(path("without/metrics.jsonl")), lines(path("with/metrics.jsonl")));
    for r in 0..2 {
        let file = |run: &str| path(&format!("{run}/weights.{r}.safetensors"));
        assert_eq!(tensors(&file("without")), tensors(&file("with")));
    }
    let steps: Vec<u64> = measured.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (0..48).filter(|step| step % 3 == 0 || step % 4 == 0).collect::<Vec<_>>());
    for line in &measured {
        let is_measured = line["step"].as_u64().unwrap() % 3 == 0;
        assert_eq!(line["curvature"].is_f64(), is_measured, "{line}");
        if is_measured {
            let each = numbers(&line["curvatures"]);
            assert!(each.len() == 2 && each[0] != each[1] && each.iter().all(|value| *value > 0.0), "{line}");
            assert_eq!(line["curvature"].as_f64().unwrap(), (each[0] + each[1]) / 2.0);
        }
        let same = plain.iter().find(|other| other["step"] == line["step"]);
        assert!(same.is_none_or(|other| other["losses"] == line["losses"]), "{line}");
    }
    let svg = std::fs::read_to_string(path("with/curvature.svg")).unwrap();
    assert!(svg.contains("2 / lr") && svg.contains("largest eigenvalue") && !path("without/curvature.svg").exists());

    // From checkpoints after 30 steps, where one is due, 40 and 42; left by a run that ended early, as one that was killed.
    let bytes = std::fs::read(path("with/metrics.jsonl")).unwrap();
    for (epochs, left) in [(4, 30), (5, 36), (5, 40)] {
        let line = format!("{more} --curvature every=3 --curvature-samples 40 --run part --overwrite");
        let line = line.replace("6steps", &format!("{left}steps"));
        train(&dir, &format!("{line} --epochs {epochs}"));
        ok(dir.path(), &words("train --resume part --epochs 6 --quiet"));
        assert_eq!(std::fs::read(path("part/metrics.jsonl")).unwrap(), bytes, "from {left} steps");
    }
    // By epochs, and begun late.
    train(&dir, "--run late --epochs 2");
    ok(dir.path(), &words("train --resume late --epochs 4 --curvature every=1epoch --quiet"));
    let late: Vec<u64> = lines(path("late/metrics.jsonl"))
        .iter()
        .filter(|line| line["curvature"].is_f64())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(late, [16, 24]);
}

/// A run that is left after a measurement, and before the step that comes after it, measures the same again.
#[test]
fn a_run_left_at_a_measurement_goes_on() {
    let dir = TempDir::new().unwrap();
    train(&dir, "--curvature every=3 --log-every 4 --run whole");
    let table = read_config(&dir.path().join("whole")).unwrap();
    let config = Config::resolve(table, Vec::new(), Vec::new()).unwrap();
    let mut leave = |event: &Event| {
        let is_last = matches!(event, Event::Curvature(found) if found.step == 9);
        Ok(if is_last { Control::Interrupt } else { Control::Continue })
    };
    let place = Place::New(dir.path().join("part"));
    let finished = Prepared::open(config, place, |_| ()).unwrap().train(&mut [&mut leave]).unwrap();
    assert_eq!(finished.ended, Ended::Interrupted);
    ok(dir.path(), &words("train --resume part --quiet"));
    let metrics = |run: &str| std::fs::read(dir.path().join(run).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics("part"), metrics("whole"));
}
