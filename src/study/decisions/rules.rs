//! Ways to make one answer out of those of several models, each compared with one model on the same notes.
use super::ensemble::Ensemble;
use crate::corpus::decisions::Span;
use crate::ensemble::SpanRule;
use crate::error::{Error, Result};
use crate::metric::{self, Bootstrap, Difference, Estimate, Reading, ScoreTable};
use crate::study::Comparison;
use crate::study::evaluation::correct;
use crate::task::decisions::official::{self, NoteScore, Official, weighted};
use crate::task::decisions::score::{Answered, table};
use serde::Serialize;
use std::collections::BTreeMap;

/// How a rule, or one model, does.
#[derive(Clone, Debug, Serialize)]
pub struct RuleScores {
    pub name: String,
    /// Of the official scores (`span_f1`, `token_f1`, `base_score`; `worst_group_score` and `final_score` where subgroups are known) and of
    /// `exact_f1` and `iou_f1`.
    pub scores: BTreeMap<String, Estimate>,
}

/// Scores that a rule is compared by; the last two only where subgroups are known.
const OFFICIAL: [(&str, fn(&Official) -> Option<f64>); 3] = [
    ("base_score", |found| Some(found.base_score)),
    ("worst_group_score", |found| found.worst_group_score),
    ("final_score", |found| found.final_score),
];

/// The scores of every model and every rule, and each rule against the model `single` (rule − model) on the same notes: exact F1, base score,
/// worst group and final score, with intervals over patients and p after Holm's correction over the rules, score by score.
///
/// Name `single` by other notes ([`Ensemble::best_single`] of validation notes): the best model of these notes is chosen by the scores that the
/// rules are compared with, which favours it.
pub fn compare_rules(
    ensemble: &Ensemble,
    rules: &[(&str, SpanRule)],
    single: &str,
    bootstrap: &Bootstrap,
) -> Result<(Vec<RuleScores>, Vec<Comparison>)> {
    let at = ensemble.models.iter().position(|name| name == single);
    let at =
        at.ok_or_else(|| Error::input(format!("no model `{single}`: there are {}", ensemble.models.join(", "))))?;
    let of_model = |i: usize| Scored::of(ensemble, &ensemble.models[i], &|answers| answers[i].clone());
    let of_rule = |(name, rule): &(&str, SpanRule)| Scored::of(ensemble, name, &|answers| rule.combine(answers));
    let models: Vec<Scored> = (0..ensemble.models.len()).map(of_model).collect();
    let rules: Vec<Scored> = rules.iter().map(of_rule).collect();
    let groups = ensemble.groups();
    let scores = rules.iter().chain(&models).map(|one| one.scores(&groups, bootstrap)).collect();
    let bootstrap = bootstrap.for_comparisons(rules.len());
    let mut rows = Vec::new();
    let keys = ["exact_f1"].into_iter().chain(OFFICIAL.iter().map(|(key, _)| *key));
    for key in keys.filter(|key| ensemble.objective() == "final_score" || ["exact_f1", "base_score"].contains(key)) {
        let row = |rule: &Scored| -> Result<Comparison> {
            let difference = rule.minus(&models[at], key, &groups, &bootstrap)?;
            Ok(Comparison::of(single, &rule.name, key, Reading::Raw, difference))
        };
        let mut of_key = rules.iter().map(row).collect::<Result<Vec<_>>>()?;
        correct(&mut of_key);
        rows.extend(of_key);
    }
    Ok((scores, rows))
}

/// One set of predictions, scored note by note.
struct Scored {
    name: String,
    notes: Vec<NoteScore>,
    table: ScoreTable,
}

impl Scored {
    fn of(ensemble: &Ensemble, name: &str, combine: &dyn Fn(&[Vec<Span>]) -> Vec<Span>) -> Self {
        let predicted: Vec<Vec<Span>> = ensemble.notes.iter().map(|note| combine(&note.answers)).collect();
        let both = || ensemble.notes.iter().zip(&predicted);
        let notes: Vec<NoteScore> = both().map(|(note, spans)| note.score(spans)).collect();
        let answered: Vec<Answered> = both().map(|(note, spans)| note.answered(spans)).collect();
        let table = table(&answered, &notes);
        Self { name: name.into(), notes, table }
    }

    fn scores(&self, groups: &[&str], bootstrap: &Bootstrap) -> RuleScores {
        let mut scores = official::intervals(&self.notes, groups, bootstrap);
        let ours = self.table.keys().into_iter().zip(bootstrap.estimates(&self.table));
        let ours = ours.filter(|(key, _)| ["exact_f1", "iou_f1"].contains(key));
        scores.extend(ours.filter_map(|(key, found)| Some((key.to_string(), found?))));
        RuleScores { name: self.name.clone(), scores }
    }

    /// This − other; None where one of them is undefined.
    fn minus(&self, other: &Scored, key: &str, groups: &[&str], bootstrap: &Bootstrap) -> Result<Option<Difference>> {
        let Some((_, of)) = OFFICIAL.iter().find(|(name, _)| *name == key) else {
            return Ok(metric::compare(&other.table, &self.table, &[key], bootstrap)?.remove(0));
        };
        let value = |notes: &[NoteScore], weights: &[u32]| of(&weighted(notes, weights)?);
        let minus = |weights: &[u32]| Some(value(&self.notes, weights)? - value(&other.notes, weights)?);
        let draws = bootstrap.map_groups(groups, minus).into_iter().flatten().collect();
        Ok(minus(&vec![1; groups.len()]).and_then(|found| Difference::of(found, draws, groups.len(), bootstrap)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ensemble::tests::ensemble;
    use super::*;
    use crate::ensemble::SpanConsensus;

    #[test]
    fn rules_stand_beside_the_models_and_each_is_compared_with_the_one_named() {
        let (all, bootstrap) = (ensemble(), Bootstrap { resamples: 200, ..Bootstrap::default() });
        let rules = [
            ("consensus", SpanRule::Cluster(SpanConsensus::default())),
            ("majority", SpanRule::Majority),
            ("union", SpanRule::Union),
        ];
        let (scores, rows) = compare_rules(&all, &rules, "c", &bootstrap).unwrap();
        let names: Vec<&str> = scores.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["consensus", "majority", "union", "a", "b", "c"]);
        assert_eq!((rows.len(), rows[0].metric.as_str(), rows[11].metric.as_str()), (12, "exact_f1", "final_score"));
        let value = |name: &str, key: &str| scores.iter().find(|row| row.name == name).unwrap().scores[key].value;
        for row in &rows {
            let difference = row.difference.as_ref().unwrap();
            let want = value(&row.b, &row.metric) - value("c", &row.metric);
            assert!((difference.value - want).abs() < 1e-12 && row.a == "c" && row.p_holm >= Some(difference.p));
        }
        // model c: 4 notes of 2 spans right, 6 notes with one of two right: exact 2·14 / (20 + 20)
        assert!((value("c", "exact_f1") - 0.7).abs() < 1e-12);
        // the union holds every gold span: 20 right, of 3 spans a note in six and of 4 in four
        assert!((value("union", "exact_f1") - 2.0 * 20.0 / (20.0 + 34.0)).abs() < 1e-12);
        assert!(value("union", "worst_group_score") <= value("union", "base_score"));
        let unknown = compare_rules(&all, &rules, "d", &bootstrap).unwrap_err();
        assert!(unknown.to_string().contains("no model `d`: there are a, b, c"));
    }
}
