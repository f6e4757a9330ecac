//! Term weights of words and word pairs: `TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)` of scikit-learn.
//!
//! weight(t, d) = (1 + ln tf) · (ln((1 + N)/(1 + df)) + 1), rows scaled to length 1. A word is two or more letters, digits or
//! underscores in lower case. Terms that the training texts do not hold are dropped.
use std::collections::BTreeMap;

/// Rows of (column, value), columns ascending.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    pub columns: usize,
    pub rows: Vec<Vec<(u32, f64)>>,
}

#[derive(Clone, Debug)]
pub struct Tfidf {
    terms: BTreeMap<String, u32>,
    idf: Vec<f64>,
}

impl Tfidf {
    pub fn fit(texts: &[&str]) -> Self {
        let mut df = BTreeMap::<String, usize>::new();
        for text in texts {
            counts(text).into_keys().for_each(|term| *df.entry(term).or_default() += 1);
        }
        let idf = df.values().map(|&df| ((1 + texts.len()) as f64 / (1 + df) as f64).ln() + 1.0).collect();
        Self { terms: df.into_keys().zip(0..).collect(), idf }
    }

    /// One row a text, one column a term of the training texts.
    pub fn transform(&self, texts: &[&str]) -> Sparse {
        let row = |text: &&str| {
            let known = counts(text).into_iter().filter_map(|(term, count)| Some((*self.terms.get(&term)?, count)));
            let mut row: Vec<(u32, f64)> =
                known.map(|(term, count)| (term, (1.0 + f64::from(count).ln()) * self.idf[term as usize])).collect();
            let length = row.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
            row.iter_mut().for_each(|(_, value)| *value /= length); // a row without terms stays empty
            row
        };
        Sparse { columns: self.idf.len(), rows: texts.iter().map(row).collect() }
    }

    /// The terms in order of their columns.
    pub fn names(&self) -> Vec<&str> {
        self.terms.keys().map(String::as_str).collect()
    }

    pub fn terms(&self) -> usize {
        self.idf.len()
    }
}

/// How often each word and each pair of neighbouring words occurs, terms ascending.
fn counts(text: &str) -> BTreeMap<String, u32> {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.chars().nth(1).is_some()).collect();
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    let mut counts = BTreeMap::new();
    words.iter().map(|word| word.to_string()).chain(pairs).for_each(|term| *counts.entry(term).or_default() += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_one_letter_are_dropped_before_pairs_are_made() {
        let terms: Vec<String> = counts("A renal cyst, 2 cm; Renal-CYST").into_keys().collect();
        assert_eq!(terms, ["cm", "cm renal", "cyst", "cyst cm", "renal", "renal cyst"]);
    }

    #[test]
    fn rows_have_length_one_and_unknown_terms_are_dropped() {
        let tfidf = Tfidf::fit(&["renal cyst", "liver cyst cyst"]);
        let rows = tfidf.transform(&["cyst of the liver", "unknown words"]).rows;
        assert!((rows[0].iter().map(|(_, v)| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(rows[0].len() == 2 && rows[1].is_empty());
    }
}
