//! Pages: one HTML file each, that needs nothing from the network.

use std::path::Path;

use serde_json::Value;

use crate::disk::write_whole;
use crate::error::Result;

/// The script for line charts, as its authors publish it.
const UPLOT: &str = include_str!("vendor/uPlot-1.6.32.iife.min.js");
const UPLOT_STYLE: &str = include_str!("vendor/uPlot-1.6.32.min.css");
const UPLOT_LICENCE: &str = include_str!("vendor/uPlot-LICENSE");

const STYLE: &str = include_str!("style.css");
const BASE: &str = include_str!("base.js");
const CHART: &str = include_str!("chart.js");
const SURFACE: &str = include_str!("surface.js");

/// A page that is made: a title, data, and scripts that draw them into `<main>` with what `base.js`, `chart.js` and `surface.js`
/// offer on the global object `thalweg`.
///
/// Every `</script>` and `<!--` in data is written so that it is text to the browser.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    data: Vec<(String, Value)>,
    scripts: Vec<&'static str>,
    styles: Vec<&'static str>,
    body: &'static str,
}

impl Page {
    /// An empty page with this title, which is its heading too.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), data: Vec::new(), scripts: Vec::new(), styles: Vec::new(), body: "" }
    }

    /// Adds data, which scripts read by `thalweg.data(id)`.
    pub fn data(mut self, id: &str, value: Value) -> Self {
        self.data.push((id.into(), value));
        self
    }

    /// Adds a script, which runs after those before it.
    pub fn script(mut self, script: &'static str) -> Self {
        self.scripts.push(script);
        self
    }

    /// Adds style sheets, which come after the page's own.
    pub fn style(mut self, style: &'static str) -> Self {
        self.styles.push(style);
        self
    }

    /// Sets what stands in `<main>` before any script has run, as HTML.
    pub fn body(mut self, html: &'static str) -> Self {
        self.body = html;
        self
    }

    /// Writes the page to a file, which appears whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, self.html().as_bytes())
    }

    /// The page as HTML.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let data = self.data.iter().map(|(id, value)| {
            let json = value.to_string().replace('<', "\\u003c");
            format!("<script type=\"application/json\" id=\"{}\">{json}</script>\n", escape(id))
        });
        let scripts = [UPLOT, BASE, CHART, SURFACE].into_iter().chain(self.scripts.iter().copied());
        let scripts = scripts.map(|script| format!("<script>\n{script}\n</script>\n"));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
             <title>{title}</title>\n<!-- uPlot:\n{UPLOT_LICENCE}-->\n<style>\n{UPLOT_STYLE}\n{STYLE}{}</style>\n</head>\n<body>\n\
             <header><h1>{title}</h1></header>\n<nav aria-label=\"Sections\"></nav>\n<main>{}</main>\n{}{}</body>\n</html>\n",
            self.styles.concat(),
            self.body,
            data.collect::<String>(),
            scripts.collect::<String>()
        )
    }
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_and_titles_cannot_end_a_script() {
        let page = Page::new("a <b> & \"c\"").data("x", json!({ "name": "</script><script>alert(1)</script><!--" }));
        let html = page.html();
        assert!(html.contains("<title>a &lt;b&gt; &amp; &quot;c&quot;</title>"));
        assert!(html.contains("\\u003c/script>\\u003cscript>alert(1)"));
        assert!(!html.contains("alert(1)</script>"));
    }
}
