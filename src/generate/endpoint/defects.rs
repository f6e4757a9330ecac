//! Answers that are complete and yet of no use: only reasoning, empty, or cut at the limit on new tokens. They are kept and scored as they
//! are, counted, and told while the run goes on; after `max_incomplete` of them in a row the run stops and says what to change.
use super::reply::Defect;
use std::collections::BTreeMap;

/// Counted in the order in which answers came.
#[derive(Default)]
pub struct Defects {
    counts: BTreeMap<Defect, usize>,
    /// Since the last answer without one, by kind.
    row: BTreeMap<Defect, usize>,
    /// Tenths of the cases that were told.
    tenths: usize,
}

impl Defects {
    /// Of answers of earlier commands: nothing is told of these.
    pub fn of(answers: impl Iterator<Item = Option<Defect>>) -> Self {
        let mut defects = Self::default();
        answers.for_each(|defect| _ = defects.count(defect));
        defects
    }

    /// Whether it is the first of its kind.
    fn count(&mut self, defect: Option<Defect>) -> bool {
        let Some(defect) = defect else {
            self.row.clear();
            return false;
        };
        *self.row.entry(defect).or_default() += 1;
        let count = self.counts.entry(defect).or_default();
        *count += 1;
        *count == 1
    }

    /// Counts an answer and warns of the first of a kind.
    pub fn add(&mut self, defect: Option<Defect>, case: &str, limit: usize) {
        if let (true, Some(defect)) = (self.count(defect), defect) {
            let stops = match limit {
                0 => String::new(),
                _ => format!(", and the run stops after {limit} such answers in a row (--max-incomplete)"),
            };
            eprintln!(
                "warning: case `{case}`: the answer is {}: {}; it is kept and counted{stops}",
                name(defect),
                advice(defect)
            );
        }
    }

    /// As many in a row as the limit, 0 for none.
    pub fn reach(&self, limit: usize) -> bool {
        limit > 0 && self.row.values().sum::<usize>() >= limit
    }

    /// Prints the counts at every tenth of the cases, where there are any.
    pub fn progress(&mut self, finished: usize, all: usize) {
        let tenths = finished * 10 / all.max(1);
        if tenths > self.tenths && !self.counts.is_empty() {
            println!("… of the answers so far {}", list(&self.counts));
        }
        self.tenths = self.tenths.max(tenths);
    }

    /// What stopped the run, and what to change.
    pub fn verdict(&self) -> String {
        let most = self.row.iter().max_by_key(|(_, count)| **count).map(|(defect, _)| *defect);
        let advice = most.map_or("", advice);
        format!(
            "the last {} answers in a row are of no use: {}; {advice}",
            self.row.values().sum::<usize>(),
            list(&self.row)
        )
    }
}

fn list(counts: &BTreeMap<Defect, usize>) -> String {
    counts.iter().map(|(defect, count)| format!("{count} {}", name(*defect))).collect::<Vec<_>>().join(", ")
}

fn name(defect: Defect) -> &'static str {
    match defect {
        Defect::OnlyReasoning => "only reasoning",
        Defect::Empty => "empty",
        Defect::Cut => "cut at the limit on new tokens",
    }
}

fn advice(defect: Defect) -> &'static str {
    match defect {
        Defect::OnlyReasoning => {
            "raise --max-new so that an answer follows the reasoning, turn reasoning off (--thinking off; Ollama and OpenAI: --extra \
             '{\"reasoning_effort\": \"none\"}'), or check the server's reasoning parser"
        }
        Defect::Empty => "check the model's name, the server's chat template, the texts of --stop and --max-new",
        Defect::Cut => "raise --max-new (or max_completion_tokens in --extra)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Defect::{Cut, Empty, OnlyReasoning};

    #[test]
    fn a_good_answer_breaks_the_row_and_the_limit_is_on_the_row() {
        let mut defects = Defects::of([Some(Cut), None, Some(Empty), Some(OnlyReasoning)].into_iter());
        assert!(defects.reach(2) && !defects.reach(3) && !defects.reach(0));
        defects.add(Some(OnlyReasoning), "c", 3);
        assert!(defects.reach(3));
        let said = defects.verdict();
        assert!(said.contains("last 3 answers") && said.contains("2 only reasoning, 1 empty"), "{said}");
        assert!(
            said.contains("--max-new") && said.contains("--thinking off"),
            "the kind that is most frequent: {said}"
        );
        defects.add(None, "d", 3);
        assert!(!defects.reach(1));
    }
}
