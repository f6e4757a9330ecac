//! The simplest reader there is: a label is given where its name stands in the text, word for word. It neither understands
//! "no evidence of" nor knows that a concretion is a stone; what it reaches says how far names alone carry.
use super::methods::prediction;
use crate::corpus::Finding;
use crate::error::Result;
use crate::io;
use crate::run::prediction::Prediction;
use std::collections::BTreeSet;

/// Training labels, searched for by name.
#[derive(Clone, Debug)]
pub struct NameSearch {
    /// (label as written, its words in lower case), in order of the label.
    labels: Vec<(String, Vec<String>)>,
    digest: String,
}

impl NameSearch {
    pub fn fit(train: &[Finding]) -> Result<Self> {
        let labels: BTreeSet<&String> = train.iter().flat_map(|case| &case.gold).collect();
        let digest = io::digest_json(&labels)?[..12].to_string();
        let labels =
            labels.into_iter().map(|label| (label.clone(), words(label))).filter(|(_, words)| !words.is_empty());
        Ok(Self { labels: labels.collect(), digest })
    }

    /// Labels whose words stand side by side in the text, a plural `s` of the last one allowed.
    pub fn labels(&self, text: &str) -> Vec<String> {
        let text = words(text);
        let found = |words: &[String]| text.windows(words.len()).any(|window| alike(window, words));
        self.labels.iter().filter(|(_, words)| found(words)).map(|(label, _)| label.clone()).collect()
    }

    pub fn predict(&self, cases: &[Finding]) -> Vec<Prediction> {
        let model = format!("name-search@{}", self.digest);
        cases.iter().map(|case| prediction(case, &model, self.labels(&case.input))).collect()
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(String::from).collect()
}

fn alike(window: &[String], words: &[String]) -> bool {
    let Some((last, first)) = words.split_last() else { return false };
    let (end, begin) = (&window[first.len()], &window[..first.len()]);
    begin == first && (end == last || end.strip_suffix('s') == Some(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(input: &str, labels: &[&str]) -> Finding {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Finding::new(input, input, input, labels)
    }

    #[test]
    fn names_are_found_as_whole_words_whether_denied_or_not() {
        let search = NameSearch::fit(&[case("", &["Renal cyst", "cyst", "stone"])]).unwrap();
        assert_eq!(search.labels("No renal cysts. Cystitis."), ["Renal cyst", "cyst"]);
        assert!(search.labels("Renal and other cystic change").is_empty());
        let answer = &search.predict(&[case("A stone.", &["stone"])])[0];
        assert_eq!((answer.raw.as_str(), answer.parsed, &answer.answer), ("stone", true, &answer.gold));
    }
}
