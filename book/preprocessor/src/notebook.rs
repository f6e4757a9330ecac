//! A notebook file (nbformat 4) as cells: Markdown, or code with what it showed.
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A code cell without its `//| key: value` lines, which are `options`.
pub struct Code {
    pub source: String,
    pub options: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub outputs: Vec<Output>,
    pub made: Option<Made>,
}

/// What the runner stored of a figure or table: what it was made from, and how long that took.
pub struct Made {
    /// Runs and files of `data/` that were read, and the digest of both.
    pub runs: u64,
    pub files: u64,
    pub digest: String,
    /// From the notebook's start to the end of the cell, which is what `dxlab reproduce` takes.
    pub seconds: u64,
}

pub enum Cell {
    Markdown(String),
    Code(Code),
}

/// What a cell showed. Of several kinds of the same thing the book takes the first it knows: figure, table, text.
pub enum Output {
    Svg(String),
    Png(Vec<u8>),
    /// A Markdown table or text.
    Markdown(String),
    Html(String),
    /// Something to move on the screen, and the same as a Markdown table for print.
    Slider {
        html: String,
        table: String,
    },
    Text(String),
}

/// Reads the cells of an executed notebook. A stored error is an error here: the book shows no failed cell.
pub fn read(path: &Path) -> Result<Vec<Cell>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the notebook {}", path.display()))?;
    let json: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not a notebook", path.display()))?;
    let cells = json["cells"].as_array().with_context(|| format!("{}: no `cells`", path.display()))?;
    let mut found = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        match cell["cell_type"].as_str() {
            Some("markdown") => found.push(Cell::Markdown(text(&cell["source"]))),
            Some("code") => {
                let code = code(cell).with_context(|| format!("{}, cell {}", path.display(), at + 1))?;
                found.push(Cell::Code(code));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Whether the corpus that a cell printed (a line `corpus: …`, by `provenance`) is synthetic; None where no cell did.
pub fn synthetic(cells: &[Cell]) -> Option<bool> {
    let code = cells.iter().filter_map(|cell| if let Cell::Code(code) = cell { Some(code) } else { None });
    let texts =
        code.flat_map(|code| &code.outputs).filter_map(|o| if let Output::Text(text) = o { Some(text) } else { None });
    texts.flat_map(|text| text.lines()).find_map(|line| Some(line.strip_prefix("corpus: ")?.contains("synthetic")))
}

fn code(cell: &Value) -> Result<Code> {
    let (mut options, mut source) = (BTreeMap::new(), Vec::new());
    let all = text(&cell["source"]);
    for line in all.lines() {
        match line.strip_prefix("//|").map(|option| option.split_once(':')) {
            Some(Some((key, value))) => drop(options.insert(key.trim().to_owned(), value.trim().to_owned())),
            Some(None) => bail!("expected `//| key: value`, got `{line}`"),
            None => source.push(line),
        }
    }
    if let Some(key) = options.keys().find(|key| !["label", "caption", "echo", "fold"].contains(&key.as_str())) {
        bail!("unknown option `//| {key}:`; there are label, caption, echo and fold");
    }
    let tags = cell["metadata"]["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let shown = cell["outputs"].as_array().into_iter().flatten();
    let outputs = shown.map(output).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let (source, tags) = (source.join("\n").trim().to_owned(), tags.collect());
    Ok(Code { source, options, tags, outputs, made: made(&cell["metadata"]["dxlab"]) })
}

/// None where the notebook was stored without it.
fn made(stored: &Value) -> Option<Made> {
    let (inputs, seconds) = (&stored["inputs"], stored["seconds"].as_u64()?);
    let digest = inputs["digest"].as_str()?.to_owned();
    Some(Made { runs: inputs["runs"].as_u64()?, files: inputs["files"].as_u64()?, digest, seconds })
}

/// One output; None for stderr, which an executed notebook may hold from a kernel's chatter.
fn output(output: &Value) -> Result<Option<Output>> {
    use base64::Engine;
    match output["output_type"].as_str() {
        Some("stream") if output["name"] == "stderr" => return Ok(None),
        Some("stream") => return Ok(Some(Output::Text(text(&output["text"])))),
        Some("error") => bail!("the cell failed when it was executed: {}", text(&output["evalue"])),
        _ => {}
    }
    let of = |kind: &str| output["data"].get(kind).map(text);
    Ok(if let Some(svg) = of("image/svg+xml") {
        Some(Output::Svg(svg))
    } else if let Some(png) = of("image/png") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(png.replace('\n', ""));
        Some(Output::Png(bytes.context("image/png is not base64")?))
    } else if let Some(table) = of("text/markdown") {
        Some(match of("text/html").filter(|html| html.starts_with("<div class=\"slider\">")) {
            Some(html) => Output::Slider { html, table },
            None => Output::Markdown(table),
        })
    } else if let Some(html) = of("text/html") {
        Some(Output::Html(html))
    } else {
        of("text/plain").map(Output::Text)
    })
}

/// Jupyter stores text as a string or as a list of lines.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().map(text_of_line).collect(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn text_of_line(line: &Value) -> &str {
    line.as_str().unwrap_or_default()
}
