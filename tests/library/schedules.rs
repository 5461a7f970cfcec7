//! Schedules against PyTorch's values, and what holds for all of them.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use thalweg::schedule::{Memory, Rate, Schedule};

/// The schedule of a golden case: PyTorch's arguments in lower case, but for the rates of its optimizer.
fn schedule(name: &str, args: &Value) -> Schedule {
    let table = if name == "sequential_linear_cosine" {
        let part = |name: &str, args: &Value| lower(name, args);
        json!({
            "name": "sequential", "milestones": [args["milestone"]],
            "parts": [part("linear", &args["warmup"]), part("cosine", &args["cosine"])],
        })
    } else {
        lower(name, args)
    };
    serde_json::from_value(table).unwrap()
}

fn lower(name: &str, args: &Value) -> Value {
    let mut table = json!({ "name": name });
    for (key, value) in args.as_object().unwrap() {
        table[key.to_lowercase()] = value.clone();
    }
    table
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn all_follow_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schedules.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = file["schedules"].as_array().unwrap();
    assert_eq!(cases.len(), 23);
    for case in cases {
        let name = format!("{} {}", case["name"], case["args"]);
        let schedule = schedule(case["name"].as_str().unwrap(), &case["args"]);
        let lr = numbers(&case["lr"]);
        let steps = lr.len() as u64;
        schedule.check(steps).unwrap();
        let base = Rate { lr: case["base_lr"].as_f64().unwrap_or(0.1), momentum: 0.5 };
        let metrics = case.get("metrics").map(numbers);
        let momentum = case.get("momentum").map(numbers);
        let mut memory = Memory::default();
        for t in 0..lr.len() {
            let rate = schedule.at(t as u64, steps, base, &memory);
            let close = |got: f64, want: f64| (got - want).abs() <= 1e-12 * want.abs();
            assert!(close(rate.lr, lr[t]), "{name} at {t}: {} {}", rate.lr, lr[t]);
            let want = momentum.as_ref().map_or(0.5, |m| m[t]);
            assert!(close(rate.momentum, want), "{name}: momentum at {t}: {} {want}", rate.momentum);
            if let Some(metrics) = &metrics {
                schedule.observe(t as u64, steps, base, |_| metrics[t], &mut memory);
            }
        }
    }
}

/// Izmailov et al. (2018), equation 1, for a cycle of 4 from 0.08 to 0.02: i = 1, 2, 3, 4 gives t(i) = 1/4 ... 1.
#[test]
fn the_cyclic_rate_of_swa_ends_each_cycle_at_its_lowest() {
    let schedule = Schedule::SwaCyclic { alpha_1: 0.08, alpha_2: 0.02, cycle: 4 };
    let lr = |t| schedule.at(t, 100, Rate::default(), &Memory::default()).lr;
    for (t, want) in [0.065, 0.05, 0.035, 0.02, 0.065].into_iter().enumerate() {
        assert!((lr(t as u64) - want).abs() < 1e-15, "{t}");
    }
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let (rate, steps) = (1e-6f64..10.0, 1u64..300);
    prop_oneof![
        Just(json!({"name": "constant"})),
        (steps.clone(), 0.01f64..1.0).prop_map(|(n, g)| json!({"name": "step", "step_size": n, "gamma": g})),
        (steps.clone(), steps.clone(), 0.01f64..1.0)
            .prop_map(|(a, b, g)| json!({"name": "multistep", "milestones": [a, a + b], "gamma": g})),
        (0.5f64..1.0).prop_map(|g| json!({"name": "exponential", "gamma": g})),
        (0.01f64..1.0, 0.0f64..1.0, steps.clone())
            .prop_map(|(a, b, n)| json!({"name": "linear", "start_factor": a, "end_factor": b, "total_iters": n})),
        (steps.clone(), 0.1f64..4.0).prop_map(|(n, p)| json!({"name": "polynomial", "total_iters": n, "power": p})),
        (steps.clone(), 0.0f64..1e-6).prop_map(|(n, e)| json!({"name": "cosine", "t_max": n, "eta_min": e})),
        (1u64..50, 1u64..4).prop_map(|(n, m)| json!({"name": "cosine_warm_restarts", "t_0": n, "t_mult": m})),
        (rate.clone(), 1u64..40, 1u64..40, 0usize..3).prop_map(|(r, up, down, mode)| json!({
            "name": "cyclic", "base_lr": r / 10.0, "max_lr": r, "step_size_up": up, "step_size_down": down, "gamma": 0.99,
            "mode": (["triangular", "triangular2", "exp_range"][mode]),
        })),
        (20u64..300, 0.1f64..0.45, any::<bool>(), any::<bool>()).prop_map(|(n, p, three, linear)| json!({
            "name": "one_cycle", "total_steps": n, "pct_start": p, "three_phase": three,
            "anneal_strategy": if linear { "linear" } else { "cos" },
        })),
        (rate.clone(), steps).prop_map(|(r, n)| json!({"name": "swalr", "swa_lr": r, "anneal_epochs": n})),
        (rate.clone(), rate, 1u64..30)
            .prop_map(|(a, b, n)| json!({"name": "swa_cyclic", "alpha_1": a, "alpha_2": b, "cycle": n})),
    ]
    .prop_map(|table| serde_json::from_value(table).unwrap())
}

/// The highest rate that a schedule names, or the optimizer's.
fn highest(schedule: &Schedule, base: f64) -> f64 {
    match *schedule {
        Schedule::Cyclic { max_lr, .. } => max_lr,
        Schedule::Swalr { swa_lr, .. } => base.max(swa_lr),
        Schedule::SwaCyclic { alpha_1, alpha_2, .. } => alpha_1.max(alpha_2),
        _ => base,
    }
}

/// The names of all schedules, as the error for an unknown one lists them.
fn names() -> BTreeSet<String> {
    let refused = serde_json::from_value::<Schedule>(json!({"name": ""})).unwrap_err().to_string();
    refused.split_once("expected").unwrap().1.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// All but the two that are tested by themselves: one has a memory, and one has parts.
#[test]
fn any_schedule_may_be_drawn() {
    let mut runner = TestRunner::deterministic();
    let mut drawn = BTreeSet::from(["plateau".to_string(), "sequential".to_string()]);
    for _ in 0..1000 {
        let schedule = any_schedule().new_tree(&mut runner).unwrap().current();
        drawn.insert(serde_json::to_value(schedule).unwrap()["name"].as_str().unwrap().to_string());
    }
    assert_eq!(drawn, names());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rate_is_finite_and_within_its_bounds(schedule in any_schedule(), lr in 1e-5f64..10.0, step in 0u64..100_000) {
        schedule.check(1000).unwrap();
        let rate = schedule.at(step, 1000, Rate { lr, momentum: 0.9 }, &Memory::default());
        prop_assert!(rate.lr.is_finite() && rate.lr >= 0.0, "{rate:?}");
        prop_assert!(rate.lr <= highest(&schedule, lr) * (1.0 + 1e-12), "{rate:?}");
        prop_assert!((0.0..1.0).contains(&rate.momentum), "{rate:?}");
    }

    #[test]
    fn a_sequence_is_each_schedule_on_its_own_part(
        first in any_schedule(), second in any_schedule(), milestone in 30u64..400, step in 0u64..800,
    ) {
        let base = Rate { lr: 0.3, momentum: 0.9 };
        let none = Memory::default();
        let joined = Schedule::Sequential { milestones: vec![milestone], parts: vec![first.clone(), second.clone()] };
        let want = if step < milestone {
            first.at(step, milestone, base, &none)
        } else {
            second.at(step - milestone, 800 - milestone, base, &none)
        };
        prop_assert_eq!(joined.at(step, 800, base, &none), want);
    }

    /// A plateau that is stopped, written out and read back goes on as if nothing had been.
    #[test]
    fn a_plateau_resumes_from_its_memory(metrics in prop::collection::vec(0.0f64..1.0, 20..60), stop in 0usize..20) {
        let table = json!({"name": "plateau", "factor": 0.5, "patience": 1, "cooldown": 1});
        let schedule: Schedule = serde_json::from_value(table).unwrap();
        let base = Rate { lr: 0.1, momentum: 0.0 };
        let (mut through, mut resumed) = (Memory::default(), Memory::default());
        for (t, &metric) in metrics.iter().enumerate() {
            if t == stop {
                resumed = serde_json::from_str(&serde_json::to_string(&resumed).unwrap()).unwrap();
            }
            for memory in [&mut through, &mut resumed] {
                schedule.observe(t as u64, 60, base, |_| metric, memory);
            }
            prop_assert_eq!(schedule.at(t as u64 + 1, 60, base, &through), schedule.at(t as u64 + 1, 60, base, &resumed));
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let text = |table: Value| {
        let schedule: Schedule = serde_json::from_value(table).unwrap();
        schedule.check(100).unwrap_err().to_string()
    };
    let milestones = json!({"name": "multistep", "milestones": [5, 3]});
    assert_eq!(text(milestones), "schedule.milestones: expected increasing steps, found [5, 3]");
    let parts = json!({"name": "sequential", "milestones": [5], "parts": [{"name": "constant"}]});
    assert_eq!(text(parts), "schedule.parts: expected one more than the 1 milestones, found 1");
    let short = json!({"name": "one_cycle", "total_steps": 3, "pct_start": 0.3});
    assert!(text(short).starts_with("schedule.pct_start: expected a way up and a way down"));
    assert!(text(json!({"name": "step", "step_size": 0})).contains("schedule.step_size"));
    assert!(text(json!({"name": "plateau", "factor": 1.0})).contains("schedule.factor"));
    assert!(text(json!({"name": "exponential", "gamma": -0.5})).contains("schedule.gamma"));
}
