//! The experiment grid in the workbook: a sheet of its arms with their scores, and one with every answer of every arm and seed, to be
//! filtered by arm. Findings are not repeated there: the case id leads to them in the sheets of single models. An arm's name leads to the
//! first of its answers.
use super::{Place, Xlsx, header, join, link, numbers_at, text};
use crate::error::Result;
use crate::report::chapters::grid::differs;
use crate::study::{Comparison, Grid};
use rust_xlsxwriter::{Workbook, Worksheet};
use std::collections::BTreeMap;

pub(super) const SHEETS: [&str; 2] = ["arms", "answers of arms"];

/// What both sheets show: cells of text, the first an arm, then numbers; and the arms compared with the first of their axis.
pub(super) struct Arms {
    pub compared: Vec<Comparison>,
    scores: Vec<(Vec<String>, Vec<Option<f64>>)>,
    answers: Vec<(Vec<String>, Vec<Option<f64>>)>,
}

impl Arms {
    pub(super) fn of(grid: &Grid) -> Result<Self> {
        let (mut scores, mut answers) = (Vec::new(), Vec::new());
        for arm in grid.config.arms()?.iter().filter(|arm| grid.tried.contains_key(&arm.name)) {
            let run = grid.tried(&arm.name)?.run.folder();
            let differs = grid.config.setting(&arm.name).map(differs).unwrap_or_default();
            for metric in ["micro_f1", "jaccard", "exact_match", "macro_f1_gold"] {
                let Some(score) = grid.score(&arm.name, metric)? else { continue };
                let seeds = score.values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ");
                let estimate = score.estimate;
                let numbers = [estimate.value, estimate.low, estimate.high, estimate.n as f64].map(Some).to_vec();
                scores.push((vec![arm.name.clone(), differs.clone(), metric.to_string(), seeds, run.clone()], numbers));
            }
            answers_of(grid, &arm.name, &mut answers)?;
        }
        Ok(Self { compared: grid.comparisons("micro_f1")?, scores, answers })
    }

    /// Where the answers of every arm begin.
    pub(super) fn places(&self) -> BTreeMap<&str, Place<'_>> {
        let mut places = BTreeMap::new();
        for (row, (cells, _)) in (1..).zip(&self.answers) {
            if let Some(arm) = cells.first() {
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
        for (row, (cells, _)) in (1..).zip(&self.scores) {
            if let Some((arm, place)) = cells.first().and_then(|arm| Some((arm, places.get(arm.as_str())?))) {
                link(sheet, row, 0, arm, *place)?;
            }
        }
        let columns = [
            ("arm", 20.0),
            ("case id", 14.0),
            ("gold", 32.0),
            ("raw answer", 40.0),
            ("right", 28.0),
            ("missed", 28.0),
            ("invented", 28.0),
            ("seed", 8.0),
            ("exact", 8.0),
            ("log-probability", 16.0),
            ("new tokens", 13.0),
        ];
        fill(book.add_worksheet().set_name(answers)?, &columns, &self.answers)
    }
}

fn answers_of(grid: &Grid, arm: &str, rows: &mut Vec<(Vec<String>, Vec<Option<f64>>)>) -> Result<()> {
    let tried = grid.tried(arm)?;
    for took in &tried.took {
        for prediction in tried.predictions(&grid.corpus, took.seed)? {
            let outcome = prediction.outcome(Some(&|label: &str| grid.names.normalise(label)));
            let gold = prediction.gold.join(", ");
            let (right, missed, invented) = (join(outcome.right()), join(outcome.missed()), join(outcome.invented()));
            let cells = vec![arm.to_string(), prediction.case_id, gold, prediction.raw, right, missed, invented];
            let logprob = prediction.logprob.filter(|value| value.is_finite());
            let (exact, tokens) = (f64::from(outcome.exact()), prediction.new_tokens as f64);
            rows.push((cells, vec![Some(took.seed as f64), Some(exact), logprob, Some(tokens)]));
        }
    }
    Ok(())
}

fn fill(sheet: &mut Worksheet, columns: &[(&str, f64)], rows: &[(Vec<String>, Vec<Option<f64>>)]) -> Xlsx<()> {
    header(sheet, columns, rows.len())?;
    for (row, (cells, numbers)) in (1..).zip(rows) {
        for (column, cell) in (0..).zip(cells) {
            text(sheet, row, column, cell)?;
        }
        numbers_at(sheet, row, cells.len() as u16, numbers)?;
    }
    Ok(())
}
