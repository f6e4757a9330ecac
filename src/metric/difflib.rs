//! Similarity of two texts as Python's `difflib.SequenceMatcher(None, a, b).ratio()` has it (Ratcliff and Obershelp 1988):
//! 2·M / (|a| + |b|), M the size of the blocks that are found by taking the longest common run, the leftmost in a and then in b, and going on
//! to both sides of it.
//!
//! With `autojunk`, Python's default, and at least 200 characters in b, a character that makes up more than about 1 % of b begins no block; a
//! block still extends over it. In clinical texts almost every letter is that frequent, so scattered edits are scored far too low: of 2,990
//! characters of synthetic notes (words of letters alone, in lower case) without every twentieth word it gives 0.703, without `autojunk` 0.975.
use std::collections::HashMap;
use std::rc::Rc;

/// See the file's header. 1 for two empty texts.
pub fn ratio(a: &[char], b: &[char], autojunk: bool) -> f64 {
    match a.len() + b.len() {
        0 => 1.0,
        both => 2.0 * matched(a, b, autojunk) as f64 / both as f64,
    }
}

/// No smaller than [`ratio`], and quick to find: what the counts of characters alone allow.
pub fn upper_bound(a: &[char], b: &[char]) -> f64 {
    let mut counts: HashMap<char, i32> = HashMap::new();
    b.iter().for_each(|c| *counts.entry(*c).or_default() += 1);
    let common =
        a.iter().filter(|c| counts.get_mut(c).is_some_and(|left| std::mem::replace(left, *left - 1) > 0)).count();
    if a.is_empty() && b.is_empty() { 1.0 } else { 2.0 * common as f64 / (a.len() + b.len()) as f64 }
}

/// For every place of a the places of b where a block may begin with the same character, in order.
fn seeds(a: &[char], b: &[char], autojunk: bool) -> Vec<Rc<[usize]>> {
    let mut places: HashMap<char, Vec<usize>> = HashMap::new();
    b.iter().enumerate().for_each(|(j, c)| places.entry(*c).or_default().push(j));
    if autojunk && b.len() >= 200 {
        places.retain(|_, at| at.len() <= b.len() / 100 + 1);
    }
    let places: HashMap<char, Rc<[usize]>> = places.into_iter().map(|(c, at)| (c, at.into())).collect();
    let none: Rc<[usize]> = Rc::new([]);
    a.iter().map(|c| places.get(c).unwrap_or(&none).clone()).collect()
}

/// Lengths of the runs that end at each place of b; those of another round than the last do not count.
struct Runs {
    length: Vec<usize>,
    round: Vec<usize>,
    now: usize,
}

fn matched(a: &[char], b: &[char], autojunk: bool) -> usize {
    let seeds = seeds(a, b, autojunk);
    let mut runs = Runs { length: vec![0; b.len()], round: vec![0; b.len()], now: 1 };
    let (mut windows, mut sum) = (vec![(0, a.len(), 0, b.len())], 0);
    while let Some((from_a, to_a, from_b, to_b)) = windows.pop() {
        let (i, j, size) = longest(a, b, &seeds, &mut runs, (from_a, to_a, from_b, to_b));
        if size == 0 {
            continue;
        }
        sum += size;
        if from_a < i && from_b < j {
            windows.push((from_a, i, from_b, j));
        }
        if i + size < to_a && j + size < to_b {
            windows.push((i + size, to_a, j + size, to_b));
        }
    }
    sum
}

/// (place in a, place in b, size) of the longest common run in a window, as `find_longest_match` finds it.
fn longest(
    a: &[char],
    b: &[char],
    seeds: &[Rc<[usize]>],
    runs: &mut Runs,
    (from_a, to_a, from_b, to_b): (usize, usize, usize, usize),
) -> (usize, usize, usize) {
    let (mut i, mut j, mut size) = (from_a, from_b, 0);
    runs.now += 1; // no run of another window goes on
    for at_a in from_a..to_a {
        let places = &seeds[at_a];
        let first = places.partition_point(|&at_b| at_b < from_b);
        let last = places.partition_point(|&at_b| at_b < to_b);
        let (before, mut longest) = (runs.now, (size, 0));
        runs.now += 1;
        // from the end, so that the run one place before is still that of the round before; of equal ones the leftmost counts
        for &at_b in places[first..last].iter().rev() {
            let goes_on = at_b > from_b && runs.round[at_b - 1] == before;
            let run = if goes_on { runs.length[at_b - 1] + 1 } else { 1 };
            (runs.length[at_b], runs.round[at_b]) = (run, runs.now);
            if run > size && run >= longest.0 {
                longest = (run, at_b);
            }
        }
        if longest.0 > size {
            (i, j, size) = (at_a + 1 - longest.0, longest.1 + 1 - longest.0, longest.0);
        }
    }
    while i > from_a && j > from_b && a[i - 1] == b[j - 1] {
        (i, j, size) = (i - 1, j - 1, size + 1);
    }
    while i + size < to_a && j + size < to_b && a[i + size] == b[j + size] {
        size += 1;
    }
    (i, j, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of texts with Python's values, from `tests/reference/nltk_tokens.py`.
    #[derive(serde::Deserialize)]
    struct Golden {
        difflib: Vec<(String, String, f64, f64)>,
    }

    #[test]
    fn ratios_are_those_of_python() {
        let text = include_str!("../../tests/reference/nltk_tokens.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert!(golden.difflib.len() >= 20);
        for (a, b, plain, junk) in golden.difflib {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert!((ratio(&a, &b, false) - plain).abs() < 1e-12, "{a:?} {b:?}");
            assert!((ratio(&a, &b, true) - junk).abs() < 1e-12, "{a:?} {b:?}");
            assert!(upper_bound(&a, &b) >= plain - 1e-12);
        }
    }

    /// The numbers of the file's header; Python 3.11 gives the same.
    #[test]
    fn scattered_edits_are_scored_too_low_with_autojunk() {
        let notes = crate::corpus::decisions::Decisions::embedded().unwrap().corpus.train;
        let text: String = notes.iter().flat_map(|note| note.input.chars()).take(5000).collect();
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic)).collect();
        let kept: Vec<&str> = words.iter().enumerate().filter(|(i, _)| i % 20 != 19).map(|(_, word)| *word).collect();
        let (whole, cut): (Vec<char>, Vec<char>) =
            (words.join(" ").chars().collect(), kept.join(" ").chars().collect());
        assert_eq!(whole.len(), 2990);
        let found = [true, false].map(|autojunk| (1000.0 * ratio(&cut, &whole, autojunk)).round());
        assert_eq!(found, [703.0, 975.0]);
    }
}
