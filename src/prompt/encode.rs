//! Text → token ids, by one function for training and for serving.
//!
//! ```text
//! serve   [ instructions · examples · finding · <|im_start|>assistant\n (· empty think block) ]
//! train   [ the same ids                                                                      | answer · <|im_end|> ]
//!                                                                                    prompt_len ┘ supervised from here
//! ```
//!
//! `train(…).ids[..prompt_len]` is `serve(…)`, bit for bit: only neighbours can be left out and the finding be shortened, by a limit on
//! the prompt alone, and an answer that would change the ids before it is refused. Text is never read as control tokens.
//!
//! The chat format is that of the checkpoint's own template, where it has one; else Qwen3's (see `chat`).
use super::Prompt;
use super::chat::{self, Message, Piece, Thinking};
use super::template::{ChatTemplate, Stretch};
use crate::corpus::Case;
use crate::error::{Error, Result};
use std::sync::Arc;

/// What the encoder wants of a tokenizer.
pub trait Tokens: Send + Sync {
    /// Ids of text in which nothing is a control token.
    fn text(&self, text: &str) -> Result<Vec<u32>>;
    /// The id of a control token by its text, such as `<|im_start|>`.
    fn control(&self, name: &str) -> Result<u32>;
    /// The text of ids, control tokens written out.
    fn decode(&self, ids: &[u32]) -> Result<String>;
    /// Ids of a whole rendered conversation: added tokens in it are read as such.
    fn whole(&self, text: &str) -> Result<Vec<u32>>;
    /// `text` in order, cut at every added token as `whole` reads them.
    fn cut(&self, text: &str) -> Result<Vec<Stretch>>;
    /// Ids that `whole` gives for a stretch between added tokens, whatever it spells; `first` if it begins the whole text.
    fn stretch(&self, text: &str, first: bool) -> Result<Vec<u32>>;
    /// The token that ends a turn of the assistant.
    fn end(&self) -> Result<u32>;
    /// The checkpoint's own chat template; None for Qwen3's format as `chat` has it.
    fn template(&self) -> Option<&ChatTemplate>;
}

/// What is done with a prompt longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    /// The farthest neighbours are left out; where that is not enough, an error that says how long it is.
    Refuse,
    /// The farthest neighbours are left out, then the end of the finding, until the rest fits; instructions and fixed examples
    /// never are.
    Shorten,
}

/// A prompt as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<u32>,
    /// Characters of the finding that were left out.
    pub cut: usize,
    /// Neighbours that were left out.
    pub dropped: usize,
}

/// One training example: `ids[prompt_len..]` is to be learnt (the answer's tokens and the end of the turn), the rest is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub ids: Vec<u32>,
    pub prompt_len: usize,
    /// Characters of the finding that were left out.
    pub cut: usize,
}

/// See the file's header.
#[derive(Clone)]
pub struct Encoder {
    tokens: Arc<dyn Tokens>,
    limit: Option<(usize, Overlong)>,
}

impl Encoder {
    /// No limit on the length of a prompt.
    pub fn new(tokens: Arc<dyn Tokens>) -> Self {
        Self { tokens, limit: None }
    }

    /// Prompts of at most `tokens` tokens; the answer is not counted, so that training and serving shorten alike.
    pub fn limit(mut self, tokens: usize, overlong: Overlong) -> Self {
        self.limit = Some((tokens, overlong));
        self
    }

    /// The same limit, and another way with prompts that are longer.
    pub fn or(mut self, overlong: Overlong) -> Self {
        self.limit = self.limit.map(|(tokens, _)| (tokens, overlong));
        self
    }

    /// The ids to ask with about a text that is no case; see `serve_case`.
    pub fn serve(&self, prompt: &Prompt, input: &str) -> Result<Vec<u32>> {
        Ok(self.encode(prompt, input, None)?.ids)
    }

    /// The ids to learn from, of a text that is no case; see `train_case`.
    pub fn train(&self, prompt: &Prompt, input: &str, answer: &str) -> Result<Example> {
        self.example(prompt, input, None, answer)
    }

    /// The ids to learn `answer` from; an error names the case.
    pub fn train_case(&self, prompt: &Prompt, case: &Case, answer: &str) -> Result<Example> {
        let made = self.example(prompt, &case.input, Some(&case.group), answer);
        made.map_err(|e| of_case(case, e))
    }

    /// The ids to ask with; an error names the case.
    pub fn serve_case(&self, prompt: &Prompt, case: &Case) -> Result<Encoded> {
        self.encode(prompt, &case.input, Some(&case.group)).map_err(|e| of_case(case, e))
    }

    /// The ids that prompts about most texts begin with, whatever the text: instructions, label list and fixed examples. A prompt that was
    /// shortened, or whose text is one of the examples, may begin otherwise.
    pub fn shared(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let bare = Prompt { neighbours: None, listed: None, ..prompt.clone() };
        let open = Self { limit: None, ..self.clone() };
        // texts that begin and end differently, so that no token across the seam is counted
        let (one, other) = (open.serve(&bare, "A text.")?, open.serve(&bare, "0 others?")?);
        let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
        let seam = usize::from(prompt.neighbours.is_some()); // a neighbour's turn begins as the question's does
        Ok(one[..same.saturating_sub(seam)].to_vec())
    }

    fn example(&self, prompt: &Prompt, input: &str, group: Option<&str>, answer: &str) -> Result<Example> {
        let Encoded { mut ids, cut, dropped } = self.encode(prompt, input, group)?;
        let prompt_len = ids.len();
        let kept = input.char_indices().rev().take(cut).last().map_or(input, |(end, _)| &input[..end]);
        let messages = prompt.ask(&prompt.shots(input, group), dropped, kept);
        ids.extend(self.answer_ids(&messages, answer, prompt.thinking)?);
        Ok(Example { ids, prompt_len, cut })
    }

    /// The prompt about `input` as ids, shortened if that is allowed and needed.
    fn encode(&self, prompt: &Prompt, input: &str, group: Option<&str>) -> Result<Encoded> {
        prompt.ready()?;
        let shots = prompt.shots(input, group);
        let with = |shown: &str, dropped: usize| self.prompt_ids(&prompt.ask(&shots, dropped, shown), prompt.thinking);
        let (mut whole, mut dropped) = (with(input, 0)?, 0);
        let over = |ids: &[u32]| self.limit.is_some_and(|(limit, _)| ids.len() > limit);
        while over(&whole) && dropped < shots.nearest.len() {
            dropped += 1;
            whole = with(input, dropped)?;
        }
        let ids = |shown: &str| with(shown, dropped);
        let Some((limit, overlong)) = self.limit.filter(|_| over(&whole)) else {
            return Ok(Encoded { ids: whole, cut: 0, dropped });
        };
        let empty = ids("")?.len();
        let too_long = |what: &str| {
            Error::input(format!(
                "a prompt of {} tokens ({empty} without the finding) with prompt `{}`, limit {limit}: {what}",
                whole.len(),
                prompt.name
            ))
        };
        if empty > limit {
            return Err(too_long(
                "the instructions alone do not fit; take a shorter prompt, or leave more of the model's positions to it (--max-new, max_new)",
            ));
        }
        if overlong == Overlong::Refuse {
            return Err(too_long(
                "nothing of this text may be left out: ask in windows (--window CHARS; [windows] in a training config), or leave more of the model's positions to the prompt (a lower --max-new, max_new)",
            ));
        }
        // Starts of characters: keeping the first n characters is keeping the bytes before ends[n].
        let ends: Vec<usize> = input.char_indices().map(|(at, _)| at).collect();
        let (mut fits, mut over) = (0, ends.len());
        while over - fits > 1 {
            let middle = (fits + over) / 2;
            if ids(&input[..ends[middle]])?.len() <= limit { fits = middle } else { over = middle }
        }
        let kept = whole_words(input, ends.get(fits).copied().unwrap_or(0));
        let short = ids(kept)?;
        // Dropping the rest of a word may in principle cost a token; then the characters are dropped without regard to words.
        let (kept, short) =
            if short.len() <= limit { (kept, short) } else { (&input[..ends[fits]], ids(&input[..ends[fits]])?) };
        Ok(Encoded { ids: short, cut: input[kept.len()..].chars().count(), dropped })
    }

    /// The example as text, what is to be learnt between ⟦ and ⟧.
    pub fn show(&self, example: &Example) -> Result<String> {
        let (given, learnt) = example.ids.split_at(example.prompt_len);
        Ok(format!("{}⟦{}⟧", self.tokens.decode(given)?, self.tokens.decode(learnt)?))
    }

    /// The token that ends an answer.
    pub fn end(&self) -> Result<u32> {
        self.tokens.end()
    }

    /// The ids of all that stands before the assistant's answer.
    pub fn prompt_ids(&self, messages: &[Message], thinking: Thinking) -> Result<Vec<u32>> {
        match self.tokens.template() {
            Some(template) => template.prompt_ids(&*self.tokens, messages, thinking),
            None => self.ids(&chat::prompt(messages, thinking)),
        }
    }

    /// The ids of `answer` and the end of the turn, as they follow the prompt of `messages`.
    pub fn answer_ids(&self, messages: &[Message], answer: &str, thinking: Thinking) -> Result<Vec<u32>> {
        match self.tokens.template() {
            Some(template) => template.answer_ids(&*self.tokens, messages, answer, thinking),
            None => self.ids(&chat::answer(answer, thinking)),
        }
    }

    fn ids(&self, pieces: &[Piece]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Control(name) => ids.push(self.tokens.control(name)?),
                Piece::Text(text) => ids.extend(self.tokens.text(text)?),
            }
        }
        Ok(ids)
    }
}

/// `text[..end]` without the word that `end` cuts in two, unless nothing would be left.
fn whole_words(text: &str, end: usize) -> &str {
    let kept = &text[..end];
    if text[end..].starts_with(char::is_whitespace) {
        return kept;
    }
    match kept.trim_end_matches(|c: char| !c.is_whitespace()).trim_end() {
        "" => kept,
        words => words,
    }
}

fn of_case(case: &Case, error: Error) -> Error {
    match error {
        Error::Input(what) => Error::Input(format!("case {}: {what}", case.case_id)),
        other => other,
    }
}
