//! The report in short: sentences for a reader who has not read the chapters, every number in them from the same files.
use super::causes::most_missed;
use super::real_text::mean;
use super::replay::organ_share;
use super::{axes, method};
use crate::corpus::Corpus;
use crate::corpus::shape::{Shape, Unseen};
use crate::error::Result;
use crate::label::Normaliser;
use crate::metric::{ALPHA, Estimate, Reading};
use crate::model::{Checkpoint, resolve};
use crate::report::kit::display::{difference, interval, number};
use crate::study::Analysis;
use crate::study::{Comparison, Evaluation, Grid, Results, TrainConfig};

/// The cases and their labels.
pub fn data(corpus: &Corpus) -> Result<Vec<String>> {
    let names = Normaliser::new(corpus.vocabulary().keys())?;
    let (train, test) = (Shape::of(&corpus.train), Shape::of(&corpus.test));
    let unseen = Unseen::between(&corpus.train, &corpus.test, &|label: &str| names.normalise(label));
    Ok(vec![
        format!("Corpus: {}, {} training and {} test cases.", corpus.name, train.cases, test.cases),
        format!(
            "A training case has {:.1} labels on average, of {} in all; {} of these stand in one case only.",
            train.labels_per_case(),
            train.labels,
            train.singletons
        ),
        format!("{unseen}."),
    ])
}

/// The base model and how it is fine-tuned.
pub fn methods(config: &TrainConfig) -> Result<Vec<String>> {
    let base = Checkpoint::open(&resolve(&config.model)?)?.config().clone();
    let size = format!(
        "The base model, `{}`, is a decoder with {:.1} million parameters in {} layers.",
        config.model,
        base.parameters() as f64 / 1e6,
        base.num_hidden_layers
    );
    Ok([vec![size], method::sentences(config)].concat())
}

/// A metric of one model on normalised labels, with its interval.
fn score(results: &Results, model: &str, key: &str) -> Result<String> {
    Ok(interval(results.get(model)?.evaluation.get(Reading::Normalised, key)))
}

/// What asking alone gives: free answers, answers held to the labels, and what the most frequent labels give everybody.
pub fn asked(results: &Results, free: &str, held: &str, frequent: &str) -> Result<Vec<String>> {
    let of = |model: &str| score(results, model, "micro_f1");
    let mut said = vec![format!(
        "Asked without any training, the base model scores {} in micro-F1; held to the list of the training labels \
         while it answers, {}.",
        of(free)?,
        of(held)?
    )];
    let organs = organ_share(results.get(free)?);
    if organs > 0.5 {
        said.push(format!(
            "{:.0} % of the labels in its free answers are names of organs: it answers with an exercise of its \
             pretraining, whatever it is asked.",
            100.0 * organs
        ));
    }
    said.push(format!("The few most frequent labels, given to everybody, score {}.", of(frequent)?));
    let rows = results.compare(&[(frequent, held)], "micro_f1")?;
    said.extend(rows.iter().map(|row| format!("Held, the model is {}.", beside(row, "these"))));
    Ok(said)
}

/// Where b of a comparison stands beside `name`, which is a: `0.140 [0.109, 0.173] above it (paired, p = 0.003)`,
/// below, or not to be told apart.
fn beside(row: &Comparison, name: &str) -> String {
    let Some(d) = &row.difference else { return format!("not comparable with {name}") };
    let p = row.p_holm.map_or(String::new(), |p| match p {
        p if p < 0.001 => ", p < 0.001".into(),
        p => format!(", p = {p:.3}"),
    });
    match (row.p_holm.is_some_and(|p| p < ALPHA), d.value > 0.0) {
        (false, _) => format!("not to be told apart from {name} (difference {}{p})", difference(Some(d))),
        (true, above) => {
            let (low, high) = if above { (d.low, d.high) } else { (-d.high, -d.low) };
            let gap = interval(Some(&Estimate { value: d.value.abs(), low, high, n: d.n }));
            format!("{gap} {} {name} (paired{p})", if above { "above" } else { "below" })
        }
    }
}

/// What fine-tuning gives: the run that the chapters show, beside a bag of words.
pub fn tuned(results: &Results, model: &str, words: &str) -> Result<Vec<String>> {
    let row = results.compare(&[(words, model)], "micro_f1")?.remove(0);
    Ok(vec![
        format!(
            "Fine-tuned, the same model scores {} in micro-F1; a share of {} of its answers has all labels of the \
             case and no other.",
            score(results, model, "micro_f1")?,
            score(results, model, "exact_match")?
        ),
        format!(
            "A bag of words (TF-IDF with a logistic regression a label), fitted on all training cases as they are \
             written, scores {}; the model is {}.",
            score(results, words, "micro_f1")?,
            beside(&row, "it")
        ),
    ])
}

/// What an arm of a grid scores over its seeds, beside baselines that are arms too.
pub fn seeds(grid: &Grid, arm: &str, baselines: &[(&str, &str)]) -> Result<Vec<String>> {
    if !grid.tried.contains_key(arm) {
        return Ok(vec!["What several seeds give was not run on these cases.".into()]);
    }
    let mean = grid.score(arm, "micro_f1")?;
    let mut said = vec![format!(
        "Over {} seeds, the arm `{arm}` of the grid (which departs from the config `{}`) scores {} in micro-F1.",
        grid.config.seeds.len(),
        grid.config.base,
        interval(mean.as_ref().map(|seeded| &seeded.estimate))
    )];
    let pairs: Vec<(&str, &str)> = baselines.iter().map(|(baseline, _)| (*baseline, arm)).collect();
    for row in axes::between(grid, &pairs, "micro_f1")? {
        let known = baselines.iter().find(|(baseline, _)| *baseline == row.a);
        let words = known.map_or(row.a.as_str(), |(_, words)| words);
        said.push(format!("That is {}.", beside(&row, words)));
    }
    Ok(said)
}

/// Which choices of a grid matter, in words: how many are better, worse and not to be told apart, and which.
pub fn choices(grid: &Grid, metric: &str) -> Result<Vec<String>> {
    let mut rows = grid.comparisons(metric)?;
    let value = |row: &Comparison| row.difference.as_ref().map_or(0.0, |d| d.value);
    rows.sort_by(|a, b| value(b).abs().total_cmp(&value(a).abs()));
    let words = |row: &Comparison| {
        let about = grid.config.setting(&row.b).and_then(|setting| setting.about.clone());
        about.unwrap_or_else(|| row.b.clone())
    };
    let told = |row: &&Comparison| row.p_holm.is_some_and(|p| p < ALPHA);
    let found: Vec<&Comparison> = rows.iter().filter(told).collect();
    let with = |better: bool| {
        let these = found.iter().filter(|row| (value(row) > 0.0) == better);
        these.map(|row| format!("{} ({})", words(row), difference(row.difference.as_ref()))).collect::<Vec<_>>()
    };
    let (better, worse) = (with(true), with(false));
    let unclear: Vec<String> = rows.iter().filter(|row| !told(row)).map(words).collect();
    let mut said = vec![format!(
        "Of {} choices, each compared with the settings that it departs from, over {} seeds and in {metric}, {} are \
         better, {} are worse and {} cannot be told apart (p after Holm over all of them).",
        rows.len(),
        grid.config.seeds.len(),
        better.len(),
        worse.len(),
        unclear.len(),
        metric = metric.to_string().replace('_', "-").replace("f1", "F1")
    )];
    let parts = [("Better", better), ("Worse", worse), ("Not to be told apart", unclear)];
    said.extend(
        parts.iter().filter(|(_, all)| !all.is_empty()).map(|(what, all)| format!("{what}: {}.", all.join("; "))),
    );
    Ok(said)
}

/// What the fine-tuned model still gets wrong.
pub fn failures(analysis: &Analysis, results: &Results, model: &str) -> Result<Vec<String>> {
    let cases = analysis.get(model)?;
    let all: Vec<_> = cases.iter().flat_map(|case| &case.errors).collect();
    let forgiven = all.iter().filter(|error| error.forgiven).count();
    Ok(vec![
        format!(
            "{} label errors are left in {} cases; {forgiven} of them are right labels under another name, which \
             normalising forgives.",
            all.len(),
            cases.len()
        ),
        capital(&most_missed(results, model)?),
    ])
}

/// The sentence with a capital first letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The same path on the abstracts of BC5CDR, from the scores that are kept; `more` are those of further seeds.
pub fn real_text(kept: &[(String, Option<Evaluation>)], more: &[(String, Option<Evaluation>)]) -> Result<Vec<String>> {
    let of = |name: &str| kept.iter().find(|(known, _)| known == name).and_then(|(_, evaluation)| evaluation.as_ref());
    let score = |name: &str| interval(of(name).and_then(|evaluation| evaluation.get(Reading::Normalised, "micro_f1")));
    let scores = |name: &str| super::real_text::seeds(kept, more, name).unwrap_or_default(); // none of a model without scores
    let average = |name: &str| Some(scores(name)).filter(|s| !s.is_empty()).map_or("–".into(), |s| number(mean(&s)));
    let n = of("lora-bc5cdr").map_or(0, |evaluation| evaluation.cases);
    Ok(vec![
        format!(
            "On {n} real abstracts (BC5CDR) the same path fails: an adapter trained on its training part scores {} \
             with free answers and {} when it can only quote the abstract, where a search for the names of the \
             training labels scores {}.",
            score("lora-bc5cdr"),
            score("lora-bc5cdr-quoting"),
            score("name-search")
        ),
        format!(
            "There the task is to copy names out of a text. Trained for longer, LoRA scores {} and {} on average of {} \
             seeds, every weight {} and {}; cases made to teach copying alone do not lift that ({} and {}).",
            average("lora-long-bc5cdr"),
            average("lora-long-bc5cdr-quoting"),
            scores("full-bc5cdr-quoting").len(),
            average("full-bc5cdr"),
            average("full-bc5cdr-quoting"),
            score("full-bc5cdr-copying"),
            score("full-bc5cdr-copying-quoting")
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Store;
    use crate::study::GridConfig;
    use crate::study::results::tests::toy;

    #[test]
    fn data_and_methods_are_read_from_the_corpus_and_the_config() {
        let said = data(&Corpus::embedded().unwrap()).unwrap().join(" ");
        assert!(
            said.contains("1236 training and 236 test cases") && said.contains("written as in no training case"),
            "{said}"
        );
        let config = TrainConfig::named("lora-plain").unwrap();
        let said = methods(&config).unwrap();
        assert!(said[0].contains("is a decoder with 3.1 million parameters in 6 layers"), "{said:?}");
        assert!(said[1].contains("LoRA"), "{said:?}");
    }

    #[test]
    fn a_difference_is_above_below_or_not_to_be_seen() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let said = tuned(&results, "good", "bad").unwrap();
        assert!(said[0].contains("scores 0.667 [") && said[1].contains("above it (paired, p"), "{said:?}");
        assert!(tuned(&results, "bad", "good").unwrap()[1].contains(" below it (paired, p"));
        assert!(tuned(&results, "bad", "bad").unwrap()[1].contains("not to be told apart from it (difference 0.000"));
        let said = asked(&results, "bad", "bad", "good").unwrap();
        assert!(said.len() == 3 && said[2].starts_with("Held, the model is "), "no organs: {said:?}");
        let mut organs = toy(folder.path());
        organs.models[0].predictions.iter_mut().for_each(|p| p.answer = vec!["liver".into()]);
        assert!(asked(&organs, "bad", "bad", "good").unwrap()[1].starts_with("100 % of the labels"));
    }

    #[test]
    fn what_is_left_is_counted_and_begins_with_a_capital() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let analysis = Analysis::of(&results, std::collections::BTreeMap::new());
        let said = failures(&analysis, &results, "bad").unwrap();
        assert!(said[0].starts_with("60 label errors are left in 20 cases; 10 of them"), "{said:?}");
        assert!(said[1].starts_with("Bad misses no label as often as renal cyst"), "{said:?}");
    }

    #[test]
    fn choices_are_named_by_what_they_change() {
        const GRID: &str = r#"
base = "lora-plain"
seeds = [1]
[[axes]]
name = "words"
question = "More cases?"
arms = [
  { name = "names", baseline = "name-search" },
  { name = "all", about = "the most frequent labels", baseline = "most-frequent" },
]
"#;
        let folder = tempfile::tempdir().unwrap();
        let grid: GridConfig = toml::from_str(GRID).unwrap();
        let store = Store::open(Some(folder.path()));
        let task = crate::task::open("findings").unwrap();
        grid.arms().unwrap().iter().for_each(|arm| drop(arm.open_or_run(&store, &*task).unwrap()));
        let found = grid.found(&store).unwrap();
        let said = choices(&found, "micro_f1").unwrap();
        assert!(
            said[0].starts_with("Of 1 choices, each compared") && said[0].contains("1 are better, 0 are worse"),
            "{said:?}"
        );
        assert!(said[1].starts_with("Better: the most frequent labels (+0."), "{said:?}");
        let said = seeds(&found, "all", &[("names", "a search for names")]).unwrap();
        assert!(
            said[0].contains("the arm `all` of the grid (which departs from the config `lora-plain`) scores 0.")
                && said[1].contains(" above a search for names (paired"),
            "{said:?}"
        );
        assert_eq!(seeds(&found, "lora", &[]).unwrap(), ["What several seeds give was not run on these cases."]);
    }

    #[test]
    fn what_is_kept_of_real_text_is_told_and_what_is_missing_has_a_dash() {
        let folder = crate::home().join("data/results/bc5cdr");
        let [kept, more] = [&folder, &folder.join("seeds")].map(|f| crate::study::results::kept(f, &[]).unwrap());
        let said = real_text(&kept, &more).unwrap();
        assert!(said[0].starts_with("On 500 real abstracts") && !said.concat().contains('–'), "{said:?}");
        assert!(said[1].contains(" on average of 3 seeds, every weight "), "{said:?}");
        let none = real_text(&[], &[]).unwrap();
        assert!(none[0].contains("scores –") && none[1].contains("LoRA scores – and –"), "{none:?}");
    }
}
