//! Scores on texts that cannot be kept (`data/results`), compared by their intervals alone. A paired difference needs
//! the answers, which quote the abstracts; what the scores of each side allow is a bound. With a of [a₁, a₂] and b of
//! [b₁, b₂] the paired interval of b − a lies inside [b₁ − a₂, b₂ − a₁] whatever the correlation, as sd(b − a) ≤ sd(a)
//! + sd(b): intervals that do not overlap are a difference.
use crate::error::{Error, Result};
use crate::metric::{Estimate, Reading};
use crate::report::kit::display::{interval, number};
use crate::study::Evaluation;

/// An evaluation by its name, none where its file is missing.
type Kept = (String, Option<Evaluation>);

fn get<'a>(kept: &'a [Kept], name: &str) -> Result<Option<&'a Evaluation>> {
    let found = kept.iter().find(|(known, _)| known == name);
    let known = || kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    found.map(|(_, e)| e.as_ref()).ok_or_else(|| Error::input(format!("no scores of `{name}`: there are {}", known())))
}

/// A sentence a pair (a, b): whether b is above or below a on a metric, normalised, and between what bounds the
/// difference lies.
pub fn verdicts(kept: &[Kept], pairs: &[(&str, &str)], key: &str) -> Result<Vec<String>> {
    let metric = key.replace('_', "-").replace("f1", "F1");
    let sentence = |(a, b): &(&str, &str)| -> Result<String> {
        let of = |name: &str| -> Result<Option<&Estimate>> {
            Ok(get(kept, name)?.and_then(|evaluation| evaluation.get(Reading::Normalised, key)))
        };
        let (Some(first), Some(second)) = (of(a)?, of(b)?) else {
            return Ok(format!("{b} and {a} cannot be compared: the scores of one of them are missing"));
        };
        let scores = format!("{} against {}", interval(Some(second)), interval(Some(first)));
        Ok(match (second.low - first.high, second.high - first.low) {
            (low, high) if low > 0.0 => {
                format!("{b} is better than {a} by {} to {} {metric} ({scores})", number(low), number(high))
            }
            (low, high) if high < 0.0 => {
                format!("{b} is worse than {a} by {} to {} {metric} ({scores})", number(-high), number(-low))
            }
            _ => format!(
                "{b} and {a} cannot be told apart by their scores alone in {metric} ({scores}): their intervals overlap"
            ),
        })
    };
    pairs.iter().map(sentence).collect()
}

/// How much of the gold labels no training abstract has, and how much of what each model names a training abstract has.
pub fn vocabulary(kept: &[Kept], models: &[&str]) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let with_detail = kept.iter().filter_map(|(_, evaluation)| evaluation.as_ref()?.detail.as_ref());
    if let Some(detail) = with_detail.into_iter().find(|detail| !detail.by_frequency.is_empty()) {
        let all: usize = detail.by_frequency.iter().map(|part| part.instances).sum();
        let unseen: usize =
            detail.by_frequency.iter().filter(|p| p.name.starts_with("unseen")).map(|p| p.instances).sum();
        said.push(format!(
            "{unseen} of the {all} gold labels ({:.0} %) are names that no training abstract has.",
            100.0 * unseen as f64 / all.max(1) as f64
        ));
    }
    for model in models {
        let outside = get(kept, model)?.and_then(|e| e.get(Reading::Normalised, "hallucinated_rate"));
        if let Some(e) = outside {
            let known = Estimate {
                value: 100.0 * (1.0 - e.value),
                low: 100.0 * (1.0 - e.high),
                high: 100.0 * (1.0 - e.low),
                n: e.n,
            };
            said.push(format!(
                "Of the labels that {model} gives, {} % are names of the training abstracts.",
                interval(Some(&known))
            ));
        }
    }
    Ok(said)
}

/// A sentence a model: its micro-F1, normalised, on labels by how many training abstracts have them.
pub fn by_frequency(kept: &[Kept], models: &[&str]) -> Result<Vec<String>> {
    let sentence = |model: &&str| -> Result<String> {
        let Some(detail) = get(kept, model)?.and_then(|evaluation| evaluation.detail.as_ref()) else {
            return Ok(format!("{model}: its scores are missing"));
        };
        let there = detail.by_frequency.iter().filter(|part| part.instances > 0);
        let parts: Vec<String> = there
            .map(|part| {
                let f1 = part.metrics.get("micro_f1").and_then(Option::as_ref);
                format!("{} on {} labels of the kind {}", interval(f1), part.instances, part.name)
            })
            .collect();
        Ok(format!("{model} has a micro-F1 of {} training abstracts.", parts.join(", ")))
    };
    models.iter().map(sentence).collect()
}

/// The micro-F1, normalised, of every seed that a model was trained with. `more` has the scores of further seeds under `MODEL-seed-N`.
pub fn seeds(kept: &[Kept], more: &[Kept], model: &str) -> Result<Vec<f64>> {
    let further = more.iter().filter(|(name, _)| name.strip_prefix(model).is_some_and(|s| s.starts_with("-seed-")));
    let all = std::iter::once(get(kept, model)?).chain(further.map(|(_, evaluation)| evaluation.as_ref()));
    Ok(all.flatten().filter_map(|e| e.get(Reading::Normalised, "micro_f1")).map(|score| score.value).collect())
}

/// A sentence a model: its [`seeds`] and their mean.
pub fn over_seeds(kept: &[Kept], more: &[Kept], models: &[&str]) -> Result<Vec<String>> {
    let sentence = |model: &&str| -> Result<String> {
        let scores = seeds(kept, more, model)?;
        if scores.is_empty() {
            return Ok(format!("{model}: its scores are missing"));
        }
        let each: Vec<String> = scores.iter().map(|&score| number(score)).collect();
        let word = if scores.len() == 1 { "seed" } else { "seeds" };
        Ok(format!("{model}: {} on average of {} {word} ({})", number(mean(&scores)), scores.len(), each.join(", ")))
    };
    models.iter().map(sentence).collect()
}

/// NaN of none.
pub fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::kept as read;

    fn bc5cdr() -> Vec<Kept> {
        read(&crate::home().join("data/results/bc5cdr"), &["name-search", "lora-bc5cdr", "gone"]).unwrap()
    }

    #[test]
    fn scores_that_do_not_overlap_are_told_apart_and_equal_ones_not() {
        let all = bc5cdr();
        let said =
            verdicts(&all, &[("name-search", "lora-bc5cdr"), ("lora-bc5cdr", "name-search")], "micro_f1").unwrap();
        assert!(
            said[0].starts_with("lora-bc5cdr is worse than name-search by 0.") && said[0].contains(" micro-F1 ("),
            "{said:?}"
        );
        assert!(said[1].starts_with("name-search is better than lora-bc5cdr by 0."), "{said:?}");
        let span = |text: &str| text.split(" by ").nth(1).unwrap().split(" micro").next().unwrap().to_string();
        assert_eq!(span(&said[0]), span(&said[1]), "the same bounds from either side");
        let same = verdicts(&all, &[("name-search", "name-search")], "micro_f1").unwrap();
        assert!(same[0].contains("cannot be told apart by their scores alone"), "{same:?}");
        assert!(verdicts(&all, &[("gone", "name-search")], "micro_f1").unwrap()[0].contains("are missing"));
        assert!(
            verdicts(&all, &[("never", "name-search")], "micro_f1")
                .unwrap_err()
                .to_string()
                .contains("no scores of `never`")
        );
    }

    #[test]
    fn scores_are_told_by_how_many_training_abstracts_have_a_label() {
        let said = by_frequency(&bc5cdr(), &["name-search", "gone"]).unwrap();
        assert!(said[0].starts_with("name-search has a micro-F1 of 0.") && !said[0].contains("head"), "{said:?}");
        assert!(
            said[0].contains("0.000") && said[0].ends_with("of the kind unseen (0) training abstracts."),
            "{said:?}"
        );
        assert_eq!(said[1], "gone: its scores are missing");
    }

    #[test]
    fn names_that_training_lacks_are_counted_and_those_a_model_knows() {
        let said = vocabulary(&bc5cdr(), &["lora-bc5cdr", "gone"]).unwrap();
        assert!(said.len() == 2 && said[0].contains("names that no training abstract has"), "{said:?}");
        assert!(said[1].starts_with("Of the labels that lora-bc5cdr gives, "), "{said:?}");
    }

    #[test]
    fn seeds_of_a_model_are_named_with_their_mean() {
        let all = bc5cdr();
        let more: Vec<Kept> =
            [("lora-bc5cdr-seed-8", all[0].1.clone()), ("lora-bc5cdr-quoting-seed-8", None), ("other", None)]
                .map(|(name, evaluation)| (name.to_string(), evaluation))
                .into();
        let said = over_seeds(&all, &more, &["lora-bc5cdr", "name-search", "gone"]).unwrap();
        let [search, lora] =
            [0, 1].map(|i| all[i].1.as_ref().unwrap().get(Reading::Normalised, "micro_f1").unwrap().value);
        let mean = number((search + lora) / 2.0);
        let [search, lora] = [search, lora].map(number);
        assert_eq!(said[0], format!("lora-bc5cdr: {mean} on average of 2 seeds ({lora}, {search})"));
        assert_eq!(said[1], format!("name-search: {search} on average of 1 seed ({search})"));
        assert_eq!(said[2], "gone: its scores are missing");
        assert!(over_seeds(&all, &more, &["unknown"]).is_err());
    }
}
