//! Why synthetic cases carry their labels, read back from `truth.jsonl` beside a corpus.
use super::Truth;
use crate::corpus::Finding;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// One stretch of a text and what its words are there for.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    pub text: String,
    /// Labels that it causes, as written in the corpus.
    pub causes: Vec<String>,
    /// (label in whose words it is, why it does not imply it).
    pub distracts: Vec<(String, String)>,
}

/// The truth of every case, by case id; empty where `folder` has no `truth.jsonl`, as with real findings.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Truth>> {
    let path = folder.join("truth.jsonl");
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = crate::io::read_text(&path)?;
    let parse = |(i, line): (usize, &str)| {
        let truth: Truth = serde_json::from_str(line)
            .map_err(|e| Error::input(format!("{} line {}: not a truth: {e}", path.display(), i + 1)))?;
        Ok((truth.case_id.clone(), truth))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

impl Truth {
    /// The whole text in order: sentences that cause or distract, and what stands between them.
    pub fn stretches(&self, case: &Finding) -> Vec<Stretch> {
        let mut marked = BTreeMap::<(usize, usize), Stretch>::new();
        let text: Vec<char> = case.input.chars().collect();
        let cut = |from: usize, to: usize| -> String {
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            text[from..to.max(from)].iter().collect::<String>().trim().to_string()
        };
        let empty = |from, to| Stretch { text: cut(from, to), causes: vec![], distracts: vec![] };
        for cause in &self.causes {
            let stretch = marked.entry((cause.start, cause.end)).or_insert_with(|| empty(cause.start, cause.end));
            stretch.causes.push(cause.label.clone());
        }
        for other in &self.distractors {
            let stretch = marked.entry((other.start, other.end)).or_insert_with(|| empty(other.start, other.end));
            stretch.distracts.push((other.concept.clone(), other.why.clone()));
        }
        let (mut all, mut at) = (Vec::new(), 0);
        for ((from, to), stretch) in marked {
            all.extend(Some(empty(at, from)).filter(|gap| !gap.text.is_empty()));
            all.push(stretch);
            at = at.max(to);
        }
        all.extend(Some(empty(at, text.len())).filter(|gap| !gap.text.is_empty()));
        all
    }

    /// Why the text speaks of `concept` without implying it; none where it does not speak of it.
    pub fn why_not(&self, concept: &str) -> Option<&str> {
        self.distractors.iter().find(|other| other.concept == concept).map(|other| other.why.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn the_stretches_of_a_case_are_its_text_and_hold_all_its_labels() {
        let corpus = Corpus::embedded().unwrap();
        let truths = read(&crate::home().join("data/findings")).unwrap();
        for case in corpus.train.iter().chain(&corpus.test) {
            let stretches = truths[&case.case_id].stretches(case);
            let whole: Vec<&str> = stretches.iter().map(|stretch| stretch.text.as_str()).collect();
            assert_eq!(
                whole.join(" ").split_whitespace().collect::<Vec<_>>(),
                case.input.split_whitespace().collect::<Vec<_>>()
            );
            let caused: usize = stretches.iter().map(|stretch| stretch.causes.len()).sum();
            assert_eq!(caused, case.gold.len(), "{}", case.case_id);
        }
        assert!(read(&crate::home().join("src")).unwrap().is_empty());
    }

    #[test]
    fn a_label_that_is_denied_has_a_reason() {
        let truths = read(&crate::home().join("data/findings")).unwrap();
        let truth = truths.values().find(|truth| !truth.distractors.is_empty()).unwrap();
        let other = &truth.distractors[0];
        assert_eq!(truth.why_not(&other.concept), Some(other.why.as_str()));
        assert_eq!(truth.why_not("no such label"), None);
    }
}
