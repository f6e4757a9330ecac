//! The training cases nearest to a text, by Okapi BM25 (Robertson et al., TREC-3, 1994) as PyPI's rank-bm25 computes it.
//!
//! ```text
//! score(q, d) = Σ over words t of q    idf(t) · tf·(k1 + 1) / (tf + k1·(1 − b + b·|d|/mean |d|))
//! idf(t)      = ln((N − n + 0.5)/(n + 0.5)), where that is negative a quarter of the mean over all words
//! ```
//!
//! A word is a run of letters and digits in lower case. A text that shares no word with the question has no score and is never
//! retrieved. What it deliberately does not do: stem, or leave out frequent words.
use super::{Exemplar, PromptContext, Shot};
use crate::corpus::Case;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

const K1: f64 = 1.5;
const B: f64 = 0.75;
const EPSILON: f64 = 0.25;

/// An index over texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bm25 {
    /// Of every word its idf and how often each text holds it.
    words: BTreeMap<String, (f64, Vec<(usize, f64)>)>,
    /// k1·(1 − b + b·|d|/mean |d|) of every text.
    length: Vec<f64>,
}

impl Bm25 {
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut holds, mut length) = (BTreeMap::<String, BTreeMap<usize, f64>>::new(), Vec::new());
        for (i, text) in texts.into_iter().enumerate() {
            let words = words(text);
            length.push(words.len() as f64);
            words.into_iter().for_each(|word| *holds.entry(word).or_default().entry(i).or_default() += 1.0);
        }
        let n = length.len() as f64;
        let mean = length.iter().sum::<f64>() / n;
        length.iter_mut().for_each(|l| *l = K1 * (1.0 - B + B * *l / mean));
        let idf = |texts: usize| (n - texts as f64 + 0.5).ln() - (texts as f64 + 0.5).ln();
        let floor = EPSILON * holds.values().map(|texts| idf(texts.len())).sum::<f64>() / holds.len() as f64;
        let weigh = |texts: BTreeMap<usize, f64>| {
            let idf = idf(texts.len());
            (if idf < 0.0 { floor } else { idf }, texts.into_iter().collect())
        };
        Self { words: holds.into_iter().map(|(word, texts)| (word, weigh(texts))).collect(), length }
    }

    /// The score of every text, in their order.
    pub fn scores(&self, question: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.length.len()];
        for (idf, texts) in words(question).iter().filter_map(|word| self.words.get(word)) {
            texts.iter().for_each(|&(i, tf)| scores[i] += idf * tf * (K1 + 1.0) / (tf + self.length[i]));
        }
        scores
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// By what training cases are near to a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retriever {
    /// Words that they share; see the file's header.
    #[default]
    Bm25,
    /// The cosine of embeddings by all-MiniLM-L6-v2 (Reimers and Gurevych, EMNLP 2019), which has to be installed
    /// (`dxlab models fetch minilm`).
    Minilm,
}

/// Texts as vectors of length 1, near where their meanings are.
pub trait Embed: Send + Sync {
    /// A vector per text, in their order.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}

/// How to open the model behind [`Retriever::Minilm`]; the rooms that know models say it, as this one knows none.
#[derive(Clone, Copy, Default)]
pub struct OpenEmbedder(pub Option<fn() -> Result<Box<dyn Embed>>>);

impl PartialEq for OpenEmbedder {
    /// It is no part of what a context says.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for OpenEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "an embedder" } else { "no embedder" })
    }
}

/// The part of a prompt that depends on the case: its `k` nearest training cases as examples. What is serialised determines
/// which they are, and enters the prompt's digest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbours {
    pub k: usize,
    /// The constants of BM25 are in the code.
    pub retriever: Retriever,
    /// SHA-256 of the cases to choose from, with their groups and labels.
    pub pool: String,
    #[serde(skip)]
    index: Arc<Index>,
}

#[derive(Debug)]
struct Index {
    nearness: Nearness,
    cases: Vec<(Case, Shot)>,
}

impl PartialEq for Index {
    /// What is computed from the cases does not count.
    fn eq(&self, other: &Self) -> bool {
        self.cases == other.cases
    }
}

/// How near every case is to a text.
enum Nearness {
    Bm25(Bm25),
    /// The model, and an embedding per case: made when they are first needed.
    Embeddings(OpenEmbedder, OnceLock<Embedded>),
}

/// Why there are none, where they cannot be made.
type Embedded = std::result::Result<(Box<dyn Embed>, Vec<Vec<f32>>), String>;

impl std::fmt::Debug for Nearness {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Bm25(_)) { "BM25" } else { "embeddings" })
    }
}

impl Index {
    /// The embeddings, where they are what is asked for.
    fn embedded(&self) -> Option<&Embedded> {
        let Nearness::Embeddings(open, made) = &self.nearness else { return None };
        Some(made.get_or_init(|| {
            let embed = || {
                let open = open.0.ok_or_else(|| Error::input("no model that embeds texts is known here"))?;
                let embedder = open()?;
                let texts: Vec<&str> = self.cases.iter().map(|(case, _)| case.input.as_str()).collect();
                let vectors = embedder.embed(&texts)?;
                Ok::<_, Error>((embedder, vectors))
            };
            embed().map_err(|error| error.to_string())
        }))
    }

    /// The score of every case, in their order; without a score where it has nothing in common with the text.
    fn scores(&self, input: &str) -> Vec<Option<f64>> {
        match (&self.nearness, self.embedded()) {
            (Nearness::Bm25(bm25), _) => {
                bm25.scores(input).into_iter().map(|score| Some(score).filter(|score| *score > 0.0)).collect()
            }
            (_, Some(Ok((embedder, vectors)))) => match embedder.embed(&[input]) {
                Ok(query) => vectors.iter().map(|vector| Some(f64::from(cosine(&query[0], vector)))).collect(),
                Err(_) => vec![None; self.cases.len()],
            },
            // `ready` has said why
            _ => vec![None; self.cases.len()],
        }
    }
}

/// Of vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Neighbours {
    /// Chooses from the context's examples.
    pub fn new(k: usize, retriever: Retriever, context: &PromptContext) -> Self {
        let nearness = match retriever {
            Retriever::Bm25 => Nearness::Bm25(Bm25::new(context.examples.iter().map(|one| one.case.input.as_str()))),
            Retriever::Minilm => Nearness::Embeddings(context.embedder, OnceLock::new()),
        };
        let shot = |one: &Exemplar| Shot { input: one.case.input.clone(), answer: one.answer.clone() };
        let cases = context.examples.iter().map(|one| (one.case.clone(), shot(one))).collect();
        Self { k, retriever, pool: context.pool.clone(), index: Arc::new(Index { nearness, cases }) }
    }

    /// Fails where the model that finds the nearest is not there.
    pub(super) fn ready(&self) -> Result<()> {
        match self.index.embedded() {
            Some(Err(why)) => Err(Error::input(format!("neighbours by embedding: {why}"))),
            _ => Ok(()),
        }
    }

    /// The `k` cases nearest to `input`, the nearest last, where the question follows; of equals the earlier one in the pool.
    /// Never one of `group`, never one of the same text: no case sees its own answer or its patient's.
    pub fn of(&self, input: &str, group: Option<&str>) -> Vec<(&Case, &Shot)> {
        let scores = self.index.scores(input);
        let fits = |i: usize| {
            let case = &self.index.cases[i].0;
            let other = Some(case.group.as_str()) != group && case.input != input;
            scores[i].filter(|_| other).map(|score| (score, i))
        };
        let mut order: Vec<(f64, usize)> = (0..scores.len()).filter_map(fits).collect();
        order.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
        order.truncate(self.k);
        let order = order.into_iter().map(|(_, i)| i).collect::<Vec<_>>();
        order.into_iter().rev().map(|i| (&self.index.cases[i].0, &self.index.cases[i].1)).collect()
    }
}

/// A part of the closed list that depends on the case: the labels of the nearest training cases (BM25), from the nearest on, until there
/// are `n`; where these cases have fewer, the most frequent others fill it up. Listed in the order of the alphabet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    pub n: usize,
    /// As of [`Neighbours`].
    pub pool: String,
    #[serde(skip)]
    labels: Arc<Labels>,
}

#[derive(Debug, PartialEq)]
struct Labels {
    bm25: Bm25,
    /// Of every case its text, group and labels.
    cases: Vec<(Case, Vec<String>)>,
    /// All labels, the most frequent first.
    frequent: Vec<String>,
}

impl Listed {
    pub fn new(n: usize, context: &PromptContext) -> Self {
        let mut frequency: BTreeMap<&str, usize> = context.vocabulary.iter().map(|label| (label.as_str(), 0)).collect();
        let shown = context.examples.iter().flat_map(|one| &one.shows);
        shown.for_each(|label| *frequency.entry(label.as_str()).or_default() += 1);
        let mut frequent: Vec<(&str, usize)> = frequency.into_iter().collect();
        frequent.sort_by_key(|(label, n)| (std::cmp::Reverse(*n), *label));
        let labels = Labels {
            bm25: Bm25::new(context.examples.iter().map(|one| one.case.input.as_str())),
            cases: context.examples.iter().map(|one| (one.case.clone(), one.shows.clone())).collect(),
            frequent: frequent.into_iter().map(|(label, _)| label.to_string()).collect(),
        };
        Self { n, pool: context.pool.clone(), labels: Arc::new(labels) }
    }

    /// The labels for a text, of `group` where that is known: never of a case of that group or text.
    pub fn of(&self, input: &str, group: Option<&str>) -> Vec<&str> {
        let Labels { bm25, cases, frequent } = &*self.labels;
        let scores = bm25.scores(input);
        let other = |&i: &usize| Some(cases[i].0.group.as_str()) != group && cases[i].0.input != input;
        let mut order: Vec<usize> = (0..cases.len()).filter(|&i| scores[i] > 0.0).filter(other).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let near = order.into_iter().flat_map(|i| &cases[i].1);
        let mut found = BTreeSet::new();
        for label in near.chain(frequent) {
            if found.len() == self.n {
                break;
            }
            found.insert(label.as_str());
        }
        found.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, group: &str, input: &str) -> Exemplar {
        let case = Case { case_id: id.into(), group: group.into(), input: input.into() };
        Exemplar { case, answer: format!("label of {id}"), shows: vec![] }
    }

    fn pool() -> PromptContext {
        let examples = vec![
            case("a", "p1", "A cyst of the left kidney."),
            case("b", "p1", "A cyst of the left kidney, 12 mm."),
            case("c", "p2", "The liver is fatty."),
            case("d", "p3", "Cyst of the liver."),
            case("e", "p4", "Cyst of the liver."),
            case("f", "p5", "Normal."),
        ];
        PromptContext { examples, pool: "of six cases".into(), ..PromptContext::default() }
    }

    fn ids(neighbours: &Neighbours, input: &str, group: Option<&str>) -> Vec<String> {
        neighbours.of(input, group).into_iter().map(|(case, _)| case.case_id.clone()).collect()
    }

    /// Where in the alphabet a text's first letter stands, as an angle.
    struct Toy;

    impl Embed for Toy {
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
            let angle = |text: &&str| f32::from(text.bytes().next().unwrap_or(0)) / 100.0;
            Ok(texts.iter().map(|text| vec![angle(text).cos(), angle(text).sin()]).collect())
        }
    }

    #[test]
    fn neighbours_by_embedding_are_the_nearest_by_angle_or_say_why_there_are_none() {
        let open: fn() -> Result<Box<dyn Embed>> = || Ok(Box::new(Toy));
        let context = PromptContext { embedder: OpenEmbedder(Some(open)), ..pool() };
        let neighbours = Neighbours::new(2, Retriever::Minilm, &context);
        neighbours.ready().unwrap();
        assert_eq!(ids(&neighbours, "Open.", None), ["c", "f"], "N is nearer to O than T is, and T than C");
        let json = serde_json::to_string(&neighbours).unwrap();
        assert!(json.contains("minilm") && !json.contains("kidney"), "{json}");
        let error = Neighbours::new(2, Retriever::Minilm, &pool()).ready().unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("embed"), "{error}");
        let absent: fn() -> Result<Box<dyn Embed>> = || Err(Error::input("is not installed: run it"));
        let context = PromptContext { embedder: OpenEmbedder(Some(absent)), ..pool() };
        let error = Neighbours::new(2, Retriever::Minilm, &context).ready().unwrap_err();
        assert!(error.to_string().contains("is not installed"), "{error}");
    }

    #[test]
    fn neither_the_case_nor_its_patient_nor_its_text_is_retrieved_and_the_nearest_stands_last() {
        let neighbours = Neighbours::new(3, Retriever::Bm25, &pool());
        let question = "Cyst of the left kidney.";
        assert_eq!(ids(&neighbours, question, None).last().unwrap(), "a");
        let others = ids(&neighbours, question, Some("p1"));
        assert!(!others.contains(&"a".into()) && !others.contains(&"b".into()), "{others:?}");
        assert_eq!(others.last().unwrap(), "d", "of equals the earlier");
        assert_eq!(ids(&neighbours, "Cyst of the liver.", None), ["c", "b", "a"], "`d` and `e` are that text");
        assert!(ids(&neighbours, "Thyroid 1.", None).is_empty() && ids(&neighbours, "", None).is_empty());
    }

    #[test]
    fn the_digest_follows_the_pool_and_nothing_of_the_pool_is_serialised() {
        let json = |neighbours: &Neighbours| serde_json::to_string(neighbours).unwrap();
        let (one, mut other) = (Neighbours::new(3, Retriever::Bm25, &pool()), pool());
        other.pool = "of others".into();
        assert_eq!(json(&one), json(&Neighbours::new(3, Retriever::Bm25, &pool())));
        assert_ne!(json(&one), json(&Neighbours::new(3, Retriever::Bm25, &other)));
        assert!(!json(&one).contains("kidney"));
        assert!(Neighbours::new(2, Retriever::Bm25, &PromptContext::default()).of("x", None).is_empty());
    }
}
