//! Near-duplicate texts: the Jaccard similarity of their sets of five-word runs (lower case, punctuation dropped).
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

const RUN: usize = 5;

/// Texts seen so far, by their five-word runs.
pub struct NearDuplicates {
    limit: f64,
    sizes: Vec<usize>,
    texts_with: HashMap<u64, Vec<u32>>,
}

impl NearDuplicates {
    /// `limit`: the similarity in `[0, 1]` from which on two texts count as alike.
    pub fn new(limit: f64) -> Self {
        Self { limit, sizes: Vec::new(), texts_with: HashMap::new() }
    }

    /// Index (in order of insertion) and similarity of the most similar text so far; the first of equals.
    pub fn nearest(&self, text: &str) -> Option<(usize, f64)> {
        let runs = runs(text);
        let mut common = vec![0usize; self.sizes.len()];
        for id in runs.iter().filter_map(|run| self.texts_with.get(run)).flatten() {
            common[*id as usize] += 1;
        }
        let similarity =
            |(i, &both): (usize, &usize)| (i, both as f64 / (runs.len() + self.sizes[i] - both).max(1) as f64);
        common.iter().enumerate().map(similarity).fold(None, |best: Option<(usize, f64)>, next| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            _ => Some(next),
        })
    }

    pub fn alike(&self, text: &str) -> bool {
        self.nearest(text).is_some_and(|(_, similarity)| similarity >= self.limit)
    }

    pub fn insert(&mut self, text: &str) {
        let (id, runs) = (self.sizes.len() as u32, runs(text));
        self.sizes.push(runs.len());
        for run in runs {
            self.texts_with.entry(run).or_default().push(id);
        }
    }

    /// Inserts the text and says true, or leaves it out and says false.
    pub fn insert_unless_alike(&mut self, text: &str) -> bool {
        let new = !self.alike(text);
        if new {
            self.insert(text);
        }
        new
    }
}

/// Hashes of a text's five-word runs; of all its words where it has fewer.
pub(super) fn runs(text: &str) -> BTreeSet<u64> {
    let lower = text.to_lowercase();
    let words = words(&lower);
    if words.len() < RUN { [hash(&words)].into() } else { words.windows(RUN).map(hash).collect() }
}

/// Hash of all words in order: equal for texts that differ in case, space and punctuation only. None without words.
pub(super) fn whole(text: &str) -> Option<u64> {
    let lower = text.to_lowercase();
    let words = words(&lower);
    (!words.is_empty()).then(|| hash(&words))
}

fn words(lower: &str) -> Vec<&str> {
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

fn hash(words: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new(); // its keys are fixed
    words.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_hide_a_copy_and_other_texts_are_not_copies() {
        let mut seen = NearDuplicates::new(0.5);
        assert!(seen.nearest("anything").is_none());
        assert!(seen.insert_unless_alike("The liver is normal. The spleen is normal in size and shape."));
        assert!(!seen.insert_unless_alike("the LIVER is normal; the spleen is normal in size, and shape"));
        assert!(seen.insert_unless_alike("The spleen is not normal. A cyst is seen in the left kidney."));
        assert_eq!(seen.nearest("The liver is normal. The spleen is normal in size and shape.").unwrap(), (0, 1.0));
    }
}
