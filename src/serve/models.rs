//! What is served: a base model, the same with adapters by name (they share its weights in memory), their tokenizer, and an encoder where
//! one is installed.
use crate::adapter::{Adapter, Mode};
use crate::error::{Error, Result};
use crate::generate::{Pieces, adapter_folder, adapter_id, base_id, stop_tokens, warn_of_other_base};
use crate::model::encoder::Embedder;
use crate::model::{CausalLm, Precision, Tokenizer, default_device, resolve};
use crate::prompt::Encoder;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// `NAME=RUN`: a run folder of a training, or a PEFT folder, and what it is called in requests.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterName {
    pub name: String,
    pub folder: PathBuf,
}

impl FromStr for AdapterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, folder) = match text.split_once('=') {
            Some((name, folder)) => (name.to_string(), folder),
            None => (PathBuf::from(text).file_name().unwrap_or_default().to_string_lossy().into_owned(), text),
        };
        match name.is_empty() || folder.is_empty() {
            true => Err(format!("`{text}`: expected NAME=RUN")),
            false => Ok(Self { name, folder: folder.into() }),
        }
    }
}

/// A model by the name that requests give.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    /// Name and digest of the base model.
    pub base: String,
    /// Name and digest of the adapter.
    pub adapter: Option<String>,
}

/// See the file's header.
pub struct Served {
    /// The base model first.
    pub entries: Vec<Entry>,
    pub models: Vec<Arc<CausalLm>>,
    pub tokenizer: Arc<Tokenizer>,
    /// Encodes prompts; there is no limit but the model's positions.
    pub encoder: Encoder,
    pub stop: Vec<u32>,
    embedder: Option<(String, Mutex<Embedder>)>,
    pieces: OnceLock<Option<Arc<Pieces>>>,
    /// Held while a list is ranked: its caches are none of the engine's, so one list at a time.
    pub(super) ranking: Mutex<()>,
}

impl Served {
    /// `name`: as of every command that opens a model. `encoder`: the same of a sentence encoder; None for all-MiniLM-L6-v2 if it is
    /// installed.
    pub fn open(name: &str, adapters: &[AdapterName], precision: Precision, encoder: Option<&str>) -> Result<Self> {
        let place = resolve(name)?;
        let (tokenizer, base) = (Arc::new(Tokenizer::open(&place)?), base_id(name)?);
        let mut models = CausalLm::load_sharing(&place, precision, &default_device(), adapters.len() + 1)?;
        tokenizer.fits(models[0].config.vocab_size)?;
        let called = base.split('@').next().unwrap_or(name).to_string();
        let mut entries = vec![Entry { name: called, base: base.clone(), adapter: None }];
        for (AdapterName { name, folder }, model) in adapters.iter().zip(&mut models[1..]) {
            let folder = adapter_folder(folder);
            Adapter::load(&folder, model)?.attach(model, Mode::Infer)?;
            warn_of_other_base(&folder, || Ok(base.clone()))?;
            if entries.iter().any(|entry| entry.name == *name) {
                return Err(Error::input(format!(
                    "two models are called `{name}`: give each adapter a name of its own"
                )));
            }
            entries.push(Entry { name: name.clone(), base: base.clone(), adapter: Some(adapter_id(&folder)?) });
        }
        let stop = stop_tokens(&models[0].config, Some(&tokenizer));
        let (encoder, embedder) = (Encoder::new(tokenizer.clone()), open_encoder(encoder)?);
        let models = models.into_iter().map(Arc::new).collect();
        Ok(Self {
            entries,
            models,
            tokenizer,
            encoder,
            stop,
            embedder,
            pieces: OnceLock::new(),
            ranking: Mutex::new(()),
        })
    }

    /// Index of the model of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name)
    }

    /// Positions of the models.
    pub fn positions(&self) -> usize {
        self.models[0].config.max_position_embeddings
    }

    /// The bytes of every token; None where the vocabulary is not byte-level.
    pub fn pieces(&self) -> Option<Arc<Pieces>> {
        self.pieces.get_or_init(|| Pieces::of(&self.tokenizer).ok().map(Arc::new)).clone()
    }

    /// Name of the encoder, if there is one.
    pub fn encoder_name(&self) -> Option<&str> {
        self.embedder.as_ref().map(|(name, _)| name.as_str())
    }

    /// Tokens of texts for the encoder. Fails for a text that is longer than it reads.
    pub fn text_tokens(&self, texts: &[String]) -> Result<usize> {
        let Some((_, embedder)) = &self.embedder else { return Err(Error::input("no encoder is served")) };
        let embedder = embedder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let most = embedder.most_tokens();
        let count = |(at, text): (usize, &String)| match embedder.tokens(text)? {
            n if n > most => Err(Error::input(format!("`input[{at}]` has {n} tokens: the encoder reads {most}"))),
            n => Ok(n),
        };
        texts.iter().enumerate().map(count).sum()
    }

    /// Embeddings of texts, each by itself, so that none depends on those beside it. Ends with an error once `gone` says that nobody waits.
    pub fn embed(&self, texts: &[String], gone: &AtomicBool) -> Result<Vec<Vec<f32>>> {
        let Some((_, embedder)) = &self.embedder else { return Err(Error::input("no encoder is served")) };
        let embedder = embedder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let one = |text: &String| match gone.load(Ordering::Relaxed) {
            true => Err(Error::failed("nobody waits for these embeddings any more")),
            false => Ok(embedder.embed(&[text.as_str()])?.remove(0)),
        };
        texts.iter().map(one).collect()
    }
}

/// The encoder asked for, or the usual one where it is installed.
fn open_encoder(asked: Option<&str>) -> Result<Option<(String, Mutex<Embedder>)>> {
    let name = asked.unwrap_or("minilm");
    let opened = resolve(name).and_then(|place| Embedder::open(&place));
    match (opened, asked) {
        (Ok(embedder), _) => Ok(Some((name.to_string(), Mutex::new(embedder)))),
        (Err(_), None) => Ok(None),
        (Err(error), Some(_)) => Err(error),
    }
}
