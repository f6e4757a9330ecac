//! Organs, and what is said of one in which nothing is found.
use super::prose;

/// Organs and places that stand before a colon, or as a heading.
const ORGANS: [&str; 70] = [
    "adnexa",
    "bile",
    "biliary",
    "bone",
    "brain",
    "breast",
    "breasts",
    "cardiovascular",
    "cavity",
    "diaphragm",
    "duct",
    "ducts",
    "duodenum",
    "esophagus",
    "gallbladder",
    "gastrointestinal",
    "genitourinary",
    "head",
    "hepatobiliary",
    "intestine",
    "intestines",
    "lymph",
    "mediastinum",
    "mesentery",
    "musculoskeletal",
    "neck",
    "nodes",
    "oesophagus",
    "peritoneum",
    "pleural",
    "rectum",
    "retroperitoneum",
    "soft",
    "spine",
    "system",
    "thyroid",
    "tissue",
    "tissues",
    "tract",
    "ureter",
    "ureters",
    "urinary",
    "vascular",
    "liver",
    "kidney",
    "kidneys",
    "spleen",
    "pancreas",
    "bowel",
    "colon",
    "stomach",
    "lung",
    "lungs",
    "bladder",
    "uterus",
    "ovary",
    "ovaries",
    "prostate",
    "aorta",
    "vessels",
    "chest",
    "abdomen",
    "pelvis",
    "adrenals",
    "adrenal",
    "appendix",
    "pleura",
    "bones",
    "heart",
    "thorax",
];

/// Names of organs, and nothing else: "Left kidney", "Liver and bile ducts".
pub(super) fn is_organ(text: &str) -> bool {
    let words = prose::words(&text.replace('_', " "));
    let side = |word: &String| ["left", "right", "both", "the", "and", "glands"].contains(&word.as_str());
    words.iter().any(|word| !side(word)) && words.iter().all(|word| ORGANS.contains(&word.as_str()) || side(word))
}

const NORMAL: [&str; 27] = [
    "normal",
    "unremarkable",
    "clear",
    "intact",
    "healthy",
    "wnl",
    "none",
    "nothing",
    "abnormal",
    "found",
    "seen",
    "noted",
    "within",
    "limits",
    "in",
    "size",
    "shape",
    "and",
    "appearance",
    "appearing",
    "position",
    "contour",
    "echogenicity",
    "density",
    "attenuation",
    "enhancement",
    "bilaterally",
];

/// What is said of an organ in which nothing is found.
pub(super) fn is_normal(text: &str) -> bool {
    let words = prose::words(text);
    let Some(first) = words.first() else { return false };
    let names = ["abnormal", "finding", "disease", "patholog", "lesion", "change", "diagnos"];
    let none = first == "no" && words.iter().any(|word| names.iter().any(|name| word.starts_with(name)));
    // "normal in size", and not "normal pressure hydrocephalus"
    let normal = words.iter().all(|word| NORMAL.contains(&word.as_str()));
    words.len() <= 6 && (none || normal)
}

/// "Normal liver", "spleen unremarkable".
pub(super) fn is_normal_organ(text: &str) -> bool {
    let lower = text.to_lowercase();
    let organ = ["normal ", "unremarkable "].iter().find_map(|word| lower.strip_prefix(word)).or_else(|| {
        [" is normal", " are normal", " is unremarkable", " are unremarkable", " normal", " unremarkable"]
            .iter()
            .find_map(|word| lower.strip_suffix(word))
    });
    organ.is_some_and(is_organ)
}
