//! `thalweg report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use thalweg::report::quality::quality;
use thalweg::report::sweep::Sweep;
use thalweg::report::{DRAW, document, profile, report, tell_apart, write_documents};
use thalweg::run::Trained;
use thalweg::sweep::is_sweep;

use super::{measuring, say, warn};

#[derive(clap::Args)]
pub struct Args {
    /// The folders of the runs: of one run everything, of several their curves, settings and results beside each other; or the
    /// folder of a sweep
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write [default: report.html, in the run's folder where it is one]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Write everything that the page shows into this file as well
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// The part that is predicted: train, validation or test [default: the last that is there]
    #[arg(long)]
    part: Option<String>,
    /// auto, cpu, gpu, or an adapter's number or name, for predictions [default: the run's]
    #[arg(long)]
    device: Option<String>,
    /// Time the kernels of one step on the run's device, and show their shares
    #[arg(long)]
    profile: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = args.runs.iter().find(|dir| is_sweep(dir)) {
        return args.sweep(dir);
    }
    let mut documents = args.runs.iter().map(|dir| document(dir)).collect::<thalweg::Result<Vec<_>>>()?;
    tell_apart(&mut documents, &args.runs);
    let out = args.out();
    args.check_places(&out)?;
    if let ([document], [dir]) = (&mut documents[..], &args.runs[..]) {
        args.complete(document, dir)?;
    }
    let documents: Vec<Value> = documents.into_iter().map(Value::Object).collect();
    if let Some(path) = &args.json {
        write_documents(path, &documents)?;
    }
    report(documents).script(DRAW).write(&out)?;
    say!("{}", out.display());
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn out(&self) -> PathBuf {
        match (&self.out, &self.runs[..]) {
            (Some(out), _) => thalweg::data::expand(&out.to_string_lossy()),
            (None, [run]) => run.join("report.html"),
            (None, _) => "report.html".into(),
        }
    }

    fn check_places(&self, out: &Path) -> anyhow::Result<()> {
        check_folder("--out", out)?;
        self.json.as_ref().map_or(Ok(()), |path| check_folder("--json", path))
    }

    /// The page and the pictures of the sweep in `dir`.
    fn sweep(&self, dir: &Path) -> anyhow::Result<ExitCode> {
        let found = dir.display();
        anyhow::ensure!(
            self.runs.len() == 1,
            "{found}: expected runs, or one sweep alone, found a sweep beside others"
        );
        let flags = [("--part", self.part.is_some()), ("--device", self.device.is_some()), ("--profile", self.profile)];
        if let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) {
            anyhow::bail!(
                "{flag}: expected a run, found the sweep {found}; thalweg report {found}/members/N tells of one run"
            );
        }
        let out = self.out();
        self.check_places(&out)?;
        let sweep = Sweep::read(dir)?;
        if let Some(path) = &self.json {
            write_documents(path, &[sweep.to_json()])?;
        }
        sweep.page().write(&out)?;
        say!("{}", out.display());
        for path in sweep.write_pictures(dir)? {
            say!("{}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Adds what an engine has to tell of one run: without its data or weights no predictions, which is said.
    fn complete(&self, document: &mut Map<String, Value>, dir: &Path) -> anyhow::Result<()> {
        let mut warnings = Vec::new();
        let opened = Trained::open(dir, None, self.device.as_deref(), measuring);
        match opened.and_then(|mut trained| {
            warnings.append(&mut trained.warnings);
            let model = &trained.setup().model;
            document.insert("model".into(), json!({ "widths": model.widths, "parameters": model.parameters() }));
            document.insert("data".into(), trained.setup().dataset.name.clone().into());
            quality(&mut trained, self.part.as_deref())
        }) {
            Ok(quality) => drop(document.insert("quality".into(), quality)),
            Err(error) if self.part.is_some() || self.device.is_some() => return Err(error.into()),
            Err(error) => warnings.push(format!("no predictions are shown: {error}")),
        }
        warnings.iter().for_each(|warning| warn(warning));
        document.insert("warnings".into(), warnings.into());
        if self.profile {
            document.insert("profile".into(), profile(dir, measuring)?);
        }
        Ok(())
    }
}

/// Refuses a file in a folder that is not there, before anything is computed.
pub fn check_folder(flag: &str, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    anyhow::ensure!(folder.is_dir(), "{flag}: expected a file in a folder that is there, found {}", path.display());
    Ok(())
}
