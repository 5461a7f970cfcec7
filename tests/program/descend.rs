//! Descent on surfaces of two parameters: their derivatives, what the trajectories show, and the program around them.
#![cfg(feature = "cli")]

use crate::common;

use std::process::{Command, Output};

use common::{Tolerance, assert_close};
use serde_json::Value;
use thalweg::explore::{Descent, Surface, Trajectory, Verdict, descend, verdict};
use thalweg::optimizer::Optimizer;
use thalweg::schedule::{Mode, Schedule, ThresholdMode};

fn sgd(lr: f64, momentum: f64) -> Optimizer {
    Optimizer::sgd(lr).momentum(momentum)
}

fn plan(surface: Surface, steps: u64) -> Descent {
    Descent { steps, start: surface.start(), batch: None, noise: 0.0, seed: 0 }
}

fn constant(surface: Surface, optimizer: Optimizer, plan: &Descent) -> Trajectory {
    descend(surface, &optimizer, &Schedule::default(), plan).unwrap()
}

/// Places all over a surface's window.
fn places(surface: Surface) -> impl Iterator<Item = [f64; 2]> {
    let [[left, right], [bottom, top]] = surface.window();
    let along = |low: f64, high: f64, k: u32| low + (high - low) * (f64::from(k) + 0.3) / 7.0;
    (0..49).map(move |i| [along(left, right, i % 7), along(bottom, top, i / 7)])
}

/// With h = 1e-6 central differences are off by h²/6 times the third derivative (at most 4800 for Rosenbrock: 8e-10), and
/// by ε/h times the values, which are below 2600: 6e-7 for each rounding.
#[test]
fn gradients_are_the_derivatives_of_the_values() {
    let h = 1e-6;
    for surface in Surface::ALL {
        for [x, y] in places(surface) {
            let difference =
                |dx: f64, dy: f64| (surface.value([x + dx, y + dy]) - surface.value([x - dx, y - dy])) / (2.0 * h);
            let want = [difference(h, 0.0), difference(0.0, h)];
            let name = format!("{surface} at {x}, {y}");
            assert_close(&name, &surface.gradient([x, y]), &want, Tolerance { abs: 2e-6, rel: 0.0 });
        }
    }
}

#[test]
fn examples_have_the_mean_of_the_surface() {
    for surface in Surface::ALL {
        let n = surface.examples();
        for w in places(surface) {
            let gradients: Vec<[f64; 2]> = (0..n).map(|i| surface.example_gradient(i, w)).collect();
            let mean = [0, 1].map(|axis| gradients.iter().map(|g| g[axis]).sum::<f64>() / n as f64);
            assert_close(&surface.to_string(), &mean, &surface.gradient(w), Tolerance { abs: 1e-12, rel: 1e-12 });
        }
    }
    assert_eq!(Surface::Regression.examples(), 11);
}

/// The curvatures of Himmelblau's function are below 100 there, and its places are given to six decimals.
#[test]
fn minima_and_saddles_are_flat_and_minima_are_lowest() {
    for surface in Surface::ALL {
        for &w in surface.minima().iter().chain(surface.saddles()) {
            assert_close(
                &format!("{surface} at {w:?}"),
                &surface.gradient(w),
                &[0.0; 2],
                Tolerance { abs: 1e-4, rel: 0.0 },
            );
        }
        for &w in surface.minima() {
            assert!((surface.value(w) - surface.lowest()).abs() < 1e-9, "{surface} at {w:?}");
        }
        assert!(places(surface).all(|w| surface.value(w) >= surface.lowest()), "{surface}");
        for &[x, y] in surface.saddles() {
            let around = [[0.1, 0.0], [0.0, 0.1], [0.1, 0.1], [0.1, -0.1]];
            let rises = around.map(|[dx, dy]| surface.value([x + dx, y + dy]) > surface.value([x, y]));
            assert!(rises.contains(&true) && rises.contains(&false), "{surface} at {x}, {y}");
        }
    }
}

#[test]
fn names_read_back() {
    for surface in Surface::ALL {
        assert_eq!(surface.to_string().parse::<Surface>().unwrap(), surface);
        assert_eq!(serde_json::to_value(surface).unwrap(), surface.to_string());
    }
    let error = "bowls".parse::<Surface>().unwrap_err().to_string();
    assert!(error.starts_with("surface: ") && error.contains("bowls") && error.contains("rosenbrock"), "{error}");
}

/// The window shows what happens: the default start and the lowest points.
#[test]
fn windows_are_squares_that_hold_start_and_minima() {
    for surface in Surface::ALL {
        let window = surface.window();
        assert_eq!(window[0][1] - window[0][0], window[1][1] - window[1][0], "{surface}");
        for w in surface.minima().iter().chain([&surface.start()]) {
            assert!((0..2).all(|axis| (window[axis][0]..=window[axis][1]).contains(&w[axis])), "{surface}: {w:?}");
        }
    }
}

/// The curvature of the bowl is 1: a step multiplies w by 1 − lr.
#[test]
fn a_rate_above_two_over_the_curvature_climbs_out_of_the_bowl() {
    let ends = |lr| {
        let trajectory = constant(Surface::Bowl, sgd(lr, 0.0), &plan(Surface::Bowl, 400));
        let heights: Vec<f64> = trajectory.points.iter().map(|point| point.value).collect();
        (verdict(Surface::Bowl, &trajectory), heights)
    };
    let (ended, heights) = ends(1.9);
    assert_eq!(ended, Verdict::Reached);
    assert!(heights.is_sorted_by(|a, b| a >= b));
    assert_eq!(ends(2.0).0, Verdict::Bouncing);
    let (ended, heights) = ends(2.1);
    assert_eq!(ended, Verdict::Diverged);
    assert!(heights.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_trajectory_ends_where_the_numbers_are_no_longer_finite() {
    let trajectory = constant(Surface::Rosenbrock, sgd(0.01, 0.0), &plan(Surface::Rosenbrock, 200));
    assert!(!trajectory.finite && trajectory.points.len() < 20);
    assert!(trajectory.points.iter().all(|p| p.value.is_finite() && p.w.iter().all(|w| w.is_finite())));
    assert_eq!(verdict(Surface::Rosenbrock, &trajectory), Verdict::Diverged);
}

#[test]
fn a_saddle_traps_and_noise_frees() {
    let surface = Surface::Saddle;
    for optimizer in [sgd(0.1, 0.0), sgd(0.1, 0.9)] {
        let trapped = constant(surface, optimizer, &plan(surface, 400));
        assert_eq!(verdict(surface, &trapped), Verdict::Saddle);
        assert!(trapped.points.iter().all(|point| point.w[1] == 0.0));
    }
    let mut sides = [false; 2];
    for seed in 0..10 {
        let freed = constant(surface, sgd(0.1, 0.0), &Descent { noise: 0.01, seed, ..plan(surface, 400) });
        assert_eq!(verdict(surface, &freed), Verdict::Reached, "seed {seed}");
        sides[usize::from(freed.points[400].w[1] > 0.0)] = true;
    }
    assert_eq!(sides, [true; 2]);
}

#[test]
fn momentum_crosses_the_valley_sooner() {
    let surface = Surface::Valley;
    let arrives = |momentum| {
        let points = constant(surface, sgd(surface.lr(), momentum), &plan(surface, 1000)).points;
        // From here on it stays.
        points.iter().rposition(|point| surface.distance(point.w) > 0.01).unwrap() + 1
    };
    let (plain, heavy) = (arrives(0.0), arrives(0.9));
    // (1 − lr)ⁿ and √0.9ⁿ are 0.01/2.5 after 304 and 105 steps.
    assert!((300..310).contains(&plain), "{plain}");
    assert!((90..160).contains(&heavy), "{heavy}");
}

#[test]
fn rastrigin_catches_plain_descent() {
    let surface = Surface::Rastrigin;
    let caught = constant(surface, sgd(surface.lr(), 0.0), &plan(surface, 200));
    assert_eq!(verdict(surface, &caught), Verdict::LocalMinimum);
    let short = constant(Surface::Bowl, sgd(0.001, 0.0), &plan(Surface::Bowl, 10));
    assert_eq!(verdict(Surface::Bowl, &short), Verdict::UnderWay);
}

/// Root mean square distance to the minimum over the last quarter.
fn scatter(trajectory: &Trajectory) -> f64 {
    let last = &trajectory.points[trajectory.points.len() * 3 / 4..];
    let squares: f64 = last.iter().map(|point| Surface::Regression.distance(point.w).powi(2)).sum();
    (squares / last.len() as f64).sqrt()
}

#[test]
fn smaller_batches_scatter_and_a_decaying_rate_settles() {
    let surface = Surface::Regression;
    let run = |schedule: &Schedule, batch| {
        let plan = Descent { batch, ..plan(surface, 1100) };
        descend(surface, &sgd(0.1, 0.0), schedule, &plan).unwrap()
    };
    let constant = Schedule::default();
    let (full, mini, single) = (run(&constant, None), run(&constant, Some(4)), run(&constant, Some(1)));
    assert!(scatter(&full) < 1e-9);
    assert!(scatter(&mini) > 0.01 && scatter(&single) > 2.0 * scatter(&mini));
    assert_eq!(verdict(surface, &full), Verdict::Reached);
    assert_eq!(verdict(surface, &single), Verdict::Scattered);
    let decaying = run(&Schedule::cosine(), Some(1));
    assert!(scatter(&decaying) < scatter(&single) / 3.0);
    assert_eq!(verdict(surface, &decaying), Verdict::Reached);
}

/// With a tiny rate every step's gradient is that of the start: an epoch's sum up to the whole gradient, in an order of
/// its own. w of about 5 is rounded by 1e-15, which is 1e-6 of a step.
#[test]
fn an_epoch_takes_every_example_once() {
    let surface = Surface::Regression;
    let points = constant(surface, sgd(1e-9, 0.0), &Descent { batch: Some(1), ..plan(surface, 22) }).points;
    let gradient = |i: usize| [0, 1].map(|axis| (points[i].w[axis] - points[i + 1].w[axis]) / 1e-9);
    let want = surface.gradient(surface.start());
    let epochs = [0, 11].map(|first| (first..first + 11).map(gradient).collect::<Vec<_>>());
    for epoch in &epochs {
        let mean = [0, 1].map(|axis| epoch.iter().map(|g| g[axis]).sum::<f64>() / 11.0);
        assert_close("mean of an epoch", &mean, &want, Tolerance { abs: 2e-6, rel: 0.0 });
    }
    assert!(epochs[0].iter().zip(&epochs[1]).any(|(a, b)| (a[0] - b[0]).abs() > 1e-3));
}

/// The last batch of an epoch is what is left: its gradient is the mean of three examples, not of four.
#[test]
fn a_short_batch_has_its_own_mean() {
    let surface = Surface::Regression;
    let points = constant(surface, sgd(1e-9, 0.0), &Descent { batch: Some(4), ..plan(surface, 3) }).points;
    let gradient = |i: usize, axis: usize| (points[i].w[axis] - points[i + 1].w[axis]) / 1e-9;
    let mean = [0, 1].map(|axis| (4.0 * gradient(0, axis) + 4.0 * gradient(1, axis) + 3.0 * gradient(2, axis)) / 11.0);
    assert_close("mean of an epoch", &mean, &surface.gradient(surface.start()), Tolerance { abs: 2e-6, rel: 0.0 });
}

#[test]
fn a_plan_gives_one_trajectory() {
    let surface = Surface::Regression;
    let run = |seed| {
        let plan = Descent { batch: Some(2), noise: 0.1, seed, ..plan(surface, 50) };
        constant(surface, sgd(0.1, 0.9), &plan)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn schedules_and_optimizers_are_those_of_training() {
    let surface = Surface::Bowl;
    let cosine = Schedule::cosine();
    let points = descend(surface, &sgd(0.1, 0.0), &cosine, &plan(surface, 100)).unwrap().points;
    assert_eq!(points.len(), 101);
    assert_close(
        "lr",
        &[points[0].lr, points[50].lr, points[100].lr],
        &[0.1, 0.05, 0.0],
        Tolerance { abs: 1e-15, rel: 0.0 },
    );
    // A plateau sees the value, which lr = 2 never improves: step 0 is the best, step 11 the eleventh without improvement.
    let plateau = Schedule::Plateau {
        mode: Mode::Min,
        factor: 0.5,
        patience: 10,
        threshold: 1e-4,
        threshold_mode: ThresholdMode::Rel,
        cooldown: 0,
        min_lr: 0.0,
        eps: 1e-8,
    };
    let points = descend(surface, &sgd(2.0, 0.0), &plateau, &plan(surface, 20)).unwrap().points;
    assert_eq!((points[11].lr, points[12].lr), (2.0, 1.0));
    // Adam's first step is lr in each component, whatever the gradient.
    let adam = Optimizer::Adam { lr: 0.25, betas: [0.9, 0.999], eps: 1e-12, weight_decay: 0.0, amsgrad: false };
    let points = constant(surface, adam, &plan(surface, 1)).points;
    assert_close("adam", &points[1].w, &[-1.75, 1.25], Tolerance { abs: 1e-9, rel: 0.0 });
    assert_eq!(points[0].momentum, 0.9);
}

#[test]
fn bad_plans_are_refused() {
    let refused = |surface: Surface, change: fn(&mut Descent)| {
        let mut plan = plan(surface, 10);
        change(&mut plan);
        descend(surface, &sgd(0.1, 0.0), &Schedule::default(), &plan).unwrap_err().to_string()
    };
    assert!(refused(Surface::Bowl, |plan| plan.batch = Some(1)).starts_with("batch: expected none"));
    assert!(refused(Surface::Regression, |plan| plan.batch = Some(0)).starts_with("batch: expected 1 to the 11"));
    assert!(refused(Surface::Regression, |plan| plan.batch = Some(12)).ends_with("found 12"));
    assert!(refused(Surface::Bowl, |plan| plan.noise = f64::NAN).starts_with("noise: "));
    assert!(refused(Surface::Bowl, |plan| plan.noise = -1.0).starts_with("noise: "));
    assert!(refused(Surface::Bowl, |plan| plan.start = [f64::INFINITY, 0.0]).starts_with("start: "));
    assert!(refused(Surface::Rosenbrock, |plan| plan.start = [1e200, 0.0]).starts_with("start: "));
    assert!(refused(Surface::Bowl, |plan| plan.steps = 0).starts_with("steps: "));
    assert!(refused(Surface::Bowl, |plan| plan.steps = u64::MAX).starts_with("steps: "));
}

fn thalweg(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg")).arg("descend").args(args).output().unwrap()
}

#[track_caller]
fn ok(args: &[&str]) -> String {
    let output = thalweg(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = thalweg(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    text
}

#[test]
fn the_program_prints_a_table_and_a_verdict() {
    let text = ok(&["--surface", "saddle"]);
    assert!(text.starts_with("saddle: sgd, lr 0.1\n"), "{text}");
    assert!(text.contains("\n 200 ") && text.contains("stuck at a saddle"), "{text}");
    assert!(ok(&["--surface", "saddle", "--noise", "0.01", "--steps", "400"]).contains("it reached a minimum"));
    assert!(ok(&["--surface", "bowl", "--lr", "2.1"]).contains("it diverged"));
    assert!(ok(&["--surface", "rosenbrock", "--lr", "0.01"]).contains("leaves the finite numbers"));
}

#[test]
fn the_program_prints_json_and_draws() {
    let dir = tempfile::TempDir::new().unwrap();
    for surface in Surface::ALL {
        let file = dir.path().join(format!("{surface}.svg"));
        let name = surface.to_string();
        let text = ok(&["--surface", &name, "--steps", "30", "--json", "--svg", file.to_str().unwrap()]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["surface"], &value["optimizer"]["name"]), (&name.into(), &"sgd".into()));
        assert_eq!(value["schedule"]["name"], "constant");
        assert_eq!(value["minima"].as_array().unwrap().len(), surface.minima().len());
        assert_eq!(value["finite"], true);
        let points = value["points"].as_array().unwrap();
        assert_eq!(points.len(), 31);
        assert_eq!(points[30]["step"], 30);
        assert_eq!(points[0]["lr"], surface.lr());
        for key in ["w", "value", "lr", "momentum", "grad_norm"] {
            assert!(!points[30][key].is_null(), "{key}");
        }
        serde_json::from_value::<Verdict>(value["ended"].clone()).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        assert!(svg.ends_with("</svg>\n") && svg.len() < 1 << 20, "{surface}: {}", svg.len());
        assert!(svg.contains(surface.formula()), "{surface}");
    }
}

#[test]
fn the_program_resolves_optimizer_and_schedule_as_training_does() {
    let optimizer = |args: &[&str]| -> Value {
        let text = ok(&[&["--surface", "bowl", "--steps", "20", "--json"], args].concat());
        serde_json::from_str::<Value>(&text).unwrap()["optimizer"].clone()
    };
    assert_eq!(optimizer(&["--momentum", "0.9", "--nesterov"])["nesterov"], true);
    assert_eq!(optimizer(&["--optimizer", "adam"])["lr"], 0.06);
    assert_eq!(optimizer(&["--optimizer", "adam", "--lr", "0.5"])["lr"], 0.5);
    assert_eq!(optimizer(&["--set", "optimizer.lr=0.3"])["lr"], 0.3);
    assert_eq!(optimizer(&["--set", "optimizer={name=\"rmsprop\",lr=0.2,alpha=0.5}"])["lr"], 0.2);
    assert_eq!(optimizer(&["--set", "optimizer={momentum=0.5}"])["name"], "sgd");
    let args = ["--surface", "bowl", "--steps", "20", "--json", "--set", "schedule={name=\"step\",step_size=10}"];
    let value: Value = serde_json::from_str(&ok(&args)).unwrap();
    assert_eq!((&value["points"][9]["lr"], value["schedule"]["step_size"].as_u64()), (&0.1.into(), Some(10)));
    assert!((value["points"][10]["lr"].as_f64().unwrap() - 0.01).abs() < 1e-15);
}

#[test]
fn the_program_refuses_what_makes_no_sense_in_one_line() {
    let cases: [(&[&str], &str); 12] = [
        (&[], "--surface"),
        (&["--surface", "bowls"], "rosenbrock"),
        (&["--surface", "bowl", "--batch", "2"], "batch: expected none"),
        (&["--surface", "regression", "--batch", "0"], "batch: expected 1 to"),
        (&["--surface", "bowl", "--start", "1"], "--start: expected two numbers"),
        (&["--surface", "bowl", "--start", "1,x"], "\"1,x\""),
        (&["--surface", "bowl", "--noise", "-1"], "noise: "),
        (&["--surface", "bowl", "--steps", "0"], "steps: "),
        (&["--surface", "bowl", "--lr", "-1"], "optimizer.lr: "),
        (&["--surface", "bowl", "--optimizer", "adam", "--momentum", "0.9"], "optimizer.momentum: "),
        (&["--surface", "bowl", "--set", "train.batch=4"], "expected a key of optimizer or schedule"),
        (&["--surface", "bowl", "--schedule", "cosin"], "schedule.name: "),
    ];
    for (args, expected) in cases {
        let error = fails(args);
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    let missing = std::env::temp_dir().join("no such folder").join("bowl.svg");
    assert!(fails(&["--surface", "bowl", "--svg", missing.to_str().unwrap()]).contains("no such folder"));
}
