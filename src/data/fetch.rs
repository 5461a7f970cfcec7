//! Downloading data sets from where their authors publish them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};

use super::files::most_unpacked;
use crate::error::{Error, Result};

/// A published data set: its files, each with the MD5 checksum that its authors publish.
#[derive(Clone, Copy, Debug)]
pub struct Archive {
    /// The name by which [`Archive::named`] finds it.
    pub name: &'static str,
    /// The address of the folder that the files lie in, over HTTPS.
    pub url: &'static str,
    /// The names of the files and their MD5 checksums. A `.tar.gz` is unpacked, other files are left as they are.
    pub files: &'static [(&'static str, &'static str)],
    /// The folder that unpacking makes, or the empty text where nothing is unpacked.
    pub unpacks_to: &'static str,
}

/// All archives that can be downloaded.
pub const ARCHIVES: [Archive; 4] = [
    Archive {
        name: "cifar10",
        url: "https://www.cs.toronto.edu/~kriz",
        files: &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")],
        unpacks_to: "cifar-10-batches-bin",
    },
    Archive {
        name: "cifar100",
        url: "https://www.cs.toronto.edu/~kriz",
        files: &[("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")],
        unpacks_to: "cifar-100-binary",
    },
    Archive {
        name: "fashion-mnist",
        url: "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        files: &[
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ],
        unpacks_to: "",
    },
    Archive {
        name: "mnist",
        url: "https://ossci-datasets.s3.amazonaws.com/mnist",
        files: &[
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        ],
        unpacks_to: "",
    },
];

/// The most bytes of a file that is downloaded, and of all that it unpacks to: CIFAR's archives have 170 MB, and 185 MB within.
const MOST_BYTES: u64 = 512 << 20;
/// The time after which a server that does not answer is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most files and folders of an archive: CIFAR's have 9.
const MOST_ENTRIES: usize = 1000;

impl Archive {
    /// The archive of that name.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such archive.
    pub fn named(name: &str) -> Result<Self> {
        let names: Vec<&str> = ARCHIVES.iter().map(|a| a.name).collect();
        let found = ARCHIVES.iter().find(|a| a.name == name).copied();
        found.ok_or_else(|| Error::config("data fetch", format!("expected {}, found {name:?}", names.join(", "))))
    }

    /// The folder in which the data set lies after [`fetch`](Self::fetch) into `dir`.
    pub fn data_dir(&self, dir: &Path) -> PathBuf {
        if self.unpacks_to.is_empty() { dir.into() } else { dir.join(self.unpacks_to) }
    }

    /// Downloads every file into `dir` from `mirror`, or from the official address, checks it and unpacks it.
    /// `progress` hears the file, the bytes that have come and, if the server tells, those that will.
    ///
    /// # Errors
    /// A file that cannot be had, or whose checksum is another; it is not kept. The text says how to do without a network.
    pub fn fetch(
        &self,
        mirror: Option<&str>,
        dir: &Path,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<()> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        for (file, checksum) in self.files {
            let url = format!("{}/{file}", mirror.unwrap_or(self.url).trim_end_matches('/'));
            let part = dir.join(format!("{file}.part"));
            let result = download(&url, &part, checksum, &mut |done, total| progress(file, done, total))
                .map_err(|error| match error {
                    Error::Data { place, message } => {
                        Error::Data { place, message: format!("{message}; {}", self.by_hand(dir)) }
                    }
                    other => other,
                })
                .and_then(|()| self.place(&part, file, dir));
            if result.is_err() {
                // What is left of a failed download is of no use; that it cannot be removed either is less telling
                // than why it failed.
                let _ = fs::remove_file(&part);
                let _ = fs::remove_dir(dir);
            }
            result?;
        }
        Ok(())
    }

    /// How to have the data without this download.
    fn by_hand(&self, dir: &Path) -> String {
        let names: Vec<&str> = self.files.iter().map(|(name, _)| *name).collect();
        let (names, dir, data) = (names.join(", "), dir.display(), self.data_dir(dir));
        let placed = match self.unpacks_to {
            "" => format!("put {names} into {dir}"),
            folder => format!("unpack {names} in {dir}, so that {folder} lies there"),
        };
        let data = data.display();
        format!("--mirror URL takes it from elsewhere; or {placed} by hand, and train with --data {}:{data}", self.name)
    }

    fn place(&self, part: &Path, file: &str, dir: &Path) -> Result<()> {
        if file.ends_with(".tar.gz") {
            let packed = File::open(part).map_err(Error::io(part))?;
            let bytes = packed.metadata().map_err(Error::io(part))?.len();
            unpack(packed, bytes, dir)?;
            return fs::remove_file(part).map_err(Error::io(part));
        }
        let path = dir.join(file);
        fs::rename(part, &path).map_err(Error::io(&path))
    }
}

/// Unpacks the files and folders of a gzipped tar archive of `packed` bytes into `dir`, and nothing beside it.
///
/// # Errors
/// A broken archive, one of more entries or bytes than any of [`ARCHIVES`] has, a path that leads out of `dir`, and entries that
/// are neither files nor folders, as links and devices.
#[doc(hidden)]
pub fn unpack(reader: impl Read, packed: u64, dir: &Path) -> Result<()> {
    let broken = |error: std::io::Error| Error::data(dir, format!("expected a whole .tar.gz archive, found: {error}"));
    let most = MOST_BYTES.min(most_unpacked(packed));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(reader).take(most));
    let mut bytes = 0u64;
    for (i, entry) in archive.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let refuse = |wanted: &str| {
            let text = format!("expected an archive of {wanted}, found {}", path.display());
            Err(Error::data(dir, text + "; nothing more was unpacked"))
        };
        let kind = entry.header().entry_type();
        if matches!(kind, tar::EntryType::XGlobalHeader) {
            continue;
        }
        if !(kind.is_file() || kind.is_dir()) {
            return refuse("files and folders, without links and devices");
        }
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return refuse("paths within its folder");
        }
        bytes = bytes.saturating_add(entry.size());
        if i >= MOST_ENTRIES || bytes > most {
            return refuse(&format!("at most {MOST_ENTRIES} entries and {most} bytes"));
        }
        if !entry.unpack_in(dir).map_err(broken)? {
            return refuse("paths within its folder");
        }
    }
    Ok(())
}

fn download(url: &str, path: &Path, checksum: &str, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<()> {
    let failed = |text: String| Error::Data { place: url.to_string(), message: text };
    // A server that does not answer is not waited for; one that is slow is.
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .build()
        .new_agent();
    let response = agent.get(url).call().map_err(|error| failed(error.to_string()))?;
    let total = response.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
    let mut body = response.into_body().into_reader();
    let mut file = File::create(path).map_err(Error::io(path))?;
    let mut digest = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let n = body.read(&mut buffer).map_err(|error| failed(error.to_string()))?;
        if n == 0 {
            break;
        }
        digest.update(&buffer[..n]);
        done += n as u64;
        if done > MOST_BYTES {
            return Err(failed(format!("expected at most {MOST_BYTES} bytes, found more")));
        }
        file.write_all(&buffer[..n]).map_err(Error::io(path))?;
        progress(done, total);
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != checksum {
        return Err(failed(format!("expected MD5 {checksum}, found {found} over {done} bytes")));
    }
    Ok(())
}
