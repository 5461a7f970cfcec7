//! `data fetch` against a server on loopback.
#![cfg(feature = "fetch")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use tempfile::TempDir;
use thalweg::data::fetch::{ARCHIVES, Archive};

/// Serves `files` over HTTP as long as the test runs; returns its address.
fn serve(files: HashMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/folder", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let name = request.split(' ').nth(1).unwrap().trim_start_matches("/folder/").to_string();
            let (status, body) = match files.get(&name) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &[][..]),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    address
}

fn tar_gz(name: &str, bytes: &[u8]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

// MD5 of "first" and "second".
const FIRST: &str = "8b04d5e3775d298e78455efc5ca404d5";
const SECOND: &str = "a9f0e61a137d86aa9db53465e0801612";

fn archive(files: &'static [(&'static str, &'static str)]) -> Archive {
    Archive { name: "test", url: "https://unused.invalid", files, unpacks_to: "" }
}

#[test]
fn files_are_fetched_and_checked() {
    let files = [("a".to_string(), b"first".to_vec()), ("b".to_string(), b"second".to_vec())];
    let address = serve(files.into());
    let dir = TempDir::new().unwrap();
    let mut heard = Vec::new();
    let two = archive(&[("a", FIRST), ("b", SECOND)]);
    two.fetch(Some(&address), dir.path(), &mut |file, done, total| heard.push((file.to_string(), done, total)))
        .unwrap();
    assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"second");
    assert_eq!(heard, [("a".to_string(), 5, Some(5)), ("b".to_string(), 6, Some(6))]);
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let address = serve([("a".to_string(), b"forged".to_vec())].into());
    let dir = TempDir::new().unwrap();
    let error = archive(&[("a", FIRST)]).fetch(Some(&address), dir.path(), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains(&format!("expected MD5 {FIRST}, found ")) && error.contains("over 6 bytes"), "{error}");
    assert!(!dir.path().exists());
}

#[test]
fn a_missing_file_is_named() {
    let address = serve(HashMap::new());
    let dir = TempDir::new().unwrap();
    let error = archive(&[("a", FIRST)]).fetch(Some(&address), dir.path(), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("/folder/a: ") && error.contains("404"), "{error}");
    let by_hand = format!("--mirror URL takes it from elsewhere; or put a into {} by hand", dir.path().display());
    assert!(error.contains(&by_hand) && !error.contains('\n'), "{error}");
}

#[test]
fn without_a_network_the_way_by_hand_is_told() {
    // Nobody listens at port 9 of this machine.
    for archive in ARCHIVES {
        let dir = TempDir::new().unwrap();
        let error = archive.fetch(Some("http://127.0.0.1:9"), dir.path(), &mut |_, _, _| {}).unwrap_err().to_string();
        let data = archive.data_dir(dir.path());
        assert!(error.contains("--mirror URL") && error.contains(archive.files[0].0), "{error}");
        assert!(error.ends_with(&format!("--data {}:{}", archive.name, data.display())), "{error}");
    }
}

#[test]
fn archives_are_unpacked() {
    let packed = tar_gz("inner/data_batch_1.bin", b"pixels");
    let sum: String = {
        use md5::Digest;
        md5::Md5::digest(&packed).iter().map(|b| format!("{b:02x}")).collect()
    };
    let address = serve([("x.tar.gz".to_string(), packed)].into());
    let files = Box::leak(Box::new([("x.tar.gz", &*Box::leak(sum.into_boxed_str()))]));
    let dir = TempDir::new().unwrap();
    let archive = Archive { unpacks_to: "inner", ..archive(files) };
    archive.fetch(Some(&address), dir.path(), &mut |_, _, _| {}).unwrap();
    let data = archive.data_dir(dir.path());
    assert_eq!(std::fs::read(data.join("data_batch_1.bin")).unwrap(), b"pixels");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the archive itself is not kept");
}

#[test]
fn official_addresses_are_https() {
    for archive in ARCHIVES {
        assert!(archive.url.starts_with("https://"), "{}", archive.url);
        assert!(archive.files.iter().all(|(_, sum)| sum.len() == 32));
        assert_eq!(Archive::named(archive.name).unwrap().url, archive.url);
    }
    let error = Archive::named("imagenet").unwrap_err().to_string();
    assert_eq!(error, "data fetch: expected cifar10, cifar100, fashion-mnist, mnist, found \"imagenet\"");
}
