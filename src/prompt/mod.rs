//! Named, versioned prompts; a checkpoint's own chat template, or Qwen3's format; one encoding into token ids for training and for serving.
mod answer_format;
mod audit;
pub mod chat;
mod choose;
mod encode;
mod jinja;
mod library;
mod retrieve;
pub mod template;

pub use answer_format::Constrain;
pub use audit::Audit;
pub use chat::{Message, Role, Thinking};
pub use choose::choose;
pub use encode::{Encoded, Encoder, Example, Overlong, Tokens};
pub use library::{Exemplar, Order, Prompt, PromptContext, Recipe, Shot, USUAL_NONE};
pub use retrieve::{Bm25, Embed, Listed, Neighbours, OpenEmbedder, Retriever};
pub use template::ChatTemplate;
