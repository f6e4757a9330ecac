//! Subgroups of patients by the rules of MedDec's scorer (`evaluate.py`, commit f4374cd of CLU-UML/MedDec).
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Which subgroups a note counts in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strata {
    /// `Female` or `Male`; none where the file says neither.
    pub sex: Option<String>,
    /// `White`, `African American`, `Hispanic`, `Asian` or `Other`.
    pub race: String,
    /// `English` or `Non-English`.
    pub language: String,
}

impl Strata {
    pub const SEXES: [&'static str; 2] = ["Female", "Male"];
    pub const RACES: [&'static str; 5] = ["White", "African American", "Hispanic", "Asian", "Other"];
    pub const LANGUAGES: [&'static str; 2] = ["English", "Non-English"];

    /// From MIMIC's words. Race: W or a text with WHITE; AA or one with BLACK or AFRICAN; one that begins with HISP; one with
    /// ASIAN; else Other: the first that holds.
    pub fn of(gender: &str, ethnicity: &str, language: &str) -> Self {
        let sex = match gender.trim().to_uppercase().chars().next() {
            Some('F') => Some("Female"),
            Some('M') => Some("Male"),
            _ => None,
        };
        let ethnicity = ethnicity.trim().to_uppercase();
        let has = |part: &str| ethnicity.contains(part);
        let race = if ethnicity == "W" || has("WHITE") {
            "White"
        } else if ethnicity == "AA" || has("BLACK") || has("AFRICAN") {
            "African American"
        } else if ethnicity.starts_with("HISP") {
            "Hispanic"
        } else if has("ASIAN") {
            "Asian"
        } else {
            "Other"
        };
        let english = language.trim().to_uppercase().starts_with("ENGL");
        let language = if english { "English" } else { "Non-English" };
        Self { sex: sex.map(str::to_string), race: race.into(), language: language.into() }
    }
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "SUBJECT_ID")]
    subject: String,
    #[serde(rename = "HADM_ID")]
    admission: String,
    #[serde(rename = "ROW_ID")]
    row: String,
    #[serde(rename = "GENDER")]
    gender: String,
    #[serde(rename = "ETHNICITY")]
    ethnicity: String,
    #[serde(rename = "LANGUAGE")]
    language: String,
}

/// Columns that a `stats.csv` must have.
const COLUMNS: [&str; 6] = ["SUBJECT_ID", "HADM_ID", "ROW_ID", "GENDER", "ETHNICITY", "LANGUAGE"];

/// `stats.csv`: columns SUBJECT_ID, HADM_ID, ROW_ID, GENDER, ETHNICITY, LANGUAGE and whatever else. The key is the note's name,
/// `SUBJECT_HADM_ROW`. An error names the column that is missing, or the row.
pub fn stats(path: &Path) -> Result<BTreeMap<String, Strata>> {
    let text = io::read_text(path)?;
    let place = path.display();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().map_err(|e| Error::input(format!("{place}: {e}")))?.clone();
    if head.is_empty() {
        return Err(Error::input(format!("{place}: the file is empty: expected the columns {}", COLUMNS.join(", "))));
    }
    if let Some(missing) = COLUMNS.iter().find(|column| !head.iter().any(|title| title == **column)) {
        let there = head.iter().collect::<Vec<_>>().join(", ");
        return Err(Error::input(format!("{place}: no column `{missing}`: the file has {there}")));
    }
    let mut all = BTreeMap::new();
    for (i, row) in reader.deserialize().enumerate() {
        let Row { subject, admission, row, gender, ethnicity, language } =
            row.map_err(|e: csv::Error| Error::input(format!("{place} row {}: {e}", i + 2)))?;
        let name = [subject, admission, row].map(|id| id.trim().trim_end_matches(".0").to_string()).join("_");
        if all.insert(name.clone(), Strata::of(&gender, &ethnicity, &language)).is_some() {
            return Err(Error::input(format!("{place} row {}: note `{name}` comes twice", i + 2)));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn races_go_by_the_first_rule_that_holds() {
        let race = |ethnicity: &str| Strata::of("F", ethnicity, "ENGL").race;
        let cases = [
            ("WHITE - RUSSIAN", "White"),
            ("W", "White"),
            ("BLACK/CAPE VERDEAN", "African American"),
            ("AA", "African American"),
            ("HISPANIC/LATINO - PUERTO RICAN", "Hispanic"),
            ("Hisp.", "Hispanic"),
            ("ASIAN - CHINESE", "Asian"),
            ("UNKNOWN/NOT SPECIFIED", "Other"),
            ("", "Other"),
        ];
        cases.iter().for_each(|(ethnicity, want)| assert_eq!(race(ethnicity), *want, "{ethnicity}"));
        let other = Strata::of("m", "", "");
        assert_eq!((other.sex.as_deref(), other.language.as_str()), (Some("Male"), "Non-English"));
    }

    #[test]
    fn a_bad_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.csv");
        let head = "SUBJECT_ID,HADM_ID,ROW_ID,GENDER,ETHNICITY,LANGUAGE";
        std::fs::write(&path, format!("{head}\n1,100,10,F,WHITE,ENGL\n2,200,20,M,HISPANIC OR LATINO,SPAN\n")).unwrap();
        let read = stats(&path).unwrap();
        assert_eq!(read["2_200_20"], Strata::of("M", "HISPANIC", "SPAN"));
        std::fs::write(&path, format!("{head}\n1,100,10,F,WHITE,ENGL\n1,100,10,F,WHITE,ENGL\n")).unwrap();
        let error = stats(&path).unwrap_err();
        assert!(error.to_string().contains("row 3: note `1_100_10` comes twice") && error.exit_code() == 2);
        std::fs::write(&path, "SUBJECT_ID,HADM_ID,ROW_ID,GENDER,ETHNICITY\n1,2,3,F,WHITE\n").unwrap();
        let error = stats(&path).unwrap_err().to_string();
        assert!(
            error.contains("no column `LANGUAGE`: the file has SUBJECT_ID"),
            "else everybody would speak no English: {error}"
        );
        std::fs::write(&path, "").unwrap();
        assert!(stats(&path).unwrap_err().to_string().contains("the file is empty"));
        std::fs::write(&path, format!("{head}\n1,100,10,F\n")).unwrap();
        assert!(stats(&path).unwrap_err().to_string().contains("row 2"));
    }
}
