//! What a ranker may know: candidate diseases, their annotations, and patients that were diagnosed before.
use super::Signs;
use super::knowledge::{Knowledge, single};
use super::ontology::{Found, Ontology, Term};
use crate::corpus::phenopacket::{Named, Packet};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A disease that can be ranked.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// `OMIM:154700`.
    pub id: String,
    pub name: String,
    /// Its place in [`Knowledge::diseases`]; none for a disease that only patients carry.
    pub known: Option<usize>,
    /// Places of the same disease in other vocabularies of the annotation file (Orphanet).
    pub also: Vec<usize>,
}

/// A patient whose signs are terms and whose diseases are candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Patient {
    pub id: String,
    /// The publication, else the patient's id.
    pub group: String,
    pub signs: Signs,
    /// Places in [`Library::candidates`].
    pub diseases: Vec<usize>,
    pub sex: String,
    /// Years.
    pub age: Option<f64>,
}

/// Ids of signs that could not be used as they are, with the number of patients that have each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unread {
    /// Old id → id of the term that took its place.
    pub replaced: BTreeMap<String, (String, usize)>,
    pub obsolete: BTreeMap<String, usize>,
    /// Not in this release of the ontology.
    pub unknown: BTreeMap<String, usize>,
    /// Terms that are no signs: inheritance, onset, severity, or the root.
    pub no_sign: BTreeMap<String, usize>,
    /// Given as observed and as excluded in one patient, as in files that follow a patient over years.
    pub both: BTreeMap<String, usize>,
    /// Excluded in a patient who has a sign below it, which cannot be; both are used as they are.
    pub contradicted: BTreeMap<String, usize>,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let shown = |ids: &BTreeMap<String, usize>| {
            let ids: Vec<&str> = ids.keys().map(String::as_str).collect();
            let more = if ids.len() > 5 { format!(" and {} more", ids.len() - 5) } else { String::new() };
            format!("{}{more}", ids[..ids.len().min(5)].join(", "))
        };
        for (old, (new, patients)) in self.replaced.iter().take(5) {
            writeln!(f, "{old} is now {new} ({patients} patients): read as that")?;
        }
        if self.replaced.len() > 5 {
            writeln!(f, "… and {} more ids that were replaced", self.replaced.len() - 5)?;
        }
        if !self.obsolete.is_empty() {
            writeln!(f, "obsolete without a successor, left out: {}", shown(&self.obsolete))?;
        }
        if !self.unknown.is_empty() {
            writeln!(f, "not in this release of the ontology, left out: {}", shown(&self.unknown))?;
        }
        if !self.no_sign.is_empty() {
            writeln!(f, "no sign (not below Phenotypic abnormality), left out: {}", shown(&self.no_sign))?;
        }
        if !self.both.is_empty() {
            writeln!(f, "observed and excluded in one patient, taken as observed: {}", shown(&self.both))?;
        }
        if !self.contradicted.is_empty() {
            let ids = shown(&self.contradicted);
            writeln!(f, "excluded in a patient who has a special case of it, used as given: {ids}")?;
        }
        Ok(())
    }
}

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Library {
    pub knowledge: Knowledge,
    pub candidates: Vec<Candidate>,
    /// Patients to learn from.
    pub patients: Vec<Patient>,
    ids: HashMap<String, usize>,
    /// Candidates that rows of a reference speak of, Orphanet's included.
    cited: HashMap<String, Vec<usize>>,
}

/// A publication that a ranker must not use, and the candidates whose evidence changes without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Left<'a> {
    /// `PMID:…`; patients of this group are left out.
    pub publication: Option<&'a str>,
    /// Leave rows of the annotation file out, too, that cite it.
    pub rows: bool,
}

impl<'a> Left<'a> {
    /// Nothing is left out.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Patients of the publication and every row that cites it.
    pub fn out(publication: &'a str) -> Self {
        Self { publication: Some(publication), rows: true }
    }

    /// Patients of the publication only: the annotation file as published, which may have been written from it.
    pub fn patients(publication: &'a str) -> Self {
        Self { publication: Some(publication), rows: false }
    }

    /// The reference whose rows are left out.
    pub fn reference(&self) -> Option<&'a str> {
        self.publication.filter(|_| self.rows)
    }
}

impl Library {
    /// Candidates are all diseases of OMIM in the file, each with the Orphanet entry of the same name.
    pub fn of(knowledge: Knowledge) -> Self {
        let place = |name: &str| comparable(name);
        let mut orphanet: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, disease) in knowledge.diseases.iter().enumerate().filter(|(_, one)| one.id.starts_with("ORPHA:")) {
            orphanet.entry(place(&disease.name)).or_default().push(i);
        }
        let omim = knowledge.diseases.iter().enumerate().filter(|(_, one)| one.id.starts_with("OMIM:"));
        let candidates: Vec<Candidate> = omim
            .map(|(i, one)| Candidate {
                id: one.id.clone(),
                name: one.name.clone(),
                known: Some(i),
                also: orphanet.get(&place(&one.name)).cloned().unwrap_or_default(),
            })
            .collect();
        let mut library = Self { knowledge, candidates, patients: vec![], ids: HashMap::new(), cited: HashMap::new() };
        library.index();
        library
    }

    fn index(&mut self) {
        self.ids = self.candidates.iter().enumerate().map(|(i, one)| (one.id.clone(), i)).collect();
        let mut cited: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, candidate) in self.candidates.iter().enumerate() {
            for disease in candidate.known.iter().chain(&candidate.also) {
                for annotation in &self.knowledge.diseases[*disease].annotations {
                    for paper in single(&self.knowledge.sources[annotation.source as usize]) {
                        let list = cited.entry(paper.to_string()).or_default();
                        if list.last() != Some(&i) {
                            list.push(i);
                        }
                    }
                }
            }
        }
        self.cited = cited;
    }

    /// The same disease under other ids, `(ORPHA:558, OMIM:154700)`: the Orphanet entry's annotations then count for it. Pairs of which a
    /// side is not in the file are passed over; the number of pairs used comes back.
    pub fn add_cross_references(&mut self, pairs: &[(String, String)]) -> usize {
        let mut used = 0;
        for (other, id) in pairs {
            let (Some(disease), Some(&at)) = (self.knowledge.disease(other), self.ids.get(id)) else { continue };
            let also = &mut self.candidates[at].also;
            if !also.contains(&disease) {
                also.push(disease);
                used += 1;
            }
        }
        self.index();
        used
    }

    /// The same without any row that cites one of these papers; candidates and patients keep their places.
    pub fn without_sources(&self, papers: &BTreeSet<&str>) -> Self {
        let mut other = self.clone();
        let sources = &self.knowledge.sources;
        for disease in &mut other.knowledge.diseases {
            disease
                .annotations
                .retain(|row| !single(&sources[row.source as usize]).any(|paper| papers.contains(paper)));
        }
        other.index();
        other
    }

    pub fn ontology(&self) -> &Ontology {
        &self.knowledge.ontology
    }

    /// The place of a candidate by its id.
    pub fn candidate(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }

    /// Candidates of which rows of the annotation file cite this reference.
    pub fn cited_by(&self, reference: &str) -> &[usize] {
        self.cited.get(reference).map_or(&[], Vec::as_slice)
    }

    /// Diseases of these patients that are no candidates become some, with their rows where the annotation file has any (Orphanet). Then each
    /// packet as a patient, with the ids that could not be used as they are.
    pub fn patients_of(&mut self, packets: &[Packet]) -> (Vec<Patient>, Unread) {
        for disease in packets.iter().flat_map(|one| &one.diseases) {
            if !self.ids.contains_key(&disease.id) {
                let at = self.candidates.len();
                self.ids.insert(disease.id.clone(), at);
                let (id, name, known) =
                    (disease.id.clone(), disease.label.clone(), self.knowledge.disease(&disease.id));
                self.candidates.push(Candidate { id, name, known, also: vec![] });
            }
        }
        self.index();
        let mut unread = Unread::default();
        let patient = |one: &Packet| Patient {
            id: one.id.clone(),
            group: one.group().to_string(),
            signs: signs(self.ontology(), &one.observed, &one.excluded, &mut unread),
            diseases: one.diseases.iter().filter_map(|disease| self.candidate(&disease.id)).collect(),
            sex: one.sex.clone(),
            age: one.age,
        };
        let patients = packets.iter().map(patient).collect();
        (patients, unread)
    }

    /// Signs that a person typed: ids (`HP:0001250`) or names and exact synonyms. An error names what is neither, and the nearest names.
    pub fn typed(&self, observed: &[String], excluded: &[String]) -> Result<(Signs, Unread)> {
        let mut unread = Unread::default();
        let read = |texts: &[String]| texts.iter().map(|text| self.sign(text)).collect::<Result<Vec<_>>>();
        let signs = signs(self.ontology(), &read(observed)?, &read(excluded)?, &mut unread);
        if let Some(both) = unread.both.keys().next().and_then(|id| self.ontology().find(id).term()) {
            let name = self.ontology().name(both);
            return Err(Error::input(format!("`{name}` is given as observed and as excluded")));
        }
        if let Some((below, above)) = contradiction(self.ontology(), &signs) {
            let (below, above) = (self.ontology().name(below), self.ontology().name(above));
            return Err(Error::input(format!(
                "`{above}` is given as excluded, and `{below}`, a special case of it, as observed"
            )));
        }
        if signs.observed.is_empty() {
            let why = unread.to_string().trim_end().replace('\n', "; ");
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            return Err(Error::input(format!(
                "no observed sign that this release of the ontology knows: nothing to rank by{why}"
            )));
        }
        Ok((signs, unread))
    }

    fn sign(&self, text: &str) -> Result<Named> {
        let hpo = self.ontology();
        let text = text.trim();
        if text.to_uppercase().starts_with("HP:") {
            let id = text.to_uppercase();
            return match hpo.find(&id) {
                Found::Unknown => Err(Error::input(format!("`{text}` is no id of {}", hpo.version))),
                Found::Obsolete => {
                    let named = |&term: &Term| format!("{} ({})", hpo.name(term), hpo.id(term));
                    let advice: Vec<String> = hpo.considered(&id).iter().map(named).collect();
                    let advice =
                        if advice.is_empty() { String::new() } else { format!("; consider {}", advice.join(" or ")) };
                    Err(Error::input(format!("`{text}` is obsolete in {}, without a successor{advice}", hpo.version)))
                }
                _ => Ok(Named { id, label: String::new() }),
            };
        }
        match hpo.named(text) {
            Some(term) => Ok(Named { id: hpo.id(term).into(), label: hpo.name(term).into() }),
            None => {
                let near = hpo.suggestions(text, 3);
                let near: Vec<String> = near.iter().map(|&t| format!("`{}` ({})", hpo.name(t), hpo.id(t))).collect();
                let advice = if near.is_empty() { String::new() } else { format!("; near to it: {}", near.join(", ")) };
                Err(Error::input(format!("`{text}` is no term or synonym of {}{advice}", hpo.version)))
            }
        }
    }
}

/// A name in lower case, letters and digits only, words in order of the alphabet: "Marfan syndrome" and "syndrome, Marfan" are alike.
pub fn comparable(name: &str) -> String {
    let lower = name.to_lowercase();
    let mut words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}

fn signs(hpo: &Ontology, observed: &[Named], excluded: &[Named], unread: &mut Unread) -> Signs {
    let mut terms = |named: &[Named]| {
        let mut all = BTreeSet::new();
        for one in named {
            let term = match hpo.find(&one.id) {
                Found::Current(term) => term,
                Found::Replaced(term) => {
                    unread.replaced.entry(one.id.clone()).or_insert((hpo.id(term).into(), 0)).1 += 1;
                    term
                }
                Found::Obsolete => {
                    *unread.obsolete.entry(one.id.clone()).or_default() += 1;
                    continue;
                }
                Found::Unknown => {
                    *unread.unknown.entry(one.id.clone()).or_default() += 1;
                    continue;
                }
            };
            match hpo.is_sign(term) {
                true => drop(all.insert(term)),
                false => *unread.no_sign.entry(one.id.clone()).or_default() += 1,
            }
        }
        all
    };
    let (observed, mut excluded) = (terms(observed), terms(excluded));
    for term in observed.intersection(&excluded) {
        *unread.both.entry(hpo.id(*term).into()).or_default() += 1;
    }
    excluded.retain(|term| !observed.contains(term));
    let signs = Signs { observed: observed.into_iter().collect(), excluded: excluded.into_iter().collect() };
    if let Some((_, above)) = contradiction(hpo, &signs) {
        *unread.contradicted.entry(hpo.id(above).into()).or_default() += 1;
    }
    signs
}

/// An observed sign and an excluded one above it.
fn contradiction(hpo: &Ontology, signs: &Signs) -> Option<(Term, Term)> {
    let above = |&term: &Term| Some((term, *hpo.ancestors(term).iter().find(|above| signs.excluded.contains(above))?));
    signs.observed.iter().find_map(above)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::knowledge::tests::small;
    use super::*;

    pub(crate) fn packet(id: &str, publication: &str, disease: &str, observed: &[&str], excluded: &[&str]) -> Packet {
        let named = |ids: &[&str]| ids.iter().map(|id| Named { id: id.to_string(), label: String::new() }).collect();
        Packet {
            id: id.into(),
            publication: Some(publication.into()),
            sex: String::new(),
            age: None,
            diseases: named(&[disease]),
            observed: named(observed),
            excluded: named(excluded),
        }
    }

    /// The small knowledge base with four invented patients.
    pub(crate) fn library() -> Library {
        let mut library = Library::of(small());
        let (patients, _) = library.patients_of(&[
            packet("a", "PMID:1", "OMIM:1", &["HP:3"], &["HP:6"]),
            packet("b", "PMID:2", "OMIM:1", &["HP:3", "HP:6"], &[]),
            packet("c", "PMID:3", "OMIM:3", &["HP:7"], &[]),
            packet("d", "PMID:4", "OMIM:9", &["HP:6"], &["HP:2"]),
        ]);
        library.patients = patients;
        library
    }

    #[test]
    fn a_disease_that_only_patients_carry_becomes_a_candidate() {
        let library = library();
        assert_eq!(library.candidates.len(), 4, "three of OMIM, one of a patient; Orphanet's is no candidate");
        let new = &library.candidates[library.candidate("OMIM:9").unwrap()];
        assert_eq!((new.known, new.also.len()), (None, 0));
        assert_eq!(library.cited_by("PMID:1").len(), 2);
    }

    #[test]
    fn old_and_unknown_ids_are_counted() {
        let mut library = library();
        let (patients, unread) =
            library.patients_of(&[packet("e", "PMID:5", "OMIM:1", &["HP:8", "HP:9", "HP:99", "HP:2"], &[])]);
        assert_eq!(patients[0].signs.observed.len(), 1, "the successor of HP:8 is HP:2");
        assert_eq!(unread.replaced["HP:8"], ("HP:2".to_string(), 1));
        let told = unread.to_string();
        assert!(told.contains("HP:8 is now HP:2") && told.contains("left out: HP:99"), "{told}");
    }

    #[test]
    fn typed_signs_are_ids_or_names_and_errors_help() {
        let library = library();
        let texts = |all: &[&str]| all.iter().map(|one| one.to_string()).collect::<Vec<_>>();
        let (signs, _) = library.typed(&texts(&["hp:3", "Short stature"]), &texts(&["skull deformity"])).unwrap();
        assert_eq!((signs.observed.len(), signs.excluded.len()), (2, 1));
        assert_eq!(library.typed(&texts(&["fits"]), &[]).unwrap().0.observed.len(), 1, "a synonym");
        let error = |observed: &[&str], excluded: &[&str]| {
            library.typed(&texts(observed), &texts(excluded)).unwrap_err().to_string()
        };
        assert!(
            error(&["focal seizur"], &[]).contains("near to it: `Focal seizure` (HP:3)"),
            "{}",
            error(&["focal seizur"], &[])
        );
        assert!(error(&["HP:77"], &[]).contains("`HP:77` is no id of small"));
        assert!(error(&["HP:9"], &[]).contains("obsolete"));
        assert!(error(&["HP:2"], &["HP:22"]).contains("as observed and as excluded"));
        let contradicted = error(&["focal seizure"], &["seizure"]);
        assert!(contradicted.contains("a special case of it, as observed"), "{contradicted}");
        assert!(error(&[], &[]).contains("no observed sign"));
    }

    #[test]
    fn cross_references_bring_the_rows_of_orphanet() {
        let mut library = library();
        let pairs = [("ORPHA:4".to_string(), "OMIM:2".to_string()), ("ORPHA:5".to_string(), "OMIM:2".to_string())];
        assert_eq!(library.add_cross_references(&pairs), 1);
        assert_eq!(library.candidates[library.candidate("OMIM:2").unwrap()].also.len(), 1);
    }
}
