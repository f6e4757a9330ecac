//! `mdbook-dxlab`: executed notebooks become chapters of the report.
//!
//! In a chapter file: `{{#notebook ../../notebooks/01-data.ipynb}}` takes a notebook's place, `{{#ref fig-lengths}}` names
//! a figure or table wherever it lies, `{{#cite lora}}` cites an entry of `references.toml` and `{{#references}}` lists
//! the cited ones. `$…$` is mathematics. It runs no code: what a notebook shows was stored when it was executed.
mod book;
mod chapter;
mod directive;
mod figure;
mod literature;
mod mathematics;
mod notebook;

use anyhow::Result;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("supports") {
        return ExitCode::SUCCESS; // every renderer
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mdbook-dxlab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// mdbook's protocol: context and book as JSON on stdin, the book on stdout.
fn run() -> Result<()> {
    let (context, mut pages) = mdbook_preprocessor::parse_input(std::io::stdin())?;
    book::Settings::of(&context)?.apply(&mut pages)?;
    Ok(serde_json::to_writer(std::io::stdout(), &pages)?)
}
