//! The runs of words of a text, as the closed list of an answer that may only quote: of each case its own (as GENRE copies mentions out of
//! its input; De Cao et al. 2021, §3).
use super::labels::{Count, Labels};
use crate::error::Result;
use crate::model::Tokenizer;
use std::collections::BTreeSet;

/// Words of a run, at most. Of the disease names that BC5CDR's abstracts use, 98 in 100 are no longer.
const WORDS: usize = 6;
/// No run goes past these where a word begins or ends with them.
const BREAKS: [char; 13] = ['.', ',', ';', ':', '!', '?', '(', ')', '[', ']', '"', '“', '”'];

impl Labels {
    /// One or more runs of words of `text`, joined by `, `, none that holds another or lies in it. Fails for a text without a word that the tokenizer can write.
    pub fn quoting(text: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let mut written = Vec::new();
        for span in spans(text) {
            if tokenizer.decode(&tokenizer.encode(&span, false)?, false)? == span {
                written.push(span);
            }
        }
        let padded: Vec<String> = written.iter().map(|span| format!(" {span} ")).collect();
        let nested = |a: usize, b: usize| padded[a].contains(&padded[b]) || padded[b].contains(&padded[a]);
        let all = 0..written.len();
        let excludes = all.clone().map(|a| all.clone().filter(|&b| nested(a, b)).collect()).collect();
        Labels::excluding(&written, Count::Many, tokenizer, excludes)
    }
}

/// Distinct runs of up to `WORDS` words, as written, without the punctuation around them and none with a comma.
fn spans(text: &str) -> BTreeSet<String> {
    let mut spans = BTreeSet::new();
    let mut clause: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_matches(BREAKS);
        if word.starts_with(BREAKS) {
            clause.clear();
        }
        if !bare.is_empty() && !bare.contains(',') {
            clause.push(bare);
            let longest = clause.len().min(WORDS);
            spans.extend((1..=longest).map(|n| clause[clause.len() - n..].join(" ")));
        }
        if word.ends_with(BREAKS) || bare.contains(',') {
            clause.clear();
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::super::constraint::Constraint;
    use super::super::labels::tests::wander;
    use super::super::text::tests::tokenizer;
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn runs_stay_inside_a_clause_and_lose_its_punctuation() {
        let got = spans("Acute renal failure (ARF), 1,000 mg.\nNo  cyst");
        let want = [
            "ARF",
            "Acute",
            "Acute renal",
            "Acute renal failure",
            "No",
            "No cyst",
            "cyst",
            "failure",
            "mg",
            "renal",
            "renal failure",
        ];
        assert_eq!(got.iter().map(String::as_str).collect::<Vec<_>>(), want);
        assert!(spans("one two three four five six seven").contains("two three four five six seven"));
        assert!(!spans("one two three four five six seven").contains("one two three four five six seven"));
    }

    #[test]
    fn an_answer_quotes_the_text_and_nothing_else() {
        let t = tokenizer();
        let quoting = Labels::quoting("No renal cyst. Liver normal.", &t).unwrap();
        let written = |answer: &str| {
            let mut state = quoting.fork();
            for id in t.encode(answer, false).unwrap() {
                if !state.allowed(50).unwrap().contains(&id) {
                    return false;
                }
                state.accept(id).unwrap();
            }
            state.may_end().unwrap()
        };
        assert!(written("renal cyst") && written("Liver, renal cyst") && written("renal, Liver normal"));
        assert!(
            !written("cyst, renal cyst")
                && !written("renal cyst, No renal cyst")
                && !written("liver")
                && !written("cyst Liver")
                && !written("gallstone")
                && !written("cyst, cyst")
        );
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for limit in [6, 9, 200].repeat(50) {
            wander(&mut *quoting.fork(), limit, &mut generator); // looks for dead ends itself
        }
        assert_eq!(Labels::quoting(" . ", &t).err().unwrap().exit_code(), 2);
    }
}
