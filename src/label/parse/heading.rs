//! Headings that labels follow, in several languages.
use super::{aside, prose};

/// Words of a heading.
const WORDS: [&str; 62] = [
    "the",
    "final",
    "most",
    "likely",
    "predicted",
    "possible",
    "a",
    "list",
    "of",
    "is",
    "are",
    "as",
    "follows",
    "following",
    "my",
    "patient",
    "identified",
    "all",
    "this",
    "for",
    "finding",
    "findings",
    "acute",
    "name",
    "here",
    "in",
    "report",
    "your",
    "based",
    "on",
    "separated",
    "commas",
    "by",
    "s",
    "medical",
    "clinical",
    "and",
    "probable",
    "suggested",
    "extracted",
    "would",
    "be",
    "detected",
    "patient's",
    "one",
    "two",
    "three",
    "four",
    "corrected",
    "revised",
    "updated",
    "initial",
    "first",
    "new",
    "so",
    "thus",
    "therefore",
    "hence",
    "finally",
    "include",
    "includes",
    "overall",
];
/// One of these makes it a heading.
const KEYS: [&str; 17] = [
    "answer",
    "answers",
    "diagnosis",
    "diagnoses",
    "disease",
    "diseases",
    "label",
    "labels",
    "impression",
    "conclusion",
    "output",
    "output_disease",
    "assessment",
    "conditions",
    "condition",
    "prediction",
    "dx",
];
/// The same in German, French, Spanish, Portuguese, Italian, Dutch, Russian, Chinese, Japanese and Korean.
pub(super) const FOREIGN: [&str; 45] = [
    "diagnose",
    "diagnosen",
    "hauptdiagnose",
    "nebendiagnosen",
    "antwort",
    "befund",
    "befunde",
    "beurteilung",
    "diagnostic",
    "diagnostics",
    "réponse",
    "résultat",
    "diagnóstico",
    "diagnósticos",
    "diagnostico",
    "diagnosticos",
    "respuesta",
    "resposta",
    "conclusión",
    "conclusão",
    "impresión",
    "diagnosi",
    "risposta",
    "conclusione",
    "antwoord",
    "диагноз",
    "диагнозы",
    "ответ",
    "诊断",
    "诊断结果",
    "最终诊断",
    "初步诊断",
    "疾病",
    "答案",
    "诊断为",
    "診断",
    "診断名",
    "診断結果",
    "最終診断",
    "回答",
    "答え",
    "診斷",
    "진단",
    "진단명",
    "답변",
];
/// Headings of this kind stand together.
const PARTS: [&str; 8] = ["primary", "secondary", "main", "additional", "other", "incidental", "principal", "further"];
/// So do these where nothing stands before the colon but them and what they count.
const PLACES: [&str; 5] = ["associated", "first", "second", "third", "fourth"];
const COUNTED: [&str; 5] = ["finding", "findings", "condition", "conditions", "diagnosis"];
/// Headings of what is no answer.
const OTHERS: [&str; 10] =
    ["differential", "reasoning", "code", "codes", "excluded", "ruled", "confidence", "explanation", "step", "no"];

/// A heading and what follows it on its line.
pub(super) struct Heading<'a> {
    pub(super) after: &'a str,
    /// "Primary diagnosis", "Diagnosis 2": one of several that stand together.
    pub(super) part: bool,
}

/// Whether a name tells which of several labels follow, and no more: "Primary", "Incidental findings", "Second".
pub(super) fn is_part(name: &str) -> bool {
    let words = prose::words(name);
    let is = |list: &[&str], word: &String| list.contains(&word.as_str());
    words.iter().any(|word| is(&PARTS, word) || is(&PLACES, word))
        && words.iter().all(|word| is(&PARTS, word) || is(&PLACES, word) || is(&COUNTED, word))
}

/// "Diagnoses:", "The most likely labels are:", "**Answer:**", "## Final diagnosis", "Based on …, the following labels apply:".
pub(super) fn heading(line: &str) -> Option<Heading<'_>> {
    let line = line.trim();
    let (before, after) = line.split_once(':').unwrap_or((line, ""));
    if aside::kind(before).is_some() {
        return None;
    }
    let words = prose::words(&before.replace(['*', '#', '"', '(', ')', '/', '_'], " "));
    let is = |list: &[&str], word: &String| list.contains(&word.as_str());
    let numbered = |word: &String| word.chars().all(|c| c.is_ascii_digit());
    let alone = words.len() == 1 && line.contains(':');
    let key = |word: &String| {
        is(&KEYS, word)
            || is(&FOREIGN, word) && line.contains(':')
            || alone && ["final", "summary"].contains(&word.as_str())
    };
    if !words.iter().any(key) || words.iter().any(|word| is(&OTHERS, word)) {
        return None;
    }
    let plain = words.iter().all(|word| key(word) || is(&WORDS, word) || is(&PARTS, word) || numbered(word));
    let announces = line.contains(':')
        && ["following", "based", "here", "apply", "these"].iter().any(|w| words.iter().any(|o| o == w));
    let is_heading = plain && words.len() <= 8 || announces && words.len() <= 24;
    let part = words.iter().any(|word| is(&PARTS, word) || numbered(word));
    is_heading.then(|| Heading { after: after.trim_start_matches(['*', '_', ' ']), part })
}
