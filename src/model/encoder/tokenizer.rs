//! An encoder's tokenizer: WordPiece, byte-level BPE or whatever a `tokenizer.json` describes, with the place of every token in the text.
//!
//! Text is text: `[SEP]` written out in a note is punctuation and letters, never the end of a sequence. The truncation and padding that a
//! `tokenizer.json` may carry (all-MiniLM-L6-v2's cuts at 128 tokens and fills up to 128) are switched off.
use crate::error::{Error, Result};
use crate::io;
use std::ops::Range;
use std::path::Path;
use tokenizers::AddedVocabulary;

/// See the file's header.
#[derive(Clone)]
pub struct EncoderTokenizer {
    full: tokenizers::Tokenizer,
    /// `full` without its added tokens.
    plain: tokenizers::Tokenizer,
    /// Control tokens before and behind a text: [CLS] and [SEP], or `<s>` and `</s>`.
    before: Vec<u32>,
    behind: Vec<u32>,
}

/// A text's tokens without control tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Pieces {
    pub ids: Vec<u32>,
    /// Where each token stands in the text, in code points, without the white space at its ends; empty for white space alone.
    pub places: Vec<Range<usize>>,
    /// True where a token begins a word, as the tokenizer's own splitting into words has it.
    pub begins: Vec<bool>,
    /// Code points of the text.
    pub length: usize,
}

impl EncoderTokenizer {
    /// Reads `dir/tokenizer.json`.
    pub fn open(dir: &Path) -> Result<Self> {
        let file = dir.join("tokenizer.json");
        if !file.is_file() && ["vocab.txt", "vocab.json"].iter().any(|name| dir.join(name).is_file()) {
            return Err(Error::input(format!(
                "{}: no tokenizer.json, only an older vocabulary file: make one with transformers' AutoTokenizer.from_pretrained(…).save_pretrained(…)",
                dir.display()
            )));
        }
        let text = io::read_text(&file)?;
        let bad = |e: String| Error::input(format!("{}: not a readable tokenizer: {e}", file.display()));
        // The library panics on broken JSON inside a decoder, and on this normaliser's tables if they are damaged.
        let parsed: serde_json::Value = io::parse_json(&file, &text)?;
        if parsed.to_string().contains("\"Precompiled\"") {
            return Err(bad("a `Precompiled` normaliser, which no encoder read here has".into()));
        }
        let full = tokenizers::Tokenizer::from_bytes(text).map_err(|e| bad(e.to_string()))?;
        Self::new(full).map_err(|e| Error::input(format!("{}: {e}", file.display())))
    }

    fn new(mut full: tokenizers::Tokenizer) -> Result<Self> {
        full.with_padding(None);
        full.with_truncation(None).map_err(|e| Error::failed(e.to_string()))?;
        let mut plain = full.clone();
        plain.with_added_vocabulary(AddedVocabulary::new());
        let probe = plain.encode_fast("a", true).map_err(|e| Error::failed(format!("cannot tokenize `a`: {e}")))?;
        let control = probe.get_special_tokens_mask();
        let text = |mask: &&u32| **mask == 0;
        let (Some(first), Some(last)) = (control.iter().position(|m| text(&m)), control.iter().rposition(|m| text(&m)))
        else {
            return Err(Error::input("the tokenizer makes no token of the text `a`"));
        };
        let ids = probe.get_ids();
        let (before, behind) = (ids[..first].to_vec(), ids[last + 1..].to_vec());
        Ok(Self { full, plain, before, behind })
    }

    /// Writes `dir/tokenizer.json`.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let json = self.full.to_string(false).map_err(|e| Error::failed(format!("tokenizer.json: {e}")))?;
        io::write(&dir.join("tokenizer.json"), json.as_bytes())
    }

    /// Tokens of `text` and their places, without control tokens.
    pub fn pieces(&self, text: &str) -> Result<Pieces> {
        let encoding = self.plain.encode_char_offsets(text, false).map_err(|e| {
            Error::failed(format!("cannot tokenize {:?}: {e}", text.chars().take(60).collect::<String>()))
        })?;
        let letters: Vec<char> = text.chars().collect();
        let places = encoding.get_offsets().iter().map(|&(start, end)| trimmed(&letters, start..end)).collect();
        let words = encoding.get_word_ids();
        let begins = (0..words.len()).map(|i| i == 0 || words[i].is_none() || words[i] != words[i - 1]).collect();
        Ok(Pieces { ids: encoding.get_ids().to_vec(), places, begins, length: letters.len() })
    }

    /// Number of control tokens that [`EncoderTokenizer::framed`] adds.
    pub fn frame(&self) -> usize {
        self.before.len() + self.behind.len()
    }

    /// `ids` between the control tokens.
    pub fn framed(&self, ids: &[u32]) -> Vec<u32> {
        [&self.before, ids, &self.behind].concat()
    }

    /// Control tokens before a text.
    pub fn before(&self) -> usize {
        self.before.len()
    }

    /// Rows of embedding that a model needs to take every id.
    pub fn vocab_size(&self) -> usize {
        self.full.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1)
    }

    /// Fails if a model with `vocab_size` rows of embedding cannot take every id.
    pub fn fits(&self, vocab_size: usize) -> Result<()> {
        let needed = self.vocab_size();
        match needed > vocab_size {
            true => Err(Error::input(format!(
                "the tokenizer has a token id {}, the model's config.json vocab_size = {vocab_size}: they do not belong together",
                needed - 1
            ))),
            false => Ok(()),
        }
    }
}

/// `place` without the white space at its ends.
fn trimmed(letters: &[char], place: Range<usize>) -> Range<usize> {
    let (start, end) = (place.start.min(letters.len()), place.end.min(letters.len()));
    let inside = &letters[start..end.max(start)];
    let ahead = inside.iter().take_while(|c| c.is_whitespace()).count();
    let behind = inside[ahead..].iter().rev().take_while(|c| c.is_whitespace()).count();
    start + ahead..start + inside.len() - behind
}
