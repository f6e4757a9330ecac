//! Scores on texts that cannot be kept (`data/results`), compared by their intervals alone. A paired difference needs
//! the answers, which quote the abstracts; what the scores of each side allow is a bound. With a of [a₁, a₂] and b of
//! [b₁, b₂] the paired interval of b − a lies inside [b₁ − a₂, b₂ − a₁] whatever the correlation, as sd(b − a) ≤ sd(a)
//! + sd(b): intervals that do not overlap are a difference.
use crate::error::{Error, Result};
use crate::metric::{Estimate, Reading};
use crate::report::kit::display::{NONE, Table, interval, number};
use crate::study::{Evaluation, Part, results};

/// An evaluation by its name, none where its file is missing.
type Kept = (String, Option<Evaluation>);

fn get<'a>(kept: &'a [Kept], name: &str) -> Result<Option<&'a Evaluation>> {
    let found = kept.iter().find(|(known, _)| known == name);
    let known = || kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    found.map(|(_, e)| e.as_ref()).ok_or_else(|| Error::input(format!("no scores of `{name}`: there are {}", known())))
}

/// The scores of the models named, in this order; none where a file is missing.
pub fn only(kept: &[Kept], models: &[&str]) -> Result<Vec<Kept>> {
    models.iter().map(|model| Ok((model.to_string(), get(kept, model)?.cloned()))).collect()
}

/// A metric of one model on normalised labels with its interval; a dash where its scores are missing.
pub fn score(kept: &[Kept], model: &str, key: &str) -> Result<String> {
    Ok(interval(get(kept, model)?.and_then(|evaluation| evaluation.get(Reading::Normalised, key))))
}

/// One row a model (its name in the table, and that of its file), one column a folder of `data/results`: a metric on
/// normalised labels with its interval.
pub fn side_by_side(corpora: &[&str], models: &[(&str, &str)], key: &str) -> Result<Table> {
    let files: Vec<&str> = models.iter().map(|(_, file)| *file).collect();
    let folder = |corpus: &&str| results::kept(&crate::home().join("data").join("results").join(corpus), &files);
    let all = corpora.iter().map(folder).collect::<Result<Vec<_>>>()?;
    let row = |(name, file): &(&str, &str)| -> Result<Vec<String>> {
        let cells = all.iter().map(|kept| score(kept, file, key)).collect::<Result<Vec<_>>>()?;
        Ok([vec![name.to_string()], cells].concat())
    };
    let rows = models.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Table::from_rows(&[&["model"], corpora].concat(), &rows))
}

/// One row a corpus (its name and kept scores) and pair (a, b): both scores, the widest that the paired interval of b − a can be, and whether it leaves 0
/// out. A corpus has rows for the pairs that it knows; a pair that none knows is an error. Dashes where scores are missing.
pub fn bounds(corpora: &[(&str, &[Kept])], pairs: &[(&str, &str)], key: &str) -> Result<Table> {
    let row = |(corpus, kept): &(&str, &[Kept]), (a, b): &(&str, &str)| -> Result<Vec<String>> {
        let of = |name: &str| -> Result<Option<&Estimate>> {
            Ok(get(kept, name)?.and_then(|evaluation| evaluation.get(Reading::Normalised, key)))
        };
        let (first, second) = (of(a)?, of(b)?);
        let (span, told) = match (first, second) {
            (Some(a), Some(b)) => {
                let (low, high) = (b.low - a.high, b.high - a.low);
                let told = if low > 0.0 || high < 0.0 { "yes" } else { "no" };
                (format!("{} to {}", signed(low), signed(high)), told)
            }
            _ => (NONE.into(), NONE),
        };
        Ok(vec![corpus.to_string(), a.to_string(), b.to_string(), interval(first), interval(second), span, told.into()])
    };
    let known = |kept: &[Kept], name: &str| kept.iter().any(|(known, _)| known == name);
    let knows = |(_, kept): &(&str, &[Kept]), (a, b): &(&str, &str)| known(kept, a) && known(kept, b);
    let mut rows = vec![];
    for corpus in corpora {
        let unknown = |pair: &(&str, &str)| !corpora.iter().any(|other| knows(other, pair));
        let of = pairs.iter().filter(|pair| knows(corpus, pair) || unknown(pair));
        rows.extend(of.map(|pair| row(corpus, pair)).collect::<Result<Vec<_>>>()?);
    }
    let titles = ["corpus", "a", "b", "score of a", "score of b", "b − a, at most", "0 left out"];
    Ok(Table::from_rows(&titles, &rows))
}

fn signed(value: f64) -> String {
    format!("{value:+.3}").replace('-', "−")
}

/// Micro-F1 of two models on labels of one band.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// By how many training texts have the label.
    pub name: String,
    pub a: f64,
    pub b: f64,
}

/// Micro-F1 of two models on each band of labels by the number of training texts that have them (normalised); empty where scores are missing.
pub fn bands(kept: &[Kept], a: &str, b: &str) -> Result<Vec<Band>> {
    let parts = |name: &str| -> Result<Option<&Vec<Part>>> {
        Ok(get(kept, name)?.and_then(|evaluation| evaluation.detail.as_ref()).map(|detail| &detail.by_frequency))
    };
    let (Some(first), Some(second)) = (parts(a)?, parts(b)?) else { return Ok(vec![]) };
    let f1 = |part: &Part| part.metrics.get("micro_f1").and_then(|one| one.as_ref()).map(|one| one.value);
    let band = |part: &Part| {
        let other = second.iter().find(|other| other.name == part.name)?;
        Some(Band { name: part.name.clone(), a: f1(part)?, b: f1(other)? })
    };
    Ok(first.iter().filter(|part| part.instances > 0).filter_map(band).collect())
}

/// Gold labels of the test that no training text has, and all of them, as the first scores with such counts say.
pub fn unseen(kept: &[Kept]) -> Option<(usize, usize)> {
    let with_detail = kept.iter().filter_map(|(_, evaluation)| evaluation.as_ref()?.detail.as_ref());
    let detail = with_detail.into_iter().find(|detail| !detail.by_frequency.is_empty())?;
    let sum = |parts: &mut dyn Iterator<Item = &Part>| parts.map(|part| part.instances).sum();
    let unseen = sum(&mut detail.by_frequency.iter().filter(|part| part.name.starts_with("unseen")));
    Some((unseen, sum(&mut detail.by_frequency.iter())))
}

/// One row a model: the share of its labels that are names of the training texts in percent, and its micro-F1 on labels by
/// how many training texts have them (normalised).
pub fn by_frequency(kept: &[Kept], models: &[&str]) -> Result<Table> {
    let details = models.iter().map(|model| get(kept, model)).collect::<Result<Vec<_>>>()?;
    let parts = |evaluation: &Option<&Evaluation>| -> Vec<Part> {
        evaluation.and_then(|e| e.detail.as_ref()).map(|d| d.by_frequency.clone()).unwrap_or_default()
    };
    let bands: Vec<String> = details
        .iter()
        .map(parts)
        .find(|parts| !parts.is_empty())
        .unwrap_or_default()
        .into_iter()
        .filter(|part| part.instances > 0)
        .map(|part| part.name)
        .collect();
    let row = |(model, evaluation): (&&str, &Option<&Evaluation>)| {
        let outside = evaluation.and_then(|e| e.get(Reading::Normalised, "hallucinated_rate"));
        let known = outside.map_or(NONE.into(), |e| format!("{:.0}", 100.0 * (1.0 - e.value)));
        let parts = parts(evaluation);
        let cell = |band: &String| {
            interval(
                parts.iter().find(|part| part.name == *band).and_then(|part| part.metrics.get("micro_f1")?.as_ref()),
            )
        };
        [vec![model.to_string(), known], bands.iter().map(cell).collect()].concat()
    };
    let rows: Vec<_> = models.iter().zip(&details).map(row).collect();
    let names = ["model", "% known names"].into_iter().chain(bands.iter().map(String::as_str)).collect::<Vec<_>>();
    Ok(Table::from_rows(&names, &rows))
}

/// The micro-F1, normalised, of every seed that a model was trained with. `more` has the scores of further seeds under `MODEL-seed-N`.
pub fn seeds(kept: &[Kept], more: &[Kept], model: &str) -> Result<Vec<f64>> {
    let further = more.iter().filter(|(name, _)| name.strip_prefix(model).is_some_and(|s| s.starts_with("-seed-")));
    let all = std::iter::once(get(kept, model)?).chain(further.map(|(_, evaluation)| evaluation.as_ref()));
    Ok(all.flatten().filter_map(|e| e.get(Reading::Normalised, "micro_f1")).map(|score| score.value).collect())
}

/// One row a model: its [`seeds`] and their mean.
pub fn over_seeds(kept: &[Kept], more: &[Kept], models: &[&str]) -> Result<Table> {
    let row = |model: &&str| -> Result<Vec<String>> {
        let scores = seeds(kept, more, model)?;
        let each: Vec<String> = scores.iter().map(|&score| number(score)).collect();
        let average = if scores.is_empty() { NONE.into() } else { number(mean(&scores)) };
        Ok(vec![model.to_string(), scores.len().to_string(), average, each.join(" ")])
    };
    let rows = models.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Table::from_rows(&["model", "seeds", "mean micro-F1", "each seed"], &rows))
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
    fn scores_that_do_not_overlap_have_bounds_that_leave_0_out() {
        let all = bc5cdr();
        let pairs = [("name-search", "lora-bc5cdr"), ("lora-bc5cdr", "name-search"), ("name-search", "name-search")];
        let text = bounds(&[("BC5CDR", &all)], &pairs, "micro_f1").unwrap().to_text();
        let cells: Vec<Vec<String>> = text
            .lines()
            .skip(1)
            .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(String::from).collect())
            .collect();
        assert!(cells[0][5].starts_with('−') && cells[0][6] == "yes", "{text}");
        assert!(cells[1][5].starts_with('+') && cells[1][6] == "yes", "{text}");
        assert_eq!(cells[2][6], "no", "{text}");
        let mirrored: Vec<String> = cells[1][5].split(" to ").map(|v| v.replace('+', "−")).collect();
        assert_eq!(cells[0][5], format!("{} to {}", mirrored[1], mirrored[0]), "the same bounds from either side");
        assert!(
            bounds(&[("BC5CDR", &all)], &[("gone", "name-search")], "micro_f1").unwrap().to_text().ends_with("–\n")
        );
        let unknown = bounds(&[("BC5CDR", &all)], &[("never", "name-search")], "micro_f1").unwrap_err().to_string();
        assert!(unknown.contains("no scores of `never`"), "{unknown}");
    }

    #[test]
    fn corpora_stand_side_by_side_and_what_is_missing_has_a_dash() {
        let text = side_by_side(&["bc5cdr", "ncbi"], &[("search", "name-search"), ("none", "gone")], "micro_f1");
        let text = text.unwrap().to_text();
        let search = score(&bc5cdr(), "name-search", "micro_f1").unwrap();
        assert!(text.lines().nth(1).unwrap().contains(&search), "{text}");
        assert_eq!(text.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>(), ["none", "–", "–"]);
        assert_eq!(only(&bc5cdr(), &["lora-bc5cdr", "name-search"]).unwrap()[1].0, "name-search");
    }

    #[test]
    fn scores_are_told_by_how_many_training_abstracts_have_a_label() {
        let text = by_frequency(&bc5cdr(), &["name-search", "gone"]).unwrap().to_text();
        assert!(text.contains("unseen (0)") && text.lines().last().unwrap().ends_with('–'), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("name-search"), "{text}");
        let (unseen, all) = unseen(&bc5cdr()).unwrap();
        assert!(unseen > 0 && unseen < all);
        assert_eq!(super::unseen(&[("gone".into(), None)]), None);
    }

    #[test]
    fn seeds_of_a_model_are_named_with_their_mean() {
        let all = bc5cdr();
        let more: Vec<Kept> =
            [("lora-bc5cdr-seed-8", all[0].1.clone()), ("lora-bc5cdr-quoting-seed-8", None), ("other", None)]
                .map(|(name, evaluation)| (name.to_string(), evaluation))
                .into();
        let text = over_seeds(&all, &more, &["lora-bc5cdr", "name-search", "gone"]).unwrap().to_text();
        let [search, lora] =
            [0, 1].map(|i| all[i].1.as_ref().unwrap().get(Reading::Normalised, "micro_f1").unwrap().value);
        let mean = number((search + lora) / 2.0);
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_string();
        assert!(row("lora-bc5cdr").contains(&mean) && row("lora-bc5cdr").contains("  2  "), "{text}");
        assert!(row("name-search").ends_with(&number(search)) && row("gone").contains("  0  "), "{text}");
        assert!(row("lora-bc5cdr").ends_with(&format!("{} {}", number(lora), number(search))), "{text}");
        assert!(over_seeds(&all, &more, &["unknown"]).is_err());
    }
}
