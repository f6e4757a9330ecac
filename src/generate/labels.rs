//! A closed list of labels as a constraint: one of them, or several joined by `, ` without repeats, as the model was
//! trained to write them.
//!
//! A tokenizer writes a label in up to four ways, by what stands before and behind it, and each has a path of its own
//! in a trie:
//!
//! ```text
//!               behind it nothing     behind it a comma
//! first         │Ren│al│ cyst│        │Ren│al│ cyst│,│          where a label may end, the answer may;
//! later         │ renal│ cyst│        │ renal│ cyst│,│          past the comma the later ones begin
//! ```
//!
//! Only the tokenizer's own encoding is a path. Other rows of tokens spell the same text, but no training text contains
//! them.
use super::constraint::Constraint;
use crate::error::{Error, Result};
use crate::model::Tokenizer;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What an answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One label.
    One,
    /// One or more, joined by `, `, none twice.
    Many,
}

/// The state of one answer made of labels.
#[derive(Clone)]
pub struct Labels {
    paths: Arc<Paths>,
    node: usize,
    /// Whether each label may still come.
    fresh: Vec<bool>,
}

struct Paths {
    nodes: Vec<Node>,
    /// Root of labels behind a comma.
    later: usize,
    /// Tokens of each label behind a comma with nothing behind it.
    last: Vec<usize>,
    /// What may not come any more once a label is given and closed by a comma: itself, at least.
    excludes: Vec<Vec<usize>>,
}

/// Labels are indices.
#[derive(Default)]
struct Node {
    next: BTreeMap<u32, usize>,
    /// The label that is whole here with nothing behind it, and the one that is whole with its comma.
    ends: Option<usize>,
    closes: Option<usize>,
    /// (label, tokens to go) of the paths through this node, to an end and to a comma; none to go for `ends` and
    /// `closes`.
    through: [Vec<(usize, usize)>; 2],
}

const END: usize = 0;
const COMMA: usize = 1;

impl Labels {
    /// Fails for an empty list, a label given twice, one that the tokenizer does not give back as it is written, and
    /// with `Count::Many` one that holds a comma.
    pub fn new(labels: &[String], count: Count, tokenizer: &Tokenizer) -> Result<Self> {
        Self::excluding(labels, count, tokenizer, (0..labels.len()).map(|i| vec![i]).collect())
    }

    /// As `new`; `excludes`: the labels that may not follow each, itself among them.
    pub(super) fn excluding(
        labels: &[String],
        count: Count,
        tokenizer: &Tokenizer,
        excludes: Vec<Vec<usize>>,
    ) -> Result<Self> {
        if labels.is_empty() {
            return Err(Error::input("an empty list of labels: expected at least one"));
        }
        let mut paths = Paths { nodes: vec![Node::default()], later: 0, last: vec![], excludes };
        if count == Count::Many {
            paths.later = paths.node();
        }
        for (i, label) in labels.iter().enumerate() {
            let encode = |text: String| encode(&text, label, tokenizer);
            check(label, count)?;
            paths.add(0, &encode(label.clone())?, i, END)?;
            if count == Count::Many {
                let (behind, last) = (encode(format!("{label},"))?, encode(format!(" {label}"))?);
                if encode(format!("{label}, {label}"))? != [behind.as_slice(), &last].concat() {
                    return Err(Error::input(format!(
                        "label `{label}`: this tokenizer joins the comma and what follows it; expected one like Qwen3's"
                    )));
                }
                paths.add(0, &behind, i, COMMA)?;
                paths.add(paths.later, &last, i, END)?;
                paths.last.push(last.len());
                paths.add(paths.later, &encode(format!(" {label},"))?, i, COMMA)?;
            }
        }
        Ok(Self { paths: Arc::new(paths), node: 0, fresh: vec![true; labels.len()] })
    }

    /// Fewest tokens from `node` to the end of an answer; none if no label that may still come is on the way.
    /// `spare`: the fresh labels that are shortest behind a comma, so many that one is left whichever label the comma follows.
    fn to_go(&self, node: usize, spare: &[usize]) -> Option<usize> {
        let [ends, commas] = &self.paths.nodes[node].through;
        let end = ends.iter().filter(|(label, _)| self.fresh[*label]).map(|(_, n)| *n);
        let follows = |label: usize, other: &usize| !self.paths.excludes[label].contains(other);
        let behind =
            |label: usize| spare.iter().find(|other| follows(label, other)).map(|&other| self.paths.last[other]);
        let comma = commas.iter().filter(|(label, _)| self.fresh[*label]).filter_map(|(l, n)| Some(n + behind(*l)?));
        end.chain(comma).min()
    }

    fn spare(&self) -> Vec<usize> {
        let mut fresh: Vec<usize> = (0..self.paths.last.len()).filter(|&label| self.fresh[label]).collect();
        fresh.sort_by_key(|&label| self.paths.last[label]);
        fresh.truncate(1 + self.paths.excludes.iter().map(Vec::len).max().unwrap_or(0));
        fresh
    }
}

impl Constraint for Labels {
    fn allowed(&mut self, left: usize) -> Result<Vec<u32>> {
        let (spare, next) = (self.spare(), &self.paths.nodes[self.node].next);
        let fits = |node: usize| self.to_go(node, &spare).is_some_and(|tokens| tokens < left);
        let ids: Vec<u32> = next.iter().filter(|(_, node)| fits(**node)).map(|(id, _)| *id).collect();
        match ids.is_empty() && self.node == 0 {
            true => Err(Error::input(format!("no label of the list fits into {left} new tokens: allow more"))),
            false => Ok(ids),
        }
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        let next = self.paths.nodes[self.node].next.get(&token);
        self.node = *next.ok_or_else(|| Error::failed(format!("token {token} leads to no label of the list")))?;
        if let Some(label) = self.paths.nodes[self.node].closes {
            self.paths.excludes[label].iter().for_each(|&other| self.fresh[other] = false);
            self.node = self.paths.later;
        }
        Ok(())
    }

    fn may_end(&mut self) -> Result<bool> {
        Ok(self.paths.nodes[self.node].ends.is_some_and(|label| self.fresh[label]))
    }

    fn fork(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

impl Paths {
    fn node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn add(&mut self, root: usize, path: &[u32], label: usize, kind: usize) -> Result<()> {
        let mut node = root;
        self.nodes[node].through[kind].push((label, path.len()));
        for (i, &token) in path.iter().enumerate() {
            node = match self.nodes[node].next.get(&token) {
                Some(&next) => next,
                None => {
                    let next = self.node();
                    self.nodes[node].next.insert(token, next);
                    next
                }
            };
            self.nodes[node].through[kind].push((label, path.len() - 1 - i));
        }
        let Node { ends, closes, .. } = &mut self.nodes[node];
        match if kind == END { ends } else { closes }.replace(label) {
            None => Ok(()),
            Some(other) => Err(Error::input(format!("labels {} and {} are the same", other + 1, label + 1))),
        }
    }
}

fn check(label: &str, count: Count) -> Result<()> {
    if label.trim() != label || label.is_empty() {
        return Err(Error::input(format!("label `{label}`: expected text without space around it")));
    }
    match count == Count::Many && label.contains(',') {
        true => Err(Error::input(format!(
            "label `{label}` holds a comma, which stands between the labels of a list: rename it, or ask for one label"
        ))),
        false => Ok(()),
    }
}

fn encode(text: &str, label: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let ids = tokenizer.encode(text, false)?;
    match tokenizer.decode(&ids, false)? {
        back if back == text => Ok(ids),
        back => Err(Error::input(format!(
            "label `{label}`: the tokenizer cannot write it, `{text}` becomes `{back}`; write it in Unicode NFC"
        ))),
    }
}

/// A label a line; space around it and empty lines are nothing. Fails for none and for one given twice.
pub fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = crate::io::read_text(path)?.replace("\r\n", "\n").replace('\r', "\n");
    let mut seen = BTreeMap::new();
    let mut labels = Vec::new();
    for (i, label) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())).filter(|(_, l)| !l.is_empty()) {
        if let Some(first) = seen.insert(label, i) {
            let path = path.display();
            return Err(Error::input(format!("{path} line {i}: label `{label}` was already given in line {first}")));
        }
        labels.push(label.to_string());
    }
    match labels.is_empty() {
        true => Err(Error::input(format!("{}: no label: expected one a line", path.display()))),
        false => Ok(labels),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::text::tests::tokenizer;
    use super::*;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const NAMES: [&str; 8] =
        ["renal cyst", "renal", "liver cyst", "Renal cyst", "cyst (liver)", "gallstone", "12 mm", "no [cyst]"];

    fn names() -> Vec<String> {
        NAMES.map(String::from).to_vec()
    }

    fn refusal(labels: &[&str], count: Count) -> String {
        let labels: Vec<String> = labels.iter().map(|l| l.to_string()).collect();
        let error = Labels::new(&labels, count, &tokenizer()).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    /// An answer that goes a random way, and whether it could end at each place.
    pub fn wander(constraint: &mut dyn Constraint, limit: usize, generator: &mut ChaCha8Rng) -> Vec<u32> {
        let mut tokens = vec![];
        loop {
            let may_end = constraint.may_end().unwrap();
            if tokens.len() == limit {
                assert!(may_end, "cut inside a label: {tokens:?}");
                return tokens;
            }
            let allowed = constraint.allowed(limit - tokens.len()).unwrap();
            assert!(may_end || !allowed.is_empty(), "no dead end after {tokens:?}");
            if allowed.is_empty() || may_end && generator.random_bool(0.2) {
                return tokens;
            }
            let token = *allowed.choose(generator).unwrap();
            constraint.accept(token).unwrap();
            tokens.push(token);
        }
    }

    #[test]
    fn every_answer_is_labels_once_each_as_the_tokenizer_writes_them() {
        let (t, mut generator) = (tokenizer(), ChaCha8Rng::seed_from_u64(1));
        let list = Labels::new(&names(), Count::Many, &t).unwrap();
        let mut lengths = [0; 9];
        for _ in 0..400 {
            let tokens = wander(&mut *list.fork(), 200, &mut generator);
            let text = t.decode(&tokens, false).unwrap();
            assert_eq!(t.encode(&text, false).unwrap(), tokens, "{text}");
            let mut given: Vec<&str> = text.split(", ").collect();
            lengths[given.len()] += 1;
            assert!(given.iter().all(|label| NAMES.contains(label)), "{text}");
            let n = given.len();
            given.sort_unstable();
            given.dedup();
            assert_eq!(given.len(), n, "{text}");
        }
        assert!(lengths[0] == 0 && lengths[1..].iter().all(|&n| n > 0), "{lengths:?}");
    }

    #[test]
    fn every_list_can_be_written_and_ends_only_behind_a_whole_label() {
        let t = tokenizer();
        let list = Labels::new(&names(), Count::Many, &t).unwrap();
        for answer in [vec![0], vec![4, 7, 6], vec![1, 0, 2], vec![7, 6, 5, 4, 3, 2, 1, 0]] {
            let text = answer.iter().map(|&i: &usize| NAMES[i]).collect::<Vec<_>>().join(", ");
            let mut state = list.fork();
            let ids = t.encode(&text, false).unwrap();
            for (i, &id) in ids.iter().enumerate() {
                let so_far = t.decode(&ids[..i], false).unwrap();
                let given: Vec<&str> = so_far.split(", ").collect();
                let (newest, before) = given.split_last().unwrap();
                let whole = NAMES.contains(newest) && !before.contains(newest);
                assert_eq!(state.may_end().unwrap(), whole, "{so_far}");
                assert!(state.allowed(ids.len() - i).unwrap().contains(&id), "{text}: {so_far}");
                state.accept(id).unwrap();
            }
            assert!(state.may_end().unwrap());
            assert_eq!(state.allowed(99).unwrap().is_empty(), answer.len() == 8, "after all labels only the end");
        }
        let mut state = list.fork();
        for id in t.encode("gallstone,", false).unwrap() {
            state.accept(id).unwrap();
        }
        let refused = t.encode(" gallstone", false).unwrap().into_iter().any(|id| {
            let refused = !state.allowed(99).unwrap().contains(&id);
            state.accept(id).unwrap();
            refused
        });
        assert!(refused && !state.may_end().unwrap(), "a label once given is not allowed again");
    }

    #[test]
    fn a_list_is_never_cut_inside_a_label() {
        let (t, mut generator) = (tokenizer(), ChaCha8Rng::seed_from_u64(3));
        let list = Labels::new(&names(), Count::Many, &t).unwrap();
        let shortest = NAMES.iter().map(|name| t.encode(name, false).unwrap().len()).min().unwrap();
        let mut full = 0;
        for limit in (shortest..shortest + 12).flat_map(|limit| [limit; 20]) {
            let tokens = wander(&mut *list.fork(), limit, &mut generator);
            let text = t.decode(&tokens, false).unwrap();
            assert!(text.split(", ").all(|label| NAMES.contains(&label)), "{text}");
            full += (tokens.len() == limit) as usize;
        }
        assert!(full > 20, "{full} answers reached their limit");
        let error = list.fork().allowed(shortest - 1).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("fits into")), (2, true), "{error}");
    }

    #[test]
    fn one_label_is_one_label() {
        let (t, mut generator) = (tokenizer(), ChaCha8Rng::seed_from_u64(2));
        let commas = [names(), vec!["cyst, renal".into()]].concat();
        let one = Labels::new(&commas, Count::One, &t).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.insert(t.decode(&wander(&mut *one.fork(), 200, &mut generator), false).unwrap());
        }
        assert_eq!(seen, commas.into_iter().collect());
    }

    #[test]
    fn lists_that_cannot_work_are_refused() {
        assert!(refusal(&[], Count::Many).contains("empty list"));
        assert!(refusal(&["a", "b", "a"], Count::One).contains("1 and 3 are the same"));
        assert!(refusal(&["cyst, renal"], Count::Many).contains("holds a comma"));
        assert!(refusal(&["a", " b"], Count::One).contains("without space"));
        assert!(refusal(&["Sjo\u{308}gren"], Count::One).contains("cannot write it"), "not in NFC");
    }

    #[test]
    fn a_file_of_labels_is_read_with_line_numbers_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "renal cyst\n\n  liver cyst \n").unwrap();
        assert_eq!(read_labels(&path).unwrap(), ["renal cyst", "liver cyst"]);
        std::fs::write(&path, "a\n\na\n").unwrap();
        let said = read_labels(&path).unwrap_err().to_string();
        assert!(said.ends_with("line 3: label `a` was already given in line 1"), "{said}");
        std::fs::write(&path, "\n \n").unwrap();
        assert_eq!(read_labels(&path).unwrap_err().exit_code(), 2);
    }
}
