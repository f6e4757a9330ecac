//! A model is something that answers prompts (design, rule 3): whoever asks does not know what stands behind.
use super::constraint::Constraint;
use super::copy::copy_with_tags;
use super::decode::{Constraints, Decoding, Generated, Limits, decode, stop_tokens};
use super::grammar::Grammar;
use super::insert::{Insertions, Spelling, WhileOpen};
use super::labels::{Count, Labels};
use super::sample::Sampling;
use super::trained_on::warn_of_other_base;
use crate::adapter::{Adapter, Mode};
use crate::corpus::Case;
use crate::corpus::decisions::tags::free_tags;
use crate::error::{Error, Result};
use crate::model::{CausalLm, Checkpoint, Config, Precision, Tokenizer, default_device, resolve};
use crate::prompt::{Constrain, Encoder, Overlong, Prompt, Thinking};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What came back for one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Byte for byte, without the token that ended it.
    pub raw: String,
    /// Sum of log p of the answer's tokens and its end (natural logarithm), where the model gives them: the model's
    /// own, also of a constrained answer, so that free and constrained answers can be compared.
    pub logprob: Option<f64>,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    /// Passes through the model that had to wait for the one before, where they were counted: fewer than tokens where several were read at
    /// once.
    pub steps: Option<usize>,
    pub seconds: f64,
}

pub trait Answers {
    /// Name and digest, `embedded@9c2e…`.
    fn id(&self) -> &str;
    /// Name and digest of the adapter, if there is one.
    fn adapter(&self) -> Option<&str>;
    /// What the answers are held to, if anything.
    fn constrain(&self) -> Option<Constrain> {
        None
    }
    /// One answer a case, in order; `done` hears how many are finished.
    fn answer(&self, prompt: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>>;
    /// `samples` answers a case; `done` hears how many are finished, of all. A model that cannot be sampled says so.
    fn sample(
        &self,
        _prompt: &Prompt,
        _cases: &[Case],
        _sampling: &Sampling,
        _samples: usize,
        _done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<Answer>>> {
        Err(Error::input(format!("{} gives one answer a case: ask it without a vote", self.id())))
    }
}

enum Applied {
    Shared(Box<dyn Constraint>),
    /// Every answer quotes its own case's text.
    Quoting,
    /// Every answer copies its own case's text and puts tags of clinical decisions in.
    Tagging {
        spelling: Arc<Spelling>,
        /// What may be done while a tag is open.
        rule: Constrain,
    },
}

/// A checkpoint in this process, with or without an adapter, decoding greedily.
pub struct Local {
    pub model: CausalLm,
    pub tokenizer: Arc<Tokenizer>,
    id: String,
    adapter: Option<String>,
    constraint: Option<(Constrain, Applied)>,
    /// Maximum number of new tokens per answer.
    pub max_new: usize,
    /// Cases decoded at the same time.
    pub batch: usize,
    /// What is done with a text that does not fit the model beside `max_new` tokens of an answer.
    pub overlong: Overlong,
}

impl Local {
    /// `name`: a folder, a .gguf file, a hub id or `embedded`. `adapter`: a PEFT folder, or a run folder that holds `adapter/`.
    pub fn open(name: &str, adapter: Option<&Path>) -> Result<Self> {
        Self::open_as(name, adapter, Precision::F32)
    }

    /// As `open`, with the weights in memory as `precision` says.
    pub fn open_as(name: &str, adapter: Option<&Path>, precision: Precision) -> Result<Self> {
        let mut local = Self::of(name, CausalLm::load(&resolve(name)?, precision, &default_device())?)?;
        if let Some(folder) = adapter {
            let folder = adapter_folder(folder);
            Adapter::load(&folder, &mut local.model)?.attach(&mut local.model, Mode::Infer)?;
            warn_of_other_base(&folder, || Ok(local.id.clone()))?;
            local.adapter = Some(adapter_id(&folder)?);
        }
        Ok(local)
    }

    /// A model that is loaded already, with the tokenizer that lies beside its weights.
    pub fn of(name: &str, model: CausalLm) -> Result<Self> {
        let tokenizer = Tokenizer::open(&resolve(name)?)?;
        tokenizer.fits(model.config.vocab_size)?;
        let (tokenizer, id) = (Arc::new(tokenizer), base_id(name)?);
        Ok(Self {
            model,
            tokenizer,
            id,
            adapter: None,
            constraint: None,
            max_new: MAX_NEW,
            batch: 16,
            overlong: Overlong::Shorten,
        })
    }

    /// Constrains every later answer; `labels` is the closed list, for `Constrain::Labels` alone.
    pub fn set_constraint(&mut self, how: Constrain, labels: &[String]) -> Result<()> {
        let applied = match how {
            Constrain::Labels => Applied::Shared(Box::new(Labels::new(labels, Count::Many, &self.tokenizer)?)),
            Constrain::Json => Applied::Shared(Box::new(Grammar::names(self.tokenizer.clone())?)),
            Constrain::Text => Applied::Quoting,
            Constrain::Tags | Constrain::TagsReopened | Constrain::TagsNumbered => {
                Applied::Tagging { spelling: Arc::new(Spelling::of(&self.tokenizer)?), rule: how }
            }
        };
        self.constraint = Some((how, applied));
        Ok(())
    }

    /// The state of an answer that copies a case's text with tags of clinical decisions put in.
    fn insertions(&self, case: &Case) -> Result<Insertions> {
        let Some((_, Applied::Tagging { spelling, rule })) = &self.constraint else {
            return Err(Error::failed("answers are not constrained to tags"));
        };
        let tags = free_tags(&case.input).map(|both| both.map(|tag| (tag.open(), tag.close())));
        let (first, second) = (tags.clone().map(|[first, _]| first), tags.map(|[_, second]| second));
        let rule = match rule {
            Constrain::TagsReopened => WhileOpen::Again,
            Constrain::TagsNumbered => WhileOpen::Second(second.to_vec()),
            _ => WhileOpen::Nothing,
        };
        let made = Insertions::by(rule, &case.input, &first, &self.tokenizer, spelling);
        made.map_err(|e| named(e, &case.case_id))
    }

    fn read(&self, prompt: &[u32], made: Generated) -> Result<Answer> {
        Ok(Answer {
            raw: self.tokenizer.decode(&made.tokens, true)?,
            logprob: Some(made.logprob()),
            prompt_tokens: prompt.len(),
            new_tokens: made.tokens.len(),
            steps: None,
            seconds: made.seconds,
        })
    }

    /// The encoder of this model's prompts, which shortens or refuses those that its positions have no room for.
    pub fn encoder(&self) -> Encoder {
        encoder_for(self.tokenizer.clone(), &self.model.config, self.max_new).or(self.overlong)
    }

    /// The prompts about `cases` as ids; says how many texts lost their end.
    fn prompts(&self, prompt: &Prompt, cases: &[Case]) -> Result<Vec<Vec<u32>>> {
        let encoder = self.encoder();
        let made = cases.iter().map(|case| encoder.serve_case(prompt, case)).collect::<Result<Vec<_>>>()?;
        let short = made.iter().filter(|one| one.cut > 0).count();
        if short > 0 {
            let (positions, max_new) = (self.model.config.max_position_embeddings, self.max_new);
            eprintln!(
                "… {short} of {} texts lost their end: {positions} positions, {max_new} of them for the answer",
                made.len()
            );
        }
        Ok(made.into_iter().map(|one| one.ids).collect())
    }
}

/// Tokens of a text that are read ahead of the tags in it, see [`copy_with_tags`].
const AHEAD: usize = 24;

/// An error of the input with the case that it is about.
fn named(error: Error, case_id: &str) -> Error {
    match error {
        Error::Input(what) => Error::Input(format!("case `{case_id}`: {what}")),
        other => other,
    }
}

/// Maximum number of new tokens per answer where nothing else is said, in training (whose prompts leave room for them) as in serving.
pub const MAX_NEW: usize = 64;

/// The encoder of a model's prompts, with room for `max_new` tokens after them; longer ones lose the end of the finding.
pub fn encoder_for(tokenizer: Arc<Tokenizer>, config: &Config, max_new: usize) -> Encoder {
    Encoder::new(tokenizer).limit(config.max_position_embeddings.saturating_sub(max_new), Overlong::Shorten)
}

impl Answers for Local {
    fn id(&self) -> &str {
        &self.id
    }

    fn adapter(&self) -> Option<&str> {
        self.adapter.as_deref()
    }

    fn constrain(&self) -> Option<Constrain> {
        self.constraint.as_ref().map(|(how, _)| *how)
    }

    fn answer(&self, prompt: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>> {
        Ok(self.sample(prompt, cases, &Sampling::default(), 1, done)?.into_iter().flatten().collect())
    }

    fn sample(
        &self,
        prompt: &Prompt,
        cases: &[Case],
        sampling: &Sampling,
        samples: usize,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<Answer>>> {
        if self.constraint.is_some() && prompt.thinking == Thinking::On {
            return Err(Error::input(format!(
                "prompt `{}` lets the model think before it answers, which a constraint forbids: turn thinking off",
                prompt.name
            )));
        }
        let prompts = self.prompts(prompt, cases)?;
        let stop = stop_tokens(&self.model.config, Some(&self.tokenizer));
        let limits = Limits { max_new: self.max_new, batch: self.batch, stop };
        let quoting = |at: usize| -> Result<Box<dyn Constraint>> {
            let Case { case_id, input, .. } = &cases[at];
            let quoted = Labels::quoting(input, &self.tokenizer);
            Ok(Box::new(quoted.map_err(|e| Error::input(format!("case `{case_id}`: nothing to quote: {e}")))?))
        };
        let tagging = |at: usize| self.insertions(&cases[at]);
        if let (Some((_, Applied::Tagging { .. })), true, 1) = (&self.constraint, sampling.is_greedy(), samples) {
            let mut made = Vec::with_capacity(cases.len());
            for (at, ids) in prompts.iter().enumerate() {
                let copied = copy_with_tags(&self.model, ids, &tagging(at)?, &limits, AHEAD);
                let copied = copied.map_err(|e| named(e, &cases[at].case_id))?;
                made.push(vec![Answer { steps: Some(copied.passes), ..self.read(ids, copied.generated)? }]);
                done(at + 1);
            }
            return Ok(made);
        }
        let tagging = |at: usize| -> Result<Box<dyn Constraint>> { Ok(Box::new(tagging(at)?)) };
        let constraints = match &self.constraint {
            None => Constraints::None,
            Some((_, Applied::Shared(constraint))) => Constraints::Shared(&**constraint),
            Some((_, Applied::Quoting)) => Constraints::PerPrompt(&quoting),
            Some((_, Applied::Tagging { .. })) => Constraints::PerPrompt(&tagging),
        };
        let called = |at: usize| format!("case `{}`", cases[at].case_id);
        let how = Decoding {
            constraints,
            sampling: sampling.clone(),
            samples,
            shared: self.encoder().shared(prompt)?,
            called: Some(&called),
            ..Decoding::greedy(limits)
        };
        let made = decode(&self.model, &prompts, &how, done)?;
        let all = prompts.iter().zip(made);
        all.map(|(prompt, made)| made.into_iter().map(|one| self.read(prompt, one)).collect()).collect()
    }
}

/// `embedded@<12 hex>`: the model's name and the digest of its config, weights and tokenizer. The files are read once per process, and again
/// where their size or time has changed.
pub fn base_id(name: &str) -> Result<String> {
    static READ: Mutex<BTreeMap<(PathBuf, Vec<Stamp>), String>> = Mutex::new(BTreeMap::new());
    let dir = resolve(name)?;
    let key = (dir.clone(), stamps(&dir)?);
    let read = || READ.lock().unwrap_or_else(PoisonError::into_inner);
    let known = read().get(&key).cloned(); // the lock is not held while a model is read
    let digest = match known {
        Some(digest) => digest,
        None => {
            crate::model::registry::verify(&dir)?;
            let digest = model_digest(&dir)?;
            read().insert(key, digest.clone());
            digest
        }
    };
    Ok(format!("{}@{digest}", model_name(&dir, name)))
}

/// The last part of `name`; of the whole model that a run trained (`runs/train-x-1f3a9c2e77d0/model`) the run's name.
fn model_name(dir: &Path, name: &str) -> String {
    match dir.parent().filter(|run| dir.ends_with("model") && run.join("spec.json").is_file()) {
        Some(run) => run_name(&last_part(run)),
        None => last_part(Path::new(name)),
    }
}

/// A file's name, size in bytes and time of change.
type Stamp = (PathBuf, u64, Option<SystemTime>);

/// Of a file, or of every file of a folder in order of name.
fn stamps(path: &Path) -> Result<Vec<Stamp>> {
    let stamp = |path: PathBuf| {
        let data = std::fs::metadata(&path).map_err(Error::io(&path))?;
        Ok((path, data.len(), data.modified().ok()))
    };
    if !path.is_dir() {
        return Ok(vec![stamp(path.to_path_buf())?]);
    }
    let entries = std::fs::read_dir(path).map_err(Error::io(path))?;
    let mut all = entries.map(|entry| stamp(entry.map_err(Error::io(path))?.path())).collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

fn model_digest(dir: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(Checkpoint::open(dir)?.digest()?);
    if let Some(tokenizer) = Tokenizer::find(dir)? {
        hash.update(tokenizer.digest()?);
        // the digest of a GGUF file is that of the template in it too
        hash.update(tokenizer.template_digest().filter(|_| dir.is_dir()).unwrap_or_default());
    }
    Ok(hex(hash)[..12].to_string())
}

/// `<run or folder>@<12 hex>` of an adapter's two files.
pub fn adapter_id(folder: &Path) -> Result<String> {
    let folder = adapter_folder(folder);
    let mut hash = Sha256::new();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let path = folder.join(file);
        hash.update(std::fs::read(&path).map_err(Error::io(&path))?);
    }
    let named = if folder.ends_with("adapter") { folder.parent().unwrap_or(&folder) } else { &folder };
    Ok(format!("{}@{}", run_name(&last_part(named)), &hex(hash)[..12]))
}

/// `adapter/` of a run folder, else the folder itself.
pub fn adapter_folder(folder: &Path) -> PathBuf {
    let inner = folder.join("adapter");
    if inner.join("adapter_config.json").is_file() { inner } else { folder.to_path_buf() }
}

/// `train-lora-plain-1f3a9c2e77d0` → `lora-plain`; other names stay.
fn run_name(folder: &str) -> String {
    let trimmed = folder.strip_prefix("train-").and_then(|n| n.rsplit_once('-'));
    match trimmed {
        Some((name, digest)) if digest.len() == 12 && digest.chars().all(|c| c.is_ascii_hexdigit()) => name.to_string(),
        _ => folder.to_string(),
    }
}

fn last_part(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_template_of_the_folder_is_part_of_the_base_id() {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(resolve("embedded").unwrap()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let digest = || base_id(folder.path().to_str().unwrap()).unwrap().split_once('@').unwrap().1.to_string();
        let own = base_id("embedded").unwrap();
        assert!(own.ends_with(&digest()), "the format that this crate writes changes nothing");
        let template = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}";
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        let first = digest();
        assert!(!own.ends_with(&first), "{own}");
        std::fs::write(folder.path().join("chat_template.jinja"), template.replace(": ", " ")).unwrap();
        assert_ne!(digest(), first);
    }

    #[test]
    fn runs_lend_their_names_to_models_that_they_trained() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("train-full-1f3a9c2e77d0/model");
        std::fs::create_dir_all(&model).unwrap();
        assert_eq!(model_name(&model, "some/model"), "model", "no run");
        std::fs::write(model.with_file_name("spec.json"), "{}").unwrap();
        assert_eq!(model_name(&model, "some/model"), "full");
    }

    #[test]
    fn runs_lend_their_names_to_adapters() {
        assert_eq!(run_name("train-lora-plain-1f3a9c2e77d0"), "lora-plain");
        assert_eq!(run_name("my-adapter"), "my-adapter");
        let golden = crate::home().join("tests/golden/adapter");
        assert!(adapter_id(&golden).unwrap().starts_with("golden@"), "a folder named adapter takes its parent's name");
    }
}
