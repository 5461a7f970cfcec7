//! The page of a run while it goes on: who may see it, what it is told, and what it may ask for.

use crate::common;

use std::net::TcpListener;

use common::program::{fails, json, npy, ok, words};
use common::python::python;
use common::serving::Serving;
use serde_json::Value;
use tempfile::TempDir;

/// What a run without an end is told, which is served on a free port.
const ENDLESS: &str = "train --data npy:x.npy,y.npy,x.npy,y.npy --hidden 8 --batch 1 --device cpu --epochs 1000000 \
                       --eval-every 1000000 --log-every 0 --checkpoint-every 0 --quiet --run r --serve 0";

/// A folder with two classes of which an epoch takes a while.
fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let n = 20_000u64;
    let values: Vec<f32> = (0..n * 3).map(|i| ((i * 29 % 31) as f32 - 15.0) / 10.0).collect();
    npy(&dir.path().join("y.npy"), &[n], values.chunks(3).map(|row| i64::from(row[0] > 0.0)).collect());
    npy(&dir.path().join("x.npy"), &[n, 3], values);
    dir
}

fn step(state: &Value) -> u64 {
    state["now"]["step"].as_u64().unwrap()
}

/// Fails unless steps are still taken.
#[track_caller]
fn goes_on(run: &Serving) {
    let mut states = run.states();
    let first = step(&states.next().unwrap());
    assert!(states.take(3).any(|state| step(&state) > first && state["end"].is_null() && state["asked"] == false));
}

#[test]
fn a_page_is_told_of_the_run_and_stops_it() {
    let dir = folder();
    let run = Serving::start(dir.path(), &words(ENDLESS));
    let mut states = run.states().skip_while(|state| step(state) == 0);
    let (first, second) = (states.next().unwrap(), states.next().unwrap());
    assert!(step(&second) > step(&first), "{} {}", step(&first), step(&second));
    assert_eq!(first["now"]["facts"][2][0], "model");
    assert!(first["now"]["loss"].as_f64().unwrap() >= 0.0 && first["now"]["seconds_left"].as_f64().unwrap() > 0.0);

    // Whoever comes late hears of the first step too.
    let late = run.states().next().unwrap();
    let curve = &late["history"]["curves"][0];
    assert_eq!((curve["name"].as_str(), curve["x"][0].as_u64()), (Some("loss"), Some(0)));
    assert!(step(&late) >= step(&second));

    let (status, _, said) = run.post("/checkpoint");
    assert_eq!((status, said.as_str()), (202, "a checkpoint is written after the steps under way\n"));
    assert!(states.any(|state| state["now"]["checkpoint"].as_u64().is_some_and(|steps| steps > 0)));
    assert!(dir.path().join("r/checkpoint.safetensors").exists());

    let (status, _, _) = run.post("/stop");
    assert_eq!(status, 202);
    let last = states.last().unwrap();
    assert!(last["end"]["text"].as_str().unwrap().starts_with("Ended since it was asked to: "), "{}", last["end"]);
    assert_eq!(last["end"]["table"][0][1], "loss");
    assert_eq!(last["end"]["table"][2][0], "test");
    assert_eq!(last["history"]["ended"], "ended since it was asked to");
    assert_eq!(last["asked"], true);
    let (status, said) = run.ended();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    let summary = json(dir.path().join("r/summary.json"));
    assert_eq!((&summary["stopped_by"], summary["steps"].as_u64()), (&Value::from("asked"), Some(step(&last))));
}

#[test]
fn others_are_refused() {
    let dir = folder();
    let run = Serving::start(dir.path(), &words(ENDLESS));
    let get = "GET /?token=@ HTTP/1.1";
    let refused = |status: u16, lines: &[&str]| {
        let (found, head, body) = run.ask(lines);
        assert_eq!(found, status, "{lines:?}: {head}");
        assert!(!body.contains(&run.token) && !head.contains("access-control"), "{lines:?}");
    };
    // By another name of this machine, since that is the name of another page; the port does not count.
    let port = format!("Host: 127.0.0.1:{}", run.port);
    for host in [port.as_str(), "Host: localhost", "Host: LOCALHOST.:9", "Host: [::1]:9"] {
        let (status, head, body) = run.ask(&[get, host]);
        assert_eq!(status, 200, "{host}");
        assert!(body.contains("<!doctype html>"));
        for header in [
            "content-security-policy: default-src 'none';",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header) && !head.contains("access-control"), "{header}: {head}");
        }
    }
    for host in
        ["Host: example.org", "Host: 127.0.0.1.example.org", "Host: localhost@example.org", "Host: 0.0.0.0", "Host:"]
    {
        refused(403, &[get, host]);
        refused(403, &["POST /stop HTTP/1.1", host, "Authorization: Bearer @", "Content-Length: 0"]);
    }
    refused(403, &[get, "X: y"]);
    refused(403, &[get, "Host: localhost", "Host: localhost"]);
    refused(403, &["GET http://example.org/?token=@ HTTP/1.1", "Host: localhost"]);
    refused(403, &["GET /?token=@ HTTP/1.0"]);
    // Without the token, with a wrong one, or with the right one in the wrong place.
    for token in
        ["X: y", "Authorization: Bearer", "Authorization: Bearer @0", "Authorization: Basic @", "Cookie: token=@"]
    {
        refused(403, &["POST /stop HTTP/1.1", "Host: localhost", token, "Content-Length: 0"]);
        refused(403, &["GET / HTTP/1.1", "Host: localhost", token]);
        refused(403, &["GET /events HTTP/1.1", "Host: localhost", token]);
    }
    refused(403, &["POST /stop?token=@ HTTP/1.1", "Host: localhost", "Content-Length: 0"]);
    for origin in ["Origin: http://localhost:1", "Origin: null", "Origin: https://localhost"] {
        refused(
            403,
            &["POST /stop HTTP/1.1", "Host: localhost", "Authorization: Bearer @", origin, "Content-Length: 0"],
        );
    }
    // Where nothing is, and with methods that mean nothing.
    refused(404, &["GET /x?token=@ HTTP/1.1", "Host: localhost"]);
    refused(404, &["GET /../../etc/passwd?token=@ HTTP/1.1", "Host: localhost"]);
    let (status, head, _) = run.ask(&["GET /stop?token=@ HTTP/1.1", "Host: localhost"]);
    assert!(status == 405 && head.contains("allow: post"), "{head}");
    let (status, head, _) = run.post("/");
    assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    let (status, head, body) = run.ask(&["HEAD /?token=@ HTTP/1.1", "Host: localhost"]);
    assert!(status == 200 && body.is_empty() && head.contains("content-length: "), "{head}");
    // What is no request, and one that is too long.
    refused(400, &["@@@"]);
    refused(431, &[get, "Host: localhost", &format!("X: {}", "x".repeat(100_000))]);
    goes_on(&run);
}

/// Clients that ask for much and take nothing neither hold the run up nor keep it from its end.
#[test]
fn clients_that_do_not_read_hold_nothing() {
    let dir = folder();
    let run = Serving::start(dir.path(), &words(ENDLESS));
    let deaf: Vec<_> = (0..20).map(|_| run.send(&["GET /events?token=@ HTTP/1.1", "Host: localhost"])).collect();
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(("127.0.0.1", run.port)).unwrap()).collect();
    goes_on(&run);
    run.post("/stop");
    let (status, said) = run.ended();
    assert!(status.success(), "{said}");
    drop((deaf, silent));
}

/// As many as there is room for, who ask nothing: they are left when their time is over, and others have their turn.
#[test]
#[ignore = "takes the ten seconds after which a client is left"]
fn long_silence_is_left() {
    let dir = folder();
    let run = Serving::start(dir.path(), &words(ENDLESS));
    let silent: Vec<_> = (0..64).map(|_| std::net::TcpStream::connect(("127.0.0.1", run.port)).unwrap()).collect();
    let is_answered = || {
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut run.send(&["GET / HTTP/1.1", "Host: localhost"]), &mut answer);
        answer.starts_with("HTTP/1.1 403")
    };
    while !is_answered() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    drop(silent);
}

#[test]
fn a_run_that_is_interrupted_says_how_it_goes_on() {
    let dir = folder();
    let run = Serving::start(dir.path(), &words(ENDLESS));
    let states = run.states();
    goes_on(&run);
    run.signal(2);
    let end = states.last().unwrap()["end"]["text"].as_str().unwrap().to_string();
    assert_eq!(end, "Interrupted, with a checkpoint. thalweg train --resume r goes on from it.");
    assert_eq!(run.ended().0.code(), Some(130));
}

#[test]
fn a_port_in_use_is_told_before_anything_is_written() {
    let dir = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = fails(dir.path(), 2, &["train", "--data", "npy:x.npy,y.npy", "--run", "r", "--serve", &port]);
    assert_eq!(line, format!("error: --serve: expected a free port, found {port} in use; 0 takes any free one"));
    let line = fails(dir.path(), 2, &["train", "--serve", "run.toml"]);
    assert!(line.contains("expected a port from 0 to 65535; a configuration stands before the flag"), "{line}");
    assert!(!dir.path().join("r").exists());
}

/// A run that is served has the bits of one that is not.
#[test]
fn bits_are_the_same() {
    let dir = folder();
    let train = "train --data npy:x.npy,y.npy --hidden 8 --batch 100 --epochs 2 --device cpu --quiet";
    ok(dir.path(), &words(&format!("{train} --run plain")));
    ok(dir.path(), &words(&format!("{train} --run served --serve 0")));
    let weights = |run: &str| std::fs::read(dir.path().join(run).join("weights.safetensors")).unwrap();
    assert!(weights("plain") == weights("served"));
}

/// In a browser: steps arrive, another page in it can do nothing, a lost connection comes back, and the keyboard stops the run.
#[test]
fn a_browser_watches_and_stops_a_run() {
    let dir = folder();
    let Some(printed) = python(dir.path(), "live.py", &words(ENDLESS)) else { return };
    assert!(printed.ends_with("all is as it should be\n"), "{printed}");
    assert_eq!(json(dir.path().join("r/summary.json"))["stopped_by"], "asked");
}
