//! Whether a base model answers with what its pretraining exercises asked for: the organs of a report, whatever the
//! question is.
use crate::error::Result;
use crate::pretrain::ORGANS;
use crate::study::{Answered, Results};

/// Labels of all answers of a model, and those that are organs of the exercise.
fn organs(model: &Answered) -> (usize, usize) {
    let labels = || model.predictions.iter().flat_map(|p| &p.answer);
    let named = labels().filter(|label| ORGANS.contains(&label.trim().to_lowercase().as_str()));
    (labels().count(), named.count())
}

/// Share of the labels in a model's answers that are organs of the exercise; 0 without labels.
pub(super) fn organ_share(model: &Answered) -> f64 {
    let (all, named) = organs(model);
    named as f64 / all.max(1) as f64
}

/// A sentence a model: how many of the labels that it gives are organs of the exercise.
pub fn replayed(results: &Results, models: &[&str]) -> Result<Vec<String>> {
    let sentence = |name: &&str| -> Result<String> {
        let (all, named) = organs(results.get(name)?);
        Ok(format!(
            "{name}: of the {all} labels in its answers {named} ({:.1} %) are among the {} organs that the exercise \
             asks for.",
            100.0 * named as f64 / all.max(1) as f64,
            ORGANS.len()
        ))
    };
    models.iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn organs_are_told_from_labels() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = toy(folder.path());
        results.models[0]
            .predictions
            .iter_mut()
            .take(5)
            .for_each(|p| p.answer = vec!["Liver".into(), "bile duct".into()]);
        let said = replayed(&results, &["bad", "good"]).unwrap();
        assert!(said[0].starts_with("bad: of the 25 labels in its answers 10 (40.0 %)"), "{said:?}");
        assert!(said[1].starts_with("good: of the 20 labels in its answers 0 (0.0 %)"), "{said:?}");
        assert!(replayed(&results, &["none"]).is_err());
    }
}
