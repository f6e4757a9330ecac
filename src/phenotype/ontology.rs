//! The Human Phenotype Ontology from `hp.obo`: terms, names, parents, and what became of ids that are no longer in use.
//!
//! Terms are addressed by their place in the file, which costs nothing to look up; ids such as `HP:0001250` are for reading and writing.
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Place of a term in [`Ontology`].
pub type Term = u32;

/// Below this term lie the abnormalities; it and the root above it say nothing about a patient.
pub const ABNORMALITY: &str = "HP:0000118";

#[derive(Clone, Debug, Default)]
struct Entry {
    id: String,
    name: String,
    synonyms: Vec<String>,
    parents: Vec<Term>,
}

/// What an id stands for in this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Current(Term),
    /// An older id of this term (`alt_id`), or an obsolete term that names this one as its successor (`replaced_by`).
    Replaced(Term),
    /// Obsolete, and no single successor is named.
    Obsolete,
    /// Not an id of this release: mistyped, or newer than the file.
    Unknown,
}

impl Found {
    /// The term, where there is one.
    pub fn term(self) -> Option<Term> {
        match self {
            Found::Current(term) | Found::Replaced(term) => Some(term),
            Found::Obsolete | Found::Unknown => None,
        }
    }
}

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Ontology {
    /// `hp/releases/2025-01-16`, as the file says.
    pub version: String,
    entries: Vec<Entry>,
    ids: HashMap<String, Found>,
    /// Lower-case name or exact synonym → term; a name goes before a synonym.
    names: HashMap<String, Term>,
    /// Obsolete ids without a successor → the terms that the file says to consider.
    considered: HashMap<String, Vec<Term>>,
    /// The term itself and all above it but the root and [`ABNORMALITY`], in no special order.
    ancestors: Vec<Vec<Term>>,
    signs: Vec<bool>,
    children: Vec<Vec<Term>>,
    /// Every term after its parents.
    order: Vec<Term>,
}

impl Ontology {
    /// Fails where the file is missing or is no OBO file, with the line where one can be named.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        Self::parse(&text).map_err(|why| Error::input(format!("{}: {why}", path.display())))
    }

    /// As [`Ontology::read`], from the text of an OBO file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let stanzas = stanzas(text)?;
        let version = text.lines().find_map(|line| line.strip_prefix("data-version:")).unwrap_or("unknown").trim();
        let (current, obsolete): (Vec<&Stanza>, Vec<&Stanza>) = stanzas.iter().partition(|one| !one.obsolete);
        let mut ids: HashMap<String, Found> =
            current.iter().enumerate().map(|(i, one)| (one.id.clone(), Found::Current(i as Term))).collect();
        for (i, one) in current.iter().enumerate() {
            for old in &one.alt_ids {
                ids.entry(old.clone()).or_insert(Found::Replaced(i as Term));
            }
        }
        for one in obsolete {
            let next = one.replaced_by.as_ref().and_then(|id| ids.get(id)).and_then(|found| found.term());
            ids.entry(one.id.clone()).or_insert(next.map_or(Found::Obsolete, Found::Replaced));
        }
        let entry = |one: &&Stanza| -> Result<Entry, String> {
            let parent = |id: &String| match ids.get(id) {
                Some(Found::Current(term)) => Ok(*term),
                _ => Err(format!("line {}: `{}` is_a `{id}`, which is no current term of the file", one.line, one.id)),
            };
            let parents = one.parents.iter().map(parent).collect::<Result<Vec<_>, _>>()?;
            Ok(Entry { id: one.id.clone(), name: one.name.clone(), synonyms: one.synonyms.clone(), parents })
        };
        let entries = current.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let considered = stanzas.iter().filter(|one| one.obsolete && !one.consider.is_empty()).map(|one| {
            let terms = one.consider.iter().filter_map(|id| ids.get(id)?.term()).collect();
            (one.id.clone(), terms)
        });
        let considered = considered.collect();
        Ok(Self { considered, ..Self::build(version, entries, ids)? })
    }

    /// Terms that the file says to consider in the place of an obsolete one without a successor.
    pub fn considered(&self, id: &str) -> &[Term] {
        self.considered.get(id).map_or(&[], Vec::as_slice)
    }

    fn build(version: &str, entries: Vec<Entry>, ids: HashMap<String, Found>) -> Result<Self, String> {
        let order = parents_first(&entries)?;
        let mut children = vec![Vec::new(); entries.len()];
        for (i, entry) in entries.iter().enumerate() {
            entry.parents.iter().for_each(|&parent| children[parent as usize].push(i as Term));
        }
        let says_nothing =
            |term: Term| entries[term as usize].parents.is_empty() || entries[term as usize].id == ABNORMALITY;
        let mut ancestors: Vec<Vec<Term>> = vec![Vec::new(); entries.len()];
        for &term in &order {
            let mut all: Vec<Term> =
                entries[term as usize].parents.iter().flat_map(|&parent| ancestors[parent as usize].clone()).collect();
            if !says_nothing(term) {
                all.push(term);
            }
            all.sort_unstable();
            all.dedup();
            ancestors[term as usize] = all;
        }
        let mut signs = vec![false; entries.len()];
        let whole = !entries.iter().any(|one| one.id == ABNORMALITY);
        for &term in &order {
            let parents = &entries[term as usize].parents;
            let below = |&parent: &Term| signs[parent as usize] || entries[parent as usize].id == ABNORMALITY;
            signs[term as usize] = parents.iter().any(below) || (whole && !parents.is_empty());
        }
        let mut names = HashMap::new();
        for (i, entry) in entries.iter().enumerate() {
            names.entry(entry.name.to_lowercase()).or_insert(i as Term);
        }
        for (i, entry) in entries.iter().enumerate() {
            for synonym in &entry.synonyms {
                names.entry(synonym.to_lowercase()).or_insert(i as Term);
            }
        }
        Ok(Self {
            version: version.into(),
            entries,
            ids,
            names,
            considered: HashMap::new(),
            ancestors,
            signs,
            children,
            order,
        })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What an id such as `HP:0001250` stands for; `hp:0001250` and `HP_0001250` are read, too.
    pub fn find(&self, id: &str) -> Found {
        let known = |id: &str| self.ids.get(id).copied();
        known(id.trim()).or_else(|| known(&id.trim().to_uppercase().replacen('_', ":", 1))).unwrap_or(Found::Unknown)
    }

    /// Whether a term is a sign that a patient can have: below [`ABNORMALITY`], and no mode of inheritance, onset or severity.
    pub fn is_sign(&self, term: Term) -> bool {
        self.signs[term as usize]
    }

    /// The term of that name or synonym, in any case of letters.
    pub fn named(&self, name: &str) -> Option<Term> {
        self.names.get(&name.trim().to_lowercase()).copied()
    }

    /// Signs whose name or synonym holds every word of a text, or one that begins so; those whose name begins with the text first, then the
    /// shorter ones.
    pub fn holding(&self, text: &str, most: usize) -> Vec<Term> {
        let text = text.trim().to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return vec![];
        }
        let holds = |name: &str| words.iter().all(|word| name.split_whitespace().any(|own| own.starts_with(word)));
        let mut found: Vec<(bool, usize, &str, Term)> = self
            .names
            .iter()
            .filter(|(name, term)| self.is_sign(**term) && holds(name))
            .map(|(name, &term)| (!name.starts_with(&text), name.len(), name.as_str(), term))
            .collect();
        found.sort_unstable();
        let mut terms: Vec<Term> = vec![];
        for (.., term) in found {
            if !terms.contains(&term) {
                terms.push(term);
            }
        }
        terms.truncate(most);
        terms
    }

    /// Terms whose name or synonym shares most of its letter triples with the text, best first: what was meant by a misspelling.
    pub fn suggestions(&self, text: &str, most: usize) -> Vec<Term> {
        let asked = triples(&text.to_lowercase());
        let mut near: Vec<(f64, &str, Term)> = self
            .names
            .iter()
            .filter_map(|(name, &term)| {
                let own = triples(name);
                let shared = own.intersection(&asked).count() as f64;
                let like = 2.0 * shared / (own.len() + asked.len()).max(1) as f64;
                (like >= 0.4).then_some((like, name.as_str(), term))
            })
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let mut terms: Vec<Term> = vec![];
        for (_, _, term) in near {
            if !terms.contains(&term) {
                terms.push(term);
            }
        }
        terms.truncate(most);
        terms
    }

    pub fn id(&self, term: Term) -> &str {
        &self.entries[term as usize].id
    }

    pub fn name(&self, term: Term) -> &str {
        &self.entries[term as usize].name
    }

    /// One step up.
    pub fn parents(&self, term: Term) -> &[Term] {
        &self.entries[term as usize].parents
    }

    /// One step down.
    pub fn children(&self, term: Term) -> &[Term] {
        &self.children[term as usize]
    }

    /// The term and all terms above it, without the two at the top that hold for everyone; sorted.
    pub fn ancestors(&self, term: Term) -> &[Term] {
        &self.ancestors[term as usize]
    }

    /// Every term after its parents.
    pub fn parents_first(&self) -> &[Term] {
        &self.order
    }

    /// All terms that these imply, sorted, each once.
    pub fn closure(&self, terms: &[Term]) -> Vec<Term> {
        let mut all: Vec<Term> = terms.iter().flat_map(|&term| self.ancestors(term)).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Three letters in a row, with a blank before and after the text: what two spellings of a name share.
pub(super) fn triples(text: &str) -> BTreeSet<[char; 3]> {
    let padded: Vec<char> = std::iter::once(' ').chain(text.chars()).chain([' ']).collect();
    padded.windows(3).map(|w| [w[0], w[1], w[2]]).collect()
}

#[derive(Default)]
struct Stanza {
    line: usize,
    id: String,
    name: String,
    synonyms: Vec<String>,
    parents: Vec<String>,
    alt_ids: Vec<String>,
    replaced_by: Option<String>,
    consider: Vec<String>,
    obsolete: bool,
}

fn stanzas(text: &str) -> Result<Vec<Stanza>, String> {
    let (mut all, mut inside) = (Vec::<Stanza>::new(), false);
    for (i, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[Term]";
            if inside {
                all.push(Stanza { line: i + 1, ..Stanza::default() });
            }
            continue;
        }
        let (Some(one), true, Some((key, value))) = (all.last_mut(), inside, line.split_once(": ")) else { continue };
        let value = value.trim();
        let first = || value.split_whitespace().next().unwrap_or_default().to_string();
        match key {
            "id" => one.id = value.into(),
            "name" => one.name = value.into(),
            "is_a" => one.parents.push(first()),
            "alt_id" => one.alt_ids.push(value.into()),
            "replaced_by" => one.replaced_by = Some(first()),
            "consider" => one.consider.push(first()),
            "is_obsolete" => one.obsolete = value == "true",
            "synonym" if value.contains("\" EXACT") => one.synonyms.extend(value.split('"').nth(1).map(String::from)),
            _ => {}
        }
    }
    if all.is_empty() {
        return Err("no [Term] in it: expected the Human Phenotype Ontology as an OBO file (hp.obo)".into());
    }
    match all.iter().find(|one| one.id.is_empty() || (one.name.is_empty() && !one.obsolete)) {
        Some(one) => Err(format!("line {}: a term without an id or a name: the file is cut off or edited", one.line)),
        None => Ok(all),
    }
}

fn parents_first(entries: &[Entry]) -> Result<Vec<Term>, String> {
    let mut waiting: Vec<usize> = entries.iter().map(|entry| entry.parents.len()).collect();
    let mut below: BTreeMap<Term, Vec<Term>> = BTreeMap::new();
    for (i, entry) in entries.iter().enumerate() {
        entry.parents.iter().for_each(|&parent| below.entry(parent).or_default().push(i as Term));
    }
    let mut order: Vec<Term> = (0..entries.len() as Term).filter(|&i| waiting[i as usize] == 0).collect();
    let mut at = 0;
    while let Some(&term) = order.get(at) {
        at += 1;
        for &child in below.get(&term).map_or(&[][..], Vec::as_slice) {
            waiting[child as usize] -= 1;
            if waiting[child as usize] == 0 {
                order.push(child);
            }
        }
    }
    match (0..entries.len()).find(|&i| waiting[i] > 0) {
        Some(i) => Err(format!("`{}` is an ancestor of itself", entries[i].id)),
        None => Ok(order),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small ontology in the manner of HPO, written for tests: seizures and bones.
    pub(crate) const SMALL: &str = "format-version: 1.2\ndata-version: small\n\n\
        [Term]\nid: HP:0000001\nname: All\n\n\
        [Term]\nid: HP:0000118\nname: Phenotypic abnormality\nis_a: HP:0000001 ! All\n\n\
        [Term]\nid: HP:1\nname: Abnormal nervous system\nis_a: HP:0000118 ! Phenotypic abnormality\n\n\
        [Term]\nid: HP:2\nname: Seizure\nalt_id: HP:22\nsynonym: \"Fits\" EXACT layperson []\nis_a: HP:1 ! n\n\n\
        [Term]\nid: HP:3\nname: Focal seizure\nis_a: HP:2 ! Seizure\n\n\
        [Term]\nid: HP:4\nname: Generalised seizure\nis_a: HP:2 ! Seizure\n\n\
        [Term]\nid: HP:5\nname: Abnormal skeleton\nis_a: HP:0000118 ! Phenotypic abnormality\n\n\
        [Term]\nid: HP:6\nname: Short stature\nis_a: HP:5 ! s\n\n\
        [Term]\nid: HP:7\nname: Skull deformity\nis_a: HP:5 ! s\nis_a: HP:1 ! n\n\n\
        [Term]\nid: HP:8\nname: obsolete Convulsion\nis_obsolete: true\nreplaced_by: HP:2\n\n\
        [Term]\nid: HP:9\nname: obsolete Something\nis_obsolete: true\n\n[Typedef]\nid: part_of\nname: part of\n";

    #[test]
    fn ids_of_old_lead_to_the_terms_of_now() {
        let hpo = Ontology::parse(SMALL).unwrap();
        let seizure = hpo.named("seizure").unwrap();
        assert_eq!(hpo.find("HP:2"), Found::Current(seizure));
        assert_eq!(hpo.find("HP:22"), Found::Replaced(seizure), "alt_id");
        assert_eq!(hpo.find("HP:8"), Found::Replaced(seizure), "replaced_by");
        assert_eq!(hpo.find("HP:9"), Found::Obsolete);
        assert_eq!(hpo.find("HP:10"), Found::Unknown);
        assert_eq!(hpo.named("FITS"), Some(seizure), "synonym");
        assert_eq!((hpo.version.as_str(), hpo.len()), ("small", 9));
    }

    #[test]
    fn ancestors_leave_out_what_holds_for_everyone() {
        let hpo = Ontology::parse(SMALL).unwrap();
        let names = |id: &str| -> Vec<&str> {
            hpo.ancestors(hpo.find(id).term().unwrap()).iter().map(|&t| hpo.name(t)).collect()
        };
        assert_eq!(names("HP:3"), ["Abnormal nervous system", "Seizure", "Focal seizure"]);
        assert_eq!(names("HP:7"), ["Abnormal nervous system", "Abnormal skeleton", "Skull deformity"]);
        assert!(names("HP:0000118").is_empty());
        let at = |term: &Term| hpo.parents_first().iter().position(|one| one == term).unwrap();
        assert!((0..hpo.len() as Term).all(|t| hpo.parents(t).iter().all(|parent| at(parent) < at(&t))));
    }

    #[test]
    fn a_file_that_is_no_ontology_or_has_a_circle_is_refused() {
        assert!(Ontology::parse("{}").unwrap_err().contains("no [Term]"));
        let circle = "[Term]\nid: A\nname: a\nis_a: B\n\n[Term]\nid: B\nname: b\nis_a: A\n";
        assert!(Ontology::parse(circle).unwrap_err().contains("ancestor of itself"));
        let hole = "[Term]\nid: A\nname: a\nis_a: B\n";
        assert!(Ontology::parse(hole).unwrap_err().contains("line 1: `A` is_a `B`"));
        assert!(Ontology::parse("[Term]\nid: A\n").unwrap_err().contains("without an id or a name"));
    }
}
