//! What is made of the library's tokenizer before it is used: without chance, for later stretches of a text, and which bytes it lacks.
use crate::error::{Error, Result};
use std::path::Path;
use tokenizers::ModelWrapper;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;

/// The pairs of a `merges.txt`, in order: two pieces a line, parted by one space, behind lines that begin with `#version`.
pub(super) fn merges_of(path: &Path) -> Result<Vec<(String, String)>> {
    let text = crate::io::read_text(path)?;
    if let Some(what) = crate::io::stand_in_advice(text.as_bytes()) {
        return Err(Error::input(format!("{}: this is {what}", path.display())));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"));
    let pair = |(at, line): (usize, &str)| match line.split_once(' ') {
        Some((first, second)) if !second.contains(' ') => Ok((first.to_string(), second.to_string())),
        _ => Err(Error::input(format!("{} line {}: expected two pieces parted by one space", path.display(), at + 1))),
    };
    lines.map(pair).collect()
}

/// RotaryEmbedding off merges that are left out by chance: they are for training a tokenizer's model, and would make every run another.
pub(super) fn without_dropout(full: &mut tokenizers::Tokenizer) {
    if let ModelWrapper::BPE(bpe) = full.get_model()
        && bpe.dropout.is_some()
    {
        let mut bpe = bpe.clone();
        bpe.dropout = None;
        full.with_model(ModelWrapper::BPE(bpe));
    }
}

/// `plain` for a stretch behind an added token, if the library encodes it otherwise than at the beginning of a text.
pub(super) fn behind(plain: &tokenizers::Tokenizer) -> Option<tokenizers::Tokenizer> {
    let mut pre = plain.get_pre_tokenizer()?.clone();
    let mut changed = false;
    let steps = match &mut pre {
        PreTokenizerWrapper::Sequence(steps) => steps.as_mut(),
        one => std::slice::from_mut(one),
    };
    for step in steps {
        if let PreTokenizerWrapper::Metaspace(space) = step
            && space.get_prepend_scheme() == PrependScheme::First
        {
            space.set_prepend_scheme(PrependScheme::Never);
            changed = true;
        }
    }
    changed.then(|| {
        let mut later = plain.clone();
        later.with_pre_tokenizer(Some(pre));
        later
    })
}

/// The bytes that no token of a byte-level BPE spells; empty if there are none.
pub(super) fn lacking(full: &tokenizers::Tokenizer) -> Vec<bool> {
    if !matches!(full.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
        return vec![];
    }
    let letters = (0..=255).map(crate::model::vocabulary::letter);
    let lacking: Vec<bool> =
        letters.map(|letter| full.token_to_id(letter.encode_utf8(&mut [0; 4])).is_none()).collect();
    if lacking.contains(&true) { lacking } else { vec![] }
}
