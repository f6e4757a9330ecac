//! What a base model reads: open medical text where `DXLAB_DATA` is present, the findings of the synthetic *training* split as text,
//! and exercises in chat format made from both ([`super::exercises`]).
//!
//! No label of a findings corpus is among it, no test report, no test abstract, and of BC5CDR no disease: what fine-tuning adds is the
//! task itself. The diseases of the NCBI training abstracts are: a model of this kind has seen lists before.
use super::exercises::{Exercise, Words, on_concept, on_names, on_report};
use super::model::PretrainConfig;
use super::ngram::ByteNgram;
use crate::corpus::Corpus;
use crate::corpus::text::{Document, documents};
use crate::error::Result;
use crate::label::disease_ontology;
use crate::model::Tokenizer;
use crate::prompt::{Encoder, Prompt, PromptContext};
use crate::train::Sequence;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Everything that pretraining reads, as ids.
pub struct Material {
    pub tokenizer: Arc<Tokenizer>,
    pub train: Vec<Sequence>,
    /// Held-out sequences by source.
    pub held_out: BTreeMap<String, HeldOut>,
    items: Vec<Item>,
}

#[derive(Default)]
pub struct HeldOut {
    pub sequences: Vec<Sequence>,
    /// Bytes of text behind the supervised tokens, for bits per byte.
    pub bytes: usize,
}

/// Bytes of a gram of the model that stands beside ours.
pub const NGRAM: usize = 6;

/// A text before it is ids: plain, or an exercise.
struct Item {
    source: &'static str,
    question: Option<String>,
    text: String,
    held_out: bool,
}

impl Item {
    fn text(source: &'static str, text: &str, held_out: bool) -> Self {
        Self { source, question: None, text: text.into(), held_out }
    }
    fn exercise(source: &'static str, made: Exercise, held_out: bool) -> Self {
        Self { source, question: Some(made.question), text: made.answer, held_out }
    }
    /// Question and text as one, for counting bytes.
    fn whole(&self) -> String {
        let question = self.question.iter().map(|q| format!("{q}\n"));
        question.chain([self.text.clone()]).collect()
    }
}

/// Texts of the mixture, a tokenizer trained on the part that is not held out (or the one given), and their ids.
pub fn material(config: &PretrainConfig, open: Option<&Path>, tokenizer: Option<Tokenizer>) -> Result<Material> {
    let items = items(config, open)?;
    let read = || items.iter().filter(|i| !i.held_out);
    let tokenizer = Arc::new(match tokenizer {
        Some(tokenizer) => tokenizer,
        None => {
            let texts: Vec<String> = read().map(Item::whole).collect();
            Tokenizer::train(texts.into_iter(), config.shape.vocab_size)?
        }
    });
    let ask = Prompt::named("ask", &PromptContext::default())?;
    let encoder = Encoder::new(tokenizer.clone());
    let most = config.data.sequence_tokens;
    let (mut train, mut held_out) = (Vec::new(), BTreeMap::<String, HeldOut>::new());
    for item in &items {
        let sequences = match &item.question {
            Some(question) => {
                let made = encoder.train(&ask, question, &item.text)?;
                match item.held_out {
                    true => vec![Sequence::completion(made.ids, made.prompt_len)],
                    // everything that is read teaches, the question as well
                    false if made.ids.len() <= most => vec![Sequence::text(made.ids)],
                    false => vec![],
                }
            }
            None => pieces(&tokenizer, &item.text, most)?,
        };
        let sequences = sequences.into_iter().filter(|s| !s.supervised.is_empty());
        match item.held_out {
            false => train.extend(sequences),
            true => {
                let kept = held_out.entry(item.source.to_string()).or_default();
                for s in sequences {
                    kept.bytes += tokenizer.decode(&s.ids[s.supervised.clone()], true)?.len();
                    kept.sequences.push(s);
                }
            }
        }
    }
    if let Some(most) = config.data.most_tokens {
        let tokens: usize = train.iter().map(|s| s.ids.len()).sum();
        let keep = train.len() * most.min(tokens) / tokens.max(1);
        train = thin(train, keep);
    }
    Ok(Material { tokenizer, train, held_out, items })
}

impl Material {
    /// Bits per byte of a byte n-gram model that read the same, on the held-out texts by source (a minute for 20 MB).
    pub fn ngram_bits_per_byte(&self) -> BTreeMap<String, f64> {
        let read: Vec<String> = self.items.iter().filter(|i| !i.held_out).map(Item::whole).collect();
        let ngram = ByteNgram::train(NGRAM, read.iter().map(String::as_str));
        let mut sums = BTreeMap::<String, (f64, usize)>::new();
        for item in self.items.iter().filter(|i| i.held_out) {
            let (whole, sum) = (item.whole(), sums.entry(item.source.to_string()).or_default());
            sum.0 += ngram.bits(whole.as_bytes(), whole.len() - item.text.len());
            sum.1 += item.text.len();
        }
        sums.into_iter().map(|(source, (bits, bytes))| (source, bits / bytes.max(1) as f64)).collect()
    }
}

/// Plain text as sequences of at most `most` tokens, the end-of-text token last.
fn pieces(tokenizer: &Tokenizer, text: &str, most: usize) -> Result<Vec<Sequence>> {
    let mut ids = tokenizer.encode(text, false)?;
    ids.push(tokenizer.control().text_end);
    Ok(ids.chunks(most).map(|c| Sequence::text(c.to_vec())).collect())
}

fn items(config: &PretrainConfig, open: Option<&Path>) -> Result<Vec<Item>> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let mut items = reports(config, &mut rng)?;
    let Some(dir) = open else { return Ok(items) };
    let (questions, texts): (Vec<Document>, Vec<Document>) =
        documents(dir)?.into_iter().partition(|d| d.question.is_some());
    for d in thin(questions, config.data.questions) {
        let held_out = d.held_out();
        items.push(Item { source: d.source, question: d.question, text: begin(&d.text).into(), held_out });
    }
    let words = Words::of(texts.iter().filter(|d| !d.held_out()).map(|d| d.text.as_str()));
    for d in &texts {
        items.push(Item::text(d.source, &d.text, d.held_out()));
        let Some((kind, names)) = &d.names else { continue };
        for _ in 0..config.data.exercises {
            let made = on_names(&d.text, kind, names, &words, &mut rng);
            items.push(Item::exercise("exercises on abstracts", made, d.held_out()));
        }
    }
    for row in thin(disease_ontology::rows(dir)?, config.data.concepts) {
        if let Some(made) = on_concept(&row.name, &row.parents, &row.synonyms, &mut rng) {
            items.push(Item::exercise("Disease Ontology", made, kept_back(&row.id)));
        }
    }
    Ok(items)
}

/// The training split of the synthetic findings: every text once, and exercises on it.
fn reports(config: &PretrainConfig, rng: &mut ChaCha8Rng) -> Result<Vec<Item>> {
    let corpus = Corpus::embedded()?;
    let read = corpus.train.iter().filter(|c| !kept_back(&c.case_id));
    let words = Words::of(read.map(|c| c.input.as_str()));
    let mut items = Vec::new();
    for case in &corpus.train {
        let held_out = kept_back(&case.case_id);
        items.push(Item::text("synthetic reports", &case.input, held_out));
        for _ in 0..config.data.exercises {
            let made = on_report(&case.input, &words, rng);
            items.push(Item::exercise("exercises on synthetic reports", made, held_out));
        }
    }
    Ok(items)
}

/// True for about one in thirty, by a digest of the id: never trained on.
fn kept_back(id: &str) -> bool {
    Sha256::digest(id)[0] < 8
}

/// Whole sentences of at most 1,500 characters: answers that go on for pages would crowd out the others.
fn begin(text: &str) -> &str {
    let most = text.char_indices().nth(1500).map_or(text.len(), |(at, _)| at);
    match text[..most].rfind(". ") {
        Some(end) if most < text.len() => &text[..=end],
        _ => &text[..most],
    }
}

/// `keep` of them at most, at even distances.
fn thin<T>(all: Vec<T>, keep: usize) -> Vec<T> {
    let n = all.len();
    let keep = keep.min(n);
    all.into_iter().enumerate().filter(|(i, _)| (i + 1) * keep / n > i * keep / n).map(|(_, d)| d).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::PretrainConfig;

    fn config() -> PretrainConfig {
        let mut config = PretrainConfig::read(&crate::home().join("configs/embedded-small.toml")).unwrap();
        config.data.exercises = 1;
        config.shape.vocab_size = 600;
        config
    }

    #[test]
    fn without_open_data_only_the_training_split_is_read_and_a_part_is_held_out() {
        let corpus = Corpus::embedded().unwrap();
        let items = items(&config(), None).unwrap();
        assert_eq!(items.len(), 2 * corpus.train.len());
        for case in &corpus.test {
            assert!(!items.iter().any(|i| i.whole().contains(&case.input)), "{} is a test case", case.case_id);
        }
        let held = items.iter().filter(|i| i.held_out).count() as f64 / items.len() as f64;
        assert!((0.01..0.06).contains(&held), "{held}");
        let texts: Vec<String> = items.iter().filter(|i| !i.held_out).map(Item::whole).collect();
        for item in items.iter().filter(|i| i.held_out && i.question.is_none()) {
            assert!(!texts.iter().any(|t| t.contains(&item.text)), "held out and read");
        }
    }

    #[test]
    fn held_out_exercises_are_measured_on_their_answers() {
        let material = material(&config(), None, None).unwrap();
        let held = &material.held_out["exercises on synthetic reports"];
        assert!(held.sequences.iter().all(|s| s.supervised.len() * 2 < s.ids.len()));
        assert!(material.train.iter().all(|s| s.supervised.start == 1 && s.ids.len() <= 512));
        let ngram = material.ngram_bits_per_byte();
        assert!(ngram.keys().eq(material.held_out.keys()));
        assert!(ngram.values().all(|bits| (0.1..8.0).contains(bits)), "{ngram:?} bits a byte");
    }
}
