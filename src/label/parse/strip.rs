//! What surrounds an answer: marks without a shape, thoughts, special tokens, boxes, tags, code fences.
use crate::corpus::characters;

/// Words between which a model thinks.
const THOUGHTS: [&str; 7] = ["think", "thinking", "thought", "reasoning", "analysis", "scratchpad", "explanation"];
/// Words between which it answers.
const ANSWERS: [&str; 8] = ["answer", "final_answer", "diagnoses", "labels", "output", "result", "final", "response"];
/// Tokens that end a turn; at the front they are passed over.
const ENDS: [&str; 11] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|eot_id|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<end_of_turn>",
    "<start_of_turn>",
    "</s>",
    "<s>",
];
/// Tags of what is quoted or said beside a label.
const ASIDES: [&str; 9] =
    ["cite", "citation", "quote", "ref", "reference", "source", "evidence", "rationale", "justification"];
/// Tags of emphasis, which do not part what they stand in.
const INLINE: [&str; 9] = ["b", "i", "u", "em", "strong", "span", "code", "mark", "sup"];

/// The part of an answer that can hold labels.
pub(super) fn answer(raw: &str) -> String {
    let text = uncited(&signs(&channelled(&angled(&apostrophes(&unescaped(&shaped(raw)))))));
    let text = match text.rsplit_once("[/INST]") {
        Some((before, after)) if after.trim().is_empty() => before.to_string(),
        Some((_, after)) => after.to_string(),
        None => text,
    };
    let text = THOUGHTS.iter().fold(text, |text, tag| unthought(&text, tag));
    let text = first_turn(&text);
    let text = boxed(&text).unwrap_or(text);
    let text = uninterjected(&answered(&text));
    let text = ASIDES.iter().fold(text, |text, tag| unquoted(&text, tag, |_| true));
    let text = unquoted(&text, "sup", |inside| inside.bytes().all(|b| b.is_ascii_digit()));
    let struck = ["<del>", "</del>", "<strike>", "</strike>"].iter().fold(text, |text, tag| text.replace(tag, "~~"));
    indented(untagged(&struck).trim(), raw)
}

/// With the spaces that stood before its first line: a list that is indented as a whole has one margin.
fn indented(text: &str, raw: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let indent = |line: &str| {
        line.trim_end().strip_suffix(first.trim_end()).filter(|space| space.trim().is_empty()).map(str::len)
    };
    let indent = raw.lines().find_map(indent).filter(|_| text.contains('\n')).unwrap_or(0);
    " ".repeat(indent) + text
}

/// The same text without what has no shape and no meaning of its own: invisible characters are left out ([`characters`]); spaces of every
/// width are one space, the hyphens U+2010 and U+2011 are `-`, and commas, semicolons and colons of Chinese and Japanese are those of
/// ASCII. Nothing else is folded: letters, digits, ligatures, superscripts, dashes and the joiners of Indic and Arabic scripts stay as
/// written (the normaliser folds them before labels are compared).
pub(super) fn shaped(text: &str) -> String {
    let one = |c: char| match c {
        c if characters::invisible(c) && !characters::joiner(c) => None,
        c if characters::blank(c) => Some(' '),
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '\u{2010}' | '\u{2011}' => Some('-'),
        '，' | '、' | '،' | '︐' | '︑' | '‚' => Some(','),
        '；' | '؛' | '︔' => Some(';'),
        '\u{20e3}' => Some('.'), // a key with a number: 1️⃣
        '：' => Some(':'),
        '｜' => Some('|'),
        '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '🚫' | '⛔' | '👎' | '✖' => Some('❌'),
        c => Some(c),
    };
    pictureless(&text.chars().filter_map(one).collect::<String>())
}

/// Without pictures; where one parts two words, a new line stands for it.
fn pictureless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_picture) {
        out += &rest[..at];
        rest = rest[at..].trim_start_matches(|c| is_picture(c) || c == ' ');
        let parts = out.trim_end_matches(' ').ends_with(|c: char| c.is_alphanumeric() || c == ')');
        let joins = ["and ", "or ", "with ", "in ", "of "].iter().any(|word| rest.starts_with(word));
        match !joins && rest.starts_with(|c: char| c.is_alphanumeric() || c == '*') {
            true if parts => out.push('\n'),
            _ if joins => out = format!("{} ", out.trim_end()),
            _ if rest.starts_with('\n') || rest.is_empty() => out.truncate(out.trim_end_matches(' ').len()),
            _ => (),
        }
    }
    out + rest
}

/// Pictures that mean nothing beside a label; boxes, ticks and crosses are none of them.
fn is_picture(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f300}'..='\u{1faff}' | '\u{2600}'..='\u{260f}' | '\u{2613}'..='\u{26ff}')
        || matches!(c, '⭐' | '✨' | '❗' | '❓' | '❤' | '⬤')
}

/// `[ANSWER]…[/ANSWER]` as `<answer>…</answer>`, for every tag of an answer or a thought; one that is not closed where it stands in front.
fn angled(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let tags = || ANSWERS.iter().chain(&THOUGHTS);
    let closed: Vec<&str> = tags().copied().filter(|tag| lower.contains(&format!("[/{tag}]"))).collect();
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in lower.match_indices('[') {
        let inside = &lower[at + 1..];
        let slash = inside.starts_with('/');
        let is =
            |tag: &&&str| inside[usize::from(slash)..].strip_prefix(**tag).is_some_and(|rest| rest.starts_with(']'));
        let front = text[..at].trim().is_empty();
        if let Some(tag) = tags().find(is).filter(|tag| front || closed.contains(*tag)) {
            out += &text[from..at];
            out += &format!("<{}{tag}>", if slash { "/" } else { "" });
            from = at + tag.len() + 2 + usize::from(slash);
        }
    }
    out + &text[from..]
}

/// An apostrophe in place of a grave or acute accent between two letters: "Crohn`s".
fn apostrophes(text: &str) -> String {
    let chars: Vec<char> = text.replace("\\'s ", "'s ").chars().collect();
    let letter = |at: usize| chars.get(at).is_some_and(|c| c.is_alphabetic());
    let one = |(at, c): (usize, &char)| match c {
        '`' | '´' | 'ʼ' if at > 0 && letter(at - 1) && letter(at + 1) => '\'',
        c => *c,
    };
    chars.iter().enumerate().map(one).collect()
}

/// What models with channels answer in the channel `final` (`<|channel|>final<|message|>…`); nothing where they only think. Other marks of
/// thoughts become tags.
fn channelled(text: &str) -> String {
    let text = match text.contains("<|channel|>") {
        true => text.rsplit_once("<|channel|>final").map_or("", |(_, answer)| answer),
        false => text,
    };
    let text = text.strip_prefix("<|message|>").unwrap_or(text);
    // the same where a server has dropped the tokens between
    let text = text.rsplit_once("assistantfinal").map_or(text, |(_, answer)| answer);
    let marks = [
        ("[THINK]", "<think>"),
        ("[/THINK]", "</think>"),
        ("◁think▷", "<think>"),
        ("◁/think▷", "</think>"),
        ("<|begin_of_thought|>", "<think>"),
        ("<|end_of_thought|>", "</think>"),
        ("<|begin_of_solution|>", ""),
        ("<|end_of_solution|>", ""),
    ];
    marks.iter().fold(text.to_string(), |text, (mark, tag)| text.replace(mark, tag))
}

/// Numbers in circles as numbers with a point, and arrows and signs of equality within a line as colons: `cyst → yes`, `Labels => cyst`.
fn signs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let circled = match c {
            '①'..='⑳' => Some(c as u32 - '①' as u32 + 1),
            '❶'..='❿' => Some(c as u32 - '❶' as u32 + 1),
            '➀'..='➉' => Some(c as u32 - '➀' as u32 + 1),
            '➊'..='➓' => Some(c as u32 - '➊' as u32 + 1),
            _ => None,
        };
        match circled {
            Some(number) => {
                let apart = out.ends_with(|c: char| c.is_alphanumeric());
                out += &format!("{}{number}. ", if apart { " " } else { "" });
            }
            None => out.push(c),
        }
    }
    for (at, _) in out.clone().match_indices('[') {
        // a share in square brackets is one in round ones
        let inside = out[at + 1..].find(']').map(|end| out[at + 1..at + 1 + end].to_string());
        let share =
            |text: &str| text.strip_suffix('%').unwrap_or(text).parse::<f64>().is_ok() && text.contains(['.', '%']);
        if let Some(inside) = inside.filter(|text| share(text)) {
            out.replace_range(at..at + inside.len() + 2, &format!("({inside})"));
        }
    }
    let line = |line: &str| -> String {
        let start = line.len() - line.trim_start().len();
        let (indent, rest) = line.split_at(start);
        let word = |text: &str| text.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '*' | '"'));
        let arrows = ["==>", "=>", "->", "→", "⇒"];
        let rest = arrows.iter().find_map(|arrow| rest.strip_prefix(arrow)).map_or(rest, str::trim_start);
        let mut rest = rest.to_string();
        for sign in [" => ", " -> ", " → ", " ⇒ ", " = "] {
            if rest.find(sign).is_some_and(|at| word(&rest[..at])) {
                rest = rest.replace(sign, ": ");
            }
        }
        format!("{indent}{rest}")
    };
    out.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Without citations in the brackets of search engines: `【1†source】`.
fn uncited(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find('【') {
        let inside = rest[start..].find('】').map(|end| &rest[start + '【'.len_utf8()..start + end]);
        let cites = |text: &str| text.contains('†') || text.chars().all(|c| c.is_ascii_digit() || " ,:".contains(c));
        match inside.filter(|text| !text.is_empty() && cites(text)) {
            Some(text) => {
                out.push_str(&rest[..start]);
                rest = &rest[start + 2 * '【'.len_utf8() + text.len()..];
            }
            None => {
                out.push_str(&rest[..start + '【'.len_utf8()]);
                rest = &rest[start + '【'.len_utf8()..];
            }
        }
    }
    out + rest
}

/// Without "Sure!" before the answer.
fn uninterjected(text: &str) -> String {
    let words = ["sure", "certainly", "of course", "okay", "ok", "absolutely", "great", "yes", "no problem"];
    let text = text.trim_start();
    let after = |word: &&str| {
        let head = text.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
        text[head.len()..].strip_prefix('!')
    };
    words.iter().find_map(after).unwrap_or(text).trim_start().to_string()
}

/// Entities of HTML as characters, and `\n` of two characters as a line's end where there is no other.
fn unescaped(text: &str) -> String {
    let entities = [
        ("&bull;", "\n• "),
        ("&middot;", "·"),
        ("&nbsp;", " "),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    let text = entities.iter().fold(text.to_string(), |text, (entity, plain)| text.replace(entity, plain));
    let escaped = !text.contains('\n') && !text.contains(['{', '[']) && !text.contains("\\boxed");
    if escaped { text.replace("\\n", "\n") } else { text }
}

/// Length of a special token (`<|eot_id|>`) that a text begins with.
fn special(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("<|")?;
    let end = inside.find("|>").filter(|end| (1..=40).contains(end))?;
    let plain = inside[..end].bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    plain.then_some(end + 4)
}

/// Without `<tag>…</tag>`; an unclosed one takes the rest with it, a lone end everything before it.
fn unthought(text: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let find = |text: &str, tag: &str| text.to_ascii_lowercase().find(tag);
    let mut text = text.to_string();
    while let Some(start) = find(&text, &open) {
        match find(&text[start..], &close) {
            Some(end) => text.replace_range(start..start + end + close.len(), ""),
            None => text.truncate(start),
        }
    }
    match text.to_ascii_lowercase().rfind(&close) {
        Some(end) => text[end + close.len()..].to_string(),
        None => text,
    }
}

/// Without `<cite>…</cite>`, where both ends stand and what is between `counts`.
fn unquoted(text: &str, tag: &str, counts: impl Fn(&str) -> bool) -> String {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    if text.matches(&open).count() > 64 {
        return text.to_string(); // no answer quotes as often
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find(&open) {
        let inside = &rest[start + open.len()..];
        let begin = inside.find('>').filter(|at| *at < 80 && (*at == 0 || inside.starts_with(' ')));
        let between = begin.and_then(|begin| Some(&inside[begin + 1..begin + 1 + inside[begin + 1..].find(&close)?]));
        out += &rest[..start];
        rest = match (begin, between.filter(|text| counts(text))) {
            (Some(begin), Some(text)) => &inside[begin + 1 + text.len() + close.len()..],
            _ => {
                out += &open;
                inside
            }
        };
    }
    out + rest
}

/// Up to the first special token that ends a turn, without those that begin it.
fn first_turn(text: &str) -> String {
    let mut text = text.trim_start();
    let front = |text: &str| {
        let end = ENDS.iter().find(|token| text.starts_with(**token)).map(|token| token.len());
        end.or_else(|| special(text))
    };
    while let Some(length) = front(text) {
        text = text[length..].trim_start();
        for role in ["assistant", "model"] {
            let rest = text.strip_prefix(role).filter(|rest| rest.starts_with('\n') || special(rest).is_some());
            text = rest.unwrap_or(text).trim_start();
        }
    }
    let specials = text.match_indices("<|").map(|(at, _)| at).find(|at| special(&text[*at..]).is_some());
    let end = ENDS.iter().filter_map(|token| text.find(token)).chain(specials).min().unwrap_or(text.len());
    text[..end].to_string()
}

/// The text without what is struck out (`~~gallstone~~`, on one line), and whether something was.
pub(super) fn unstruck(text: &str) -> (String, bool) {
    let (mut out, mut rest, mut struck) = (String::new(), text, false);
    while let Some(start) = rest.find("~~") {
        let inside = &rest[start + 2..];
        let end = inside.find("~~").filter(|end| *end > 0 && !inside[..*end].contains('\n'));
        match end {
            // three are a fence
            Some(end) if !inside.starts_with('~') => {
                out.push_str(&rest[..start]);
                rest = &inside[end + 2..];
                struck = true;
            }
            _ => {
                let fence = inside.len() - inside.trim_start_matches('~').len();
                out.push_str(&rest[..start + 2 + fence]);
                rest = &inside[fence..];
            }
        }
    }
    (out + rest, struck)
}

/// Words that stand between boxes of one list.
const BETWEEN: [&str; 12] = [
    "and",
    "also",
    "plus",
    "diagnosis",
    "label",
    "disease",
    "condition",
    "finding",
    "primary",
    "secondary",
    "additional",
    "other",
];

/// The content of the last `\boxed{…}`, and of those before it with nothing but marks, numbers and words of a list between: `\boxed{a} and
/// \boxed{b}`, `Diagnosis 2: \boxed{b}`. What stands in a box before other words was thought better of.
fn boxed(text: &str) -> Option<String> {
    let (mut boxes, mut from): (Vec<String>, usize) = (Vec::new(), 0);
    while let Some(start) = text[from..].find("\\boxed{").map(|at| from + at) {
        if !listed(&text[from..start]) {
            boxes.clear();
        }
        let (content, end) = boxed_at(text, start + "\\boxed{".len());
        boxes.push(content);
        from = end;
    }
    (!boxes.is_empty()).then(|| boxes.join("\n"))
}

/// The content of a box that opens before `start`, without `\text{}`, and where it ends; an unclosed one reaches to the end.
fn boxed_at(text: &str, start: usize) -> (String, usize) {
    let mut depth = 1;
    let closes = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    };
    let inside = &text[start..];
    let length = inside.find(closes);
    let inside = length.map_or(inside, |length| &inside[..length]);
    let end = length.map_or(text.len(), |length| start + length + 1);
    let plain =
        ["\\textbf", "\\textit", "\\mathbf", "\\mathrm", "\\text"].iter().fold(inside.to_string(), |text, word| {
            let opened = text.replace(&format!("{word}{{"), "{");
            opened.replace(word, "")
        });
    (plain.replace(['{', '}', '$'], "").replace("\\\\", "\n").replace('\\', ""), end)
}

/// The content of the last tag that holds an answer, and of those before it with nothing but words of a list between; an unclosed one
/// reaches to the end.
fn answered(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let last = |tag: &'static str| Some((lower.rfind(&format!("<{tag}>"))?, tag));
    let Some((_, tag)) = ANSWERS.into_iter().filter_map(last).max() else { return text.to_string() };
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let (mut parts, mut from): (Vec<&str>, usize) = (Vec::new(), 0);
    while let Some(start) = lower[from..].find(&open).map(|at| from + at) {
        if !listed(&text[from..start]) {
            parts.clear();
        }
        let inside = start + open.len();
        let end = lower[inside..].find(&close).map(|end| inside + end);
        parts.push(&text[inside..end.unwrap_or(text.len())]);
        from = end.map_or(text.len(), |end| end + close.len());
    }
    parts.join("\n")
}

/// Whether a text is but numbers, marks and words that stand between parts of one list.
fn listed(text: &str) -> bool {
    let listed = |word: &String| BETWEEN.contains(&word.as_str()) || word.bytes().all(|b| b.is_ascii_digit());
    super::prose::words(text).iter().all(listed)
}

/// A line's end in place of every tag, and nothing in place of tags of emphasis. What an unclosed tag holds at the very end of tagged
/// siblings was cut in the middle and is left out.
fn untagged(text: &str) -> String {
    let (mut out, mut rest, mut open, mut closed) = (String::new(), text, None, Vec::new());
    while let Some(start) = rest.find('<') {
        let tail = &rest[start + 1..];
        let name = tail.strip_prefix('/').unwrap_or(tail);
        let length = name.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).count();
        let is_tag = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let Some(end) = tail.find('>').filter(|end| is_tag && *end < 80 && !tail[..*end].contains(['<', '\n'])) else {
            out.push_str(&rest[..start + 1]);
            rest = tail;
            continue;
        };
        out.push_str(&rest[..start]);
        let name = name[..length].to_ascii_lowercase();
        if !INLINE.contains(&name.as_str()) {
            out.push('\n');
            if tail.starts_with('/') {
                open = None;
                closed.push(name);
            } else {
                open = Some((name, out.len()));
            }
        }
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    match open {
        Some((name, start)) if closed.contains(&name) => out.truncate(start),
        _ => (),
    }
    out
}

/// The content of the first code fence, if there is one; an unclosed one reaches to the end.
pub(super) fn fenced(text: &str) -> Option<String> {
    let (start, mark) = ["```", "~~~"].iter().filter_map(|mark| Some((text.find(mark)?, *mark))).min()?;
    let inside = &text[start + 3..];
    let inside = inside.find(mark).map_or(inside, |end| &inside[..end]);
    let inside = match inside.split_once('\n') {
        Some((language, rest)) if language.trim().chars().all(char::is_alphanumeric) => rest,
        _ => inside,
    };
    Some(inside.trim().to_string())
}

/// Without the marks of code fences.
pub(super) fn unfenced(text: &str) -> String {
    let mark = |line: &&str| !(line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~"));
    text.lines().filter(mark).collect::<Vec<_>>().join("\n")
}
