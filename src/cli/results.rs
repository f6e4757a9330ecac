//! `dxlab results`: the scores of every run on one corpus, as a table between two marks of a Markdown file and as a figure.
use crate::error::{Error, Result};
use crate::io;
use crate::metric::Reading;
use crate::report::chapters::results;
use crate::report::kit::tables;
use crate::run::Store;
use crate::study::Results;
use crate::task::LabelTask;
use clap::Args;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- results: made by `dxlab results`, do not edit -->";
const END: &str = "<!-- end of results -->";

/// Scores of every run on the findings (DXLAB_FINDINGS, else the embedded ones), baselines first
#[derive(Args, Debug)]
pub struct ResultsOf {
    /// Only the runs of these names, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Markdown file whose table between the marks is made anew
    #[arg(long)]
    into: Option<PathBuf>,
    /// Where to draw micro-F1 of every run with its interval, as SVG
    #[arg(long)]
    figure: Option<PathBuf>,
    /// Folder of the runs; by default `runs` in the project's folder
    #[arg(long)]
    root: Option<PathBuf>,
}

impl ResultsOf {
    pub fn run(self) -> Result<()> {
        let mut found = Results::in_store(&Store::open(self.root.as_deref()), LabelTask::open("findings")?)?;
        if found.models.is_empty() {
            let name = &found.task.corpus.name;
            return Err(Error::input(format!(
                "no run answered the test cases of {name}: run the notebooks or `dxlab predict`"
            )));
        }
        keep(&mut found, &self.only)?;
        let table = results::scores(&found, Reading::Normalised, &tables::MAIN)?;
        print!("{table}");
        if let Some(path) = &self.figure {
            results::forest(&found, "micro_f1", "micro-F1")?.save(path)?;
            println!("written: {}", path.display());
        }
        if let Some(path) = &self.into {
            let text = io::read_text(path)?;
            io::write(path, between(&text, path, &format!("{}\n{}", about(&found), table.to_markdown()))?.as_bytes())?;
            println!("written: {}", path.display());
        }
        Ok(())
    }
}

/// Only the models of these names; all where none is given.
fn keep(found: &mut Results, only: &[String]) -> Result<()> {
    if let Some(stranger) = only.iter().find(|name| found.models.iter().all(|model| model.name != **name)) {
        let known: Vec<&str> = found.models.iter().map(|model| model.name.as_str()).collect();
        return Err(Error::input(format!("no run `{stranger}` on these test cases: there are {}", known.join(", "))));
    }
    found.models.retain(|model| only.is_empty() || only.contains(&model.name));
    Ok(())
}

/// What the table is about, with the digest of the cases.
fn about(results: &Results) -> String {
    let (corpus, bootstrap) = (&results.task.corpus, &results.bootstrap);
    let real = if corpus.synthetic { "No patient stands behind any of the cases.\n" } else { "" };
    format!(
        "{} (digest `{}`); labels normalised; {:.0} % bootstrap intervals, {} resamples, seed {}; exact where a share is 0 or 1 in every \
         group.\n{real}",
        corpus.name,
        &corpus.digest()[..12],
        100.0 * bootstrap.level,
        bootstrap.resamples,
        bootstrap.seed
    )
}

/// `text` with `new` in the place of what stands between the marks.
fn between(text: &str, path: &Path, new: &str) -> Result<String> {
    let marks = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = marks.ok_or_else(|| {
        Error::input(format!(
            "{}: expected the lines `{BEGIN}` and `{END}`; put them where the table belongs",
            path.display()
        ))
    })?;
    Ok(format!("{head}{BEGIN}\n{new}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let path = Path::new("README.md");
        let text = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        let once = between(&text, path, "new").unwrap();
        assert_eq!(once, format!("head\n{BEGIN}\nnew\n{END}\ntail\n"));
        assert_eq!(between(&once, path, "new").unwrap(), once);
        assert!(between("no marks", path, "new").unwrap_err().to_string().contains("README.md: expected the lines"));
    }
}
