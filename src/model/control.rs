//! The tokens of a vocabulary that steer a conversation.

/// Tokens with a part in conversations, by id. Only a vocabulary of Qwen3's chat format has those that are optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// `<|im_start|>`.
    pub im_start: Option<u32>,
    /// Ends a turn: the token that generation stops at, `<|im_end|>`, `<|eot_id|>`, `</s>`, …
    pub turn_end: u32,
    /// Ends a document; also used as padding: `<|endoftext|>`, `<|end_of_text|>`, `</s>`, …
    pub text_end: u32,
    pub think: Option<u32>,
    pub end_think: Option<u32>,
}
