//! What others published for the same task, beside ours: read from `data/published.toml` and `data/published-rare-disease.toml`, never
//! computed here.
use crate::error::{Error, Result};
use crate::metric::Reading;
use crate::report::kit::display::{NONE, Table};
use crate::study::Results;
use serde::Deserialize;

const METRICS: [&str; 4] = ["jaccard", "exact_match", "micro_f1", "macro_f1_gold"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    about: String,
    anchor: Vec<Anchor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchor {
    model: String,
    jaccard: f64,
    exact_match: f64,
    micro_f1: f64,
    macro_f1: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rankings {
    result: Vec<Ranking>,
}

/// Shares of patients.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ranking {
    group: String,
    model: String,
    patients: usize,
    hit_1: Option<f64>,
    hit_10: f64,
    macro_hit_10: Option<f64>,
    source: String,
}

/// Published hit rates on rare diseases, of the group `rankers` or `fine-tuning`.
pub fn rankings(group: &str) -> Result<Table> {
    let path = crate::home().join("data").join("published-rare-disease.toml");
    let text = crate::io::read_text(&path)?;
    let found: Rankings = toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    let shown = |value: Option<f64>| value.map_or(NONE.to_string(), |value| format!("{value:.3}"));
    let row = |one: &Ranking| {
        let hits = [one.hit_1, Some(one.hit_10), one.macro_hit_10].map(shown).to_vec();
        [vec![one.model.clone(), one.patients.to_string()], hits, vec![one.source.clone()]].concat()
    };
    let rows: Vec<Vec<String>> = found.result.iter().filter(|one| one.group == group).map(row).collect();
    Ok(Table::from_rows(&["published", "patients", "Hit@1", "Hit@10", "macro Hit@10", "source"], &rows))
}

/// The published numbers, then the same metrics of models of ours on labels as written, as the published ones were counted;
/// what each row was measured on stands in it.
pub fn anchors(results: &Results, ours: &[&str]) -> Result<Table> {
    let path = crate::home().join("data").join("published.toml");
    let text = crate::io::read_text(&path)?;
    let found: Published = toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    let row = |a: &Anchor| {
        let numbers = [a.jaccard, a.exact_match, a.micro_f1, a.macro_f1].map(|v| format!("{v:.3}"));
        [vec![a.model.clone(), found.about.clone()], numbers.to_vec()].concat()
    };
    let mut rows: Vec<Vec<String>> = found.anchor.iter().map(row).collect();
    let here = format!("{}, {} test cases", results.task.corpus.name, results.task.corpus.test.len());
    for name in ours {
        let evaluation = &results.get(name)?.evaluation;
        let value =
            |metric: &str| evaluation.get(Reading::Raw, metric).map_or(NONE.into(), |e| format!("{:.3}", e.value));
        rows.push([vec![name.to_string(), here.clone()], METRICS.map(value).to_vec()].concat());
    }
    Ok(Table::from_rows(&["model", "measured on", "Jaccard", "exact", "micro-F1", "macro-F1"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_hit_rates_say_whose_they_are() {
        let text = rankings("rankers").unwrap().to_markdown();
        assert!(text.contains("| o1-preview, asked | 5213 | 0.236 | 0.368 | – | Reese et al. 2026 |"), "{text}");
        assert_eq!((rankings("fine-tuning").unwrap().height(), rankings("none").unwrap().height()), (4, 0));
    }

    #[test]
    fn every_row_says_what_it_was_measured_on() {
        let folder = tempfile::tempdir().unwrap();
        let toy = crate::study::results::tests::toy(folder.path());
        let text = anchors(&toy, &["good"]).unwrap().to_markdown();
        assert!(
            text.contains("| Qwen3-4B, LoRA | published on a private spreadsheet, 386 test rows | 0.603 |"),
            "{text}"
        );
        assert!(text.contains("| good | toy, 20 test cases |"), "{text}");
    }
}
