//! One line of `preds.jsonl`: a case, the raw answer and what was read from it.
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub case_id: String,
    pub group: String,
    /// The text that was asked about, as in the corpus.
    #[serde(default)]
    pub input: String,
    /// Name and digest of the prompt, `closed@1f3a…`; resolves in the run folder.
    pub prompt: String,
    /// Name and digest of the base model, `embedded@9c2e…`.
    pub model: String,
    /// Name and digest of the adapter, none for the base model alone.
    pub adapter: Option<String>,
    /// The answer, byte for byte.
    pub raw: String,
    /// Labels read from `raw`, before normalisation.
    pub labels: Vec<String>,
    /// False when nothing could be read from `raw`.
    pub parsed: bool,
    /// Labels of the corpus, before normalisation.
    pub gold: Vec<String>,
    /// Sum of the log-probabilities of the answer's tokens (natural logarithm), where the model gives them.
    pub logprob: Option<f64>,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    pub seconds: f64,
}
