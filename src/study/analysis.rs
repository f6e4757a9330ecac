//! The failures of several models on one corpus, from the run store.
use crate::corpus::synthetic::Truth;
use crate::error::{Error, Result};
use crate::failure::{CaseFailures, Class, LabelError, Taxonomy};
use crate::label::Normaliser;
use crate::metric::Bootstrap;
use crate::study::Results;
use std::collections::BTreeMap;

/// Every label error of every model, in the order of the results.
pub struct Analysis {
    pub names: Normaliser,
    pub bootstrap: Bootstrap,
    /// Why synthetic cases carry their labels; empty for real findings.
    pub truths: BTreeMap<String, Truth>,
    pub models: Vec<(String, Vec<CaseFailures>)>,
}

impl Analysis {
    pub fn of(results: &Results, truths: BTreeMap<String, Truth>) -> Self {
        let taxonomy = Taxonomy::new(&results.task.corpus.train, results.task.names.clone());
        let cases = |model: &crate::study::Answered| {
            (model.name.clone(), taxonomy.cases(&model.predictions, model.run.known().max_new))
        };
        let models = results.models.iter().map(cases).collect();
        Self { names: results.task.names.clone(), bootstrap: results.bootstrap.clone(), truths, models }
    }

    pub fn get(&self, model: &str) -> Result<&[CaseFailures]> {
        let found = self.models.iter().find(|(name, _)| name == model).map(|(_, cases)| cases.as_slice());
        found.ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|(name, _)| name.as_str()).collect();
            Error::input(format!("no failures of `{model}`: there are {}", known.join(", ")))
        })
    }

    /// The case that shows a class best: of those in which such an error has an evidence sentence or has a partner the one with the
    /// fewest errors, the first of equals; none where the class does not occur so.
    pub fn example(&self, model: &str, class: Class) -> Result<Option<&CaseFailures>> {
        let told = |error: &LabelError| error.class == class && (error.evidence.is_some() || error.partner.is_some());
        let fits = self.get(model)?.iter().filter(|case| case.errors.iter().any(told));
        Ok(fits.min_by_key(|case| case.errors.len()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The toy results of `study::results`, with their failures.
    pub(crate) fn analysis(folder: &std::path::Path) -> (Results, Analysis) {
        let results = crate::study::results::tests::toy(folder);
        let analysis = Analysis::of(&results, BTreeMap::new());
        (results, analysis)
    }
}
