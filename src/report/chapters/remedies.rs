//! What would fix the errors that are left, answered by the arms of a grid: one arm in the place of another, on the
//! same cases with the same seeds. All seeds count; intervals draw cases (all seeds of a case together) and hold the
//! seeds.
use super::causes::Cause;
use crate::error::Result;
use crate::failure::{CaseFailures, Fixed, Taxonomy, fixed};
use crate::metric::Bootstrap;
use crate::report::kit::display::{NONE, Table, difference, interval};
use crate::study::Grid;
use crate::task::typed_predictions;

/// Every label error of some arms, seeds one after the other.
pub struct ArmFailures {
    arms: Vec<(String, Vec<CaseFailures>)>,
    bootstrap: Bootstrap,
}

/// What is changed, the arm without it, and the arm with it.
pub type Remedy<'a> = (&'a str, &'a str, &'a str);

impl ArmFailures {
    /// Of the arms that were run; the others are left out.
    pub fn of(grid: &Grid, arms: &[&str]) -> Result<Self> {
        let task = grid.labels()?;
        let taxonomy = Taxonomy::new(&task.corpus.train, task.names.clone());
        let mut all = Vec::new();
        for arm in arms {
            let Some(tried) = grid.tried.get(*arm) else { continue };
            let mut cases = Vec::new();
            for (took, answers) in tried.took.iter().zip(grid.answers(arm)?) {
                let answers = typed_predictions(task, answers)?;
                cases.extend(taxonomy.cases(&answers, None).into_iter().map(|case| of_seed(case, took.seed)));
            }
            all.push((arm.to_string(), cases));
        }
        Ok(Self { arms: all, bootstrap: grid.bootstrap.clone() })
    }

    fn get(&self, arm: &str) -> Option<&[CaseFailures]> {
        self.arms.iter().find(|(name, _)| name == arm).map(|(_, cases)| cases.as_slice())
    }

    fn fixed(&self, (_, from, to): &Remedy) -> Option<Fixed> {
        Some(fixed(self.get(from)?, self.get(to)?, &self.bootstrap))
    }

    /// One row a change: of the errors without it how many are fixed and how many are new, the difference per 100 cases, and
    /// how many misses of labels with 0 or 1 training case are fixed. Errors that the normaliser forgives are left out.
    /// Dashes where an arm was not run.
    pub fn table(&self, remedies: &[Remedy]) -> Table {
        let row = |remedy: &Remedy| {
            let (what, from, to) = remedy;
            let found = self.fixed(remedy);
            let count = |of: fn(&Fixed) -> usize| found.as_ref().map_or(NONE.into(), |found| of(found).to_string());
            vec![
                what.to_string(),
                format!("{from} → {to}"),
                count(|found| found.errors),
                count(|found| found.fixed),
                interval(found.as_ref().and_then(|found| found.share.as_ref())),
                count(|found| found.new),
                difference(found.as_ref().and_then(|found| found.balance.as_ref())),
                self.rare(remedy),
            ]
        };
        let counts = ["change", "arms", "errors", "fixed", "share fixed", "new errors"];
        let names = [&counts[..], &["difference per 100 cases", "rare fixed"]].concat();
        Table::from_rows(&names, &remedies.iter().map(row).collect::<Vec<_>>())
    }

    /// One row an arm: its errors a hundred cases by their cause.
    pub fn causes(&self) -> Table {
        let row = |(arm, cases): &(String, Vec<CaseFailures>)| {
            let cells = Cause::ALL.map(|cause| cause.rate(cases, &self.bootstrap));
            [vec![arm.clone()], cells.to_vec()].concat()
        };
        let names: Vec<&str> = ["arm"].into_iter().chain(Cause::ALL.map(Cause::name)).collect();
        Table::from_rows(&names, &self.arms.iter().map(row).collect::<Vec<_>>())
    }

    /// The misses of labels with 0 or 1 training case that a change fixes, of all of them: `3 of 44`.
    fn rare(&self, (_, from, to): &Remedy) -> String {
        let rare = |cases: &[CaseFailures]| -> Vec<CaseFailures> {
            let keep = |case: &CaseFailures| {
                let errors = case.errors.iter().filter(|error| Cause::of(error) == Cause::OnceOrNever).cloned();
                CaseFailures { errors: errors.collect(), ..case.clone() }
            };
            cases.iter().map(keep).collect()
        };
        let (Some(before), Some(after)) = (self.get(from), self.get(to)) else { return NONE.into() };
        let found = fixed(&rare(before), &rare(after), &self.bootstrap);
        format!("{} of {}", found.fixed, found.errors)
    }
}

/// A case of one seed is a case of its own; its group, which is drawn as a whole, stays.
fn of_seed(mut case: CaseFailures, seed: u64) -> CaseFailures {
    case.case_id = format!("{seed}/{}", case.case_id);
    case.errors.iter_mut().for_each(|error| error.case_id.clone_from(&case.case_id));
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chapters::grid::tests::tried;

    const GRID: &str = r#"
base = "lora-plain"
seeds = [1, 2]
[[axes]]
name = "words"
question = "More cases?"
arms = [
  { name = "ten", baseline = "most-frequent", set = { cases = 10 } },
  { name = "all", baseline = "most-frequent" },
  { name = "lora" },
]
"#;

    fn failures(folder: &std::path::Path) -> ArmFailures {
        ArmFailures::of(&tried(GRID, folder), &["ten", "all", "lora"]).unwrap()
    }

    #[test]
    fn an_arm_in_its_own_place_fixes_nothing_and_one_that_was_not_run_has_dashes() {
        let folder = tempfile::tempdir().unwrap();
        let failures = failures(folder.path());
        let text =
            failures.table(&[("nothing", "all", "all"), ("cases", "ten", "all"), ("a model", "all", "lora")]).to_text();
        let row = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(String::from).collect()
        };
        let nothing = row("nothing");
        assert_eq!((nothing[3].as_str(), nothing[5].as_str()), ("0", "0"), "{text}");
        assert!(nothing[6].starts_with("0.000 [0.000, 0.000]"), "{text}");
        assert_eq!(row("a model")[2..], ["–", "–", "–", "–", "–", "–"], "{text}");
        assert!(row("cases")[4].contains('['), "{text}");
    }

    #[test]
    fn all_seeds_are_counted_and_the_rare_labels_apart() {
        let folder = tempfile::tempdir().unwrap();
        let failures = failures(folder.path());
        let cases = crate::corpus::Corpus::embedded().unwrap().test.len();
        assert_eq!(failures.get("all").unwrap().len(), 2 * cases);
        assert_eq!(failures.causes().height(), 2, "an arm that was not run has no row");
        assert_eq!(failures.rare(&("nothing", "all", "all")), "0 of 44");
    }
}
