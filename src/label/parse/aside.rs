//! Lines of an answer that give no label, and how far what they begin reaches: sections of what is not there ("Pertinent negatives:"), of
//! other things ("Treatment:"), properties of an entry ("Location: left kidney"), echoes of the prompt.
use super::{heading, item, prose};

/// What stands under a heading that is none of labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// What is there: "Present".
    There,
    /// What is not: "Ruled out".
    Gone,
    /// A property of the entry before it: "Location".
    Property,
    /// Something else, up to the end or to the next entry: "Treatment".
    Other,
}

const THERE: [&str; 12] = [
    "present",
    "positive",
    "positives",
    "yes",
    "confirmed",
    "included",
    "identified",
    "detected",
    "seen",
    "found",
    "noted",
    "observed",
];
const GONE: [&str; 17] = [
    "absent",
    "absence",
    "negative",
    "negatives",
    "negated",
    "no",
    "not",
    "none",
    "without",
    "unlikely",
    "denied",
    "denies",
    "ruled",
    "excluded",
    "exclusions",
    "rejected",
    "unsupported",
];
/// What is there or not, and other words of such a heading.
const NOUNS: [&str; 17] = [
    "pertinent",
    "relevant",
    "significant",
    "important",
    "key",
    "other",
    "finding",
    "findings",
    "diagnosis",
    "diagnoses",
    "condition",
    "conditions",
    "disease",
    "diseases",
    "item",
    "items",
    "abnormalities",
];
const LINKS: [&str; 39] = [
    "label",
    "labels",
    "evidence",
    "sign",
    "signs",
    "mention",
    "of",
    "for",
    "the",
    "in",
    "text",
    "report",
    "following",
    "and",
    "but",
    "is",
    "are",
    "was",
    "were",
    "been",
    "have",
    "has",
    "that",
    "out",
    "seen",
    "mentioned",
    "found",
    "noted",
    "observed",
    "supported",
    "listed",
    "documented",
    "reported",
    "visualized",
    "considered",
    "selected",
    "based",
    "on",
    "by",
];
const PROPERTIES: [&str; 46] = [
    "location",
    "locations",
    "site",
    "side",
    "laterality",
    "size",
    "sizes",
    "measurement",
    "measurements",
    "dimension",
    "dimensions",
    "severity",
    "urgency",
    "grade",
    "stage",
    "source",
    "confidence",
    "certainty",
    "probability",
    "likelihood",
    "score",
    "icd",
    "code",
    "codes",
    "snomed",
    "umls",
    "step",
    "status",
    "modality",
    "organ",
    "onset",
    "quote",
    "span",
    "keyword",
    "keywords",
    "category",
    "type",
    "total",
    "number",
    "count",
    "date",
    "age",
    "sex",
    "gender",
    "significance",
    "relevance",
];
const OTHERS: [&str; 52] = [
    "explanation",
    "reasoning",
    "rationale",
    "reason",
    "reasons",
    "justification",
    "evidence",
    "support",
    "description",
    "details",
    "definition",
    "discussion",
    "analysis",
    "comment",
    "comments",
    "note",
    "notes",
    "disclaimer",
    "caveat",
    "caveats",
    "limitation",
    "limitations",
    "recommendation",
    "recommendations",
    "recommended",
    "treatment",
    "treatments",
    "therapy",
    "management",
    "plan",
    "follow",
    "followup",
    "differential",
    "differentials",
    "ddx",
    "prognosis",
    "medication",
    "medications",
    "technique",
    "comparison",
    "references",
    "sources",
    "normal",
    "symptoms",
    "steps",
    "warning",
    "warnings",
    "risk",
    "risks",
    "advice",
    "remark",
    "remarks",
];
/// Words beside those of [`PROPERTIES`] and [`OTHERS`].
const FILLERS: [&str; 40] = [
    "of",
    "the",
    "and",
    "for",
    "in",
    "on",
    "from",
    "to",
    "up",
    "finding",
    "findings",
    "level",
    "score",
    "anatomic",
    "anatomical",
    "clinical",
    "imaging",
    "supporting",
    "possible",
    "other",
    "additional",
    "key",
    "brief",
    "further",
    "suggested",
    "medical",
    "structure",
    "structures",
    "organs",
    "appearance",
    "report",
    "text",
    "diagnosis",
    "diagnoses",
    "next",
    "relevant",
    "factors",
    "labels",
    "cm",
    "ct",
];

/// What a name before a colon, or a heading, announces; None where it is anything else.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let words = prose::words(&name.replace('_', " "));
    let remark = (1..=5).contains(&words.len()) && REMARKS.contains(&words[0].as_str());
    made(&words).or(remark.then_some(Kind::Property))
}

/// First words of names of properties, whatever stands behind.
const REMARKS: [&str; 10] =
    ["confidence", "certainty", "probability", "likelihood", "urgency", "severity", "score", "icd", "step", "code"];

/// The kind of a name that is made of words of the lists, and of nothing else but numbers.
fn made(words: &[String]) -> Option<Kind> {
    let of = |keys: &[&str], lists: &[&[&str]], numbers: bool| {
        let beside = |word: &String| {
            lists.iter().any(|list| list.contains(&word.as_str()))
                || numbers && word.bytes().all(|b| b.is_ascii_digit())
        };
        words.iter().any(|word| keys.contains(&word.as_str()))
            && words.iter().all(|word| keys.contains(&word.as_str()) || beside(word))
    };
    match words.len() {
        1..=6 if of(&OTHERS, &[&FILLERS], true) => Some(Kind::Other),
        1..=8 if of(&GONE, &[&THERE, &NOUNS, &LINKS], false) => Some(Kind::Gone),
        1..=4 if of(&THERE, &[&NOUNS], false) => Some(Kind::There),
        1..=5 if of(&PROPERTIES, &[&OTHERS, &FILLERS], true) => Some(Kind::Property),
        _ => None,
    }
}

/// Names of sections that never lead to an answer, whatever stands before them.
pub(super) fn leads_away(name: &str) -> bool {
    let away =
        ["differential", "ddx", "recommend", "treat", "therap", "manage", "medication", "normal", "follow", "plan"];
    away.iter().any(|word| name.contains(word))
}

/// Whether a text is but the name of a section or property of other things: "Location", "Recommendations".
pub(super) fn is_aside(text: &str) -> bool {
    matches!(made(&prose::words(text)), Some(Kind::Property | Kind::Other))
}

/// A line that begins a section or tells a property.
pub(super) struct Aside<'a> {
    pub(super) kind: Kind,
    /// In small letters; empty where a sentence begins with a word of an explanation.
    pub(super) name: String,
    /// What follows on the line.
    pub(super) after: &'a str,
}

/// "Ruled out: a", "## Absent", "- **Location:** left kidney", "Note that …".
pub(super) fn aside(line: &str) -> Option<Aside<'_>> {
    let bare = item::bulletless(line).trim_start_matches(['#', '*', '_', ' ', '-', '•']);
    let marked = line.trim().starts_with(['#', '*']) && !item::is_bulleted(line);
    let parts = match bare.split_once(':') {
        Some(parts) => Some(parts),
        None => marked.then_some((bare, "")),
    };
    if let Some((before, after)) = parts {
        let name = before.trim_matches(['*', '_', ' ']).to_lowercase();
        if let Some(kind) = kind(&name) {
            return Some(Aside { kind, name, after: after.trim_start_matches(['*', '_', ' ']) });
        }
    }
    explains(line).then(|| Aside { kind: Kind::Other, name: String::new(), after: bare })
}

/// First words of a line after which nothing is a label.
fn explains(line: &str) -> bool {
    let line = line.trim_start_matches(['*', '#', ' ', '_', '-']).to_lowercase();
    let starts = [
        "explanation",
        "reasoning",
        "rationale",
        "note:",
        "note that",
        "notes:",
        "justification",
        "recommend",
        "differential",
        "disclaimer",
        "evidence",
        "comment",
        "plan:",
        "follow-up",
        "references",
        "sources",
        "analysis",
        "best regards",
        "kind regards",
        "sincerely",
        "[^",
        // in the languages of [`heading::FOREIGN`]
        "begründung",
        "erklärung",
        "explication",
        "justificación",
        "explicación",
        "explicação",
        "spiegazione",
        "toelichting",
        "理由",
        "説明",
        "解释",
        "说明",
        "根拠",
    ];
    starts.iter().any(|start| line.starts_with(start))
}

/// How far an aside reaches: the lines after it that are not read.
pub(super) struct Reach {
    indent: usize,
    /// An item of the list, or under one.
    nested: bool,
    /// Its content stands on its own line: further lines are not needed for it.
    full: bool,
    /// Ends where a line without a bullet follows an empty one.
    open: bool,
    /// Number of the list's last item before it; lower ones begin a list of its own.
    number: usize,
    restarted: bool,
    blank: bool,
}

impl Reach {
    /// `margin` is the indent of the list's items, `number` of the last one; `first` says that no label stands before.
    pub(super) fn new(line: &str, aside: &Aside, margin: Option<usize>, number: usize, first: bool) -> Self {
        let indent = indent(line);
        let nested = item::is_bulleted(line) || margin.is_some_and(|margin| indent > margin);
        let full = !aside.after.is_empty();
        // "Absent: a" is over at its line's end, unless that is a comma
        let blank = full && aside.kind == Kind::Gone && !aside.after.trim_end().ends_with(',');
        let open = first || full && aside.kind == Kind::Gone;
        Self { indent, nested, full, open, number, restarted: false, blank }
    }

    pub(super) fn is_nested(&self) -> bool {
        self.nested
    }

    /// Whether a line still belongs to the aside.
    pub(super) fn holds(&mut self, line: &str) -> bool {
        if line.trim().is_empty() {
            self.blank = true;
            return true;
        }
        let bulleted = item::is_bulleted(line);
        if self.nested {
            return indent(line) > self.indent || indent(line) == self.indent && !self.full;
        }
        if line.trim_start().starts_with('#') && !bulleted {
            return false;
        }
        match number(line) {
            Some(number) if number <= self.number => self.restarted = true,
            // "1. a / Evidence: x / 2. b"
            Some(number) if number == self.number + 1 && self.number > 0 && !self.restarted => return false,
            _ => (),
        }
        // "Absent: a", an empty line, and a list
        !(self.open && self.blank && !bulleted)
    }
}

pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The number that a line of a list begins with: "2.", "(2)", "**2)".
pub(super) fn number(line: &str) -> Option<usize> {
    let line = line.trim_start_matches(['#', '*', ' ', '(', '[']);
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let marked = line[digits..].starts_with(['.', ')', ':', ']']);
    line[..digits].parse().ok().filter(|_| marked && digits <= 3)
}

/// Where a prompt, or another case, is written again.
pub(super) fn echoes(line: &str) -> bool {
    let line = line.trim_start_matches(['*', '#', ' ', '_', '[']).to_lowercase();
    let starts = [
        "finding:",
        "report:",
        "text:",
        "input:",
        "question:",
        "q:",
        "user:",
        "human:",
        "abstract:",
        "case:",
        "instruction:",
        "example:",
        "radiology report:",
        "findings:",
        "next case",
        "next finding",
        "next report",
        "next patient",
        "next question",
        "new case",
    ];
    let again = ["q", "question", "case", "example", "report", "patient", "input"].iter().any(|name| {
        let rest = line.strip_prefix(name).map(|rest| rest.trim_start_matches([' ', '#']));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(':'))
    });
    again || starts.iter().any(|start| line.starts_with(start))
}

/// Whether every line has the same name before its colon: "Finding: a / Finding: b" are entries, and no echo.
pub(super) fn entries(lines: &[&str]) -> bool {
    let name = |line: &&str| line.split_once(':').map(|(name, _)| name.trim().to_lowercase());
    let mut names = lines.iter().filter(|line| !line.trim().is_empty()).map(name);
    let Some(Some(first)) = names.next() else { return false };
    let mut more = 0;
    names.inspect(|_| more += 1).all(|name| name.as_ref() == Some(&first)) && more > 0 && first.starts_with("finding")
}

/// A line in lines, where a section begins behind the end of a sentence: "a, b. Pertinent negatives: c", "So the answer is: a".
pub(super) fn apart(line: &str) -> String {
    let mut line = line.to_string();
    let colons: Vec<usize> = line.match_indices(':').map(|(at, _)| at).take(64).collect(); // no line has more sections
    for colon in colons.into_iter().rev() {
        let marks = [". ", "; ", ", ", "! ", "? ", " | "];
        let before = marks.iter().filter_map(|mark| Some((line[..colon].rfind(mark)?, *mark)));
        let Some((at, mark)) = before.max() else { continue };
        let name = &line[at + mark.len()..colon];
        let begins = match kind(name) {
            Some(Kind::There | Kind::Gone) => !["no", "yes"].contains(&name.to_lowercase().as_str()), // of a dialogue
            Some(Kind::Other) => mark != ", ",
            Some(Kind::Property) => false,
            None => mark != ", " && mark != "; " && heading::heading(&line[at + mark.len()..=colon]).is_some(),
        };
        if begins {
            line.replace_range(at + 1..at + mark.len(), "\n");
        }
    }
    line
}
