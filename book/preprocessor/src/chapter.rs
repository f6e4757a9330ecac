//! One notebook as Markdown: prose as it is, code (folded when long), outputs, figures and tables with numbers.
use crate::figure::Place;
use crate::notebook::{Cell, Code, Output};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Where a label leads: what to call it, and the chapter that holds it, relative to the book's sources.
pub struct Target {
    pub title: String,
    pub chapter: String,
}

/// label → target, over the whole book.
pub type Labels = BTreeMap<String, Target>;

/// A chapter being written. Figures and tables are numbered `<chapter>.<n>` each.
pub struct Writer<'a> {
    pub src: &'a Path,
    /// The chapter's file, relative to the book's sources.
    pub chapter: &'a Path,
    /// `3` for the third chapter; empty for one without number.
    pub number: String,
    pub print: bool,
    /// Code longer than this many lines as printed is folded on the screen, and shown by its telling line in print.
    pub fold: usize,
    pub labels: &'a mut Labels,
    pub figures: usize,
    pub tables: usize,
}

impl Writer<'_> {
    /// The Markdown that takes the notebook's place.
    pub fn notebook(&mut self, name: &str, cells: &[Cell]) -> Result<String> {
        let mut out = String::new();
        for (at, cell) in cells.iter().enumerate() {
            match cell {
                Cell::Markdown(text) => write!(out, "{}\n\n", text.trim_end())?,
                Cell::Code(code) => {
                    out += &self.cell(name, code).with_context(|| format!("notebook {name}, cell {}", at + 1))?;
                }
            }
        }
        Ok(out)
    }

    fn cell(&mut self, name: &str, code: &Code) -> Result<String> {
        let tagged = |tag: &str| code.tags.iter().any(|has| has == tag);
        if tagged("remove-cell") {
            return Ok(String::new());
        }
        let mut out = String::new();
        if !tagged("hide-input") && code.options.get("echo").is_none_or(|echo| echo != "false") {
            out += &self.source(code, name);
        }
        let (mut numbered, label) = (0, code.options.get("label"));
        if !tagged("hide-output") {
            for output in &code.outputs {
                let shown = self.output(name, code, output)?;
                numbered += usize::from(shown.numbered);
                out += &shown.markdown;
            }
        }
        let unseen = code.options.get("echo").is_some_and(|echo| echo == "false") && label.is_none();
        if unseen && !self.print && !out.is_empty() {
            out += &origin(code);
        }
        match (label, numbered) {
            (Some(label), 0) => bail!("label `{label}` names neither a figure nor a table: was the notebook executed?"),
            (Some(label), 2..) => bail!("label `{label}` names {numbered} things: show one figure or table a cell"),
            _ => Ok(out),
        }
    }

    fn source(&self, code: &Code, name: &str) -> String {
        let lines = code.source.lines().count();
        if lines == 0 {
            return String::new();
        }
        let block = fenced(&code.source, "rust,noplayground");
        let wish = code.options.get("fold").map(String::as_str);
        let folded =
            wish == Some("true") || code.tags.iter().any(|tag| tag == "fold") || printed(&code.source) > self.fold;
        if self.print && folded && wish != Some("false") {
            return fenced(&telling(&code.source, name), "rust,noplayground");
        }
        if self.print || !folded || wish == Some("false") {
            return block;
        }
        format!("<details class=\"code\"><summary>Code, {lines} lines</summary>\n\n{block}</details>\n\n")
    }

    fn output(&mut self, name: &str, code: &Code, output: &Output) -> Result<Shown> {
        match output {
            Output::Svg(svg) => {
                let place = Place { src: self.src, notebook: name, print: self.print };
                let bytes = place.svg(svg).into_bytes();
                self.figure(name, code, "svg", &bytes)
            }
            Output::Png(bytes) => self.figure(name, code, "png", bytes),
            Output::Markdown(text) if text.trim_start().starts_with('|') => self.table(name, code, text),
            Output::Slider { html, table } => self.table(name, code, if self.print { table } else { html }),
            Output::Markdown(text) => Ok(Shown::plain(format!("{}\n\n", text.trim_end()))),
            Output::Html(html) if self.print => {
                bail!("shows HTML only, which the PDF cannot: show text/markdown too: {html:.40}")
            }
            // A blank line would end the HTML block and hand the rest to the Markdown parser.
            Output::Html(html) => {
                Ok(Shown::plain(format!("<div class=\"output\">\n{}\n</div>\n\n", html.replace("\n\n", "\n"))))
            }
            Output::Text(text) if text.trim().is_empty() => Ok(Shown::plain(String::new())),
            Output::Text(text) if self.print => Ok(Shown::plain(fenced(text, "text"))),
            Output::Text(text) => {
                Ok(Shown::plain(format!("<div class=\"output\">\n\n{}</div>\n\n", fenced(text, "text"))))
            }
        }
    }

    fn figure(&mut self, name: &str, code: &Code, extension: &str, bytes: &[u8]) -> Result<Shown> {
        self.figures += 1;
        let title = format!("Figure {}", self.numbered(self.figures));
        let label = self.label(code, format!("fig-{name}-{}", self.figures), &title)?;
        let file = Place { src: self.src, notebook: name, print: self.print }.save(&label, extension, bytes)?;
        let (url, caption) = (relative(self.chapter, &file.to_string_lossy()), caption(code));
        let (id, anchor) = self.anchor(&label);
        // who cannot see a figure hears what it shows before the caption's details
        let alternative = if self.print { title.clone() } else { format!("{title}. {}", first_sentence(caption)) };
        let markdown = format!(
            "{anchor}<figure{id}>\n\n![{alternative}]({url})\n\n<figcaption>\n\n**{title}.** {caption}\n\n{}</figcaption>\n</figure>\n\n",
            foot(code, name)
        );
        Ok(Shown { markdown, numbered: true })
    }

    fn table(&mut self, name: &str, code: &Code, table: &str) -> Result<Shown> {
        self.tables += 1;
        let title = format!("Table {}", self.numbered(self.tables));
        let label = self.label(code, format!("tab-{name}-{}", self.tables), &title)?;
        let caption = caption(code);
        let (id, anchor) = self.anchor(&label);
        let (table, foot) = (table.trim(), foot(code, name));
        let markdown =
            format!("{anchor}<div class=\"table\"{id}>\n\n**{title}.** {caption}\n\n{table}\n\n{foot}</div>\n\n");
        Ok(Shown { markdown, numbered: true })
    }

    /// Where links arrive: the element's own id on the screen; mdbook-pandoc keeps those of anchors only.
    fn anchor(&self, label: &str) -> (String, String) {
        match self.print {
            true => (String::new(), format!("<a id=\"{label}\"></a>\n\n")),
            false => (format!(" id=\"{label}\""), String::new()),
        }
    }

    /// `2.1`, or `1` in a chapter without number.
    fn numbered(&self, count: usize) -> String {
        if self.number.is_empty() { count.to_string() } else { format!("{}.{count}", self.number) }
    }

    /// Registers the cell's label, or the given one.
    fn label(&mut self, code: &Code, otherwise: String, title: &str) -> Result<String> {
        let label = code.options.get("label").cloned().unwrap_or(otherwise);
        let sane = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if label.is_empty() || !sane {
            bail!("label `{label}`: expected letters, digits, `-` and `_`");
        }
        let target = Target { title: title.to_owned(), chapter: self.chapter.to_string_lossy().into_owned() };
        if let Some(first) = self.labels.insert(label.clone(), target) {
            bail!("label `{label}` names two things; the first is {} in {}", first.title, first.chapter);
        }
        Ok(label)
    }
}

/// Markdown of one output, and whether it took a number.
struct Shown {
    markdown: String,
    numbered: bool,
}

impl Shown {
    fn plain(markdown: String) -> Self {
        Self { markdown, numbered: false }
    }
}

/// The code of sentences that were computed, folded: whoever doubts a number in them looks it up there.
fn origin(code: &Code) -> String {
    let (lines, block) = (code.source.lines().count(), fenced(&code.source, "rust,noplayground"));
    format!(
        "<details class=\"code origin\"><summary>How these sentences are computed, {lines} lines</summary>\n\n{block}</details>\n\n"
    )
}

/// Where a figure or table comes from, the command that makes it again, how long that takes, and what the notebook had read by then; nothing where its
/// cell has no label.
fn foot(code: &Code, notebook: &str) -> String {
    let Some(label) = code.options.get("label") else { return String::new() };
    let made = code.made.as_ref().map_or(String::new(), |made| {
        let some = |n: u64, what: &str| (n > 0).then(|| format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
        let read: Vec<String> = [some(made.runs, "run"), some(made.files, "data file")].into_iter().flatten().collect();
        let from = match read.is_empty() {
            true => String::new(),
            false => format!("; read by then: {}, digest `{}`", read.join(" and "), made.digest),
        };
        format!(", {} s{from}", made.seconds.max(1))
    });
    format!("*`{notebook}`; `dxlab reproduce {label}`{made}*\n\n")
}

/// Lines that code takes in print, where a long one is broken.
fn printed(source: &str) -> usize {
    const WIDTH: usize = 96;
    source.lines().map(|line| line.chars().count().div_ceil(WIDTH).max(1)).sum()
}

/// Of long code what it comes down to: its last statement, and where the rest is.
fn telling(source: &str, notebook: &str) -> String {
    let lines: Vec<&str> = source.lines().filter(|line| !line.trim().is_empty()).collect();
    let block = lines.first().is_some_and(|line| line.trim_end() == "{");
    let last = last_statement(&lines, if block { STEP } else { 0 });
    let count = source.lines().count();
    // what only says what to print, or that rows become a table, says nothing that the output beside it does not
    let idle = ["if ", "for ", "match ", "print", "Table::from_rows("].iter().any(|start| last.starts_with(start));
    match idle || last.contains("=> print") {
        true => format!("// {count} lines in notebooks/{notebook}.ipynb"),
        false => format!("// {count} lines in notebooks/{notebook}.ipynb, of which\n{last}"),
    }
}

/// Blanks of one level of code that rustfmt has formatted.
const STEP: usize = 4;

/// The last statement at this indentation on one line. One that is too long to be read there is taken apart: of a block its own last statement, of anything
/// else the beginning.
fn last_statement(lines: &[&str], indent: usize) -> String {
    const MOST: usize = 180;
    let depth = |line: &str| line.len() - line.trim_start().len();
    let begins = |line: &&str| depth(line) == indent && !line.trim_start().starts_with([')', ']', '}']);
    let start = lines.iter().rposition(begins).unwrap_or(0);
    let closed = |line: &&&str| depth(line) >= indent;
    let own: Vec<&str> = lines[start.min(lines.len())..].iter().take_while(closed).copied().collect();
    let joined = own.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let joined = joined.replace("( ", "(").replace(" )", ")").replace(",)", ")").replace("[ ", "[").replace(" ]", "]");
    let joined = joined.replace(",]", "]").replace(" .", ".");
    if joined.chars().count() <= MOST {
        return joined;
    }
    let inner: Vec<&str> = own.iter().skip(1).copied().collect();
    let block = own.first().is_some_and(|line| line.trim_end().ends_with('{'));
    match block && inner.iter().any(|line| depth(line) == indent + STEP) {
        true => last_statement(&inner, indent + STEP),
        false => {
            let start: String = joined.chars().take(MOST).collect();
            // at a comma, if that leaves at least half of it
            let comma = start.rfind(", ").map(|at| at + 1).filter(|at| *at > start.len() / 2);
            let end = comma.or(start.rfind(' ')).unwrap_or(start.len());
            format!("{} …", start[..end].trim_end())
        }
    }
}

fn caption(code: &Code) -> &str {
    code.options.get("caption").map_or("", String::as_str)
}

/// The first sentence of a caption as plain words, without directives but the one that depends on the corpus.
fn first_sentence(caption: &str) -> String {
    let end = [". ", "; ", ": "].iter().filter_map(|mark| caption.find(mark)).min().unwrap_or(caption.len());
    let mut said = caption[..end].trim_end_matches('.').to_string();
    for open in ["{{#ref ", "{{#cite "] {
        while let Some((from, length)) = said.find(open).and_then(|from| Some((from, said[from..].find("}}")? + 2))) {
            said.replace_range(from..from + length, "");
        }
    }
    said.replace(['`', '[', ']', '*'], "").trim_end().to_string()
}

/// A link from a chapter's file to another file, both relative to the book's sources.
pub fn relative(chapter: &Path, to: &str) -> String {
    let up = chapter.components().count().saturating_sub(1);
    format!("{}{to}", "../".repeat(up))
}

/// A fence longer than any run of backticks inside.
fn fenced(body: &str, language: &str) -> String {
    let mut fence = "```".to_owned();
    while body.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}{language}\n{}\n{fence}\n\n", body.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notebook::Made;

    fn code(options: &[(&str, &str)], outputs: Vec<Output>) -> Cell {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Cell::Code(Code { source: "a\nb\nc".into(), options, tags: vec![], outputs, made: None })
    }

    fn write(cells: &[Cell], print: bool) -> (Result<String>, Labels, tempfile::TempDir) {
        let (src, mut labels) = (tempfile::tempdir().unwrap(), Labels::new());
        let mut writer = Writer {
            src: src.path(),
            chapter: Path::new("part/02-x.md"),
            number: "2".into(),
            print,
            fold: 2,
            labels: &mut labels,
            figures: 0,
            tables: 0,
        };
        let got = writer.notebook("02-x", cells);
        (got, labels, src)
    }

    #[test]
    fn figures_and_tables_are_numbered_apart_and_by_chapter() {
        let cells = [
            code(&[("label", "fig-a"), ("caption", "First")], vec![Output::Svg("<svg/>".into())]),
            code(&[("label", "tab-a")], vec![Output::Markdown("| x |\n|---|\n| 1 |".into())]),
            code(&[("label", "fig-b")], vec![Output::Png(vec![1])]),
        ];
        let (got, labels, src) = write(&cells, false);
        let got = got.unwrap();
        let titles: Vec<_> = labels.iter().map(|(label, target)| (label.as_str(), target.title.as_str())).collect();
        assert_eq!(titles, [("fig-a", "Figure 2.1"), ("fig-b", "Figure 2.2"), ("tab-a", "Table 2.1")]);
        assert!(got.contains("![Figure 2.1. First](../figures/web/02-x/fig-a.svg)"), "{got}");
        assert!(got.contains("**Figure 2.1.** First") && got.contains("`dxlab reproduce fig-a`"), "{got}");
        assert!(got.contains("| 1 |\n\n*`02-x`; `dxlab reproduce tab-a`*"), "{got}");
        assert_eq!(std::fs::read_to_string(src.path().join("figures/web/02-x/fig-a.svg")).unwrap(), "<svg/>");
    }

    #[test]
    fn the_foot_says_what_it_took_and_from_what() {
        let made = |runs, files| {
            let options = [("label".to_string(), "tab-a".to_string())].into();
            let made = Some(Made { runs, files, digest: "3f2a91c0d4e7".into(), seconds: 9 });
            let (source, tags) = (String::new(), vec![]);
            foot(&Code { source, options, tags, outputs: vec![], made }, "02-x")
        };
        let from =
            "*`02-x`; `dxlab reproduce tab-a`, 9 s; read by then: 2 runs and 1 data file, digest `3f2a91c0d4e7`*\n\n";
        assert_eq!(made(2, 1), from);
        assert_eq!(made(0, 0), "*`02-x`; `dxlab reproduce tab-a`, 9 s*\n\n");
    }

    #[test]
    fn a_slider_moves_on_the_screen_and_is_a_table_in_print() {
        let slider =
            || Output::Slider { html: "<div class=\"slider\">x</div>".into(), table: "| x |\n|---|\n| 1 |".into() };
        let cells = || [code(&[("label", "tab-s"), ("caption", "Moved")], vec![slider()])];
        let (screen, print) = (write(&cells(), false).0.unwrap(), write(&cells(), true).0.unwrap());
        assert!(screen.contains("**Table 2.1.** Moved\n\n<div class=\"slider\">x</div>"), "{screen}");
        assert!(print.contains("| 1 |") && !print.contains("slider"), "{print}");
    }

    #[test]
    fn computed_sentences_lead_to_their_code_on_the_screen() {
        let said = || vec![code(&[("echo", "false")], vec![Output::Markdown("It is 0.5.".into())])];
        let (screen, print) = (write(&said(), false).0.unwrap(), write(&said(), true).0.unwrap());
        assert!(screen.contains("How these sentences are computed, 3 lines") && screen.contains("\nb\n"), "{screen}");
        assert!(print.contains("It is 0.5.") && !print.contains("computed"), "{print}");
    }

    #[test]
    fn long_code_folds_on_the_screen_and_is_one_line_in_print() {
        let (screen, print) =
            (write(&[code(&[], vec![])], false).0.unwrap(), write(&[code(&[], vec![])], true).0.unwrap());
        assert!(screen.contains("<summary>Code, 3 lines</summary>"), "{screen}");
        assert!(print.contains("// 3 lines in notebooks/02-x.ipynb") && !print.contains("\nb\n"), "{print}");
        let cell = "{\n    let a = 1;\n    for row in rows {\n        println!(\"{row}\");\n    }\n    table(\n        &[\"a\", \"b\"],\n        &rows,\n    )\n}";
        assert!(
            telling(cell, "02-x").ends_with("of which\ntable(&[\"a\", \"b\"], &rows)"),
            "{}",
            telling(cell, "02-x")
        );
        let long = format!(
            "if a {{\n    let x = \"{}\";\n    first(x)\n}} else {{\n    let y = 2;\n    second(y)\n}}",
            "x".repeat(200)
        );
        assert!(telling(&long, "02-x").ends_with("\nsecond(y)"), "{}", telling(&long, "02-x"));
        for idle in [
            "if rows.is_empty() {\n    println!();\n} else {\n    for row in rows {\n        println!(\"{row}\");\n    }\n}",
            "Table::from_rows(&titles, &rows)",
        ] {
            let cell = format!("{{\n    let rows = rows(x);\n    {}\n}}", idle.replace('\n', "\n    "));
            assert_eq!(telling(&cell, "02-x"), format!("// {} lines in notebooks/02-x.ipynb", cell.lines().count()));
        }
        let cut = telling(&format!("draw({})", vec!["argument"; 40].join(", ")), "02-x");
        assert!(cut.ends_with("argument, …") && cut.lines().last().unwrap().len() < 190, "{cut}");
        let early = telling(&format!("let (a, b) = call({})", "word ".repeat(60)), "02-x");
        assert!(early.ends_with("word …"), "{early}");
        assert_eq!(first_sentence("Scores of `a` {{#cite b}}; 95 % intervals. More"), "Scores of a");
        let whole = write(&[code(&[("fold", "false")], vec![])], true).0.unwrap();
        assert_eq!(whole, "```rust,noplayground\na\nb\nc\n```\n\n");
        assert_eq!(printed(&format!("a\n\n{}", "x".repeat(200))), 5, "a line of 200 letters takes three");
    }

    #[test]
    fn a_label_must_name_one_figure_or_table() {
        let none = write(&[code(&[("label", "fig-a")], vec![Output::Text("x".into())])], false).0.unwrap_err();
        assert!(format!("{none:#}").contains("names neither a figure nor a table"), "{none:#}");
        let twice = [
            code(&[("label", "a")], vec![Output::Svg("<svg/>".into())]),
            code(&[("label", "a")], vec![Output::Png(vec![])]),
        ];
        let twice = write(&twice, false).0.unwrap_err();
        assert!(
            format!("{twice:#}").contains("cell 2: label `a` names two things; the first is Figure 2.1"),
            "{twice:#}"
        );
    }
}
