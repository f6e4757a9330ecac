//! The leak gate: texts and patients that training, choosing and scoring share.
//!
//! Two parts are compared where their roles differ (training, validation, test); two training parts may hold what they like.
//! A pair leaks when its texts are the same words in the same order (exact), when the Jaccard similarity of their sets of
//! five-word runs reaches the limit (near), or when both belong to one group (patient, publication).
//!
//! Near pairs are found by MinHash (Broder 1997) and banding, then verified: a text's signature is the minimum of each of
//! 128 hash functions over its runs, cut into b bands of r rows; two texts become a candidate when a band agrees, which
//! happens with probability 1 − (1 − sʳ)ᵇ for similarity s, and a candidate is a leak only if its exact similarity says so. So
//! nothing is listed wrongly, and a pair at the limit is overlooked with probability below 1/1000: r is the largest for
//! which that holds, b = ⌊128 / r⌋. At limit 0.8 that is r = 5, b = 25:
//!
//! | similarity | 0.3 | 0.5 | 0.7 | 0.8 | 0.9 |
//! |---|---|---|---|---|---|
//! | candidate with probability | 0.059 | 0.548 | 0.990 | 0.99995 | 1.00000 |
//!
//! What it deliberately does not do: find paraphrases, translations, or a short text inside a long one.
use super::{Case, near};
use crate::error::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

const HASHES: usize = 128;
/// A pair at the limit may be overlooked with this probability.
const OVERLOOKED: f64 = 1e-3;
/// Similarity of five-word runs from which on two texts count as near duplicates.
pub const LIMIT: f64 = 0.8;

/// What the cases of a part are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Train,
    /// Stops training and chooses settings.
    Validation,
    /// Is scored, or will be: test cases and benchmark sets.
    Test,
}

/// Cases of one role.
pub struct Part<'a> {
    /// Where the cases are published, `train`, `test`, `ncbi test`: a validation case is published in `train`.
    pub name: String,
    pub role: Role,
    /// Group ids mean the same thing within one name space only (one hospital, PubMed).
    pub space: String,
    pub cases: &'a [Case],
}

/// A case in a part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub part: String,
    pub role: Role,
    pub case_id: String,
    pub group: String,
}

impl Place {
    /// `train/17`: as in an allow list.
    pub fn id(&self) -> String {
        format!("{}/{}", self.part, self.case_id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Exact,
    Near,
    /// Same patient or publication; the texts are not alike. One pair a group and two parts.
    Group,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Near => "near",
            Self::Group => "same group",
        }
    }
}

/// A pair that two roles share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    pub a: Place,
    pub b: Place,
    pub kind: Kind,
    /// Of the texts, in `[0, 1]`.
    pub similarity: f64,
    /// Why it is let through, where an allow list names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let role = |place: &Place| if place.role == Role::Validation { " (validation)" } else { "" };
        let (a, b) = (&self.a, &self.b);
        write!(f, "{}{} and {}{}: {}", a.id(), role(a), b.id(), role(b), self.kind.name())?;
        match self.kind {
            Kind::Exact => Ok(()),
            Kind::Near => write!(f, ", similarity {:.3}", self.similarity),
            Kind::Group => write!(f, " `{}`, similarity {:.3}", a.group, self.similarity),
        }?;
        self.allowed.as_ref().map_or(Ok(()), |reason| write!(f, " (allowed: {reason})"))
    }
}

/// What was compared and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaks {
    /// (part, role, cases).
    pub parts: Vec<(String, Role, usize)>,
    /// Pairs of cases whose roles differ.
    pub pairs: u64,
    /// Pairs whose similarity was computed exactly.
    pub candidates: u64,
    pub limit: f64,
    pub bands: usize,
    pub rows: usize,
    /// In order of the places.
    pub leaks: Vec<Leak>,
}

/// Bands and rows for a limit; see the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banding {
    pub bands: usize,
    pub rows: usize,
}

impl Banding {
    pub fn at(limit: f64) -> Self {
        let of = |rows: usize| Self { bands: HASHES / rows, rows };
        let good = |rows: &usize| 1.0 - of(*rows).probability(limit) <= OVERLOOKED;
        of((1..=8).rev().find(good).unwrap_or(1))
    }

    /// That two texts of this similarity become a candidate.
    pub fn probability(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }
}

/// Every leak between parts of different roles. `limit` in (0, 1].
pub fn find(parts: &[Part], limit: f64) -> Result<Leaks> {
    if !(limit > 0.0 && limit <= 1.0) {
        return Err(Error::input(format!("leaks: expected a limit above 0 and at most 1, got {limit}")));
    }
    let all: Vec<(usize, &Case)> =
        parts.iter().enumerate().flat_map(|(part, p)| p.cases.iter().map(move |case| (part, case))).collect();
    let role = |i: u32| parts[all[i as usize].0].role;
    let apart = |a: u32, b: u32| role(a) != role(b);
    let runs = |text: &str| near::whole(text).map_or(Vec::new(), |_| near::runs(text).into_iter().collect());
    let texts: Vec<Vec<u64>> = all.par_iter().map(|(_, case)| runs(&case.input)).collect();
    let mut found = BTreeMap::<(u32, u32), (Kind, f64)>::new();
    for pair in same(all.iter().map(|(_, case)| near::whole(&case.input)), apart) {
        found.insert(pair, (Kind::Exact, 1.0));
    }
    let banding = Banding::at(limit);
    let candidates: Vec<(u32, u32)> = candidates(&texts, banding, apart).into_iter().collect();
    let alike = |(a, b): &(u32, u32)| jaccard(&texts[*a as usize], &texts[*b as usize]);
    let similarities: Vec<f64> = candidates.par_iter().map(alike).collect();
    for (pair, similarity) in candidates.iter().zip(similarities).filter(|(_, similarity)| *similarity >= limit) {
        found.entry(*pair).or_insert((Kind::Near, similarity));
    }
    for pair in groups(parts, &all) {
        found.entry(pair).or_insert_with(|| (Kind::Group, alike(&pair)));
    }
    let place = |i: u32| {
        let (part, case) = all[i as usize];
        let (name, role) = (parts[part].name.clone(), parts[part].role);
        Place { part: name, role, case_id: case.case_id.clone(), group: case.group.clone() }
    };
    let leak = |((a, b), (kind, similarity))| Leak { a: place(a), b: place(b), kind, similarity, allowed: None };
    Ok(Leaks {
        parts: parts.iter().map(|part| (part.name.clone(), part.role, part.cases.len())).collect(),
        pairs: pairs(parts),
        candidates: candidates.len() as u64,
        limit,
        bands: banding.bands,
        rows: banding.rows,
        leaks: found.into_iter().map(leak).collect(),
    })
}

/// Pairs of cases whose parts have different roles.
fn pairs(parts: &[Part]) -> u64 {
    let mut sum = 0;
    for (i, a) in parts.iter().enumerate() {
        let others = parts[i + 1..].iter().filter(|b| b.role != a.role);
        sum += others.map(|b| (a.cases.len() * b.cases.len()) as u64).sum::<u64>();
    }
    sum
}

/// Pairs (a < b) of equal keys whose roles differ; `None` equals nothing.
fn same(keys: impl Iterator<Item = Option<u64>>, apart: impl Fn(u32, u32) -> bool) -> Vec<(u32, u32)> {
    let (mut earlier, mut pairs) = (HashMap::<u64, Vec<u32>>::new(), Vec::new());
    for (b, key) in (0u32..).zip(keys) {
        let Some(key) = key else { continue };
        let alike = earlier.entry(key).or_default();
        pairs.extend(alike.iter().filter(|a| apart(**a, b)).map(|a| (*a, b)));
        alike.push(b);
    }
    pairs
}

/// The first cases of a group in every two parts of different roles.
fn groups(parts: &[Part], all: &[(usize, &Case)]) -> Vec<(u32, u32)> {
    let mut firsts = BTreeMap::<(&str, &str), BTreeMap<usize, u32>>::new();
    for (i, (part, case)) in (0u32..).zip(all) {
        firsts.entry((&parts[*part].space, &case.group)).or_default().entry(*part).or_insert(i);
    }
    let mut pairs = Vec::new();
    for first in firsts.into_values().map(|first| first.into_iter().collect::<Vec<_>>()) {
        for (i, (a, at)) in first.iter().enumerate() {
            let others = first[i + 1..].iter().filter(|(b, _)| parts[*b].role != parts[*a].role);
            pairs.extend(others.map(|(_, other)| (*at, *other)));
        }
    }
    pairs
}

/// Pairs (a < b) of different roles that agree in at least one band. Texts without runs are in none.
fn candidates(texts: &[Vec<u64>], banding: Banding, apart: impl Fn(u32, u32) -> bool) -> BTreeSet<(u32, u32)> {
    let functions: Vec<(u64, u64)> = (0..HASHES as u64).map(|i| (mixed(2 * i) | 1, mixed(2 * i + 1))).collect();
    let signature = |runs: &Vec<u64>| -> Vec<u32> {
        let least = |(a, b): &(u64, u64)| runs.iter().map(|x| mixed(a.wrapping_mul(*x).wrapping_add(*b))).min();
        functions.iter().map(|f| (least(f).unwrap_or(0) >> 32) as u32).collect()
    };
    let signatures: Vec<Vec<u32>> = texts.par_iter().map(signature).collect();
    let mut found = BTreeSet::new();
    for band in 0..banding.bands {
        let key = |(signature, runs): (&Vec<u32>, &Vec<u64>)| {
            let rows = &signature[band * banding.rows..(band + 1) * banding.rows];
            (!runs.is_empty()).then(|| rows.iter().fold(0, |key, row| mixed(key ^ u64::from(*row))))
        };
        found.extend(same(signatures.iter().zip(texts).map(key), &apart));
    }
    found
}

/// A fixed bijection of 64 bits in which every bit depends on every other (SplitMix64's last step).
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// |A ∩ B| / |A ∪ B| of two ascending lists; 0 where both are empty.
fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
        }
    }
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

/// Pairs that may leak, each with a reason: TOML with tables `[[pair]]` of `a`, `b` (as `train/17`) and `reason`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    #[serde(default, rename = "pair")]
    pub pairs: Vec<AllowedPair>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedPair {
    pub a: String,
    pub b: String,
    pub reason: String,
}

impl Allowed {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let list: Self = toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        if let Some(pair) = list.pairs.iter().find(|pair| pair.reason.trim().is_empty()) {
            let (path, a, b) = (path.display(), &pair.a, &pair.b);
            return Err(Error::input(format!("{path}: the pair {a} and {b} has no reason: say why it may leak")));
        }
        Ok(list)
    }
}

impl Leaks {
    /// Marks the pairs that `list` names, in either order; gives those of the list that do not leak.
    pub fn allow<'a>(&mut self, list: &'a Allowed) -> Vec<&'a AllowedPair> {
        let mut unused = Vec::new();
        for pair in &list.pairs {
            let mut named = 0;
            for leak in &mut self.leaks {
                let ids = (leak.a.id(), leak.b.id());
                if ids == (pair.a.clone(), pair.b.clone()) || ids == (pair.b.clone(), pair.a.clone()) {
                    leak.allowed = Some(pair.reason.clone());
                    named += 1;
                }
            }
            unused.extend((named == 0).then_some(pair));
        }
        unused
    }

    /// Leaks that no list allows.
    pub fn refused(&self) -> impl Iterator<Item = &Leak> {
        self.leaks.iter().filter(|leak| leak.allowed.is_none())
    }

    /// An error that names the first refused pairs and says what to do; nothing where all are allowed.
    pub fn refuse(&self) -> Result<()> {
        let refused: Vec<String> = self.refused().map(Leak::to_string).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let shown = refused[..refused.len().min(8)].join("\n  ");
        let more = if refused.len() > 8 { format!("\n  … and {} more", refused.len() - 8) } else { String::new() };
        Err(Error::input(format!(
            "{} pair(s) of training, validation and test leak:\n  {shown}{more}\nremove a case of each, split by patient, or name the \
             pairs with a reason in the file of `allow_leaks`; `dxlab data leaks` lists them all",
            refused.len()
        )))
    }
}

impl std::fmt::Display for Leaks {
    /// What was compared, then a line a leak.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let part = |(name, role, cases): &(String, Role, usize)| match role {
            Role::Validation => format!("{name} (validation): {cases}"),
            _ => format!("{name}: {cases}"),
        };
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        writeln!(f, "cases: {}", parts.join(", "))?;
        let Self { pairs, candidates, limit, bands, rows, leaks, .. } = self;
        writeln!(
            f,
            "{pairs} pairs across roles, {candidates} of them candidates (MinHash, {bands} bands of {rows} rows) and verified; near from {limit} on"
        )?;
        let count = |kind| leaks.iter().filter(|leak| leak.kind == kind).count();
        let (exact, near, group) = (count(Kind::Exact), count(Kind::Near), count(Kind::Group));
        let allowed = leaks.len() - self.refused().count();
        writeln!(f, "{} leaks: {exact} exact, {near} near, {group} same group; {allowed} allowed", leaks.len())?;
        leaks.iter().try_for_each(|leak| writeln!(f, "  {leak}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{dice::Dice, fresh_cases};
    use super::*;

    fn case(id: &str, input: String) -> Case {
        Case { case_id: id.into(), group: format!("g{id}"), input, labels: vec!["x".into()] }
    }

    fn part<'a>(name: &str, role: Role, cases: &'a [Case]) -> Part<'a> {
        Part { name: name.into(), role, space: "here".into(), cases }
    }

    /// `base`, and a copy of each with every word replaced with probability `share`.
    fn planted(share: f64) -> (Vec<Case>, Vec<Case>) {
        let mut dice = Dice::new(5, 0);
        let base: Vec<Case> = fresh_cases(5, 120).unwrap();
        let edited = |case: &Case| {
            let word = |(i, word): (usize, &str)| match (dice.below(10_000) as f64) < share * 1e4 {
                true => format!("changed{i}"),
                false => word.to_string(),
            };
            let words: Vec<String> = case.input.split_whitespace().enumerate().map(word).collect();
            words.join("  ").to_uppercase()
        };
        let copies: Vec<String> = base.iter().map(edited).collect();
        (base.clone(), copies.into_iter().enumerate().map(|(i, text)| case(&format!("copy{i}"), text)).collect())
    }

    #[test]
    fn the_same_pairs_are_found_as_by_comparing_all() {
        for (share, limit) in [(0.0, 0.8), (0.02, 0.8), (0.04, 0.6), (0.1, 0.4)] {
            let (base, copies) = planted(share);
            let found = find(&[part("train", Role::Train, &base), part("test", Role::Test, &copies)], limit).unwrap();
            let mut wanted = Vec::new();
            for a in &base {
                for b in &copies {
                    let (x, y) = (near::runs(&a.input), near::runs(&b.input));
                    let similarity = x.intersection(&y).count() as f64 / x.union(&y).count() as f64;
                    if similarity >= limit {
                        wanted.push((a.case_id.clone(), b.case_id.clone(), similarity));
                    }
                }
            }
            let got = found.leaks.iter().map(|l| (l.a.case_id.clone(), l.b.case_id.clone(), l.similarity));
            assert_eq!(got.collect::<Vec<_>>(), wanted, "share {share}");
            assert!(wanted.len() > 20, "share {share}: {} planted pairs are left", wanted.len());
            assert!(found.candidates < found.pairs / 4, "{} of {}", found.candidates, found.pairs);
            let kind = if share == 0.0 { Kind::Exact } else { Kind::Near };
            assert!(found.leaks.iter().filter(|leak| leak.kind == kind).count() > 20);
        }
    }

    #[test]
    fn candidates_come_as_often_as_the_curve_says() {
        // sets of 300 numbers that share m of them: similarity m / (600 − m)
        let mut next = 0u64;
        let mut fresh = |n: usize| -> Vec<u64> {
            let from = next;
            next += n as u64;
            (from..next).map(|x| mixed(x ^ 0xabcd)).collect()
        };
        let banding = Banding::at(LIMIT);
        assert_eq!(banding, Banding { bands: 25, rows: 5 });
        for shared in [140, 200, 230, 267] {
            let (trials, similarity) = (400, shared as f64 / (600 - shared) as f64);
            let mut texts = Vec::new();
            for _ in 0..trials {
                let both = fresh(shared);
                texts.extend([[both.clone(), fresh(300 - shared)].concat(), [both, fresh(300 - shared)].concat()]);
            }
            texts.iter_mut().for_each(|text| text.sort());
            let pairs = candidates(&texts, banding, |a, b| a / 2 == b / 2);
            let (share, wanted) = (pairs.len() as f64 / trials as f64, banding.probability(similarity));
            let four_sigma = 4.0 * (wanted * (1.0 - wanted) / trials as f64).sqrt() + 0.003;
            assert!((share - wanted).abs() < four_sigma, "similarity {similarity:.3}: {share:.3}, wanted {wanted:.3}");
            assert!((jaccard(&texts[0], &texts[1]) - similarity).abs() < 1e-12);
        }
    }

    #[test]
    fn the_table_of_the_header_is_the_curve_and_every_limit_is_kept() {
        let at = |similarity| Banding::at(LIMIT).probability(similarity);
        for (similarity, wanted) in [(0.3, 0.059), (0.5, 0.548), (0.7, 0.990), (0.8, 0.99995)] {
            assert!((at(similarity) - wanted).abs() < 6e-4, "{similarity}: {}", at(similarity));
        }
        for limit in [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0] {
            let banding = Banding::at(limit);
            assert!(banding.probability(limit) >= 1.0 - OVERLOOKED, "limit {limit}: {banding:?}");
            assert!(banding.bands * banding.rows <= HASHES);
        }
    }

    #[test]
    fn groups_and_roles_decide_what_leaks() {
        let text = |i: usize| format!("finding number {i} has words of its own {i} and again {i}");
        let one = |id: &str, group: &str, i| Case { group: group.into(), ..case(id, text(i)) };
        let train = [one("1", "p1", 1), one("2", "p1", 2), one("3", "p3", 3)];
        let valid = [one("4", "p3", 4)];
        let test = [one("5", "p1", 5), one("6", "p1", 3), one("7", "p7", 7)];
        let parts = [
            part("train", Role::Train, &train),
            part("train", Role::Validation, &valid),
            part("test", Role::Test, &test),
            Part { space: "elsewhere".into(), ..part("other train", Role::Train, &test) },
        ];
        let leaks = find(&parts[..3], LIMIT).unwrap();
        let said: Vec<String> = leaks.leaks.iter().map(Leak::to_string).collect();
        assert_eq!(
            said,
            [
                "train/1 and test/5: same group `p1`, similarity 0.067",
                "train/3 and train/4 (validation): same group `p3`, similarity 0.067",
                "train/3 and test/6: exact",
            ]
        );
        assert_eq!(leaks.pairs, 3 + 9 + 3);
        let with_other = find(&parts, LIMIT).unwrap();
        assert_eq!(with_other.leaks.len(), 3 + 3, "the other corpus holds the test's texts; its groups are others");
        assert!(find(&parts[..3], 0.0).unwrap_err().to_string().contains("got 0"));
    }

    #[test]
    fn what_a_list_names_is_let_through_and_the_rest_is_named() {
        let text = |i: usize| format!("finding number {i} has words of its own {i} and again {i}");
        let train: Vec<Case> = (0..20).map(|i| case(&format!("a{i}"), text(i))).collect();
        let test: Vec<Case> = (0..10).map(|i| case(&format!("b{i}"), text(i))).collect();
        let mut leaks = find(&[part("train", Role::Train, &train), part("test", Role::Test, &test)], LIMIT).unwrap();
        let message = leaks.refuse().unwrap_err().to_string();
        assert!(message.starts_with("10 pair(s)") && message.contains("train/a0 and test/b0: exact"), "{message}");
        assert!(message.contains("and 2 more") && message.contains("allow_leaks"), "{message}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leaks.toml");
        let pair = |i: usize| format!("[[pair]]\na = \"test/b{i}\"\nb = \"train/a{i}\"\nreason = \"a template\"\n");
        std::fs::write(&path, (0..11).map(pair).collect::<String>()).unwrap();
        let list = Allowed::read(&path).unwrap();
        assert_eq!(leaks.allow(&list).iter().map(|p| p.a.as_str()).collect::<Vec<_>>(), ["test/b10"]);
        leaks.refuse().unwrap();
        assert!(leaks.to_string().contains("10 leaks: 10 exact, 0 near, 0 same group; 10 allowed"), "{leaks}");
        std::fs::write(&path, "[[pair]]\na = \"x/1\"\nb = \"y/2\"\nreason = \" \"\n").unwrap();
        assert!(Allowed::read(&path).unwrap_err().to_string().contains("x/1 and y/2 has no reason"));
        std::fs::write(&path, "[[pair]]\na = \"x/1\"\n").unwrap();
        assert!(Allowed::read(&path).unwrap_err().to_string().contains("leaks.toml"));
    }
}
