//! The form that answers can be constrained to while they are decoded.
use serde::{Deserialize, Serialize};

/// What answers are held to while they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Constrain {
    /// Labels of a closed list, joined by `, `, none twice.
    Labels,
    /// A JSON list of one or more names, whatever they are.
    Json,
    /// Runs of words of the case's own text, joined by `, `, none that holds another.
    Text,
    /// The case's own text with tags of clinical decisions put in.
    Tags,
    /// The same, and a tag may be opened again while it is open: the earlier one is given up, as in answers that are free.
    #[serde(rename = "tags-reopened")]
    TagsReopened,
    /// As `Tags`, and while a tag is open the same tag with a number may open, as gold answers write crossing spans of one category.
    #[serde(rename = "tags-numbered")]
    TagsNumbered,
}

impl std::fmt::Display for Constrain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Labels => "labels",
            Self::Json => "json",
            Self::Text => "text",
            Self::Tags => "tags",
            Self::TagsReopened => "tags-reopened",
            Self::TagsNumbered => "tags-numbered",
        })
    }
}
