//! Sex and age of a patient as phenopackets of version 1 and 2 have them. No ranker needs either, so an odd one is told and costs nobody the patient.
use serde::Deserialize;
use serde_json::Value;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subject {
    sex: Value,
    /// Version 2: an object with one of `age`, `ageRange`, `ontologyClass`, `gestationalAge`, …
    time_at_last_encounter: Value,
    /// Version 1.
    age_at_collection: Value,
    age_range_at_collection: Value,
}

impl Subject {
    /// Sex (`FEMALE`, `MALE` or empty), age in years, and what could not be read of them.
    pub fn read(&self) -> (&'static str, Option<f64>, Vec<String>) {
        let (age, mut unread) = age(self);
        let given = match &self.sex {
            Value::Null => String::new(),
            Value::String(text) => text.trim().to_uppercase(),
            other => other.to_string(),
        };
        let sex = match given.as_str() {
            "FEMALE" | "F" => "FEMALE",
            "MALE" | "M" => "MALE",
            "" | "UNKNOWN_SEX" | "OTHER_SEX" | "UNKNOWN" | "OTHER" => "",
            other => {
                unread.push(format!("the sex `{other}` is neither FEMALE nor MALE and is not used"));
                ""
            }
        };
        (sex, age, unread)
    }
}

/// Age in years, the middle of a range, and a note where it is given and cannot be read.
fn age(subject: &Subject) -> (Option<f64>, Vec<String>) {
    let time = &subject.time_at_last_encounter;
    let there = |value: &Value| (!value.is_null()).then(|| value.clone());
    let of = |key: &str| time.get(key).and_then(there);
    let single = of("age").or_else(|| there(&subject.age_at_collection)).or_else(|| time.as_str().map(Value::from));
    let range = of("ageRange").or_else(|| there(&subject.age_range_at_collection));
    let mut unread = vec![];
    let mut read = |age: &Value| {
        let text =
            [age.get("iso8601duration"), age.get("age"), Some(age)].into_iter().flatten().find_map(Value::as_str);
        let found = text.and_then(years);
        if found.is_none() {
            let text = text.map_or(age.to_string(), String::from);
            unread.push(format!("the age `{text}` is no duration such as P5Y8M and is not used"));
        }
        found
    };
    let age = match (single, range) {
        (Some(one), _) => read(&one),
        (None, Some(range)) => match ["start", "end"].map(|key| range.get(key).filter(|end| !end.is_null())).into() {
            (Some(start), Some(end)) => match read(start).zip(read(end)) {
                Some((start, end)) if start > end => {
                    unread.push(format!("the ages from {start:.1} to {end:.1} years run backwards and are not used"));
                    None
                }
                ends => ends.map(|(start, end)| (start + end) / 2.0),
            },
            (Some(only), None) | (None, Some(only)) => read(only),
            (None, None) => None,
        },
        (None, None) => {
            let other = time.as_object().and_then(|fields| fields.keys().next());
            unread.extend(other.map(|key| format!("the age is given as `{key}`, which is not used")));
            None
        }
    };
    (age, unread)
}

/// Years: more is no age.
const OLDEST: f64 = 130.0;

/// An ISO 8601 duration such as `P5Y8M` in years.
fn years(duration: &str) -> Option<f64> {
    let (mut total, mut digits) = (0.0, String::new());
    let upper = duration.trim().to_uppercase();
    let parts = upper.strip_prefix('P').filter(|rest| !rest.is_empty())?;
    for c in parts.chars() {
        if c.is_ascii_digit() || c == '.' {
            digits.push(c);
            continue;
        }
        let of_a_year = match c {
            'Y' => 1.0,
            'M' => 1.0 / 12.0,
            'W' => 7.0 / 365.25,
            'D' => 1.0 / 365.25,
            'T' => break, // hours
            _ => return None,
        };
        total += std::mem::take(&mut digits).parse::<f64>().ok()? * of_a_year;
    }
    (digits.is_empty() && total <= OLDEST).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_age_is_read_or_told() {
        for (subject, want, said) in [
            (r#"{"sex":"MALE","ageAtCollection":"P10Y"}"#, Some(10.0), ""),
            (r#"{"ageAtCollection":{"age":"P10Y"}}"#, Some(10.0), ""),
            (r#"{"ageRangeAtCollection":{"start":{"age":"P4Y"},"end":{"age":"P6Y"}}}"#, Some(5.0), ""),
            (r#"{"ageRangeAtCollection":{"start":null,"end":{"age":"P6Y"}}}"#, Some(6.0), ""),
            (r#"{"ageAtCollection":5}"#, None, "the age `5` is no duration"),
            (r#"{"timeAtLastEncounter":{"ontologyClass":{"id":"HP:0003577"}}}"#, None, "given as `ontologyClass`"),
            (r#"{"timeAtLastEncounter":{"gestationalAge":{"weeks":20}}}"#, None, "given as `gestationalAge`"),
            (
                r#"{"timeAtLastEncounter":{"ageRange":{"start":{"iso8601duration":"P9Y"},"end":{"iso8601duration":"P6Y"}}}}"#,
                None,
                "run backwards",
            ),
            (r#"{"sex":1}"#, None, "the sex `1` is neither"),
        ] {
            let (_, age, unread) = serde_json::from_str::<Subject>(subject).unwrap().read();
            assert_eq!(age, want, "{subject}");
            assert!(unread.is_empty() == said.is_empty() && unread.join("").contains(said), "{subject}: {unread:?}");
        }
    }

    #[test]
    fn ages_are_years() {
        assert_eq!(years("P1Y6M"), Some(1.5));
        assert_eq!(years("P3Y"), Some(3.0));
        assert_eq!(years("P0D"), Some(0.0));
        assert_eq!(years(" p5y "), Some(5.0));
        for bad in ["3 years", "P", "P5", "5Y", "PY", "P5000Y"] {
            assert_eq!(years(bad), None, "{bad}");
        }
        assert!((years("P2W1DT3H").unwrap() - 15.0 / 365.25).abs() < 1e-9);
    }
}
