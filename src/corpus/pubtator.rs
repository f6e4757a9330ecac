//! PubTator text: `pmid|t|title`, `pmid|a|abstract`, then tab-separated `pmid start end text type id` (end exclusive; code
//! points of `title + " " + abstract`), relations of four fields, an empty line. BC5CDR and the NCBI disease corpus.
//!
//! A span that does not lie where it says, or a document that comes twice, is reported and not fatal: both corpora are
//! used as published. A line that is no PubTator at all is an error with its number.
use super::{Corpus, Finding};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Types that mean a disease, in BC5CDR and in NCBI.
pub const DISEASE: [&str; 5] = ["Disease", "SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"];

#[derive(Clone, Debug, PartialEq)]
pub struct Mention {
    /// Code points of [`Document::text`], end exclusive.
    pub start: usize,
    pub end: usize,
    /// As the file gives it; equals the text at `start..end` unless a warning says otherwise.
    pub text: String,
    pub kind: String,
    /// Concept ids; several for a composite mention ("breast and ovarian cancer"), none where the corpus has none (`-1`).
    pub ids: Vec<String>,
    /// The mention of each id of a composite, where the file tells.
    pub parts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub pmid: String,
    pub title: String,
    pub body: String,
    pub mentions: Vec<Mention>,
}

impl Document {
    /// What the offsets count in.
    pub fn text(&self) -> String {
        format!("{} {}", self.title, self.body)
    }
}

/// The documents of a file, and what is odd about it (`line 12: …`).
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub documents: Vec<Document>,
    pub warnings: Vec<String>,
}

pub fn read(path: &Path) -> Result<Read> {
    let text = crate::io::read_text(path)?;
    parse(&text).map_err(|why| Error::input(format!("{} {why}", path.display())))
}

/// As [`read()`]; an error is `line N: …`.
pub fn parse(text: &str) -> Result<Read, String> {
    let mut read = Read::default();
    let mut seen = BTreeSet::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            block.push((i + 1, line));
        }
        let next_title = text_part(line, 't').is_some() && block.len() > 1;
        if line.trim().is_empty() || next_title {
            let title = if next_title { block.pop() } else { None };
            finish(&mut read, &mut seen, &std::mem::take(&mut block))?;
            block.extend(title);
        }
    }
    finish(&mut read, &mut seen, &block)?;
    if read.documents.is_empty() {
        return Err("line 1: expected `pmid|t|title`, found no document".into());
    }
    Ok(read)
}

fn text_part(line: &str, part: char) -> Option<(&str, &str)> {
    let (pmid, rest) = line.split_once('|')?;
    let text = rest.strip_prefix(part)?.strip_prefix('|')?;
    pmid.chars().all(|c| c.is_ascii_digit()).then_some((pmid, text))
}

/// One document from its lines.
fn finish(read: &mut Read, seen: &mut BTreeSet<String>, block: &[(usize, &str)]) -> Result<(), String> {
    let [(at, first), rest @ ..] = block else { return Ok(()) };
    let (pmid, title) =
        text_part(first, 't').ok_or_else(|| format!("line {at}: expected `pmid|t|title`, got `{}`", clip(first)))?;
    let [(at, second), rest @ ..] = rest else {
        return Err(format!("line {at}: document {pmid} has no abstract line"));
    };
    let (_, body) = text_part(second, 'a')
        .filter(|(id, _)| *id == pmid)
        .ok_or_else(|| format!("line {at}: expected `{pmid}|a|abstract`, got `{}`", clip(second)))?;
    let mut document = Document { pmid: pmid.into(), title: title.into(), body: body.into(), mentions: Vec::new() };
    let text: Vec<char> = document.text().chars().collect();
    for (at, line) in rest {
        document.mentions.extend(mention(*at, line, pmid, &text, &mut read.warnings)?);
    }
    if seen.insert(pmid.to_string()) {
        read.documents.push(document);
    } else {
        read.warnings.push(format!("line {}: document {pmid} comes twice; the first is kept", block[0].0));
    }
    Ok(())
}

/// A mention; `None` for a relation.
fn mention(
    at: usize,
    line: &str,
    pmid: &str,
    text: &[char],
    warnings: &mut Vec<String>,
) -> Result<Option<Mention>, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    if fields.len() == 4 && fields[0] == pmid && fields[1].parse::<usize>().is_err() {
        return Ok(None); // pmid, relation, id, id
    }
    let bad = |what: &str| {
        format!("line {at}: {what}: expected `{pmid} start end text type id` with tabs, got `{}`", clip(line))
    };
    if !(5..=7).contains(&fields.len()) || fields[0] != pmid {
        return Err(bad("not a mention of this document"));
    }
    let number = |field: &str| field.parse::<usize>().map_err(|_| bad("an offset is no number"));
    let (start, end, spelled) = (number(fields[1])?, number(fields[2])?, fields[3]);
    let found: Option<String> = text.get(start..end).map(|chars| chars.iter().collect());
    if found.as_deref() != Some(spelled) {
        let found = found.unwrap_or_else(|| "nothing: the text ends before".into());
        warnings.push(format!(
            "line {at}: document {pmid} says `{spelled}` at {start}..{end}, the text has `{}`",
            clip(&found)
        ));
    }
    let id = fields.get(5).map_or("", |id| id.trim());
    let ids =
        id.split(['|', ',']).map(str::trim).filter(|id| !id.is_empty() && *id != "-1").map(str::to_string).collect();
    let parts = fields.get(6).map_or_else(Vec::new, |parts| parts.split('|').map(str::to_string).collect());
    Ok(Some(Mention { start, end, text: spelled.into(), kind: fields[4].into(), ids, parts }))
}

fn clip(line: &str) -> String {
    let short: String = line.chars().take(60).collect();
    if short.len() < line.len() { short + "…" } else { short }
}

/// "Abstract → list of its distinct diseases": a label for each concept of the given kinds, in order of first mention,
/// spelled as the concept's longest mention that is not composite, in lower case, commas dropped (they separate labels).
/// Mentions without an id count by their text. A document without any is left out. The group is the pmid.
pub fn as_cases(documents: &[Document], kinds: &[&str]) -> Vec<Finding> {
    let case =
        |document: &Document| Finding::new(&document.pmid, &document.pmid, document.text(), diseases(document, kinds));
    documents.iter().map(case).filter(|case| !case.gold.is_empty()).collect()
}

fn diseases(document: &Document, kinds: &[&str]) -> Vec<String> {
    // concept → (order, simple mention, length): a simple mention beats a composite one, then the longer, then the earlier
    let mut named: BTreeMap<String, (usize, bool, String)> = BTreeMap::new();
    for mention in document.mentions.iter().filter(|m| kinds.contains(&m.kind.as_str())) {
        let by_text = [format!("text:{}", spell(&mention.text))];
        let ids: &[String] = if mention.ids.is_empty() { &by_text } else { &mention.ids };
        for (i, id) in ids.iter().enumerate() {
            let told = mention.parts.get(i).filter(|_| mention.parts.len() == ids.len());
            let simple = ids.len() == 1 || told.is_some();
            let name = spell(told.unwrap_or(&mention.text));
            let order = named.len();
            let best = named.entry(id.clone()).or_insert((order, simple, name.clone()));
            if (simple, name.chars().count()) > (best.1, best.2.chars().count()) {
                *best = (best.0, simple, name);
            }
        }
    }
    let mut named: Vec<_> = named.into_values().collect();
    named.sort();
    let mut seen = BTreeSet::new();
    named.into_iter().map(|(_, _, name)| name).filter(|name| !name.is_empty() && seen.insert(name.clone())).collect()
}

fn spell(text: &str) -> String {
    text.to_lowercase().replace(',', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A published corpus of abstracts: what it is called, where its parts lie under `DXLAB_DATA`.
pub(super) struct Abstracts {
    name: &'static str,
    pub train: &'static str,
    pub development: &'static str,
    pub test: &'static str,
}

pub(super) const BC5CDR: Abstracts = Abstracts {
    name: "BC5CDR diseases",
    train: "bc5cdr/CDR_TrainingSet.PubTator.txt",
    development: "bc5cdr/CDR_DevelopmentSet.PubTator.txt",
    test: "bc5cdr/CDR_TestSet.PubTator.txt",
};
pub(super) const NCBI: Abstracts = Abstracts {
    name: "NCBI diseases",
    train: "ncbi-disease/NCBItrainset_corpus.txt",
    development: "ncbi-disease/NCBIdevelopset_corpus.txt",
    test: "ncbi-disease/NCBItestset_corpus.txt",
};

impl Abstracts {
    /// What is odd about the file is said: a repeated document is left out, a misplaced span still names its disease.
    fn cases(&self, dir: &Path, part: &str) -> Result<Vec<Finding>> {
        let read = read(&dir.join(part))?;
        read.warnings.iter().for_each(|warning| crate::process::tell(&format!("… {}: {part} {warning}", self.name)));
        Ok(as_cases(&read.documents, &DISEASE))
    }
    fn corpus(&self, dir: &Path) -> Result<Corpus> {
        let (train, test) = (self.cases(dir, self.train)?, self.cases(dir, self.test)?);
        Ok(Corpus { name: self.name.into(), synthetic: false, train, test })
    }
}

impl Corpus {
    /// BC5CDR as abstract → diseases, from the layout of `DXLAB_DATA`: published training and test part.
    pub fn bc5cdr(dir: &Path) -> Result<Self> {
        BC5CDR.corpus(dir)
    }
    /// The published development part of BC5CDR, for choosing settings.
    pub fn bc5cdr_development(dir: &Path) -> Result<Vec<Finding>> {
        BC5CDR.cases(dir, BC5CDR.development)
    }
    /// The NCBI disease corpus as abstract → diseases: published training and test part.
    pub fn ncbi(dir: &Path) -> Result<Self> {
        NCBI.corpus(dir)
    }
}

/// Ids of every test abstract of both corpora: an abstract that is training text in one may be a test case in the other.
pub fn test_ids(dir: &Path) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for part in [BC5CDR.test, NCBI.test] {
        ids.extend(read(&dir.join(part))?.documents.into_iter().map(|document| document.pmid));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "11|t|Naïve cystitis, acute.\n11|a|Breast and ovarian cancer with bladder cystitis.\n\
        11\t6\t14\tcystitis\tDisease\tD1\n11\t23\t48\tBreast and ovarian cancer\tDisease\tD2|D3\tBreast cancer|ovarian cancer\n\
        11\t54\t70\tbladder cystitis\tDisease\tD1\n11\t0\t5\tNaïve\tChemical\tC1\n11\tCID\tC1\tD1\n\n\
        12|t|T.\n12|a|Odd pain.\n12\t3\t6\tOdd\tDisease\t-1\n12\t3\t11\todd pain\tSpecificDisease\tD9\n\n12|t|T.\n12|a|Odd pain.\n";

    #[test]
    fn concepts_become_labels_by_their_longest_simple_mention() {
        let read = parse(TEXT).unwrap();
        let cases = as_cases(&read.documents, &DISEASE);
        assert_eq!(cases[0].gold, ["bladder cystitis", "breast cancer", "ovarian cancer"]);
        assert_eq!(cases[1].gold, ["odd", "odd pain"]);
        assert_eq!((cases[0].case_id.as_str(), cases[0].group.as_str()), ("11", "11"));
        assert!(cases[0].input.starts_with("Naïve cystitis, acute. Breast and"));
        assert_eq!(as_cases(&read.documents, &["Chemical"])[0].gold, ["naïve"]);
    }

    #[test]
    fn a_misplaced_span_and_a_repeated_document_are_reported_with_their_lines() {
        let read = parse(TEXT).unwrap();
        assert_eq!(read.documents.len(), 2);
        assert_eq!(read.warnings.len(), 2, "{:?}", read.warnings);
        assert!(read.warnings[0].starts_with("line 12: document 12 says `odd pain` at 3..11, the text has `Odd pain`"));
        assert!(read.warnings[1].starts_with("line 14: document 12 comes twice"));
    }

    #[test]
    fn what_is_no_pubtator_is_refused_with_its_line() {
        let cases = [
            ("hello\n", "line 1: expected `pmid|t|title`"),
            ("1|t|T\n\n", "line 1: document 1 has no abstract line"),
            ("1|t|T\n2|a|B\n", "line 2: expected `1|a|abstract`"),
            ("1|t|T\n1|a|B\n1\tx\t2\tT\tDisease\tD\n", "line 3: an offset is no number"),
            ("1|t|T\n1|a|B\n9\t0\t1\tT\tDisease\tD\n", "line 3: not a mention of this document"),
            ("\n\n", "line 1: expected"),
        ];
        for (text, wanted) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
