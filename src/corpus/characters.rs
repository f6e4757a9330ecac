//! Characters that do not show. One list serves whatever compares what people wrote: labels of a file, ids, names of columns, answers of
//! models.
//!
//! The list is Unicode's `Default_Ignorable_Code_Point` (Unicode 16, DerivedCoreProperties.txt), the interlinear annotation marks, and as
//! [`blank`] what is drawn as an empty place: the Hangul fillers and the empty Braille pattern.

/// Nothing is drawn for it, and no place is left.
pub fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' // soft hyphen
        | '\u{34f}' // combining grapheme joiner
        | '\u{61c}' // Arabic letter mark
        | '\u{17b4}' | '\u{17b5}' // inherent vowels of Khmer
        | '\u{180b}'..='\u{180f}' // variation selectors of Mongolian, its vowel separator
        | '\u{200b}'..='\u{200f}' // zero-width space and joiners, marks of direction
        | '\u{202a}'..='\u{202e}' // embedding and override of direction
        | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates of direction
        | '\u{fe00}'..='\u{fe0f}' // variation selectors
        | '\u{feff}' // byte-order mark
        | '\u{fff0}'..='\u{fffb}' // unassigned, and marks of interlinear annotation
        | '\u{1bca0}'..='\u{1bca3}' // controls of shorthand
        | '\u{1d173}'..='\u{1d17a}' // controls of music
        | '\u{e0000}'..='\u{e0fff}') // tags, further variation selectors
}

/// Drawn as an empty place, though Unicode does not count it as white space.
pub fn blank(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}')
}

/// Joins or parts letters in scripts such as Devanagari and Arabic, where a word is spelled with it.
pub fn joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// The first 60 characters.
pub fn short(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    let start = start.replace(['\n', '\r'], "⏎");
    if text.chars().count() > 60 { format!("{start}…") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_listed_and_what_shows_is_not() {
        for c in "\u{ad}\u{34f}\u{61c}\u{180e}\u{200b}\u{200d}\u{200e}\u{202a}\u{202e}\u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2066}\u{2069}\
                  \u{fe0e}\u{fe0f}\u{feff}\u{e0001}\u{e0100}"
            .chars()
        {
            assert!(invisible(c) && !blank(c), "U+{:04X}", u32::from(c));
        }
        for c in "\u{115f}\u{1160}\u{3164}\u{ffa0}\u{2800}".chars() {
            assert!(blank(c) && !invisible(c), "U+{:04X}", u32::from(c));
        }
        for c in "aé µ-–、腎क\u{301}\u{2801}한".chars() {
            assert!(!invisible(c) && !blank(c), "{c}");
        }
    }
}
