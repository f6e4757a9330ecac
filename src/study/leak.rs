//! The leak gate before training: what a config trains on, validates on and is tested on must not share texts or patients.
use super::config::TrainConfig;
use super::experiment::{open_corpus, validation_split};
use crate::corpus::leak::{Allowed, LIMIT, Leaks, Part, Role, find};
use crate::corpus::{Case, Corpus};
use crate::error::Result;
use sha2::{Digest, Sha256};
use std::path::Path;

/// A corpus and what its groups are ids of.
pub struct Source {
    pub name: String,
    /// Two sources of one space name their groups alike.
    space: String,
    pub corpus: Corpus,
}

impl Source {
    /// By the names that configs use, or a file or folder of findings.
    pub fn open(name: &str) -> Result<Self> {
        let (corpus, _) = open_corpus(name)?;
        let stem = Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy().into_owned());
        let space = if matches!(name, "bc5cdr" | "ncbi") { "PubMed".into() } else { name.to_string() };
        Ok(Self { name: stem, space, corpus })
    }
}

/// Leaks between the training and test cases of `sources`, and between their training cases and the test cases of `against`
/// (all cases of a set that has no test cases). Parts are called `train` and `test`, from the second source on with its name
/// in front.
pub fn leaks(sources: &[Source], against: &[Source], limit: f64) -> Result<Leaks> {
    let mut parts = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        parts.extend(part(source, i > 0, Role::Train, &source.corpus.train));
        parts.extend(part(source, i > 0, Role::Test, &source.corpus.test));
    }
    for source in against {
        let corpus = &source.corpus;
        if corpus.test.is_empty() {
            parts
                .extend(part(source, true, Role::Test, &corpus.train).map(|p| Part { name: source.name.clone(), ..p }));
        }
        parts.extend(part(source, true, Role::Test, &corpus.test));
    }
    find(&parts, limit)
}

fn part<'a>(source: &Source, named: bool, role: Role, cases: &'a [Case]) -> Option<Part<'a>> {
    let which = if role == Role::Train { "train" } else { "test" };
    let name = if named { format!("{} {which}", source.name) } else { which.to_string() };
    (!cases.is_empty()).then(|| Part { name, role, space: source.space.clone(), cases })
}

/// Leaks among what a run of `config` on `corpus` trains on, validates on and is tested on; pairs that its allow list names
/// are marked, and pairs of the list that do not leak are told on the terminal.
pub fn training_leaks(config: &TrainConfig, corpus: &Corpus) -> Result<Leaks> {
    let (train, valid) = config.split(&corpus.train);
    let of = |name: &str, role, cases| Part { name: name.into(), role, space: String::new(), cases };
    let parts = [
        of("train", Role::Train, train.as_slice()),
        of("train", Role::Validation, valid.as_slice()),
        of("test", Role::Test, corpus.test.as_slice()),
    ];
    let mut leaks = find(&parts, LIMIT)?;
    if let Some(path) = &config.allow_leaks {
        let list = Allowed::read(path)?;
        for pair in leaks.allow(&list) {
            println!("… {}: {} and {} do not leak: remove the pair", path.display(), pair.a, pair.b);
        }
    }
    Ok(leaks)
}

/// At most `most` cases, those whose digest with the seed comes first, in their order: fewer are always among more.
fn drawn(mut cases: Vec<Case>, most: usize, seed: u64) -> Vec<Case> {
    let digest = |case: &Case| Sha256::digest(format!("cases/{seed}/{}", case.case_id));
    let mut digests: Vec<_> = cases.iter().map(digest).collect();
    digests.sort_unstable();
    if let Some(bound) = digests.get(most) {
        cases.retain(|case| digest(case) < *bound);
    }
    cases
}

impl TrainConfig {
    /// Training and validation cases of a run.
    pub(super) fn split(&self, cases: &[Case]) -> (Vec<Case>, Vec<Case>) {
        let (train, valid) = validation_split(cases, self.validation, self.training.seed);
        (drawn(train, self.cases.unwrap_or(usize::MAX), self.training.seed), valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::leak::Kind;

    #[test]
    fn the_committed_configs_train_on_nothing_that_they_are_tested_on() {
        let config = TrainConfig::named("lora-plain").unwrap();
        let leaks = training_leaks(&config, &Corpus::embedded().unwrap()).unwrap();
        assert_eq!(leaks.leaks, []);
        assert_eq!(leaks.parts.iter().map(|part| part.2).sum::<usize>(), 1236 + 236);
        if std::env::var_os("DXLAB_DATA").is_none() {
            println!("skipped: DXLAB_DATA is not set");
            return;
        }
        let config = TrainConfig::named("lora-bc5cdr").unwrap();
        training_leaks(&config, &open_corpus(&config.corpus).unwrap().0).unwrap().refuse().unwrap();
    }

    #[test]
    fn abstracts_that_one_corpus_trains_on_and_the_other_tests_on_are_found_by_text_and_id() {
        if std::env::var_os("DXLAB_DATA").is_none() {
            println!("skipped: DXLAB_DATA is not set");
            return;
        }
        let open = |name| [Source::open(name).unwrap()];
        let leaks = leaks(&open("bc5cdr"), &open("ncbi"), LIMIT).unwrap();
        let shared: Vec<_> = leaks.leaks.iter().filter(|leak| leak.b.part == "ncbi test").collect();
        assert!(shared.iter().all(|leak| leak.a.case_id == leak.b.case_id && leak.kind != Kind::Group), "{leaks}");
    }
}
