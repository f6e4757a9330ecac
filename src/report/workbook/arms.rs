//! The experiment grid in the workbook: a sheet of its arms with their scores, and one with every answer of every arm and seed, to be
//! filtered by arm. Findings are not repeated there: the case id leads to them in the sheets of single models. An arm's name leads to the
//! first of its answers.
use super::{Place, Xlsx, fill, link};
use crate::error::Result;
use crate::report::chapters::grid::differs;
use crate::study::{Comparison, Grid};
use crate::task::{Cell, Column};
use rust_xlsxwriter::Workbook;
use std::collections::BTreeMap;

/// Metrics of an arm, the task's first.
const METRICS: usize = 4;

pub(super) const SHEETS: [&str; 2] = ["arms", "answers of arms"];

/// What both sheets show: cells of text, the first an arm, then numbers; and the arms compared with the first of their axis.
pub(super) struct Arms {
    pub compared: Vec<Comparison>,
    scores: Vec<Vec<Cell>>,
    columns: Vec<Column>,
    answers: Vec<Vec<Cell>>,
}

impl Arms {
    pub(super) fn of(grid: &Grid) -> Result<Self> {
        let (mut scores, mut answers) = (Vec::new(), Vec::new());
        for arm in grid.config.arms()?.iter().filter(|arm| grid.tried.contains_key(&arm.name)) {
            let run = grid.tried(&arm.name)?.run.folder();
            let differs = grid.config.setting(&arm.name).map(differs).unwrap_or_default();
            let keys = grid.scored(&arm.name)?.first().map(|table| table.keys()).unwrap_or_default();
            for metric in keys.into_iter().take(METRICS) {
                let Some(score) = grid.score(&arm.name, metric)? else { continue };
                let seeds = score.values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ");
                let estimate = score.estimate;
                let cells = [arm.name.clone(), differs.clone(), metric.to_string(), seeds, run.clone()].map(Cell::Text);
                let numbers = [estimate.value, estimate.low, estimate.high, estimate.n as f64];
                scores.push(cells.into_iter().chain(numbers.map(|n| Cell::Number(Some(n)))).collect());
            }
            answers_of(grid, &arm.name, &mut answers)?;
        }
        let compared = grid.comparisons(&grid.task.main_metric()?)?;
        Ok(Self { compared, scores, columns: grid.task.columns(), answers })
    }

    /// Where the answers of every arm begin.
    pub(super) fn places(&self) -> BTreeMap<&str, Place<'_>> {
        let mut places = BTreeMap::new();
        for (row, cells) in (1..).zip(&self.answers) {
            if let Some(Cell::Text(arm)) = cells.first() {
                places.entry(arm.as_str()).or_insert((SHEETS[1], row));
            }
        }
        places
    }

    pub(super) fn write(&self, book: &mut Workbook) -> Xlsx<()> {
        let [scores, answers] = SHEETS;
        let columns = [
            ("arm", 20.0),
            ("differs in", 48.0),
            ("metric", 16.0),
            ("each seed", 20.0),
            ("run", 36.0),
            ("mean", 10.0),
            ("low", 10.0),
            ("high", 10.0),
            ("n", 8.0),
        ];
        let sheet = book.add_worksheet().set_name(scores)?;
        fill(sheet, &columns, &self.scores)?;
        let places = self.places();
        for (row, cells) in (1..).zip(&self.scores) {
            let Some(Cell::Text(arm)) = cells.first() else { continue };
            if let Some(place) = places.get(arm.as_str()) {
                link(sheet, row, 0, arm, *place)?;
            }
        }
        let mut columns = vec![("arm", 20.0), ("case id", 14.0), ("gold", 32.0), ("raw answer", 40.0)];
        columns.extend(self.columns.iter().map(|column| (column.title, column.width)));
        columns.extend([("seed", 8.0), ("log-probability", 16.0), ("new tokens", 13.0)]);
        fill(book.add_worksheet().set_name(answers)?, &columns, &self.answers)
    }
}

fn answers_of(grid: &Grid, arm: &str, rows: &mut Vec<Vec<Cell>>) -> Result<()> {
    let tried = grid.tried(arm)?;
    for (took, answers) in tried.took.iter().zip(grid.answers(arm)?) {
        for prediction in answers {
            let gold = grid.task.gold_text(&prediction.gold)?;
            let texts = [arm.to_string(), prediction.case_id.clone(), gold, prediction.raw.clone()];
            let mut cells: Vec<Cell> = texts.map(Cell::Text).into();
            cells.extend(grid.task.cells(prediction)?);
            let logprob = prediction.logprob.filter(|value| value.is_finite());
            let numbers = [Some(took.seed as f64), logprob, Some(prediction.new_tokens as f64)];
            cells.extend(numbers.map(Cell::Number));
            rows.push(cells);
        }
    }
    Ok(())
}
