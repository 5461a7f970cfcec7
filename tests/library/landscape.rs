//! Sections through weight space: values against closed forms and separate evaluations, directions and planes against their
//! definitions.

use std::sync::Arc;

use serde_json::Value;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Part, Samples};
use thalweg::engine::{Engine, Evaluation, Layout, Precision, Setup, Slot, Step};
use thalweg::explore::landscape::{
    Grid, Landscape, Options, Random, Section, landscape, points_at_once, principal_components, sampled,
};
use thalweg::loss::Loss;
use thalweg::model::{Init, Norm};
use thalweg::{Activation, Mlp};

use crate::common::{Tolerance, assert_close, small};
use crate::tiny::engines;

const GRID: [usize; 2] = [4, 3];

/// First weights, whose running statistics are not those of any batch.
fn weights(model: &Mlp, seed: u64) -> Vec<f64> {
    Layout::new(model).init(model, Init::Kaiming, seed).into_iter().map(|w| f64::from(w as f32)).collect()
}

/// The section through the weights of a seed along random directions, biases too.
fn section(model: &Mlp, seed: u64) -> Section {
    let random = Random { include_biases: true, seed, ..Random::default() };
    Section::random(&Layout::new(model), ("first", weights(model, seed)), &random).unwrap()
}

fn grid(precision: Precision) -> Grid {
    Grid::over([[-1.0, 0.7], [-0.3, 0.9]], GRID, precision).unwrap()
}

fn values(engine: &mut dyn Engine, part: Part, section: &Section, options: Options) -> Landscape {
    let grid = grid(engine.setup().precision);
    let mut told = Vec::new();
    let mut watch = |done| {
        told.push(done);
        true
    };
    let found = landscape(engine, part, section, &grid, options, &mut watch).unwrap().unwrap();
    let points = grid.len() + section.marks.len();
    let replicas = engine.setup().replicas;
    assert_eq!(told, (replicas..).step_by(replicas).take_while(|n| *n < points).chain([points]).collect::<Vec<_>>());
    assert!(!engine.has(Slot::Scratch(0)), "what was allocated is given back");
    found
}

/// A linear model under the squared error is a quadratic surface, whose six numbers are sums over the samples.
#[test]
fn a_linear_model_has_a_quadratic_surface() {
    let (n, inputs, outputs) = (37, 9, 3);
    let number = |i: usize| f64::from(((i * 7919 + 31) % 1009) as f32 / 500.0 - 1.0);
    let x: Vec<f64> = (0..n * inputs).map(number).collect();
    let y: Vec<f64> = (0..n * outputs).map(|i| number(i + 5000)).collect();
    let train = Samples::valued(x.iter().map(|&x| x as f32).collect::<Vec<_>>(), y.clone(), outputs);
    let dataset = Arc::new(Dataset::new("rows", [inputs, 1, 1], train, None).unwrap());
    let model = Mlp { widths: vec![inputs, outputs], ..Mlp::new(inputs, outputs) };
    let setup = Setup { loss: Loss::Mse, evaluation_only: true, replicas: 5, ..Setup::new(model, dataset) };
    let section = section(&setup.model, 3);
    let layout = Layout::new(&setup.model);
    // What each vector adds to the outputs, and the size of its terms.
    let outputs_of = |flat: &[f64]| -> (Vec<f64>, Vec<f64>) {
        let tensors = layout.unpack(flat);
        let (w, b) = (&tensors[0].values, &tensors[1].values);
        let terms = |row: usize, o: usize| {
            (0..inputs)
                .map(move |i| (row, o, i))
                .map(|(row, o, i)| w[o * inputs + i] * x[row * inputs + i])
                .chain([b[o]])
        };
        let all = (0..n).flat_map(|row| (0..outputs).map(move |o| (row, o)));
        (
            all.clone().map(|(row, o)| terms(row, o).sum()).collect(),
            all.map(|(row, o)| terms(row, o).map(f64::abs).sum()).collect(),
        )
    };
    let [of_center, of_x, of_y] =
        [&section.center, &section.axes[0].direction, &section.axes[1].direction].map(|flat| outputs_of(flat));
    for (mut engine, eps) in engines(&setup) {
        let found = values(engine.as_mut(), Part::Train, &section, Options::default());
        for ([a, b], value) in found.grid.points().zip(&found.values) {
            let (mut want, mut bound) = (0.0, 0.0);
            for (i, y) in y.iter().enumerate() {
                let residual = of_center.0[i] + a * of_x.0[i] + b * of_y.0[i] - y;
                let size = of_center.1[i] + a.abs() * of_x.1[i] + b.abs() * of_y.1[i] + y.abs();
                // Each weight is rounded when it is loaded and twice when it is moved, each of the sum's terms and its sums once.
                let error = (inputs + 6) as f64 * eps * size;
                want += residual * residual;
                bound += error * (2.0 * residual.abs() + error);
            }
            let count = (n * outputs) as f64;
            // And the squares are summed up.
            let bound = bound / count + count * eps * want / count;
            let off = (value.loss - want / count).abs();
            assert!(off <= bound, "{}: {a}, {b}: {} not {}, {bound:e}", engine.describe(), value.loss, want / count);
        }
    }
}

/// The networks in small, and whether statistics are renewed.
fn networks() -> Vec<(Setup, bool)> {
    let model = |norm, residual| {
        let model = Mlp::new(small::WIDTHS[0], small::WIDTHS[2]).hidden([7, 7]).activation(Activation::Tanh);
        Mlp { residual, ..model.norm(norm) }
    };
    let setup = |model| Setup { model, ..small::setup() };
    vec![
        (setup(model(Norm::None, true)), false),
        (setup(model(Norm::Layer, false)), false),
        (setup(model(Norm::Batch, false)), false),
        (setup(model(Norm::Batch, true)), true),
    ]
}

/// Each value is that of an evaluation of the moved weights by themselves, and so many points at once change no bit, with a last
/// dispatch that is not full.
#[test]
fn points_are_separate_evaluations() {
    for (whole, renew) in networks() {
        let places: Vec<u32> = (0..40).collect();
        let renewed: Vec<u32> = (1..91).collect();
        let (setup, part) = sampled(&whole, Part::Test, &places, renew.then_some(&renewed[..])).unwrap();
        let section = section(&setup.model, 1);
        let several = engines(&Setup { replicas: 5, ..setup.clone() });
        let single = engines(&Setup { replicas: 1, ..setup.clone() });
        for ((mut several, eps), (mut single, _)) in several.into_iter().zip(single) {
            let options = Options { renew, exact: true };
            let found = values(several.as_mut(), part, &section, options);
            assert_eq!(values(single.as_mut(), part, &section, options), found, "{}", single.describe());
            let rounded = |v: f64| if eps > 1e-10 { f64::from(v as f32) } else { v };
            for ([x, y], value) in found.grid.points().zip(&found.values) {
                let moved = moved(single.as_mut(), &section, [x, y]);
                if single.device().is_none() && eps > 1e-10 {
                    // The CPU engine rounds each multiply-add once.
                    let axes = section.axes.iter().map(|axis| &axis.direction).zip([x, y]);
                    let mut want = section.center.clone();
                    axes.for_each(|(d, a)| want.iter_mut().zip(d).for_each(|(w, d)| *w = fma(a, *d, *w)));
                    assert_eq!(moved, want);
                }
                assert!(moved.iter().all(|&w| w == rounded(w)));
                let alone = alone(single.as_mut(), part, &moved, renew);
                assert_eq!(alone, *value, "{}: {x}, {y}", single.describe());
            }
            assert_eq!(found.marks, [alone(single.as_mut(), part, &section.center, renew)]);
        }
    }
}

/// `a x + y` in single precision, rounded once: the product is exact in f64, and where its sum is not, double rounding is told
/// apart by f32's own operation.
fn fma(a: f64, x: f64, y: f64) -> f64 {
    f64::from((a as f32).mul_add(x as f32, y as f32))
}

/// The weights at a point, as a device makes them.
fn moved(engine: &mut dyn Engine, section: &Section, at: [f64; 2]) -> Vec<f64> {
    engine.upload(Slot::Live, 0, &section.center).unwrap();
    engine.allocate(Slot::Scratch(3)).unwrap();
    for (axis, x) in section.axes.iter().zip(at) {
        engine.upload(Slot::Scratch(3), 0, &axis.direction).unwrap();
        engine.axpy(&[x], Slot::Scratch(3), Slot::Live).unwrap();
    }
    engine.free(Slot::Scratch(3)).unwrap();
    engine.download(Slot::Live, 0).unwrap()
}

/// The evaluation of weights by themselves.
fn alone(engine: &mut dyn Engine, part: Part, weights: &[f64], renew: bool) -> Evaluation {
    engine.upload(Slot::Live, 0, weights).unwrap();
    if renew {
        let setup = engine.setup();
        let step = Step { rows: setup.batch, rates: vec![setup.optimizer.rate()], ..Step::default() };
        engine.set_order(&[(0..step.rows as u32).collect()]).unwrap();
        engine.renew_statistics(Slot::Live, &[step]).unwrap();
    }
    engine.evaluate(part, &[Slot::Live]).unwrap()[0]
}

/// Kept statistics are the centre's, and renewed ones those of the point: at the centre of weights that were never trained they
/// differ, and so they do elsewhere.
#[test]
fn renewed_statistics_are_those_of_the_point() {
    let (whole, _) = networks().remove(3);
    let found: Vec<Landscape> = [false, true]
        .into_iter()
        .map(|renew| {
            let all: Vec<u32> = (0..small::N as u32).collect();
            let (setup, part) = sampled(&whole, Part::Test, &[0, 3, 4], renew.then_some(&all[..])).unwrap();
            assert_eq!(setup.dataset.part(part).unwrap().len(), 3);
            let mut engine = CpuEngine::<f64>::new(Setup { replicas: 2, ..setup }).unwrap();
            values(&mut engine, part, &section(&whole.model, 2), Options { renew, exact: true })
        })
        .collect();
    assert!(found[0].values.iter().zip(&found[1].values).all(|(kept, renewed)| kept.loss != renewed.loss));
}

/// Where the first layer's products are made once for all points, values are a rounding away: the terms of a z have a size of at
/// most 16 here, each is rounded as often as there are inputs, and the loss moves by less than 16 times as much; replicas change
/// no bit. Where the samples are added to that layer, they are those of each point by itself.
#[test]
fn projected_points_are_a_rounding_away() {
    let mut all = networks();
    let wide = Mlp::new(small::WIDTHS[0], small::WIDTHS[2]).hidden([small::WIDTHS[0], 7]);
    all.push((Setup { model: Mlp { residual: true, ..wide.clone() }, ..small::setup() }, false));
    all.push((Setup { model: wide, ..small::setup() }, false));
    for (whole, renew) in all {
        let places: Vec<u32> = (0..40).collect();
        let renewed: Vec<u32> = (1..91).collect();
        let (setup, part) = sampled(&whole, Part::Test, &places, renew.then_some(&renewed[..])).unwrap();
        let section = section(&setup.model, 1);
        let single = engines(&Setup { replicas: 1, eval_rows: Some(17), ..setup.clone() });
        let several = engines(&Setup { replicas: 5, eval_rows: Some(17), ..setup.clone() });
        for ((mut several, eps), (mut single, _)) in several.into_iter().zip(single) {
            let exact = values(several.as_mut(), part, &section, Options { renew, exact: true });
            let found = values(several.as_mut(), part, &section, Options { renew, exact: false });
            assert_eq!(values(single.as_mut(), part, &section, Options { renew, exact: false }), found);
            let bound = 256.0 * (small::WIDTHS[0] + 6) as f64 * eps;
            for (found, exact) in found.values.iter().zip(&exact.values) {
                assert!((found.loss - exact.loss).abs() <= bound, "{}: {found:?} {exact:?}", several.describe());
            }
            let is_alone = setup.model.residual && setup.model.widths[0] == setup.model.widths[1];
            assert_eq!(found == exact, is_alone, "{}", several.describe());
        }
    }
}

#[test]
fn who_watches_may_end_it() {
    let (setup, part) = sampled(&small::setup(), Part::Train, &[1, 2], None).unwrap();
    let mut engine = CpuEngine::<f32>::new(setup.clone()).unwrap();
    let section = section(&setup.model, 0);
    let found = landscape(&mut engine, part, &section, &grid(Precision::F32), Options::default(), &mut |done| done < 3)
        .unwrap();
    assert_eq!(found, None);
    assert!(!engine.has(Slot::Scratch(0)));
    let short = Section { center: vec![0.0; 3], ..section };
    let error =
        landscape(&mut engine, part, &short, &grid(Precision::F32), Options::default(), &mut |_| true).unwrap_err();
    assert!(error.to_string().starts_with("section: expected vectors of"), "{error}");
    assert_eq!((points_at_once(&setup, 3), points_at_once(&setup, 0)), (3, 1));
}

#[test]
fn a_plane_through_three_weights_has_their_distances() {
    let model = Mlp { norm: Norm::Batch, ..small::setup().model };
    let layout = Layout::new(&model);
    let [a, b, c] = [1, 2, 3].map(|seed| {
        let mut weights = weights(&model, seed);
        // Statistics are no part of a distance.
        weights[layout.trained..].fill(f64::from(seed as u32));
        layout.pack(&layout.unpack(&weights)).unwrap()
    });
    let section = Section::through(&layout, [("a", a.clone()), ("b", b.clone()), ("c", c.clone())]).unwrap();
    let places: Vec<[f64; 2]> = section.marks.iter().map(|mark| mark.at).collect();
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (i, p) in [&a, &b, &c].into_iter().enumerate() {
        for (j, q) in [&a, &b, &c].into_iter().enumerate() {
            let apart: Vec<f64> = p[..layout.trained].iter().zip(&q[..layout.trained]).map(|(p, q)| p - q).collect();
            let found = (places[i][0] - places[j][0]).hypot(places[i][1] - places[j][1]);
            assert!((found - length(&apart)).abs() <= 1e-13 * found, "{i} {j}");
        }
        // Where it is marked it lies, up to statistics, which are the centre's.
        let [x, y] = [0, 1].map(|k| &section.axes[k].direction);
        let there: Vec<f64> = (0..layout.len).map(|k| a[k] + places[i][0] * x[k] + places[i][1] * y[k]).collect();
        assert_close("weights", &there[..layout.trained], &p[..layout.trained], Tolerance { abs: 1e-13, rel: 0.0 });
        assert_eq!(there[layout.trained..], a[layout.trained..]);
        assert!(section.window.iter().zip(places[i]).all(|(&[low, high], x)| low < x && x < high));
    }
    let says = |points: [(&str, Vec<f64>); 3]| Section::through(&layout, points).unwrap_err().to_string();
    let middle: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f64::from(((a + b) / 2.0) as f32)).collect();
    assert_eq!(
        says([("last", a.clone()), ("first", b.clone()), ("swa", middle)]),
        "plane: expected three weight vectors that span a plane, found last, first and swa on a line"
    );
    assert_eq!(
        says([("last", a.clone()), ("swa", b.clone()), ("best", a.clone())]),
        "plane: expected three weight vectors that span a plane, found last and best equal"
    );
    assert!(says([("last", a.clone()), ("swa", b), ("x", vec![0.0])]).starts_with("x: expected"));
    let error = Section::between(&layout, [("last", a.clone()), ("best", a)]).unwrap_err().to_string();
    assert_eq!(error, "line: expected two weight vectors, found last and best equal");
}

/// Against the singular values that numpy finds of the centred vectors.
#[test]
fn components_are_those_of_numpy() {
    let golden: Value = serde_json::from_str(include_str!("../golden/components.json")).unwrap();
    let rows = |value: &Value| -> Vec<Vec<f64>> { serde_json::from_value(value.clone()).unwrap() };
    for case in golden.as_array().unwrap() {
        let vectors = rows(&case["vectors"]);
        let found = principal_components(&vectors.iter().map(|v| &v[..]).collect::<Vec<_>>());
        let (directions, places) = (rows(&case["directions"]), rows(&case["places"]));
        // Eigenvalues of a matrix of inner products are off by some ε of the largest; directions by as much over the gap, which
        // the script keeps above a hundredth, and coordinates by the vectors' length, some units, times that.
        let (shares, rest) = (Tolerance { abs: 1e-14, rel: 0.0 }, Tolerance { abs: 1e-12, rel: 0.0 });
        assert_close("shares", &found.shares, &rows(&serde_json::json!([case["shares"]]))[0], shares);
        for (k, direction) in directions.iter().enumerate() {
            assert_close("direction", &found.directions[k], direction, rest);
            let along = |places: &[Vec<f64>]| places.iter().map(|at| at[k]).collect::<Vec<_>>();
            let found: Vec<f64> = found.places.iter().map(|at| at[k]).collect();
            assert_close("places", &found, &along(&places), rest);
        }
    }
}

#[test]
fn a_path_lies_in_the_plane_of_its_components() {
    let model = small::setup().model;
    let layout = Layout::new(&model);
    let (a, b, c) = (weights(&model, 1), weights(&model, 2), weights(&model, 3));
    // A parabola, which lies in a plane.
    let at = |t: f64| (0..layout.len).map(|i| a[i] + t * b[i] + t * t * c[i]).collect::<Vec<f64>>();
    let seen: Vec<(u64, Vec<f64>)> = (0..6u32).map(|t| (u64::from(t) * 10, at(f64::from(t) / 5.0))).collect();
    let section = Section::along(&layout, seen.clone()).unwrap();
    assert_eq!(section.path.iter().map(|p| p.steps).collect::<Vec<_>>(), [0, 10, 20, 30, 40, 50]);
    assert_eq!(section.path[5].at, [0.0, 0.0]);
    assert!(section.path[0].at[0] < 0.0 && section.path[0].at[1] <= 0.0, "it begins at the lower left");
    for (passed, (_, want)) in section.path.iter().zip(&seen) {
        let axes = [0, 1].map(|k| &section.axes[k].direction);
        let there = |i: usize| section.center[i] + passed.at[0] * axes[0][i] + passed.at[1] * axes[1][i];
        let found: Vec<f64> = (0..layout.len).map(there).collect();
        assert_close("weights", &found, want, Tolerance { abs: 1e-12, rel: 0.0 });
    }
    let shares: f64 = section
        .axes
        .iter()
        .map(|axis| axis.label.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((shares - 100.0).abs() <= 0.6, "all variance, each share rounded: {shares}");
    let says = |seen: &[(u64, Vec<f64>)]| Section::along(&layout, seen.to_vec()).unwrap_err().to_string();
    assert!(says(&seen[..2]).starts_with("plane: expected the weights of three steps at least, found 2"));
    let straight: Vec<_> = (0..4).map(|t| (t, a.iter().map(|a| a * (t + 1) as f64).collect())).collect();
    assert_eq!(says(&straight), "plane: expected weights along the run that span a plane, found them on a line");
}

#[test]
fn grids_meet_their_borders_and_refuse_what_is_none() {
    let grid = Grid::over([[-1.0, 1.0], [2.0, 4.0]], [5, 3], Precision::F32).unwrap();
    assert_eq!((grid.x.clone(), grid.y.clone()), (vec![-1.0, -0.5, 0.0, 0.5, 1.0], vec![2.0, 3.0, 4.0]));
    assert_eq!(grid.points().nth(6), Some([-0.5, 3.0]));
    let third = Grid::over([[0.0, 1.0]; 2], [4, 2], Precision::F32).unwrap();
    assert_eq!(third.x[1], f64::from(third.x[1] as f32), "as the engine has it");
    let says = |window, nodes| Grid::over(window, nodes, Precision::F32).unwrap_err().to_string();
    assert_eq!(says([[0.0, 1.0]; 2], [1, 5]), "grid: expected 2 to 1000 points along an axis, found 1");
    assert_eq!(says([[0.0, 1.0]; 2], [5, 1001]), "grid: expected 2 to 1000 points along an axis, found 1001");
    assert!(says([[1.0, 1.0 + 1e-9]; 2], [5, 5]).starts_with("grid: expected a window of 5 places apart"));
    assert!(says([[-1e300, 1e300]; 2], [5, 5]).starts_with("grid: expected a window of 5 places apart"));
    let section = section(&small::setup().model, 0);
    for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = section.window(Some(radius)).unwrap_err().to_string();
        assert_eq!(error, format!("radius: expected a number above 0, found {radius}"));
    }
    assert_eq!(section.window(Some(2.0)).unwrap(), [[-2.0, 2.0]; 2]);
}

#[test]
fn a_barrier_is_what_rises_above_the_straight_line() {
    let grid = Grid::along(11, Precision::F64).unwrap();
    assert_eq!((grid.x.len(), grid.x[3], grid.x[13]), (17, 0.0, 1.0));
    let of = |loss: &dyn Fn(f64) -> f64| {
        let values: Vec<Evaluation> =
            grid.x.iter().map(|&x| Evaluation { loss: loss(x), ..Evaluation::default() }).collect();
        grid.barrier(&values).unwrap()
    };
    // Of a parabola over a slope, a quarter in the middle; what lies beyond the ends has no say.
    let bump = of(&|x| if (0.0..=1.0).contains(&x) { 2.0 + 3.0 * x + x * (1.0 - x) } else { 1e9 });
    assert!((bump.height - 0.25).abs() < 1e-14 && bump.at == 0.5, "{bump:?}");
    assert_eq!(of(&|x| x * x).height, 0.0);
    assert_eq!(of(&|x| if x == 0.3 { f64::NAN } else { x }).height, f64::INFINITY);
}
