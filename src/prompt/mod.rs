//! Named, versioned prompts; a checkpoint's own chat template, or Qwen3's format; one encoding into token ids for training and for serving.
mod audit;
pub mod chat;
mod choose;
mod encode;
mod jinja;
mod library;
mod retrieve;
pub mod template;

pub use audit::Audit;
pub use chat::{Message, Role, Thinking};
pub use choose::choose;
pub use encode::{Encoded, Encoder, Example, Overlong, Tokens};
pub use library::{Prompt, PromptContext, Recipe, Shot};
pub use retrieve::{Bm25, Neighbours};
pub use template::ChatTemplate;

/// What is answered when there is nothing to name.
pub const NONE: &str = "no acute abnormality";

/// The answer that a model is trained to give: labels as written, joined by `, `; without any, `NONE`.
///
/// ```
/// assert_eq!(dxlab::prompt::answer(&["Renal cyst", "Gallstone"]), "Renal cyst, Gallstone");
/// assert_eq!(dxlab::prompt::answer::<&str>(&[]), "no acute abnormality");
/// ```
pub fn answer<S: AsRef<str>>(labels: &[S]) -> String {
    let labels: Vec<&str> = labels.iter().map(|l| l.as_ref().trim()).filter(|l| !l.is_empty()).collect();
    if labels.is_empty() { NONE.to_string() } else { labels.join(", ") }
}
