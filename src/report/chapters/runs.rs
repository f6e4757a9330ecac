//! The run log: every run of the store that stands behind a number about one corpus, with what it was made by.
use crate::corpus::Corpus;
use crate::error::Result;
use crate::report::kit::display::{NONE, Table};
use crate::run::{Run, Store};

/// Runs about `corpus`, its validation part or its sealed test split, by folder: when, how long, peak memory, processor and commit of the code. The seeds of an
/// arm stand in the arm's run and the trials of a search in the search's; their own runs are not listed.
pub fn log(store: &Store, corpus: &Corpus) -> Result<Table> {
    let digest = corpus.digest();
    let part = format!("{}, ", corpus.name);
    let about = |run: &Run| {
        let known = run.known();
        let named = |name: String| name == corpus.name || name.starts_with(&part);
        known.corpus.as_ref() == Some(&digest) || known.corpus_name.is_some_and(named)
    };
    let mut rows = Vec::new();
    for run in
        store.list()?.iter().filter(|run| about(run) && !is_seed(&run.spec.name) && !run.spec.name.ends_with("-trial"))
    {
        let Some(made) = run.environment_or_told() else { continue };
        rows.push(vec![
            run.folder(),
            made.started.get(..10).unwrap_or_default().to_string(),
            format!("{:.1}", made.wall_seconds / 60.0),
            made.peak_bytes.map_or(NONE.into(), |bytes| format!("{:.0}", bytes as f64 / 1e6)),
            made.cpu.unwrap_or_else(|| NONE.into()),
            made.commit.unwrap_or_else(|| NONE.into()),
        ]);
    }
    Ok(Table::from_rows(&["run", "made", "min", "peak MB", "processor", "commit"], &rows))
}

/// `dora-s7`: one seed of an arm.
fn is_seed(name: &str) -> bool {
    name.rsplit_once("-s").is_some_and(|(_, seed)| !seed.is_empty() && seed.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::{Baseline, BaselineSettings};
    use crate::task::LabelTask;

    #[test]
    fn runs_about_a_corpus_are_listed_without_the_seeds_of_arms() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Some(folder.path()));
        let mut corpus = Corpus::embedded().unwrap();
        corpus.train.truncate(60);
        corpus.test.truncate(5);
        let settings = BaselineSettings::default();
        let task = LabelTask::findings(corpus.clone()).unwrap();
        let run = Run::open_or_baseline(&store, Baseline::MostFrequent, &task, &settings).unwrap();
        let table = log(&store, &corpus).unwrap();
        assert!(table.height() == 1 && table.to_text().contains(&run.folder()), "{table}");
        let part = Corpus { name: format!("{}, validation part", corpus.name), ..corpus.clone() };
        let task = LabelTask::findings(part).unwrap();
        Run::open_or_baseline(&store, Baseline::Nearest, &task, &settings).unwrap();
        assert_eq!(log(&store, &corpus).unwrap().height(), 2, "the validation part belongs to it");
        corpus.test.truncate(4);
        corpus.name = "others".into();
        assert_eq!(log(&store, &corpus).unwrap().height(), 0, "about another corpus");
        assert!(
            is_seed("dora-s7") && is_seed("a-s12") && !is_seed("lora-plain") && !is_seed("rank-s") && !is_seed("s7")
        );
    }
}
