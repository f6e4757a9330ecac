//! Clinical decisions marked in discharge summaries, as in MedDec (Elgaar et al., ACL Findings 2024): which runs of characters state a
//! decision, and of which of nine categories. Offsets count Unicode code points, as Python's do, from 0, the end exclusive.
//!
//! - `tags`: the nine categories as inline tags, and what a tagged text holds
//! - `read`: MedDec's files for users who have access, and the JSONL of the synthetic notes
//! - `check`: every problem of such files, for `dxlab data check`
//! - `lines`: that JSONL written, and notes read without their spans
//! - `mentions`, `plans`: real text whose marked spans stand in for decisions
//! - `statistics`: how many spans of which category, how long, how tangled
//! - `strata`: sex, race and language of a patient, by the rules of the official scorer
pub mod check;
pub mod lines;
mod mentions;
mod plans;
pub mod read;
mod statistics;
mod strata;
pub mod tags;

pub use read::{Decisions, Predicted};
pub use statistics::Statistics;
pub use strata::{Strata, stats};

use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Categories in the order of their numbers; "Legal/insurance" (10), "Other" (11) and "TBD" stand in gold files too and are out of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "u8")]
pub enum Category {
    ContactRelated = 1,
    GatherInfo,
    DefineProblem,
    TreatmentGoal,
    DrugDecision,
    TherapeuticProcedure,
    EvaluateResult,
    DeferDecision,
    AdviceAndPrecaution,
}

impl Category {
    pub const ALL: [Category; 9] = [
        Category::ContactRelated,
        Category::GatherInfo,
        Category::DefineProblem,
        Category::TreatmentGoal,
        Category::DrugDecision,
        Category::TherapeuticProcedure,
        Category::EvaluateResult,
        Category::DeferDecision,
        Category::AdviceAndPrecaution,
    ];

    /// 1 to 9, as in MedDec's files.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// `drug_decision`
    pub fn tag(self) -> &'static str {
        match self {
            Category::ContactRelated => "contact_related",
            Category::GatherInfo => "gather_info",
            Category::DefineProblem => "define_problem",
            Category::TreatmentGoal => "treatment_goal",
            Category::DrugDecision => "drug_decision",
            Category::TherapeuticProcedure => "therapeutic_procedure",
            Category::EvaluateResult => "evaluate_result",
            Category::DeferDecision => "defer_decision",
            Category::AdviceAndPrecaution => "advice_and_precaution",
        }
    }

    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.tag() == tag)
    }

    /// The number of a category as files write it: of a tag, or the one that `3` or `Category 3: …` begins with, which may be out of scope.
    fn number_in(text: &str) -> Option<u8> {
        let text = text.trim();
        let digits = text.trim_start_matches("Category").trim_start().split(|c: char| !c.is_ascii_digit()).next();
        Self::of_tag(text).map(Self::number).or_else(|| digits?.parse().ok())
    }

    /// As MedDec's gold files name it.
    pub fn title(self) -> &'static str {
        match self {
            Category::ContactRelated => "Contact related",
            Category::GatherInfo => "Gathering additional information",
            Category::DefineProblem => "Defining problem",
            Category::TreatmentGoal => "Treatment goal",
            Category::DrugDecision => "Drug related",
            Category::TherapeuticProcedure => "Therapeutic procedure related",
            Category::EvaluateResult => "Evaluating test result",
            Category::DeferDecision => "Deferment",
            Category::AdviceAndPrecaution => "Advice and precaution",
        }
    }
}

impl Decisions {
    /// What [`Decisions::named`] knows.
    pub const NAMES: [&str; 5] = ["decisions", "decisions-long", "decisions-bc5cdr", "decisions-ncbi", "decisions-aci"];

    /// A corpus by its name: the synthetic notes, long ones, or open text whose spans stand in for decisions (needs `DXLAB_DATA`); none for a name
    /// that is no corpus's.
    pub fn named(name: &str) -> Result<Option<Self>> {
        let at = |fetch: &str| crate::corpus::open_data(name, fetch);
        Ok(Some(match name {
            "decisions" => Self::embedded()?,
            "decisions-long" => Self::long()?,
            "decisions-bc5cdr" => Self::mentions(name, &at("bc5cdr")?)?,
            "decisions-ncbi" => Self::mentions(name, &at("ncbi-disease")?)?,
            "decisions-aci" => Self::plans(&at("aci-bench")?)?,
            _ => return Ok(None),
        }))
    }
}

impl From<Category> for u8 {
    fn from(category: Category) -> u8 {
        category.number()
    }
}

/// A category as files have it: its number, or words that begin with it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a category from 1 to 9, as `3`, `Category 3: …` or `define_problem`")]
enum Written {
    Number(u8),
    Words(String),
}

impl TryFrom<Written> for Category {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::Number(number) => return Self::try_from(number),
            Written::Words(text) => text,
        };
        let found = Self::number_in(&text).and_then(|number| Self::try_from(number).ok());
        found.ok_or_else(|| format!("category `{text}`: expected 1 to 9, as `3`, `Category 3: …` or `define_problem`"))
    }
}

impl TryFrom<u8> for Category {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|category| category.number() == number);
        found.ok_or_else(|| format!("category {number}: expected 1 to 9"))
    }
}

/// A marked run of characters `[start, end)`, in code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    #[serde(rename = "start_offset")]
    pub start: usize,
    #[serde(rename = "end_offset")]
    pub end: usize,
    pub category: Category,
}

impl Span {
    pub fn new(start: usize, end: usize, category: Category) -> Self {
        Self { start, end, category }
    }

    /// Code points in it.
    pub fn chars(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it lies in a text of so many code points and is not empty.
    pub fn fits(&self, chars: usize) -> bool {
        self.start < self.end && self.end <= chars
    }

    /// Common code points of both, whatever their categories.
    pub fn overlap(&self, other: &Span) -> usize {
        self.end.min(other.end).saturating_sub(self.start.max(other.start))
    }

    /// Intersection over union; 0 where they do not overlap.
    pub fn iou(&self, other: &Span) -> f64 {
        match self.overlap(other) {
            0 => 0.0,
            both => both as f64 / (self.end.max(other.end) - self.start.min(other.start)) as f64,
        }
    }

    /// Whether each begins or ends inside the other, and neither holds the other.
    pub fn crosses(&self, other: &Span) -> bool {
        let before = |a: &Span, b: &Span| a.start < b.start && b.start < a.end && a.end < b.end;
        before(self, other) || before(other, self)
    }

    /// Its text.
    pub fn text(&self, note: &[char]) -> String {
        note[self.start.min(note.len())..self.end.min(note.len())].iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_go_by_number_and_by_tag() {
        for (i, category) in Category::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(category.number()), i + 1);
            assert_eq!(Category::try_from(category.number()), Ok(category));
            assert_eq!(Category::of_tag(category.tag()), Some(category));
        }
        assert!(Category::try_from(10u8).is_err() && Category::of_tag("other").is_none());
        for written in ["5", "\"5\"", "\"Category 5: Drug related\"", "\"drug_decision\""] {
            assert_eq!(serde_json::from_str::<Category>(written).unwrap(), Category::DrugDecision, "{written}");
        }
        assert!(serde_json::from_str::<Category>("3.5").unwrap_err().to_string().contains("from 1 to 9"));
        for bad in ["10", "300", "-1", "null", "\"Category 10: Legal\"", "\"drugs\"", "\"\""] {
            assert!(serde_json::from_str::<Category>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_has_the_keys_of_meddec() {
        let span = Span::new(3, 9, Category::DrugDecision);
        let json = serde_json::to_string(&span).unwrap();
        assert_eq!(json, r#"{"start_offset":3,"end_offset":9,"category":5}"#);
        assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), span);
        let out_of_scope = serde_json::from_str::<Span>(r#"{"start_offset":3,"end_offset":9,"category":10}"#);
        assert!(out_of_scope.unwrap_err().to_string().contains("expected 1 to 9"));
    }

    #[test]
    fn overlap_and_crossing() {
        let span = |start, end| Span::new(start, end, Category::DefineProblem);
        assert_eq!(span(0, 10).iou(&span(2, 12)), 8.0 / 12.0);
        assert_eq!(span(0, 10).iou(&span(10, 12)), 0.0);
        assert!(span(0, 10).crosses(&span(5, 12)) && span(5, 12).crosses(&span(0, 10)));
        assert!(!span(0, 10).crosses(&span(5, 10)) && !span(0, 10).crosses(&span(10, 12)));
    }
}
