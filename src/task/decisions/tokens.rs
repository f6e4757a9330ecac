//! The two word tokenizers of NLTK that MedDec's scorer uses, as in NLTK 3.10: Penn Treebank's (`TreebankWordTokenizer`, for the ends of
//! spans) and NLTK's own (`NLTKWordTokenizer`, for token F1). Both rewrite a text rule by rule and split it at white space.
//!
//! ```text
//! [**2118-6-2**]   Treebank  │[│**2118-6-2**│]│     NLTK  │[│*│*│2118-6-2│*│*│]│
//! can't lie flat.  both      │ca│n't│lie│flat│.│
//! ```
use fancy_regex::Regex;
use std::sync::LazyLock;

/// A rule: what is rewritten, by what.
type Rule = (Regex, &'static str);

/// The rules in order. Python's `$` also holds before a line end that ends the text.
fn rules(rules: &[(&str, &'static str)]) -> Vec<Rule> {
    // the patterns are constants, and a test applies each of them
    rules.iter().filter_map(|(pattern, by)| Some((Regex::new(pattern).ok()?, *by))).collect()
}

const END: &str = r"(?=\n?\z)";

const BRACKETS: (&str, &str) = (r"[\]\[(){}<>]", " ${0} ");
const DASHES: (&str, &str) = ("--", " -- ");
const CLITICS: [(&str, &str); 2] =
    [(r"([^' ])('[sS]|'[mM]|'[dD]|') ", "${1} ${2} "), (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "${1} ${2} ")];
/// Robert MacIntyre's contractions; `ſ` is an `s` to Python where case does not count.
const CONTRACTIONS: [(&str, &str); 10] = [
    (r"\b([cC][aA][nN])([nN][oO][tT])\b", " ${1} ${2} "),
    (r"\b([dD])('[yY][eE])\b", " ${1} ${2} "),
    (r"\b([gG][iIİı][mM])([mM][eE])\b", " ${1} ${2} "),
    (r"\b([gG][oO][nN])([nN][aA])\b", " ${1} ${2} "),
    (r"\b([gG][oO][tT])([tT][aA])\b", " ${1} ${2} "),
    (r"\b([lL][eE][mM])([mM][eE])\b", " ${1} ${2} "),
    (r"\b([mM][oO][rR][eE])('[nN])\b", " ${1} ${2} "),
    (r"\b([wW][aA][nN])([nN][aA])(?=\s)", " ${1} ${2} "),
    (r" ('[tT])([iIİı][sSſ])\b", " ${1} ${2} "),
    (r" ('[tT])([wW][aA][sSſ])\b", " ${1} ${2} "),
];

/// A tokenizer's rules before and after the text is padded with a space on each side.
struct Rules {
    before: Vec<Rule>,
    after: Vec<Rule>,
}

impl Rules {
    fn tokens(&self, text: &str) -> Vec<String> {
        let apply = |text: String, rules: &[Rule]| {
            rules.iter().fold(text, |text, (pattern, by)| match pattern.is_match(&text) {
                Ok(true) => pattern.replace_all(&text, *by).into_owned(),
                _ => text,
            })
        };
        let text = apply(text.to_string(), &self.before);
        let text = apply(format!(" {text} "), &self.after);
        text.split(python_space).filter(|token| !token.is_empty()).map(str::to_string).collect()
    }
}

/// White space as Python's `str.split` has it: Unicode's and the four separators U+001C to U+001F.
pub fn python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

static TREEBANK: LazyLock<Rules> = LazyLock::new(|| {
    let colon_at_end = format!("([:,]){END}");
    let before = [
        ("\\A\"", "``"),
        ("(``)", " ${1} "),
        (r#"([ (\[{<])("|'{2})"#, "${1} `` "),
        (r"([:,])([^\d])", " ${1} ${2}"),
        (colon_at_end.as_str(), " ${1} "),
        (r"\.\.\.", " ... "),
        (r"[;@#$%&]", " ${0} "),
        (r#"([^.])(\.)([\])}>"']*)\s*\z"#, "${1} ${2}${3} "),
        (r"[?!]", " ${0} "),
        (r"([^'])' ", "${1} ' "),
        BRACKETS,
        DASHES,
    ];
    let after = [[("''", " '' "), ("\"", " '' ")].as_slice(), &CLITICS, &CONTRACTIONS].concat();
    Rules { before: rules(&before), after: rules(&after) }
});

static NLTK: LazyLock<Rules> = LazyLock::new(|| {
    let colon_at_end = format!("([:,]){END}");
    let before = [
        ("([«“‘„]|[`]+)", " ${1} "),
        ("\\A\"", "``"),
        ("(``)", " ${1} "),
        (r#"([ (\[{<])("|'{2})"#, "${1} `` "),
        (r"(?<!\w)(')(?!(?:[rR][eE]|[vV][eE]|[lL][lL]|[mM]|[tT]|[sSſ]|[dD]|[nN])\b)(?=\w)", "${1} "),
        (r#"([^.])(\.)([\])}>"'»”’ ]*)\s*\z"#, "${1} ${2} ${3} "),
        (r"([:,])([^\d])", " ${1} ${2}"),
        (colon_at_end.as_str(), " ${1} "),
        (r"\.{2,}", " ${0} "),
        (r"[;@#$%&]", " ${0} "),
        (r"[\u{2012}-\u{2015}]", " ${0} "),
        (r#"([^.])(\.)([\])}>"']*)\s*\z"#, "${1} ${2}${3} "),
        (r"[?!]", " ${0} "),
        (r"([^'])' ", "${1} ' "),
        (r"[*]", " ${0} "),
        BRACKETS,
        DASHES,
    ];
    let quotes = [("([»”’])", " ${1} "), ("''", " '' "), ("\"", " '' "), (r"\s+", " ")];
    let after = [quotes.as_slice(), &CLITICS, &CONTRACTIONS].concat();
    Rules { before: rules(&before), after: rules(&after) }
});

/// Tokens of the Penn Treebank; quotes are converted to `` `` `` and `''`.
pub fn treebank(text: &str) -> Vec<String> {
    TREEBANK.tokens(text)
}

/// Tokens of one sentence as NLTK's `word_tokenize` has them; quotes are converted as in [`treebank`].
pub fn nltk(sentence: &str) -> Vec<String> {
    NLTK.tokens(sentence)
}

/// Where the Treebank tokens of a text stand, in code points. Converted quotes are turned back; from a token on that cannot be found (NLTK
/// fails there) nothing follows.
pub fn treebank_spans(text: &[char]) -> Vec<(usize, usize)> {
    let whole: String = text.iter().collect();
    let mut tokens = treebank(&whole);
    if whole.contains('"') || whole.contains("''") {
        let mut quotes = quotes(text).into_iter();
        for token in tokens.iter_mut().filter(|token| matches!(token.as_str(), "\"" | "``" | "''")) {
            let Some(quote) = quotes.next() else { break };
            *token = quote;
        }
    }
    let mut spans = Vec::with_capacity(tokens.len());
    let mut from = 0;
    for token in tokens {
        let token: Vec<char> = token.chars().collect();
        let Some(start) = find(text, &token, from) else { break };
        from = start + token.len();
        spans.push((start, from));
    }
    spans
}

/// `` `` ``, `''` and `"` of a text, in order.
fn quotes(text: &[char]) -> Vec<String> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let pair = &text[at..text.len().min(at + 2)];
        let mark = if pair == ['`', '`'] || pair == ['\'', '\''] { pair } else { &text[at..at + 1] };
        if mark.len() == 2 || mark == ['"'] {
            found.push(mark.iter().collect());
        }
        at += mark.len();
    }
    found
}

/// The first place at or after `from` where `part` stands.
pub fn find(text: &[char], part: &[char], from: usize) -> Option<usize> {
    let first = *part.first()?;
    let last = text.len().checked_sub(part.len())?;
    (from..=last).find(|&at| text[at] == first && text[at..at + part.len()] == *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_a_pattern() {
        assert_eq!((TREEBANK.before.len(), TREEBANK.after.len()), (12, 14));
        assert_eq!((NLTK.before.len(), NLTK.after.len()), (17, 16));
    }

    #[test]
    fn tokens_of_the_header() {
        assert_eq!(treebank("[**2118-6-2**]"), ["[", "**2118-6-2**", "]"]);
        assert_eq!(nltk("[**2118-6-2**]"), ["[", "*", "*", "2118-6-2", "*", "*", "]"]);
        for tokens in [treebank("She can't lie flat."), nltk("She can't lie flat.")] {
            assert_eq!(tokens, ["She", "ca", "n't", "lie", "flat", "."]);
        }
        assert_eq!(nltk("'Tis said: \"K+ 3.1\"..."), ["'", "Tis", "said", ":", "``", "K+", "3.1", "''", "..."]);
    }

    #[test]
    fn places_count_characters_and_know_quotes() {
        let text: Vec<char> = "(\u{e9} \"worse\") dyspn\u{153}a.".chars().collect();
        let words: Vec<String> = treebank_spans(&text).iter().map(|&(s, e)| text[s..e].iter().collect()).collect();
        assert_eq!(words, ["(", "\u{e9}", "\"", "worse", "\"", ")", "dyspn\u{153}a", "."]);
    }
}
