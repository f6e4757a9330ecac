//! `results.xlsx`: all inference results in one file. A sheet that says what it is, a sheet a model with every case, a sheet of
//! metrics, one of paired comparisons, a sheet of settings, two of the experiment grid. Names in the sheets of numbers lead to the sheet
//! with the raw answers behind them, and the run's folder stands beside. Text is always written as text (a cell that starts with `=` is
//! no formula), a cell that Excel could not hold is cut with a mark, and the same predictions give the same bytes.
mod arms;
mod compared;

use crate::error::{Error, Result};
use crate::io;
use crate::metric::Reading;
use crate::study::{Comparison, Evaluation, Grid};
use crate::task::{AnyPrediction, AnyTask, Cell};
use arms::Arms;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, FormatAlign, Url, Workbook, Worksheet, XlsxError};
use std::collections::BTreeSet;
use std::path::Path;

/// Characters (UTF-16 units) that a cell holds in Excel.
const CELL: usize = 32_767;
/// Characters of a sheet's name in Excel.
const SHEET_NAME: usize = 31;

type Xlsx<T> = std::result::Result<T, XlsxError>;

/// One model's answers and what is known about how they were made.
pub struct Answers<'a> {
    /// Short and readable; the sheet's name is made from it.
    pub name: String,
    /// Says what stands in the sheet's columns.
    pub task: &'a dyn AnyTask,
    pub predictions: &'a [AnyPrediction],
    pub evaluation: &'a Evaluation,
    /// Folder of their run, which ends in its digest; empty where they do not lie in one.
    pub run: String,
    /// Whether the cases are made up, where that is known; it then stands in the sheet's header.
    pub synthetic: Option<bool>,
    /// Classes of every case's label errors, in the order of the predictions; none leaves the column out.
    pub failures: Vec<String>,
    /// Setting and value, for the sheet of settings.
    pub settings: Vec<(String, String)>,
}

/// What a workbook holds.
pub struct Contents<'a> {
    pub answers: &'a [Answers<'a>],
    /// Paired comparisons of the answers, by their names.
    pub comparisons: &'a [Comparison],
    /// What an experiment grid found, for its two sheets and the comparisons of its arms.
    pub grid: Option<&'a Grid>,
}

/// Writes the workbook.
pub fn write_workbook(path: &Path, contents: &Contents) -> Result<()> {
    let arms = contents.grid.filter(|grid| !grid.tried.is_empty()).map(Arms::of).transpose()?;
    let sheets = contents.answers.iter().map(rows).collect::<Result<Vec<_>>>()?;
    let bytes = build(contents, &sheets, arms.as_ref())
        .map_err(|error| Error::failed(format!("{}: the workbook could not be written: {error}", path.display())))?;
    io::write(path, &bytes)
}

/// The rows of a model's sheet.
fn rows(answer: &Answers) -> Result<Vec<Vec<Cell>>> {
    let number = |n: usize| Cell::Number(Some(n as f64));
    let row = |(at, p): (usize, &AnyPrediction)| {
        let before = [p.case_id.clone(), p.input.clone(), answer.task.gold_text(&p.gold)?, p.raw.clone()];
        let mut cells: Vec<Cell> = before.map(Cell::Text).into();
        cells.extend(answer.task.cells(p)?);
        cells.push(Cell::Number(p.logprob.filter(|value| value.is_finite())));
        cells.extend([number(p.prompt_tokens), number(p.new_tokens)]);
        cells.extend(answer.failures.get(at).map(|classes| Cell::Text(classes.clone())));
        Ok(cells)
    };
    answer.predictions.iter().enumerate().map(row).collect()
}

fn build(contents: &Contents, sheets: &[Vec<Vec<Cell>>], arms: Option<&Arms>) -> Xlsx<Vec<u8>> {
    let mut book = Workbook::new();
    let date = ExcelDateTime::from_ymd(2026, 1, 1)?; // fixed: equal results are equal files
    book.set_properties(&DocProperties::new().set_title("dxlab: inference results").set_creation_datetime(&date));
    let answers = contents.answers;
    let names = sheet_names(answers.iter().map(|answer| answer.name.as_str()));
    let places = answers.iter().map(|answer| answer.name.as_str()).zip(names.iter().map(|name| (name.as_str(), 0)));
    let families = compared::families(contents.comparisons, places.collect(), arms);
    about(book.add_worksheet(), contents, &names, &families, arms.is_some())?;
    for ((answer, name), rows) in answers.iter().zip(&names).zip(sheets) {
        cases(book.add_worksheet().set_name(name)?, answer, rows)?;
    }
    metrics(book.add_worksheet().set_name("metrics")?, answers, &names)?;
    if !families.is_empty() {
        compared::write(book.add_worksheet().set_name(compared::SHEET)?, &families)?;
    }
    settings(book.add_worksheet().set_name("settings")?, answers, &names)?;
    if let Some(arms) = arms {
        arms.write(&mut book)?;
    }
    book.save_to_buffer()
}

/// A sheet and a row in it.
type Place<'a> = (&'a str, u32);

/// What to know before reading the other sheets.
fn about(
    sheet: &mut Worksheet,
    contents: &Contents,
    names: &[String],
    families: &[compared::Family],
    arms: bool,
) -> Xlsx<()> {
    let answers = contents.answers;
    let known = |what: Option<bool>| answers.iter().any(|answer| answer.synthetic == what);
    let data = match (known(Some(true)), known(Some(false))) {
        (true, false) => "synthetic: cases and answers are made up by a generator; no patient is described",
        (false, true) => "not synthetic: mind the terms under which the cases were given to you",
        (true, true) => {
            "sheets with `synthetic` in their header are made up by a generator; for the others, mind the terms under which \
                         the cases were given to you"
        }
        (false, false) => "not recorded in the predictions",
    };
    let (seed, resamples, level) = answers.first().map_or((0, 0, 0.0), |answer| {
        let bootstrap = &answer.evaluation.bootstrap;
        (bootstrap.seed, bootstrap.resamples, bootstrap.level)
    });
    let mut rows = vec![
        ("what".to_string(), "every answer of every model, made by dxlab".to_string()),
        ("data".into(), data.into()),
        (
            "log-probability".into(),
            "sum over the answer's tokens, natural logarithm; empty where the model gives none".into(),
        ),
        (
            "failures".into(),
            "the class of every label error as written (`dxlab failures` explains them), with the label".into(),
        ),
        (
            "interval".into(),
            format!(
                "percentile bootstrap, level {level}, {resamples} resamples, seed {seed}; the exact one (Clopper–Pearson) where a share \
                 is 0 or 1 in every group"
            ),
        ),
    ];
    if answers.iter().any(|answer| answer.task.as_labels().is_some()) {
        let what = "labels after normalisation: in both (true positives), in gold only (false negatives), in the answer only (false \
                    positives)";
        rows.push(("right, missed, invented".into(), what.into()));
        rows.push(("exact".into(), "1 where nothing is missed and nothing invented, else 0".into()));
    }
    for (answer, name) in answers.iter().zip(names) {
        rows.push((format!("sheet `{name}`"), format!("{}, {} cases", answer.name, answer.predictions.len())));
    }
    if !families.is_empty() {
        let what = "paired differences b − a; p after Holm within its family; intervals and detectable differences (80 % power) are of \
                    single comparisons, not corrected";
        rows.push((format!("sheet `{}`", compared::SHEET), what.into()));
    }
    if arms {
        let [scores, answers] = arms::SHEETS;
        let mean = "the experiment grid: every arm's mean over its seeds, with an interval over cases and seeds";
        rows.push((format!("sheet `{scores}`"), mean.into()));
        rows.push((format!("sheet `{answers}`"), "every answer of every arm and seed".into()));
    }
    sheet.set_name("about")?;
    header(sheet, &[("item", 28.0), ("meaning", 100.0)], rows.len())?;
    for (row, (item, meaning)) in (1..).zip(rows) {
        text(sheet, row, 0, &item)?;
        text(sheet, row, 1, &meaning)?;
    }
    Ok(())
}

fn cases(sheet: &mut Worksheet, answer: &Answers, rows: &[Vec<Cell>]) -> Xlsx<()> {
    let input = answer.task.input_title();
    let input = if answer.synthetic == Some(true) { format!("{input} (synthetic)") } else { input.to_string() };
    let mut columns = vec![("case id", 14.0), (input.as_str(), 80.0), ("gold", 32.0), ("raw answer", 40.0)];
    columns.extend(answer.task.columns().iter().map(|column| (column.title, column.width)));
    columns.extend([("log-probability", 16.0), ("prompt tokens", 15.0), ("new tokens", 13.0)]);
    columns.extend((!answer.failures.is_empty()).then_some(("failures", 48.0)));
    fill(sheet, &columns, rows)
}

/// A header and rows of cells.
fn fill(sheet: &mut Worksheet, columns: &[(&str, f64)], rows: &[Vec<Cell>]) -> Xlsx<()> {
    header(sheet, columns, rows.len())?;
    for (row, cells) in (1..).zip(rows) {
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Text(value) => text(sheet, row, column, value)?,
                Cell::Number(value) => numbers_at(sheet, row, column, &[*value])?,
            }
        }
    }
    Ok(())
}

fn metrics(sheet: &mut Worksheet, answers: &[Answers], names: &[String]) -> Xlsx<()> {
    let columns = [
        ("model", 32.0),
        ("labels", 12.0),
        ("metric", 22.0),
        ("value", 10.0),
        ("low", 10.0),
        ("high", 10.0),
        ("n", 8.0),
        ("run", 44.0),
        ("prompt", 28.0),
    ];
    let readings = [(Reading::Normalised, "normalised"), (Reading::Raw, "raw")];
    let mut row = 1;
    for (answer, name) in answers.iter().zip(names) {
        for (reading, labels) in readings {
            for (metric, estimate) in &answer.evaluation.scores(reading).metrics {
                link(sheet, row, 0, name, (name, 0))?;
                [labels, metric].iter().zip(1..).try_for_each(|(cell, c)| text(sheet, row, c, cell))?;
                [&answer.run, &answer.evaluation.prompt]
                    .iter()
                    .zip(7..)
                    .try_for_each(|(c, at)| text(sheet, row, at, c))?;
                let numbers =
                    estimate.as_ref().map(|e| [e.value, e.low, e.high, e.n as f64].map(Some)).unwrap_or_default();
                numbers_at(sheet, row, 3, &numbers)?;
                row += 1;
            }
        }
    }
    header(sheet, &columns, row as usize - 1)
}

fn settings(sheet: &mut Worksheet, answers: &[Answers], names: &[String]) -> Xlsx<()> {
    let mut row = 1;
    for (answer, name) in answers.iter().zip(names) {
        let evaluation = answer.evaluation;
        let known = [
            ("task", evaluation.task.clone()),
            ("model", evaluation.model.clone()),
            ("adapter", evaluation.adapter.clone().unwrap_or_else(|| "none".into())),
            ("prompt", evaluation.prompt.clone()),
            ("cases", evaluation.cases.to_string()),
            ("groups", evaluation.groups.to_string()),
            ("predictions (sha256)", evaluation.predictions.clone()),
            ("bootstrap seed", evaluation.bootstrap.seed.to_string()),
            ("bootstrap resamples", evaluation.bootstrap.resamples.to_string()),
        ];
        let known = known.into_iter().map(|(key, value)| (key.to_string(), value));
        for (key, value) in known.chain(answer.settings.iter().cloned()) {
            [name, &key, &value].iter().zip(0..).try_for_each(|(cell, column)| text(sheet, row, column, cell))?;
            row += 1;
        }
    }
    header(sheet, &[("model", 32.0), ("setting", 36.0), ("value", 80.0)], row as usize - 1)
}

/// Bold first row that stays in sight, filters, widths in characters.
fn header(sheet: &mut Worksheet, columns: &[(&str, f64)], rows: usize) -> Xlsx<()> {
    let bold = Format::new().set_bold().set_align(FormatAlign::Top);
    for (column, (name, width)) in (0..).zip(columns) {
        sheet.set_column_width(column, *width)?;
        sheet.write_string_with_format(0, column, *name, &bold)?;
    }
    sheet.set_freeze_panes(1, 0)?;
    let last = u16::try_from(columns.len()).map_or(0, |n| n.saturating_sub(1)); // a dozen columns at most
    sheet.autofilter(0, 0, u32::try_from(rows).unwrap_or(u32::MAX), last)?; // more rows than Excel has is an error there
    Ok(())
}

fn text(sheet: &mut Worksheet, row: u32, column: u16, value: &str) -> Xlsx<()> {
    let wrapped = Format::new().set_text_wrap().set_align(FormatAlign::Top);
    sheet.write_string_with_format(row, column, cut(value), &wrapped).map(|_| ())
}

/// Text that leads to the first cell of a row of a sheet.
fn link(sheet: &mut Worksheet, row: u32, column: u16, value: &str, (to, at): Place) -> Xlsx<()> {
    let format = Format::new().set_hyperlink().set_text_wrap().set_align(FormatAlign::Top);
    let url = Url::new(format!("internal:'{}'!A{}", to.replace('\'', "''"), at + 1)).set_text(cut(value));
    sheet.write_url_with_format(row, column, url, &format).map(|_| ())
}

fn numbers_at(sheet: &mut Worksheet, row: u32, column: u16, values: &[Option<f64>]) -> Xlsx<()> {
    let top = Format::new().set_align(FormatAlign::Top);
    for (column, value) in (column..).zip(values) {
        let Some(value) = value else { continue };
        let whole = value.fract() == 0.0;
        let format = if whole { top.clone() } else { top.clone().set_num_format("0.000") };
        sheet.write_number_with_format(row, column, *value, &format)?;
    }
    Ok(())
}

/// The text as far as a cell holds it, with a mark that says how much there was.
fn cut(value: &str) -> String {
    let units: usize = value.chars().map(char::len_utf16).sum();
    if units <= CELL {
        return value.to_string();
    }
    let mark = format!(" … [cut by dxlab: {} characters]", value.chars().count());
    let mut room = CELL - mark.chars().map(char::len_utf16).sum::<usize>();
    let fits = |c: &char| {
        let fits = c.len_utf16() <= room;
        room = room.saturating_sub(c.len_utf16());
        fits
    };
    value.chars().take_while(fits).chain(mark.chars()).collect()
}

/// Names that Excel takes, told apart by a number: at most 31 characters, none of `[]:*?/\`, unique without regard to case.
fn sheet_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let own = ["about", "metrics", "settings", "history"]; // the last is Excel's own
    let own = own.into_iter().chain(arms::SHEETS).chain([compared::SHEET]);
    let mut taken: BTreeSet<String> = own.map(String::from).collect();
    names
        .map(|name| {
            let clean: String =
                name.chars().map(|c| if "[]:*?/\\".contains(c) || c.is_control() { '_' } else { c }).collect();
            let clean = match clean.trim().trim_matches('\'') {
                "" => "model",
                clean => clean,
            };
            let numbered = |n: usize| match n {
                1 => shorten(clean, ""),
                n => shorten(clean, &format!(" ({n})")),
            };
            let mut n = 1;
            while !taken.insert(numbered(n).to_lowercase()) {
                n += 1;
            }
            numbered(n)
        })
        .collect()
}

fn shorten(name: &str, ending: &str) -> String {
    let mut room = SHEET_NAME - ending.len();
    let fits = |c: &char| {
        let fits = c.len_utf16() <= room;
        room = room.saturating_sub(c.len_utf16());
        fits
    };
    let kept: String = name.chars().take_while(fits).collect();
    format!("{}{ending}", kept.trim_end_matches(['\'', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_is_cut_with_a_mark_and_never_too_long() {
        assert_eq!(cut("short"), "short");
        for long in ["x".repeat(40_000), "😀".repeat(20_000), format!("a{}", "😀".repeat(20_000))] {
            let cut = cut(&long);
            let units: usize = cut.chars().map(char::len_utf16).sum();
            assert!((CELL - 1..=CELL).contains(&units), "{units}");
            assert!(cut.ends_with(&format!("[cut by dxlab: {} characters]", long.chars().count())));
        }
    }

    #[test]
    fn sheet_names_are_short_plain_and_unique() {
        let long = "Qwen3-4B + lora-r16-all-linear · closed list";
        let names = sheet_names([long, &long.to_uppercase(), "metrics", "a/b:c", "", "'x'", "Comparisons"].into_iter());
        assert_eq!(names[2..], ["metrics (2)", "a_b_c", "model", "x", "Comparisons (2)"]);
        assert_eq!(names[0], "Qwen3-4B + lora-r16-all-linear");
        assert!(names.iter().all(|name| name.encode_utf16().count() <= SHEET_NAME));
        assert_eq!(names.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>().len(), names.len());
    }
}
