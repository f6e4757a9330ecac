//! What a notebook cell shows: a `Table` or a `Figure`, one a cell. Both speak evcxr's mime protocol through
//! `evcxr_display`; a table as HTML (Jupyter), Markdown (book, PDF) and plain text (terminal), a figure as SVG.
use crate::error::{Error, Result};
use crate::metric::{Difference, Estimate};
use plotters::coord::Shift;
use plotters::prelude::*;
use polars::prelude::{AnyValue, DataFrame};

/// Stands for a value that is undefined or missing.
pub const NONE: &str = "–";

/// A head as a page shows it: keys of metrics in words, `micro_f1` as micro-F1 and `exact_match` as exact match.
pub fn titled(head: &str) -> String {
    let key = |word: &str| word.contains('_') && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
    let word = |word: &str| {
        let bare = word.trim_end_matches(',');
        if key(bare) { word.replace("_f1", "-F1").replace('_', " ") } else { word.to_string() }
    };
    head.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A table of text and numbers. On pages its heads have the keys of metrics in words ([`titled`]); in a terminal the keys stand, as they are those of the files.
/// Numbers are right-aligned and share the decimals of their column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    caption: Option<String>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    cells: Vec<String>,
    numeric: bool,
}

impl From<DataFrame> for Table {
    fn from(frame: DataFrame) -> Self {
        let column = |series: &polars::prelude::Column| {
            let values: Vec<AnyValue> = (0..series.len()).map(|i| series.get(i).unwrap_or(AnyValue::Null)).collect();
            Column { name: series.name().to_string(), numeric: series.dtype().is_numeric(), cells: texts(&values) }
        };
        Self { columns: frame.columns().iter().map(column).collect(), caption: None }
    }
}

impl Table {
    /// A table of ready-made text, cells in rows; a short row is filled up.
    pub fn from_rows(names: &[&str], rows: &[Vec<String>]) -> Self {
        let cell = |row: &Vec<String>, i: usize| row.get(i).cloned().unwrap_or_default();
        let column = |(i, name): (usize, &&str)| {
            let cells: Vec<String> = rows.iter().map(|row| cell(row, i)).collect();
            Column { name: name.to_string(), numeric: cells.iter().all(|cell| looks_numeric(cell)), cells }
        };
        Self { columns: names.iter().enumerate().map(column).collect(), caption: None }
    }

    /// A line above the table: what is counted, n, where it comes from.
    pub fn caption(mut self, text: impl Into<String>) -> Self {
        self.caption = Some(text.into());
        self
    }

    pub fn height(&self) -> usize {
        self.columns.first().map_or(0, |column| column.cells.len())
    }

    fn rows(&self) -> impl Iterator<Item = Vec<(&str, bool)>> {
        (0..self.height()).map(|i| self.columns.iter().map(|c| (c.cells[i].as_str(), c.numeric)).collect())
    }

    pub fn to_html(&self) -> String {
        let cell = |tag: &str, text: &str, numeric: bool| {
            let align = if numeric { "right" } else { "left" };
            format!("<{tag} style=\"text-align:{align}\">{}</{tag}>", escape(text).replace('\n', "<br>"))
        };
        let head: String = self.columns.iter().map(|c| cell("th", &titled(&c.name), c.numeric)).collect();
        let row = |row: Vec<(&str, bool)>| {
            let cells: String = row.into_iter().map(|(text, numeric)| cell("td", text, numeric)).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let body: String = self.rows().map(row).collect();
        let caption =
            self.caption.as_deref().map(|text| format!("<caption>{}</caption>", escape(text))).unwrap_or_default();
        format!("<table class=\"dataframe\">{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>")
    }

    pub fn to_markdown(&self) -> String {
        let clean = plain_markdown;
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = self.caption.as_deref().map(|caption| format!("{}\n\n", clean(caption))).unwrap_or_default();
        text += &line(self.columns.iter().map(|c| clean(&titled(&c.name))).collect());
        let rule = |(c, width): (&Column, usize)| match c.numeric {
            true => format!("{}:", "-".repeat(width - 1)),
            false => format!(":{}", "-".repeat(width - 1)),
        };
        text += &line(self.columns.iter().zip(self.widths()).map(rule).collect());
        self.rows().for_each(|row| text += &line(row.iter().map(|(cell, _)| clean(cell)).collect()));
        text
    }

    /// Characters of each column's rule in Markdown: 3, but in a table too wide for a page in proportion to what the columns
    /// hold, because pandoc then takes the rules for relative widths. Long text counts as 48, as it can be broken.
    fn widths(&self) -> Vec<usize> {
        let longest = |c: &Column| c.cells.iter().chain([&c.name]).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let all: Vec<usize> = self.columns.iter().map(longest).collect();
        match all.iter().sum::<usize>() + 3 * all.len() > 72 {
            true => all.into_iter().map(|length| length.clamp(4, 48) + 2).collect(),
            false => vec![3; all.len()],
        }
    }

    /// Columns padded with spaces, for a terminal. Long cells are cut at 60 characters.
    pub fn to_text(&self) -> String {
        let short = |text: &str| -> String {
            let line = text.replace('\n', " ");
            if line.chars().count() > 60 { line.chars().take(59).chain(['…']).collect() } else { line }
        };
        let length = |text: &str| short(text).chars().count();
        let width = |c: &Column| c.cells.iter().map(|cell| length(cell)).chain([length(&c.name)]).max().unwrap_or(0);
        let widths: Vec<usize> = self.columns.iter().map(width).collect();
        let pad = |(text, numeric): (&str, bool), width: usize| match numeric {
            true => format!("{:>width$}", short(text)),
            false => format!("{:<width$}", short(text)),
        };
        let line = |cells: Vec<(&str, bool)>| -> String {
            let padded: Vec<String> = cells.into_iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        let mut text = self.caption.as_deref().map(|caption| format!("{caption}\n")).unwrap_or_default();
        text += &line(self.columns.iter().map(|c| (c.name.as_str(), c.numeric)).collect());
        self.rows().for_each(|row| text += &line(row));
        text
    }

    /// Called by the evcxr kernel for the last value of a cell.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/html").text(self.to_html());
        evcxr_runtime::mime_type("text/markdown").text(self.to_markdown());
        evcxr_runtime::mime_type("text/plain").text(self.to_text());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Cells of one column: floats with the decimals that the largest of them needs for four digits.
fn texts(values: &[AnyValue]) -> Vec<String> {
    let largest = values.iter().filter_map(float).filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
    let text = |value: &AnyValue| match (value, float(value)) {
        (AnyValue::Null, _) => NONE.to_string(),
        (_, Some(number)) => with_decimals(number, decimals(largest)),
        (AnyValue::List(items), _) => {
            items.iter().map(|item| item.str_value().into_owned()).collect::<Vec<_>>().join(", ")
        }
        _ => value.str_value().into_owned(),
    };
    values.iter().map(text).collect()
}

fn float(value: &AnyValue) -> Option<f64> {
    match value {
        AnyValue::Float32(v) => Some(f64::from(*v)),
        AnyValue::Float64(v) => Some(*v),
        _ => None,
    }
}

fn decimals(largest: f64) -> usize {
    match largest {
        v if v < 10.0 => 3,
        v if v < 100.0 => 2,
        v if v < 1000.0 => 1,
        _ => 0,
    }
}

/// `0.0004` with three decimals would read as nothing, so it becomes `4.0e-4`.
fn with_decimals(value: f64, decimals: usize) -> String {
    let smallest = 0.5 * 10f64.powi(-(decimals as i32));
    match value {
        v if !v.is_finite() => NONE.to_string(),
        0.0 => format!("{:.decimals$}", 0.0),
        v if v.abs() < smallest => format!("{v:.1e}"),
        v => format!("{v:.decimals$}"),
    }
}

/// A number to three or four digits: `number(0.61234) = "0.612"`.
pub fn number(value: f64) -> String {
    with_decimals(value, decimals(value.abs()))
}

/// A value with its interval: `0.612 [0.580, 0.650]`.
pub fn interval(estimate: Option<&Estimate>) -> String {
    estimate.map_or(NONE.into(), |e| spread(e.value, e.low, e.high, ""))
}

/// A difference with its sign and interval: `+0.021 [−0.004, 0.047]`.
pub fn difference(difference: Option<&Difference>) -> String {
    difference.map_or(NONE.into(), |d| spread(d.value, d.low, d.high, if d.value > 0.0 { "+" } else { "" }))
}

/// The smallest difference that a comparison could have shown, or why there is none: `0.043`, `no case differs`.
pub fn detectable(difference: Option<&Difference>) -> String {
    match difference {
        Some(d) if d.nothing_differs() => "no case differs".into(),
        Some(d) => d.detectable.map_or(NONE.into(), number),
        None => NONE.into(),
    }
}

pub(crate) fn spread(value: f64, low: f64, high: f64, sign: &str) -> String {
    let decimals = decimals([value, low, high].iter().fold(0.0, |m: f64, v| m.max(v.abs())));
    let text = |v: f64| {
        let text = format!("{v:.decimals$}");
        // what rounds to nothing has no sign
        let nothing = text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
        if nothing { text.replace('-', "") } else { text.replace('-', "−") }
    };
    format!("{sign}{} [{}, {}]", text(value), text(low), text(high))
}

fn looks_numeric(cell: &str) -> bool {
    cell == NONE || cell.starts_with(|c: char| c.is_ascii_digit() || "+-−.".contains(c))
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text that Markdown shows as it is: a raw answer may hold `<think>`, a pipe or a dollar.
pub(super) fn plain_markdown(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\n' => plain.push(' '),
            '\\' | '|' | '<' | '&' | '*' | '$' | '`' | '~' | '^' | '[' => plain.extend(['\\', c]),
            _ => plain.push(c),
        }
    }
    plain
}

/// A drawing as SVG: sharp in Jupyter, on GitHub, in the book and in the PDF.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    svg: String,
}

impl Figure {
    /// Draws on a white ground of `width` × `height` pixels.
    pub fn draw<F>(size: (u32, u32), draw: F) -> Result<Self>
    where
        F: FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> std::result::Result<(), Box<dyn std::error::Error>>,
    {
        let failed = |error: &dyn std::fmt::Display| Error::failed(format!("a figure could not be drawn: {error}"));
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            area.fill(&WHITE).map_err(|error| failed(&error))?;
            draw(&area).map_err(|error| failed(&error))?;
            area.present().map_err(|error| failed(&error))?;
        }
        Ok(Self { svg })
    }

    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// Writes the SVG, whole or not at all.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        crate::io::write(path, self.svg.as_bytes())
    }

    /// Called by the evcxr kernel for the last value of a cell.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("image/svg+xml").text(&self.svg);
        evcxr_runtime::mime_type("text/plain").text("(figure)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::df;

    #[test]
    fn heads_have_the_keys_of_metrics_in_words_on_a_page_and_as_keys_in_a_terminal() {
        let table = Table::from_rows(&["b − a, micro_f1, n = 2", "exact_match", "p (Holm)"], &[vec!["1".into(); 3]]);
        assert!(
            table.to_markdown().starts_with("| b − a, micro-F1, n = 2 | exact match | p (Holm) |"),
            "{}",
            table.to_markdown()
        );
        assert!(table.to_html().contains(">exact match</th>"), "{}", table.to_html());
        assert!(table.to_text().starts_with("b − a, micro_f1, n = 2  exact_match"), "{table}");
        assert_eq!(titled("smollm2-lora of a_B"), "smollm2-lora of a_B");
    }

    #[test]
    fn frames_show_without_quotes_and_with_aligned_numbers() {
        let frame =
            df!["model" => ["a|b", "<c>"], "n" => [12i64, 7], "f1" => [Some(0.61234), None], "p" => [0.00012, 0.5]];
        let table = Table::from(frame.unwrap()).caption("two models");
        assert_eq!(
            table.to_markdown(),
            "two models\n\n| model | n | f1 | p |\n| :-- | --: | --: | --: |\n| a\\|b | 12 | 0.612 | 1.2e-4 |\n| \\<c> | 7 | – | 0.500 |\n"
        );
        assert!(table.to_html().contains("<td style=\"text-align:left\">&lt;c&gt;</td>"));
        assert_eq!(
            table.to_text(),
            "two models\nmodel   n     f1       p\na|b    12  0.612  1.2e-4\n<c>     7      –   0.500\n"
        );
    }

    #[test]
    fn a_table_too_wide_for_a_page_says_how_wide_its_columns_are() {
        let row = |text: &str| vec!["12".to_string(), text.to_string()];
        let markdown = Table::from_rows(&["n", "text"], &[row(&"word ".repeat(30)), row("short")]).to_markdown();
        assert_eq!(markdown.lines().nth(1).unwrap(), format!("| {}: | :{} |", "-".repeat(5), "-".repeat(49)));
        assert!(Table::from_rows(&["n", "text"], &[row("short")]).to_markdown().contains("| --: | :-- |"));
    }

    #[test]
    fn intervals_read_at_a_glance() {
        let estimate = Estimate { value: 0.6123, low: 0.58, high: 0.6501, n: 386 };
        assert_eq!(interval(Some(&estimate)), "0.612 [0.580, 0.650]");
        assert_eq!(interval(None), "–");
        let gap = Difference { value: 0.0213, low: -0.004, high: 0.047, p: 0.1, n: 386, ..Difference::default() };
        assert_eq!(difference(Some(&gap)), "+0.021 [−0.004, 0.047]");
        let seen = Difference { detectable: Some(0.0431), ..gap.clone() };
        let (all, same) = (Difference { low: 1.0, high: 1.0, ..gap }, Difference::default());
        let said = [Some(&seen), Some(&all), Some(&same), None].map(detectable);
        assert_eq!(said, ["0.043", "–", "no case differs", "–"]);
        assert_eq!(
            (number(0.61234), number(20.312), number(1236.0), number(0.0)),
            ("0.612".into(), "20.31".into(), "1236".into(), "0.000".into())
        );
    }

    #[test]
    fn rows_of_text_make_a_table_too() {
        let table = Table::from_rows(&["what", "value"], &[vec!["n".into(), "12".into()], vec!["x".into()]]);
        assert_eq!(table.to_text(), "what  value\nn     12\nx\n");
        assert_eq!(Table::default().to_text(), "\n");
    }
}
