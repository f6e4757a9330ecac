//! A line of an ontology, whichever table it comes from.

/// A concept as its table gives it, before its parents are looked up.
pub struct Row {
    pub id: String,
    pub name: String,
    pub synonyms: Vec<String>,
    pub parents: Vec<String>,
    pub organ: Option<String>,
}
