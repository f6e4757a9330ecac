//! The bytes behind every token, and texts that end an answer wherever they begin and end in its tokens.
//!
//! ```text
//! stop string ". No"     tokens  │Ren│al cyst│. │No│rmal│          drawn up to `No`; the rest is never drawn
//!                        text    │Renal cyst│                      before the stop string, byte for byte
//!                        kept    │Ren│al cyst│                     the tokens that begin before it
//! ```
//!
//! Where a stop string begins inside a token, that token is kept whole: the text is then a beginning of what the tokens
//! spell.
use crate::error::{Error, Result};
use crate::model::{Tokenizer, letter};
use crate::prompt::Tokens;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The bytes of every token of a byte-level BPE.
pub struct Pieces {
    /// By id.
    bytes: Vec<Vec<u8>>,
    /// By id: control tokens and marks such as `<think>`, which no text spells.
    added: Vec<bool>,
}

impl Pieces {
    /// From the 256 bytes and the merges; what is in neither is an added token, or one that no text becomes.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let size = tokenizer.vocab_size();
        let (mut bytes, mut added) = (vec![Vec::new(); size], vec![true; size]);
        let letters: BTreeMap<char, u8> = (0..=255).map(|byte| (letter(byte), byte)).collect();
        let merged = tokenizer.merges()?.into_iter().map(|pair| pair.replace(' ', ""));
        for name in letters.keys().map(char::to_string).chain(merged) {
            let Ok(id) = Tokens::control(tokenizer, &name) else { continue };
            let spelt: Option<Vec<u8>> = name.chars().map(|c| letters.get(&c).copied()).collect();
            bytes[id as usize] = spelt.ok_or_else(|| {
                Error::input(format!("token `{name}`: not written in the letters of a byte-level BPE, as Qwen3's are"))
            })?;
            added[id as usize] = false;
        }
        for id in (0..size).filter(|&id| added[id]) {
            // What decoding leaves out is no part of any text.
            bytes[id] = tokenizer.decode(&[id as u32], true)?.into_bytes();
        }
        Ok(Self { bytes, added })
    }

    /// What the token adds to a text; nothing for control tokens and for ids outside the vocabulary.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether the token is no piece of text but a control token or mark.
    pub fn is_added(&self, id: u32) -> bool {
        self.added.get(id as usize).copied().unwrap_or(true)
    }

    /// Ids below this.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Texts that end an answer.
#[derive(Clone)]
pub struct StopStrings {
    strings: Arc<[String]>,
    pieces: Arc<Pieces>,
}

impl StopStrings {
    /// Fails for an empty string, which would end every answer.
    pub fn new(strings: &[String], pieces: Arc<Pieces>) -> Result<Self> {
        match strings.iter().any(String::is_empty) {
            true => Err(Error::input("an empty stop string: expected at least one character")),
            false => Ok(Self { strings: strings.into(), pieces }),
        }
    }

    pub(super) fn watch(&self) -> Watch {
        Watch { stop: self.clone(), text: Vec::new(), starts: Vec::new() }
    }
}

/// The text of one answer while it grows.
pub(super) struct Watch {
    stop: StopStrings,
    text: Vec<u8>,
    /// Where each token's bytes begin in `text`.
    starts: Vec<usize>,
}

/// An answer that a stop string ended.
#[derive(Debug, PartialEq)]
pub(super) struct Cut {
    /// Tokens that begin before the stop string.
    pub tokens: usize,
    pub text: String,
}

impl Watch {
    /// Takes the next token; `Some` once a stop string is complete, the one that begins first if there are several.
    pub fn take(&mut self, token: u32) -> Option<Cut> {
        let known = self.text.len();
        self.starts.push(known);
        self.text.extend_from_slice(self.stop.pieces.bytes(token));
        let find = |stop: &String| {
            let from = known.saturating_sub(stop.len() - 1); // the stop string ends in the new bytes
            let at = self.text[from..].windows(stop.len()).position(|window| window == stop.as_bytes())?;
            Some(from + at)
        };
        let at = self.stop.strings.iter().filter_map(find).min()?;
        let tokens = self.starts.iter().take_while(|&&start| start < at).count();
        Some(Cut { tokens, text: String::from_utf8_lossy(&self.text[..at]).into_owned() })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn tokenizer() -> Tokenizer {
        let texts =
            ["Renal cyst, liver cyst, gallstone. Normal liver.", "naïve 肝臓 Renal cyst, cyst.", "(liver), [cyst]"];
        Tokenizer::train(texts.repeat(4).iter(), 340).unwrap()
    }

    #[test]
    fn the_bytes_of_tokens_spell_their_text() {
        let t = tokenizer();
        let pieces = Pieces::of(&t).unwrap();
        assert_eq!(pieces.len(), t.vocab_size());
        for text in ["Renal cyst, liver.", "naïve 肝臓 🙂", " \n\t\u{0}\u{7f}\u{a0}", "<|im_end|>"] {
            let ids = t.encode(text, false).unwrap();
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| pieces.bytes(id).to_vec()).collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
        let control = t.control();
        let think = control.think.unwrap();
        assert!(pieces.bytes(control.turn_end).is_empty() && pieces.is_added(control.turn_end));
        assert_eq!(pieces.bytes(think), b"<think>");
        assert!(pieces.is_added(think) && pieces.bytes(u32::MAX).is_empty());
        let spelt: std::collections::BTreeSet<&[u8]> =
            (0..pieces.len() as u32).filter(|&id| !pieces.is_added(id)).map(|id| pieces.bytes(id)).collect();
        assert_eq!(spelt.len(), t.vocab_size() - 26, "every ordinary token has bytes of its own");
    }

    /// What is left of the tokens of `text` when they come one by one; None where no stop string is in it.
    fn cut(text: &str, stop: &[&str]) -> Option<(Cut, usize, Vec<u32>)> {
        let t = tokenizer();
        let stop: Vec<String> = stop.iter().map(|s| s.to_string()).collect();
        let mut watch = StopStrings::new(&stop, Arc::new(Pieces::of(&t).unwrap())).unwrap().watch();
        let ids = t.encode(text, false).unwrap();
        let (seen, cut) = ids.iter().enumerate().find_map(|(i, &id)| Some((i + 1, watch.take(id)?)))?;
        Some((cut, seen, ids))
    }

    #[test]
    fn stop_strings_are_found_across_tokens_and_inside_them() {
        let t = tokenizer();
        let text = "Renal cyst, liver cyst. Normal liver.";
        for stop in ["st, li", ". Normal", "liver", "R", ",", "Normal liver.", "yst."] {
            let (cut, seen, ids) = cut(text, &[stop]).unwrap();
            assert_eq!(cut.text, text.split(stop).next().unwrap(), "{stop}");
            let spelt = t.decode(&ids[..cut.tokens], true).unwrap();
            assert!(spelt.starts_with(&cut.text), "{stop}: {spelt}");
            if cut.tokens > 0 {
                let fewer = t.decode(&ids[..cut.tokens - 1], true).unwrap();
                assert!(fewer.len() < cut.text.len(), "{stop}: no token is kept that begins behind the text");
            }
            let read = t.decode(&ids[..seen], true).unwrap();
            assert!(read.contains(stop) && !t.decode(&ids[..seen - 1], true).unwrap().contains(stop), "{stop}");
        }
        assert!(cut(text, &["gallstone", "cyst;"]).is_none());
    }

    #[test]
    fn the_stop_string_that_begins_first_counts() {
        let (first, ..) = cut("Renal cyst, liver", &["st,", "yst,"]).unwrap();
        assert_eq!(first.text, "Renal c");
        let (whole, ..) = cut("naïve 肝臓.", &["臓"]).unwrap();
        assert_eq!(whole.text, "naïve 肝");
        let t = tokenizer();
        assert_eq!(StopStrings::new(&["".into()], Arc::new(Pieces::of(&t).unwrap())).err().unwrap().exit_code(), 2);
    }
}
