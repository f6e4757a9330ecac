//! One item of a list: the label without its bullet, citation, code, state, explanation, or nothing where it is denied.
use super::nothing::{is_denied, is_none, is_syntax, is_unsaid};
use super::organ::{is_normal, is_normal_organ, is_organ};
use super::state::{GONE, gone, state};
use super::{Known, aside, lead, prose};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Label(String),
    /// "none", or something denied.
    Nothing,
    /// Not a label.
    Syntax,
}

/// Single spaces, no quotes or marks of emphasis at the ends.
pub(super) fn tidy(piece: &str) -> String {
    let piece = piece.replace("**", "").replace("__", "").replace('`', "");
    let piece = piece.split_whitespace().collect::<Vec<_>>().join(" ");
    let mark = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '.' | '"'
                    | '\''
                    | '*'
                    | '“'
                    | '”'
                    | '„'
                    | '‘'
                    | '’'
                    | '«'
                    | '»'
                    | '‹'
                    | '›'
                    | '「'
                    | '」'
                    | '『'
                    | '』'
                    | '$'
                    | ','
                    | ';'
                    | '_'
            )
    };
    let piece = piece.trim_matches(mark);
    // the end of a bracket that opened elsewhere
    let piece = if piece.contains('[') { piece } else { piece.trim_end_matches(']').trim_end() };
    match piece.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if !inner.contains(['[', ']']) && inner.chars().nth(1).is_some() => inner.trim_matches(mark).into(),
        _ => piece.into(),
    }
}

pub(super) fn is_known(piece: &str, known: Known) -> bool {
    let piece = tidy(piece);
    !piece.is_empty() && (known(&piece) || known(bare(&piece)))
}

/// Without an article.
fn bare(piece: &str) -> &str {
    ["a ", "an ", "the ", "A ", "An ", "The "].iter().find_map(|word| piece.strip_prefix(word)).unwrap_or(piece)
}

/// What "and", "with", "&", "/" and commas join, where every part is known and the whole is not; of "a and b without c" the first two.
pub(super) fn parts(piece: &str, known: Known) -> Vec<String> {
    let whole = vec![piece.to_string()];
    if is_known(piece, known) {
        return whole;
    }
    let bare = glued(piece);
    let present = without(bare).and_then(|head| joined(head, known, 8));
    joined(bare, known, 8).or(present).unwrap_or_else(|| if bare == piece.trim() { whole } else { vec![bare.into()] })
}

/// Without a word that joins it to the item before: "along with b".
fn glued(piece: &str) -> &str {
    let piece = piece.trim();
    let words = ["along with ", "together with ", "as well as ", "and also ", "plus ", "in addition to "];
    words.iter().find_map(|word| piece.strip_prefix(word)).unwrap_or(piece)
}

/// What stands before "without c".
fn without(piece: &str) -> Option<&str> {
    [" without ", " with no "].iter().find_map(|word| piece.split_once(word)).map(|(head, _)| head)
}

/// Bytes of a text that [`joined`] takes apart: nine long labels.
const MAX_JOINED: usize = 1500;

/// The known labels that a text is made of, and of nothing else.
pub(super) fn joined(piece: &str, known: Known, depth: usize) -> Option<Vec<String>> {
    if is_known(piece, known) {
        return Some(vec![piece.to_string()]);
    }
    if piece.len() > MAX_JOINED {
        return None;
    }
    let piece =
        ["both ", "Both ", "either ", "Either "].iter().find_map(|both| piece.strip_prefix(both)).unwrap_or(piece);
    let glue = [
        ", and ",
        " and/or ",
        " and ",
        " & ",
        " / ",
        "/",
        " + ",
        " plus ",
        ", as well as ",
        " as well as ",
        ", along with ",
        " along with ",
        ", together with ",
        " together with ",
        " in addition to ",
        " accompanied by ",
        " with ",
        ", ",
        "; ",
        ". ",
        " - ",
        " or ",
        " vs ",
        " vs. ",
        " versus ",
        " | ",
        ".",
    ];
    let at = |glue: &&str| piece.match_indices(*glue).map(|(at, found)| (at, at + found.len())).collect::<Vec<_>>();
    let places = glue.iter().filter(|_| depth > 0).flat_map(at);
    places.into_iter().find_map(|(from, to)| {
        let (head, rest) = (&piece[..from], &piece[to..]);
        let rest = is_known(head, known).then(|| joined(rest, known, depth - 1))??;
        Some([head.to_string()].into_iter().chain(rest).collect())
    })
}

/// What an item says.
pub(super) fn read(piece: &str, known: Known) -> Item {
    let plain = tidy(piece);
    if known(&plain) {
        return Item::Label(plain);
    }
    if is_crossed(&plain) || plain.ends_with(['✗', '✘', '❌', '☐']) {
        return Item::Nothing;
    }
    let plain = plain.trim_end_matches(['?', ' ']);
    let piece = tidy(unwrapped(&tidy(&uncoded(&uncited(unbulleted(plain))))));
    if known(&piece) {
        return Item::Label(piece);
    }
    if is_unsaid(&piece) {
        return Item::Syntax;
    }
    if is_none(&piece) || prose::denies_all(&piece) || is_normal_organ(&piece) {
        return Item::Nothing;
    }
    let (label, state) = stated(&piece, known);
    let label = tidy(bare(&tidy(&label)));
    match state {
        Some(false) => Item::Nothing,
        _ if is_known(&label, known) => Item::Label(label),
        _ if is_none(&label) || is_denied(&label) => Item::Nothing,
        _ if is_syntax(&label) || is_organ(&label) || prose::is_prose(&label) || !prose::is_label(&label) => {
            Item::Syntax
        }
        _ => Item::Label(label),
    }
}

/// Without brackets around the whole: "(renal cyst)", "{a; b}".
pub(super) fn unwrapped(piece: &str) -> &str {
    let inside = [('(', ')'), ('{', '}')].iter().find_map(|(open, close)| {
        let inside = piece.strip_prefix(*open)?.strip_suffix(*close)?;
        (!inside.contains(['(', ')', '{', '}', ':', '"'])).then_some(inside)
    });
    inside.filter(|inside| inside.starts_with(char::is_alphabetic) && inside.len() > 4).unwrap_or(piece)
}

/// Marks of what is not there.
pub(super) const CROSSED: [&str; 10] = ["[ ]", "( )", "☐", "✗", "✘", "❌", "~~", "(-)", "(−)", "(–)"];
/// Marks of what is.
pub(super) const TICKED: [&str; 8] = ["[x]", "[X]", "[✓]", "[✔]", "(x)", "(X)", "(+)", "[+]"];

/// Whether a mark before an item says that it is not there.
pub(super) fn is_crossed(piece: &str) -> bool {
    let starts = |text: &str| CROSSED.iter().any(|mark| text.starts_with(mark));
    let piece = piece.trim_start_matches(['-', '*', '•', ' ']);
    starts(piece) || starts(unbulleted(piece))
}

const BULLETS: [char; 25] = [
    '+', '-', '*', '•', '–', '·', '>', '#', ' ', '▪', '◦', '‣', '●', '○', '■', '□', '→', '✓', '✔', '☑', '✅', '➤', '►',
    '—', '\u{fe0f}',
];

/// Without "-", "•", "1.", "2)", "(3)", "a)", "[x]".
pub(super) fn unbulleted(line: &str) -> &str {
    unticked(bulletless(unticked(unhashed(line.trim()).trim_start_matches(BULLETS))))
}

/// Without "-", "•", "1.", "2)", "(3)", "a)", and with its check box.
pub(super) fn bulletless(line: &str) -> &str {
    let line = line.trim().trim_start_matches(['+', '-', '*', '•', '–', '·', '>', ' ']);
    if TICKED.iter().chain(&CROSSED).any(|mark| line.starts_with(mark)) {
        return line;
    }
    if let Some(rest) = roman(line).or(line.strip_prefix("o ")) {
        return rest; // a circle of Word is copied as the letter
    }
    let inner = line.strip_prefix('(').unwrap_or(line);
    let digits = inner.chars().take_while(char::is_ascii_digit).count();
    let letter = digits == 0 && inner.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = &inner[if letter { 1 } else { digits }..];
    let ends: &[char] = if letter { &[')'] } else { &['.', ')', ':', ']'] };
    // a number and a mark, then a space or, behind a point, a letter: "1.5 cm" is no list number
    let tight =
        |after: &str| (1..=2).contains(&digits) && !rest.starts_with(':') && after.starts_with(char::is_alphabetic);
    match rest.strip_prefix(ends) {
        Some(after)
            if (letter || (1..=3).contains(&digits))
                && (after.is_empty() || after.starts_with([' ', '*']) || tight(after)) =>
        {
            after.trim_start_matches([' ', '*'])
        }
        _ => line,
    }
}

/// Without "ii." or "(iv)", in small letters: "V. cholerae" is no fifth item.
fn roman(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('(').unwrap_or(line);
    let (number, rest) = inner.split_once([' ', '\t'])?;
    let number = number.strip_suffix(['.', ')'])?;
    ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"]
        .contains(&number)
        .then(|| rest.trim_start())
}

/// Without "#2" at the front.
fn unhashed(line: &str) -> &str {
    let after = line.strip_prefix('#').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    match after {
        Some(rest) if rest.len() + 1 < line.len() && rest.starts_with([' ', ':', '.']) => {
            rest.trim_start_matches([' ', ':', '.'])
        }
        _ => line,
    }
}

fn unticked(line: &str) -> &str {
    let line = TICKED.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim_start();
    line.trim_end_matches(['✓', '✔', '✅', '☑']).trim_end()
}

/// Whether a line begins with a bullet or a number.
pub(super) fn is_bulleted(line: &str) -> bool {
    let line = line.trim();
    let emphasis = line.starts_with("**") || line.starts_with('#');
    !emphasis && (unbulleted(line) != line || is_crossed(line))
}

/// Words in brackets that say where something stands or what number it has: "[line 3]", "[SNOMED CT 36171008]".
const CITED: [&str; 19] = [
    "line",
    "lines",
    "sentence",
    "sentences",
    "paragraph",
    "page",
    "see",
    "ref",
    "source",
    "snomed",
    "ct",
    "umls",
    "cui",
    "mesh",
    "omim",
    "orpha",
    "id",
    "code",
    "concept",
];

/// Whether brackets cite: numbers and marks, or numbers behind words of [`CITED`].
fn cites(text: &str) -> bool {
    let marks = |text: &str| text.chars().all(|c| c.is_ascii_digit() || " ,^-–".contains(c));
    let words = prose::words(text);
    let number = |word: &String| word.trim_start_matches(['c', 'd']).parse::<u64>().is_ok();
    let named = words.iter().any(number) && words.iter().all(|word| number(word) || CITED.contains(&word.as_str()));
    !text.is_empty() && (marks(text) || named)
}

/// Without citations: `[1]`, `[2, 3]`, `[^1]`, `[line 3]`.
fn uncited(piece: &str) -> String {
    let (mut out, mut rest) = (String::new(), piece);
    while let Some(start) = rest.find('[') {
        let inside = rest[start + 1..].find(']').map(|end| &rest[start + 1..start + 1 + end]);
        match inside.filter(|text| cites(text)) {
            Some(text) => {
                out.push_str(&rest[..start]);
                rest = &rest[start + text.len() + 2..];
            }
            None => {
                out.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
            }
        }
    }
    out += rest;
    let bare = out.trim_end_matches(['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹', '⁺', '⁻', '‡', '†']);
    let unit = ["mm", "cm", "m", "km"]
        .iter()
        .any(|unit| bare.strip_suffix(unit).is_some_and(|rest| !rest.ends_with(char::is_alphabetic)));
    if bare.is_empty() || unit { out } else { bare.to_string() }
}

/// Whether a word is an ICD-10 code: a letter, two digits or a digit and a letter, perhaps a period and more. Vertebrae (T10 to T12) are
/// no codes.
fn is_code(word: &str) -> bool {
    let chars: Vec<char> = word.chars().collect();
    let [letter, first, second, rest @ ..] = &chars[..] else { return false };
    let tail = match rest {
        [] => true,
        ['.', more @ ..] => (1..=4).contains(&more.len()) && more.iter().all(char::is_ascii_alphanumeric),
        _ => false,
    };
    let vertebra = rest.is_empty() && matches!((letter, first, second), ('T', '1', '0'..='2'));
    letter.is_ascii_uppercase() && first.is_ascii_digit() && second.is_ascii_digit() && tail && !vertebra
}

/// Whether a text is codes and words for codes only.
pub(super) fn is_codes(text: &str) -> bool {
    let word = |word: &str| is_code(word) || ["ICD", "10", "9", "CM", "ICD10", "code", "Code", "icd"].contains(&word);
    let mut words = text.split([' ', ',', ';', ':', '-', '/']).filter(|word| !word.is_empty()).peekable();
    words.clone().any(is_code) && words.peek().is_some() && words.all(word)
}

/// Whether a text is codes and a state that says "there": "N28.1, confirmed".
pub(super) fn is_coded(text: &str) -> bool {
    let (codes, rest): (Vec<&str>, Vec<&str>) = text.split([',', ';']).map(str::trim).partition(|part| is_codes(part));
    !codes.is_empty() && state(&rest.join(", ")) == Some(true)
}

/// Without codes: in brackets anywhere, behind a dash or colon, in front.
fn uncoded(piece: &str) -> String {
    let mut text = piece.to_string();
    for (open, close) in [('(', ')'), ('[', ']')] {
        let Some(start) = text.rfind(open) else { continue };
        let Some(end) = text[start..].find(close).map(|end| start + end) else { continue };
        if is_codes(&text[start + 1..end]) {
            text.replace_range(start..=end, " ");
        }
    }
    for glue in [" - ", " – ", " — ", ": ", "/", " "] {
        match (text.split_once(glue), text.rsplit_once(glue)) {
            (Some((code, rest)), _) if is_codes(code) && (glue != " " || code.contains('.')) => {
                return rest.to_string();
            }
            (_, Some((rest, code))) if is_codes(code) && glue != " " => return rest.to_string(),
            _ => (),
        }
    }
    text
}

/// Between a label and what explains it.
const GLUES: [&str; 6] = [" – ", " — ", " - ", ": ", " because ", " due to the "];

/// Head and tail of "label – explanation", at the first dash or colon outside brackets.
pub(super) fn explained(piece: &str) -> Option<(&str, &str)> {
    let outside = |at: &usize| piece[..*at].matches(['(', '[']).count() <= piece[..*at].matches([')', ']']).count();
    let first = |glue: &&str| piece.match_indices(*glue).map(|(at, _)| at).find(outside).map(|at| (at, glue.len()));
    let (at, length) = GLUES.iter().filter_map(first).min()?;
    Some((&piece[..at], &piece[at + length..]))
}

/// The label of an item, and whether its state says that it is there.
fn stated(piece: &str, known: Known) -> (String, Option<bool>) {
    if let Some((head, tail)) = explained(piece) {
        let tail = tidy(tail);
        let there = state(&tail).or(gone(head, &tail).then_some(false));
        return match there {
            Some(_) => (head.to_string(), there),
            None if is_organ(head) && is_normal(&tail) => (head.to_string(), Some(false)),
            None if is_known(head, known) => (head.to_string(), None),
            None if is_known(&tail, known) || is_organ(head) => (tail, None),
            None if prose::words(head).is_empty() => (tail, None),
            None => (head.to_string(), None),
        };
    }
    let bracketed = |open, close| piece.strip_suffix(close).and_then(|piece: &str| piece.rsplit_once(open));
    if let Some((head, inside)) = bracketed('(', ')').or_else(|| bracketed('[', ']')) {
        let there = state(inside).or(is_coded(inside).then_some(true));
        let property = inside.split_once(':').is_some_and(|(name, _)| aside::kind(name).is_some());
        if there.is_some() || property || is_known(head, known) {
            // "(possible)" is a word of doubt, which the normaliser knows
            let doubt = ["likely", "probable", "possible"].contains(&inside.trim().to_lowercase().as_str());
            return if doubt { (piece.to_string(), None) } else { (head.to_string(), there) };
        }
    }
    if let Some((inside, rest)) = piece.strip_prefix('(').and_then(|rest| rest.split_once(") "))
        && inside.trim_end_matches('%').parse::<f64>().is_ok()
        && inside.contains(['.', '%'])
    {
        return (rest.to_string(), state(inside));
    }
    if let Some((head, share)) = piece.strip_suffix('%').and_then(|piece| piece.rsplit_once(' '))
        && let Ok(share) = share.parse::<f64>()
        && is_known(head, known)
    {
        return (head.to_string(), Some(share >= 50.0));
    }
    if let Some(graded) = graded(piece, known) {
        return graded;
    }
    if let Some(head) = without(piece).filter(|head| is_known(head, known)) {
        return (head.to_string(), None);
    }
    if let Some((count, rest)) = piece.split_once(' ')
        && (count.bytes().all(|b| b.is_ascii_digit())
            || ["ANSWER", "Answer", "DIAGNOSIS", "Diagnosis"].contains(&count))
        && is_known(rest, known)
    {
        return (rest.to_string(), None); // a number of SNOMED, or of how many there are; "ANSWER renal cyst"
    }
    if let Some((label, is)) = lead::seen(piece).filter(|(label, _)| is_known(label, known)) {
        return (label.to_string(), Some(is));
    }
    let there = [" present", " seen", " detected", " identified", " noted", " found"];
    if let Some(head) = there.iter().find_map(|word| piece.strip_suffix(word)).filter(|head| is_known(head, known)) {
        return (head.to_string(), None);
    }
    if let Some(ending) = GONE.iter().find(|gone| gone.len() > 5 && piece.to_lowercase().ends_with(&format!(" {gone}")))
    {
        let head = piece.get(..piece.len() - ending.len()).unwrap_or(piece);
        return (head.trim_end_matches(" is ").to_string(), Some(false));
    }
    (piece.to_string(), None)
}

/// A label and a number without brackets: "renal cyst=1", "renal cyst ~ 95%", "95% renal cyst", "ascites 0". A number in front or behind a
/// space can belong to a name ("50% stenosis"): there the label is to be known.
fn graded(piece: &str, known: Known) -> Option<(String, Option<bool>)> {
    let share = |text: &str| text.trim_end_matches('%').trim().parse::<f64>().ok();
    if let Some((head, tail)) = piece.rsplit_once('=') {
        let counts = share(tail).is_none_or(|share| tail.contains('%') || (0.0..=1.0).contains(&share));
        return state(tail).filter(|_| counts && prose::is_label(head)).map(|is| (head.to_string(), Some(is)));
    }
    if let Some((head, tail)) = piece.rsplit_once(['~', '≈']) {
        return share(tail.trim()).and(state(tail)).map(|is| (head.to_string(), Some(is)));
    }
    let (first, rest) = piece.split_once(' ')?;
    if first.ends_with('%') && share(first).is_some() && is_known(rest, known) {
        return Some((rest.to_string(), state(first)));
    }
    let (head, last) = piece.rsplit_once(' ')?;
    (["0", "1"].contains(&last) && is_known(head, known)).then(|| (head.to_string(), state(last)))
}
