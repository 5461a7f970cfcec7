//! `thalweg view`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::Value;
use thalweg::report::page::Page;
use thalweg::report::{DRAW, document, report, tell_apart};

use super::output::failure;
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
    /// Print the list as JSON, {runs, notes}, and serve nothing
    #[arg(long)]
    json: bool,
}

const ROUTES: [Route; 2] = [("/", Method::GET), ("/report", Method::GET)];

/// The script that links to the list, with the token that the address of a report bears.
const BACK: &str = "document.querySelector('nav').prepend(thalweg.element('a', \
                    { href: `./?token=${new URLSearchParams(location.search).get('token')}` }, 'All runs'));";

/// The most runs that are compared on a page.
const MOST_COMPARED: usize = 20;

/// The runs of a folder, as they lie there when one asks.
struct Folder(PathBuf);

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dir = &args.dir;
    anyhow::ensure!(dir.is_dir(), "{}: expected a folder with runs, found none", dir.display());
    if args.json {
        say!("{:#}", Runs::find(dir).to_json());
        return Ok(ExitCode::SUCCESS);
    }
    let server = bind("--port", args.port)?;
    say!("page    {}", server.address());
    say!("Ctrl-C ends it");
    // An address that nobody could read leads nobody here.
    if failure().is_none() {
        server.start(Arc::new(Folder(dir.clone())))?.wait();
    }
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
            Ok(folders) => match compared(&folders) {
                Ok(page) => Answer::Html(page.html()),
                Err(error) => Answer::Text(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            },
        }
    }
}

/// The report of the runs in these folders, with a way back to the list.
fn compared(folders: &[PathBuf]) -> thalweg::Result<Page> {
    let mut documents = folders.iter().map(|dir| document(dir)).collect::<thalweg::Result<Vec<_>>>()?;
    tell_apart(&mut documents, folders);
    if let ([document], [dir]) = (&mut documents[..], folders) {
        // Opening engines and data is no work for a server.
        let text = format!("predictions are not made here; thalweg report {} writes a page with them", dir.display());
        document.insert("warnings".into(), vec![text].into());
    }
    Ok(report(documents.into_iter().map(Value::Object).collect()).script(DRAW).script(BACK))
}
