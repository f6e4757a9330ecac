//! The leak gate: texts and patients that training, choosing and scoring share.
//!
//! Two parts are compared where their roles differ (training, validation, test); two training parts may hold what they like.
//! A pair leaks when its texts are the same words in the same order (exact), or when the Jaccard similarity of their sets of
//! five-word runs reaches the limit (near). A group (patient, publication) leaks when two parts have cases of it: that is a leak of
//! its own, beside those of its texts, and allowing a pair of texts does not allow it.
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
mod allowed;

pub use allowed::{Allowed, AllowedGroup, AllowedPair};

use super::{Case, near};
use crate::error::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    pub cases: Vec<&'a Case>,
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
    /// Same patient or publication, whatever the texts. One leak a group and two parts, with the group's first case in each.
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

/// A pair, or a group, that two roles share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    pub a: Place,
    pub b: Place,
    pub kind: Kind,
    /// Of the texts, in `[0, 1]`.
    pub similarity: f64,
    /// Of a group: how many of its cases the part of `a` has, and that of `b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<(usize, usize)>,
    /// Why it is let through, where an allow list names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let role = |place: &Place| if place.role == Role::Validation { " (validation)" } else { "" };
        let (a, b) = (&self.a, &self.b);
        write!(f, "{}{} and {}{}: {}", a.id(), role(a), b.id(), role(b), self.kind.name())?;
        match (self.kind, self.cases) {
            (Kind::Near, _) => write!(f, ", similarity {:.3}", self.similarity),
            (Kind::Group, Some((first, second))) => write!(f, " `{}` of {first} and {second} cases", a.group),
            _ => Ok(()),
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
        parts.iter().enumerate().flat_map(|(part, p)| p.cases.iter().map(move |case| (part, *case))).collect();
    let role = |i: u32| parts[all[i as usize].0].role;
    let apart = |a: u32, b: u32| role(a) != role(b);
    let runs = |text: &str| near::whole(text).map_or(Vec::new(), |_| near::runs(text).into_iter().collect());
    let texts: Vec<Vec<u64>> = all.par_iter().map(|(_, case)| runs(&case.input)).collect();
    let (found, candidates) = of_texts(&all, &texts, limit, apart);
    let place = |i: u32| {
        let (part, case) = all[i as usize];
        let (name, role) = (parts[part].name.clone(), parts[part].role);
        Place { part: name, role, case_id: case.case_id.clone(), group: case.group.clone() }
    };
    let leak = |((a, b), (kind, similarity)), cases| {
        ((a, b, kind), Leak { a: place(a), b: place(b), kind, similarity, cases, allowed: None })
    };
    let of_group = |(pair, cases)| leak((pair, (Kind::Group, alike(&texts, pair))), Some(cases));
    let of_groups = groups(parts, &all).into_iter().map(of_group);
    let leaks: BTreeMap<_, Leak> = found.into_iter().map(|text| leak(text, None)).chain(of_groups).collect();
    let Banding { bands, rows } = Banding::at(limit);
    Ok(Leaks {
        parts: parts.iter().map(|part| (part.name.clone(), part.role, part.cases.len())).collect(),
        pairs: pairs(parts),
        candidates,
        limit,
        bands,
        rows,
        leaks: leaks.into_values().collect(),
    })
}

/// Pairs (a < b) of different roles whose texts are the same or near, and how many were compared to know it; `texts` as sets of runs.
fn of_texts(
    all: &[(usize, &Case)],
    texts: &[Vec<u64>],
    limit: f64,
    apart: impl Fn(u32, u32) -> bool + Copy,
) -> (BTreeMap<(u32, u32), (Kind, f64)>, u64) {
    let exact = same(all.iter().map(|(_, case)| near::whole(&case.input)), apart);
    let mut found: BTreeMap<_, _> = exact.into_iter().map(|pair| (pair, (Kind::Exact, 1.0))).collect();
    let candidates: Vec<(u32, u32)> = candidates(texts, Banding::at(limit), apart).into_iter().collect();
    let similarities: Vec<f64> = candidates.par_iter().map(|pair| alike(texts, *pair)).collect();
    for (pair, similarity) in candidates.iter().zip(similarities).filter(|(_, similarity)| *similarity >= limit) {
        found.entry(*pair).or_insert((Kind::Near, similarity));
    }
    (found, candidates.len() as u64)
}

fn alike(texts: &[Vec<u64>], (a, b): (u32, u32)) -> f64 {
    jaccard(&texts[a as usize], &texts[b as usize])
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

/// A pair of cases (a < b), and how many cases their parts have of what they share.
type Shared = ((u32, u32), (usize, usize));

/// The first cases of a group in every two parts of different roles, and how many of its cases each part has.
fn groups(parts: &[Part], all: &[(usize, &Case)]) -> Vec<Shared> {
    let mut of = BTreeMap::<(&str, &str), BTreeMap<usize, (u32, usize)>>::new();
    for (i, (part, case)) in (0u32..).zip(all) {
        of.entry((&parts[*part].space, &case.group)).or_default().entry(*part).or_insert((i, 0)).1 += 1;
    }
    let mut shared = Vec::new();
    for group in of.into_values().map(|group| group.into_iter().collect::<Vec<_>>()) {
        for (i, (a, (at, cases))) in group.iter().enumerate() {
            let others = group[i + 1..].iter().filter(|(b, _)| parts[*b].role != parts[*a].role);
            shared.extend(others.map(|(_, (other, others))| ((*at, *other), (*cases, *others))));
        }
    }
    shared
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

impl Leaks {
    /// Leaks that no list allows.
    pub fn refused(&self) -> impl Iterator<Item = &Leak> {
        self.leaks.iter().filter(|leak| leak.allowed.is_none())
    }

    /// An error that names the first refused leaks and says what to do; nothing where all are allowed.
    pub fn refuse(&self) -> Result<()> {
        let refused: Vec<String> = self.refused().map(Leak::to_string).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let shown = refused[..refused.len().min(8)].join("\n  ");
        let more = if refused.len() > 8 { format!("\n  … and {} more", refused.len() - 8) } else { String::new() };
        Err(Error::input(format!(
            "{} leak(s) between training, validation and test:\n  {shown}{more}\nremove a case of each, split by patient, or name the \
             pairs of texts as [[pair]] and the patients as [[group]], each with a reason, in the file of `allow_leaks`; \
             `dxlab data leaks` lists them all",
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
mod tests;
