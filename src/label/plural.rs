//! Singular of an English medical noun: the irregular ones from a table, the rest by rules that leave a word alone when in
//! doubt (`-us`, `-is`, `-ss`, `-itis`). What it deliberately does not do: know grammar; "varices" stays.
use std::collections::BTreeMap;

/// Words that end in s and are singular, or are never used in the singular.
const KEPT: [&str; 10] =
    ["ascites", "varices", "pancreas", "diabetes", "herpes", "rabies", "scabies", "caries", "series", "adhesions"];

/// `label` with its last word and the head nouns before "of", "in", "with", … in the singular.
pub fn singular_label(label: &str, irregular: &BTreeMap<String, String>) -> String {
    let words: Vec<&str> = label.split(' ').collect();
    let head = |i: usize| {
        words.get(i + 1).is_none_or(|next| matches!(*next, "of" | "in" | "with" | "without" | "to" | "at" | "("))
    };
    let one = |(i, word): (usize, &&str)| if head(i) { singular(word, irregular) } else { word.to_string() };
    words.iter().enumerate().map(one).collect::<Vec<_>>().join(" ")
}

fn singular(word: &str, irregular: &BTreeMap<String, String>) -> String {
    if let Some(singular) = irregular.get(word) {
        return singular.clone();
    }
    let kept = KEPT.contains(&word) || word.len() < 4 || !word.is_ascii();
    let stem = |ending: &str| word.strip_suffix(ending);
    if kept || ["ss", "us", "is", "'s"].iter().any(|ending| word.ends_with(ending)) {
        return word.to_string();
    }
    for (plural, one) in [("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")] {
        if let Some(stem) = stem(plural) {
            return format!("{stem}{one}");
        }
    }
    match (stem("ies"), stem("s")) {
        (Some(stem), _) if stem.len() > 2 => format!("{stem}y"),
        (_, Some(stem)) => stem.to_string(),
        _ => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_become_singular_and_singulars_stay() {
        let irregular = BTreeMap::from([("metastases".to_string(), "metastasis".to_string())]);
        let pairs = [
            ("renal cysts", "renal cyst"),
            ("liver metastases", "liver metastasis"),
            ("masses in the liver", "mass in the liver"),
            ("stones of the bladder", "stone of the bladder"),
            ("liver hemangiomas", "liver hemangioma"),
            ("lymphadenopathies", "lymphadenopathy"),
            ("ascites", "ascites"),
            ("esophageal varices", "esophageal varices"),
            ("cholecystitis", "cholecystitis"),
            ("thrombus", "thrombus"),
            ("abscess", "abscess"),
            ("crohn's", "crohn's"),
            ("kidneys stone", "kidneys stone"),
        ];
        for (plural, one) in pairs {
            assert_eq!(singular_label(plural, &irregular), one);
        }
    }
}
