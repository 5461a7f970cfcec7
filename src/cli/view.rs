//! `thalweg view`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use thalweg::report::History;
use thalweg::report::page::Page;

use super::say;
use super::serve::{Answer, Route, Runs, Site, bind, values};

#[derive(clap::Args)]
pub struct Args {
    /// The folder whose runs are shown, and those of the folders below
    #[arg(default_value = "runs")]
    dir: PathBuf,
    /// Port on this machine; 0 takes any free one
    #[arg(long, default_value_t = 8718)]
    port: u16,
}

const ROUTES: [Route; 2] = [("/", Method::GET), ("/report", Method::GET)];

/// The most runs that are compared on a page.
const MOST_COMPARED: usize = 20;

/// The runs of a folder, as they lie there when one asks.
struct Folder(PathBuf);

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dir = &args.dir;
    anyhow::ensure!(dir.is_dir(), "{}: expected a folder with runs, found none", dir.display());
    let server = bind("--port", args.port)?;
    say!("page    {}", server.address());
    say!("Ctrl-C ends it");
    server.start(Arc::new(Folder(dir.clone())))?.wait();
    Ok(ExitCode::SUCCESS)
}

impl Site for Folder {
    fn routes(&self) -> &'static [Route] {
        &ROUTES
    }

    fn answer(self: Arc<Self>, path: &str, query: &str) -> Answer {
        let runs = Runs::find(&self.0);
        if path == "/" {
            let page = Page::new(format!("Runs in {}", self.0.display())).data("folder", runs.to_json());
            return Answer::Html(page.script(include_str!("serve/runs.js")).html());
        }
        let names: Vec<String> = values(query, "run").collect();
        if names.is_empty() || names.len() > MOST_COMPARED {
            let found = names.len();
            return Answer::Text(StatusCode::BAD_REQUEST, format!("expected 1 to {MOST_COMPARED} runs, found {found}"));
        }
        match runs.folders(&names) {
            Err(problem) => Answer::Text(StatusCode::NOT_FOUND, problem),
            Ok(folders) => match report(&folders) {
                Ok(page) => Answer::Html(page),
                Err(error) => Answer::Text(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            },
        }
    }
}

/// Stands in for the report of runs.
fn report(folders: &[PathBuf]) -> thalweg::Result<String> {
    let histories = folders.iter().map(|dir| History::read(dir).map(|history| history.to_json()));
    Ok(Page::new("Runs").data("histories", histories.collect::<thalweg::Result<serde_json::Value>>()?).html())
}
