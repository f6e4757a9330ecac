//! Qwen3's chat format, as its own template renders it.
//!
//! ```text
//! <|im_start|>{role}\n{content}<|im_end|>\n  …  <|im_start|>assistant\n            what the model continues
//! <|im_start|>assistant\n<think>\n\n</think>\n\n                                   the same with thinking off
//! ```
//!
//! A conversation is a row of pieces: control tokens, and text in which nothing is a control token, whatever it spells.
use serde::{Deserialize, Serialize};

/// Whether the model may reason before it answers. Off puts an empty think block into the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    On,
    #[default]
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A control token by its name, or text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Control(&'static str),
    Text(String),
}

const START: Piece = Piece::Control("<|im_start|>");
const END: Piece = Piece::Control("<|im_end|>");
const THINK: Piece = Piece::Control("<think>");
const END_THINK: Piece = Piece::Control("</think>");

fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

/// All that stands before the model's answer. Earlier answers of the assistant stand bare, as in Qwen3's template.
pub fn prompt(messages: &[Message], thinking: Thinking) -> Vec<Piece> {
    let mut out = Vec::new();
    for Message { role, content } in messages {
        out.extend([START, text(format!("{}\n{content}", role.name())), END, text("\n")]);
    }
    out.extend([START, text("assistant\n")]);
    if thinking == Thinking::Off {
        out.extend([THINK, text("\n\n"), END_THINK, text("\n\n")]);
    }
    out
}

/// All that the model is trained to write after `prompt`: with thinking on its think block (empty unless `answer` brings its own
/// `<think>…</think>`), the answer, the end of the turn.
pub fn answer(answer: &str, thinking: Thinking) -> Vec<Piece> {
    let answer = answer.trim();
    match thinking {
        Thinking::Off => vec![text(answer), END],
        Thinking::On => {
            let own = answer.strip_prefix("<think>").and_then(|rest| rest.split_once("</think>"));
            let (reasoning, answer) = own.unwrap_or(("", answer));
            let (reasoning, answer) = (reasoning.trim_matches('\n'), answer.trim_start_matches('\n'));
            vec![THINK, text(format!("\n{reasoning}\n")), END_THINK, text(format!("\n\n{answer}")), END]
        }
    }
}

/// The pieces written out: what Qwen3's template renders, as long as no text spells a control token.
pub fn render(pieces: &[Piece]) -> String {
    pieces.iter().map(|p| if let Piece::Text(t) = p { t } else { control(p) }).collect()
}

fn control(piece: &Piece) -> &str {
    if let Piece::Control(name) = piece { name } else { "" }
}
