//! What is known about rare diseases: the annotations of HPO (`phenotype.hpoa`), one row for a disease, a term, a frequency and the
//! reference that it was read from. Rows of OMIM and of Orphanet are both in the file.
//!
//! The reference matters: much of the file was curated from the papers that published phenopackets were curated from, too. A knowledge
//! base can therefore be asked what it would say [without](Knowledge::citing) one publication. A row may cite several (`PMID:1;PMID:2`); it
//! counts for each of them.
use super::ontology::{Ontology, Term};
use super::orphadata::Product4;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Shares of patients that HPO's frequency classes stand for: the middle of each class.
const CLASSES: [(&str, f64); 6] = [
    ("HP:0040280", 1.0),
    ("HP:0040281", 0.895),
    ("HP:0040282", 0.545),
    ("HP:0040283", 0.17),
    ("HP:0040284", 0.025),
    ("HP:0040285", 0.0),
];

/// SHA-256 of hp.obo and of phenotype.hpoa as `make tools` installs them: release 2025-01-16.
const INSTALLED: [&str; 2] = [
    "6b77de067eecc838319ce7650ed5bab0f92a502eabb160e6bc7c0238bc1548c5",
    "8180403e2f5de0d8f41890e587d95077ce7f8bb8228d5d7b29dd358b70f0938c",
];

/// Place of a row's references in [`Knowledge::sources`].
pub type Source = u32;

/// How often patients with a disease show a term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frequency {
    /// The row says nothing.
    Unstated,
    /// A frequency class or a percentage, as a share.
    Share(f64),
    /// `k` of `n` patients.
    Counted { k: u32, n: u32 },
}

impl Frequency {
    /// `3/7`, `45%`, `HP:0040281` or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::Unstated);
        }
        if let Some((_, share)) = CLASSES.iter().find(|(id, _)| *id == text) {
            return Some(Self::Share(*share));
        }
        if let Some((k, n)) = text.split_once('/') {
            let (k, n) = (k.trim().parse().ok()?, n.trim().parse().ok()?);
            return (n > 0 && k <= n).then_some(Self::Counted { k, n });
        }
        let share = text.strip_suffix('%')?.trim().parse::<f64>().ok()? / 100.0;
        (0.0..=1.0).contains(&share).then_some(Self::Share(share))
    }

    /// As a share; 1 where nothing is stated, as LIRICAL has it.
    pub fn share(self) -> f64 {
        match self {
            Self::Unstated => 1.0,
            Self::Share(share) => share,
            Self::Counted { k, n } => f64::from(k) / f64::from(n),
        }
    }
}

/// One row of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Annotation {
    pub term: Term,
    pub frequency: Frequency,
    pub source: Source,
    /// The disease does not have it (`NOT`, or a frequency of 0).
    pub excluded: bool,
}

#[derive(Clone, Debug)]
pub struct Disease {
    /// `OMIM:154700` or `ORPHA:558`.
    pub id: String,
    pub name: String,
    pub annotations: Vec<Annotation>,
}

/// Ontology, diseases and references.
#[derive(Clone, Debug)]
pub struct Knowledge {
    pub ontology: Ontology,
    /// `2025-01-16`, as the annotation file says.
    pub version: String,
    /// Digest of files that are other than those that `make tools` installs, Orphadata's among them.
    other: Option<String>,
    pub diseases: Vec<Disease>,
    /// `PMID:…`, `OMIM:…`, `ORPHA:…`, or several with `;` between them, as the rows have them.
    pub sources: Vec<String>,
    /// Rows that name a term or a frequency that cannot be read, as `line 12: …`.
    pub warnings: Vec<String>,
    ids: HashMap<String, usize>,
    references: HashMap<String, Source>,
    /// A single reference → all places that name it.
    citing: HashMap<String, Vec<Source>>,
}

/// The single references of a row: `PMID:1;PMID:2` cites two papers.
pub fn single(references: &str) -> impl Iterator<Item = &str> {
    references.split(';').map(str::trim).filter(|one| !one.is_empty())
}

impl Knowledge {
    /// What `make tools` installed, or the folder that `DXLAB_KNOWLEDGE` names: `hp.obo` and `phenotype.hpoa`.
    pub fn installed() -> Result<Self> {
        Self::read(&Self::folder())
    }

    /// Where [`Knowledge::installed`] looks.
    pub fn folder() -> PathBuf {
        let named = std::env::var_os("DXLAB_KNOWLEDGE").filter(|path| !path.is_empty());
        named.map_or_else(|| crate::home().join(".tools").join("knowledge"), PathBuf::from)
    }

    /// A folder with `hp.obo` and `phenotype.hpoa`, and with Orphadata's product 4 where the user has put it there.
    pub fn read(folder: &Path) -> Result<Self> {
        let [obo, hpoa] = ["hp.obo", "phenotype.hpoa"].map(|name| folder.join(name));
        for path in [&obo, &hpoa] {
            if !path.is_file() {
                return Err(Error::input(format!(
                    "{}: no such file: `make tools` installs the Human Phenotype Ontology and its annotations, or set \
                     DXLAB_KNOWLEDGE to a folder with hp.obo and phenotype.hpoa",
                    path.display()
                )));
            }
        }
        let text = crate::io::read_text(&hpoa)?;
        let parsed = Self::parse(Ontology::read(&obo)?, &text);
        let mut all = parsed.map_err(|why| Error::input(format!("{}: {why}", hpoa.display())))?;
        let orphadata = folder.join(super::orphadata::FILE);
        let mut digests = [&obo, &hpoa].map(|path| crate::io::sha256(path)).into_iter().collect::<Result<Vec<_>>>()?;
        if orphadata.is_file() {
            Product4::read(&orphadata)?.add_to(&mut all);
            digests.push(crate::io::sha256(&orphadata)?);
        }
        if digests != INSTALLED {
            all.other = Some(crate::io::digest_bytes(digests.concat().as_bytes()));
        }
        Ok(all)
    }

    /// Whether the files are others than those that `make tools` installs.
    pub fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// What a run records: the version, and a digest where the files are others than that release's, so that no run on them stands for one
    /// on the release.
    pub fn id(&self) -> String {
        match &self.other {
            Some(digest) => format!("{}, files {}", self.version, &digest[..12]),
            None => self.version.clone(),
        }
    }

    /// From the text of an annotation file: 12 columns with tabs under a header, comments with `#`.
    pub fn parse(ontology: Ontology, text: &str) -> Result<Self, String> {
        let mut all = Self {
            ontology,
            version: "unknown".into(),
            other: None,
            diseases: vec![],
            sources: vec![],
            warnings: vec![],
            ids: HashMap::new(),
            references: HashMap::new(),
            citing: HashMap::new(),
        };
        let mut header: Option<Columns> = None;
        for (i, line) in text.lines().enumerate() {
            if let Some(version) = line.strip_prefix("#version:") {
                all.version = version.trim().into();
            }
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            match &header {
                None => header = Some(Columns::of(line).map_err(|why| format!("line {}: {why}", i + 1))?),
                Some(columns) => {
                    let row = columns.row(line).map_err(|why| format!("line {}: {why}", i + 1))?;
                    all.add(&row).unwrap_or_else(|why| all.warnings.push(format!("line {}: {why}", i + 1)));
                }
            }
        }
        if all.diseases.is_empty() {
            return Err("no annotation in it: expected phenotype.hpoa of the Human Phenotype Ontology".into());
        }
        Ok(all)
    }

    fn add(&mut self, row: &Row) -> Result<(), String> {
        if row.aspect != "P" {
            return Ok(()); // inheritance, onset and course are no signs of a patient
        }
        let term = self.ontology.find(row.term).term();
        let term = term.ok_or_else(|| format!("`{}` is no term of {}", row.term, self.ontology.version))?;
        let frequency = Frequency::parse(row.frequency)
            .ok_or_else(|| format!("`{}` is no frequency (n/m, p% or a class of HPO)", row.frequency))?;
        let source = self.reference(row.reference);
        let excluded = row.qualifier == "NOT" || frequency.share() == 0.0;
        let at = self.entry(row.disease, row.name);
        self.diseases[at].annotations.push(Annotation { term, frequency, source, excluded });
        Ok(())
    }

    /// The place of a row's references, which is new or not.
    fn reference(&mut self, name: &str) -> Source {
        if let Some(&known) = self.references.get(name) {
            return known;
        }
        let source = self.sources.len() as Source;
        self.sources.push(name.to_string());
        self.references.insert(name.to_string(), source);
        for one in single(name) {
            let places = self.citing.entry(one.to_string()).or_default();
            if places.last() != Some(&source) {
                places.push(source);
            }
        }
        source
    }

    /// The place of a disease, which is new or not.
    fn entry(&mut self, id: &str, name: &str) -> usize {
        *self.ids.entry(id.to_string()).or_insert_with(|| {
            self.diseases.push(Disease { id: id.into(), name: name.into(), annotations: vec![] });
            self.diseases.len() - 1
        })
    }

    /// Gives a disease these signs (term and frequency class) and no others; the disease is its own reference.
    pub(super) fn replace(&mut self, id: &str, name: &str, signs: &[(&str, &str)]) {
        let (at, source) = (self.entry(id, name), self.reference(id));
        let mut annotations = vec![];
        for (term, class) in signs {
            match (self.ontology.find(term).term(), Frequency::parse(class)) {
                (Some(term), Some(frequency)) => {
                    annotations.push(Annotation { term, frequency, source, excluded: frequency.share() == 0.0 });
                }
                _ => self.warnings.push(format!("{id}: `{term}` is no term of {}", self.ontology.version)),
            }
        }
        self.diseases[at] = Disease { id: id.into(), name: name.into(), annotations };
    }

    /// The place of a disease by its id.
    pub fn disease(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }

    /// Places of all rows' references that name this paper (`PMID:31675180`), alone or among others.
    pub fn citing(&self, paper: &str) -> &[Source] {
        self.citing.get(paper).map_or(&[], Vec::as_slice)
    }
}

struct Columns([usize; 7]);

struct Row<'a> {
    disease: &'a str,
    name: &'a str,
    qualifier: &'a str,
    term: &'a str,
    reference: &'a str,
    frequency: &'a str,
    aspect: &'a str,
}

impl Columns {
    const NAMES: [&'static str; 7] =
        ["database_id", "disease_name", "qualifier", "hpo_id", "reference", "frequency", "aspect"];

    fn of(header: &str) -> Result<Self, String> {
        let titles: Vec<&str> = header.split('\t').map(str::trim).collect();
        let mut at = [0; 7];
        for (place, name) in at.iter_mut().zip(Self::NAMES) {
            *place = titles.iter().position(|title| *title == name).ok_or_else(|| {
                format!("no column `{name}`: expected the header of phenotype.hpoa (2023 or newer), got `{header}`")
            })?;
        }
        Ok(Self(at))
    }

    fn row<'a>(&self, line: &'a str) -> Result<Row<'a>, String> {
        let fields: Vec<&str> = line.split('\t').collect();
        let field = |i: usize| {
            fields.get(self.0[i]).map(|text| text.trim()).ok_or_else(|| {
                format!("{} columns, and `{}` is missing: the file is cut off or edited", fields.len(), Self::NAMES[i])
            })
        };
        Ok(Row {
            disease: field(0)?,
            name: field(1)?,
            qualifier: field(2)?,
            term: field(3)?,
            reference: field(4)?,
            frequency: field(5)?,
            aspect: field(6)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::ontology::tests::SMALL;
    use super::*;

    const HEADER: &str = "#version: small\ndatabase_id\tdisease_name\tqualifier\thpo_id\treference\tevidence\tonset\tfrequency\t\
                          sex\tmodifier\taspect\tbiocuration\n";

    /// A row of the annotation file: a sign of a disease and the paper that says so.
    pub(crate) fn row(disease: &str, term: &str, paper: &str) -> String {
        format!("{disease}\tDisease {disease}\t\t{term}\t{paper}\tPCS\t\t\t\t\tP\tme\n")
    }

    /// Such rows with the small ontology.
    pub(crate) fn of_rows(rows: &str) -> Knowledge {
        Knowledge::parse(Ontology::parse(SMALL).unwrap(), &(HEADER.to_string() + rows)).unwrap()
    }

    /// Four invented diseases over the small ontology.
    pub(crate) fn small() -> Knowledge {
        let rows = [
            ("OMIM:1", "Epilepsy, small", "", "HP:3", "PMID:1", "4/5", "P"),
            ("OMIM:1", "Epilepsy, small", "", "HP:6", "PMID:2", "1/4", "P"),
            ("OMIM:2", "Dwarfism, small", "", "HP:6", "OMIM:2", "", "P"),
            ("OMIM:2", "Dwarfism, small", "NOT", "HP:2", "OMIM:2", "", "P"),
            ("OMIM:3", "Skull disease", "", "HP:7", "PMID:1", "HP:0040282", "P"),
            ("OMIM:3", "Skull disease", "", "HP:2", "PMID:3", "50%", "P"),
            ("ORPHA:4", "Seizures of old", "", "HP:22", "ORPHA:4", "HP:0040281", "P"),
            ("OMIM:1", "Epilepsy, small", "", "HP:0000005", "PMID:1", "", "I"),
        ];
        let line = |r: &(&str, &str, &str, &str, &str, &str, &str)| {
            format!("{}\t{}\t{}\t{}\t{}\tPCS\t\t{}\t\t\t{}\tme\n", r.0, r.1, r.2, r.3, r.4, r.5, r.6)
        };
        let text = HEADER.to_string() + &rows.iter().map(line).collect::<String>();
        Knowledge::parse(Ontology::parse(SMALL).unwrap(), &text).unwrap()
    }

    #[test]
    fn rows_become_annotations_with_their_references() {
        let known = small();
        assert_eq!((known.diseases.len(), known.warnings.len(), known.version.as_str()), (4, 0, "small"));
        let dwarfism = &known.diseases[known.disease("OMIM:2").unwrap()];
        assert_eq!(dwarfism.annotations.iter().map(|a| a.excluded).collect::<Vec<_>>(), [false, true]);
        let cites =
            |at: usize| known.diseases[at].annotations.iter().any(|row| known.citing("PMID:1").contains(&row.source));
        assert_eq!((0..4).filter(|&at| cites(at)).collect::<Vec<_>>(), [0, 2]);
        let old = &known.diseases[known.disease("ORPHA:4").unwrap()].annotations[0];
        assert_eq!(known.ontology.name(old.term), "Seizure", "an alternative id is read as its term");
    }

    #[test]
    fn a_row_counts_for_each_paper_that_it_cites() {
        let row = |term: &str, papers: &str| format!("OMIM:1\tE\t\t{term}\t{papers}\tPCS\t\t\t\t\tP\tme\n");
        let text = HEADER.to_string()
            + &row("HP:2", "PMID:1;PMID:2")
            + &row("HP:3", "PMID:2; OMIM:1")
            + &row("HP:6", "PMID:22");
        let known = Knowledge::parse(Ontology::parse(SMALL).unwrap(), &text).unwrap();
        let rows = |paper: &str| {
            let cited = known.diseases[0].annotations.iter().filter(|row| known.citing(paper).contains(&row.source));
            cited.map(|row| known.ontology.id(row.term)).collect::<Vec<_>>()
        };
        assert_eq!(rows("PMID:1"), ["HP:2"]);
        assert_eq!(rows("PMID:2"), ["HP:2", "HP:3"]);
        assert_eq!((rows("OMIM:1"), rows("PMID:22")), (vec!["HP:3"], vec!["HP:6"]));
        assert!(rows("PMID:1;PMID:2").is_empty() && rows("PMID:3").is_empty());
        let library = super::super::library::Library::of(known);
        assert_eq!((library.cited_by("PMID:1").len(), library.cited_by("OMIM:1").len()), (1, 1));
        let without = library.without_sources(&["PMID:2"].into());
        assert_eq!(without.knowledge.diseases[0].annotations.len(), 1, "only the row of PMID:22 stays");
    }

    #[test]
    fn frequencies_are_read_in_every_spelling() {
        let share = |text| Frequency::parse(text).map(Frequency::share);
        assert_eq!(share("3/4"), Some(0.75));
        assert_eq!(share("12.5%"), Some(0.125));
        assert_eq!(share("HP:0040283"), Some(0.17));
        assert_eq!(share(""), Some(1.0));
        for bad in ["4/3", "0/0", "often", "120%", "HP:1"] {
            assert_eq!(share(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_row_is_named_and_a_bad_file_refused() {
        let parse = |text: &str| Knowledge::parse(Ontology::parse(SMALL).unwrap(), text);
        let row = |term: &str, frequency: &str| format!("OMIM:1\tE\t\t{term}\tPMID:1\tPCS\t\t{frequency}\t\t\tP\tme\n");
        let known = parse(&(HEADER.to_string() + &row("HP:2", "") + &row("HP:77", "") + &row("HP:2", "x"))).unwrap();
        assert_eq!(known.warnings.len(), 2);
        assert!(known.warnings[0].starts_with("line 4: `HP:77` is no term of small"), "{}", known.warnings[0]);
        assert!(parse("<html>").unwrap_err().contains("no column `database_id`"));
        let cut = HEADER.to_string() + &row("HP:2", "") + "OMIM:1\tE";
        assert!(parse(&cut).unwrap_err().contains("line 4: 2 columns"), "{}", parse(&cut).unwrap_err());
        assert!(parse(HEADER).unwrap_err().contains("no annotation"));
    }
}
