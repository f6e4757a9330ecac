//! What `dxlab push` takes to a hub: the files of a training run, and the card that says what they are.
//!
//! ```text
//! adapter     adapter_config.json (base model by its name on the hub), adapter_model.safetensors
//! merged      the base with the adapter folded in, if `merge` passes its gate; of full fine-tuning the whole model
//! README.md   base, data, scores of the run's stored predictions with intervals, how to load it, limits, digests
//! ```
//!
//! Weights can hold pieces of the texts that they were trained on (Carlini et al., USENIX Security 2021). A run whose corpus is neither
//! synthetic nor open is refused unless the user says that it may be passed on.
mod card;
mod scores;

use super::config::{Method, TrainConfig};
use super::merge::{MergeConfig, merge};
use super::tagging::EncoderTrainConfig;
use crate::corpus::manifest::source;
use crate::error::{Error, Result};
use crate::generate::base_id;
use crate::model::registry::{self, Source};
use crate::model::{Content, Hub, Upload, UploadFile, export};
use crate::run::{Run, size};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub use card::card;
pub use scores::{Score, scores};

/// What is to be pushed, and where to.
#[derive(Clone, Debug, Default)]
pub struct PushConfig {
    /// `org/name`.
    pub to: String,
    pub merged: bool,
    /// Name of the base model on the hub, where it is not known.
    pub base: Option<String>,
    /// The hub's name for a licence, where that of the base model is not known.
    pub license: Option<String>,
    /// The user has the right to pass on what was trained on a corpus that is neither synthetic nor open.
    pub permitted: bool,
    /// Bytes of weights in one file of a merged model, at most.
    pub shard: u64,
}

/// Where the training cases come from, as far as their passing on goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Synthetic,
    /// An open corpus with its licence.
    Open {
        title: String,
        licence: String,
    },
    /// Anything else; pushed only where the user vouches for it.
    Permitted,
}

/// Files, card and where a cut upload is remembered.
pub struct Package {
    /// README.md first.
    pub files: Vec<UploadFile>,
    pub card: String,
    state: PathBuf,
    merged: Option<PathBuf>,
}

/// What the card is about.
pub struct Subject<'a> {
    pub run: &'a Run,
    pub config: &'a TrainConfig,
    pub push: &'a PushConfig,
    /// Name on the hub, if the base model has one.
    pub base: Option<String>,
    /// Names of licences on the hub.
    pub licences: Vec<String>,
    pub data: Data,
    pub scores: Vec<Score>,
    /// A whole model, not an adapter.
    pub whole: bool,
}

impl Package {
    /// Contacts nobody; with `merged` the merged model is made beside the run unless an earlier call has.
    pub fn new(run: &Run, push: &PushConfig) -> Result<Self> {
        if run.spec.kind != "train" {
            return Err(Error::input(format!(
                "{}: expected a training run, see `dxlab runs list --kind train`",
                run.folder()
            )));
        }
        if EncoderTrainConfig::of(run).is_ok() {
            return Err(Error::input(format!(
                "{}: a token classifier has no card for the hub yet: upload its folder `model/` with the hub's own tool",
                run.folder()
            )));
        }
        let config: TrainConfig = serde_json::from_value(run.spec.spec["config"].clone()).map_err(|e| {
            Error::input(format!("{}: its config cannot be read: {e}", run.path("spec.json").display()))
        })?;
        let full = config.adapter.method == Method::Full;
        let data = data(run, &config, push)?;
        let base = base_on_hub(&config.model, push)?;
        let licences = licences(&config.model, push)?;
        let subject = Subject {
            run,
            config: &config,
            push,
            base,
            licences,
            data,
            scores: scores(run, &config)?,
            whole: full || push.merged,
        };
        let text = card(&subject)?;
        let (beside, folder) = (run.dir.parent().unwrap_or(Path::new(".")), run.folder());
        let shard = if push.shard == 0 { export::SHARD } else { push.shard };
        let merged = (push.merged && !full).then(|| beside.join(format!(".push-{folder}.merged-{shard}")));
        let mut files =
            vec![UploadFile { name: "README.md".into(), content: Content::Bytes(text.clone().into_bytes()) }];
        files.extend(match &merged {
            Some(dir) => {
                fold(run, &config, push, dir)?;
                folder_files(dir)?
            }
            None if full => folder_files(&run.path("model"))?,
            None => adapter_files(run, &subject)?,
        });
        Ok(Self { files, card: text, state: beside.join(format!(".push-{folder}.json")), merged })
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> Result<u64> {
        self.files.iter().map(UploadFile::size).sum()
    }

    /// Uploads all of it in one commit.
    pub fn send(&self, hub: &Hub, push: &PushConfig, private: bool, run: &Run) -> Result<crate::model::Pushed> {
        let message = format!("{} (dxlab {})", run.folder(), env!("CARGO_PKG_VERSION"));
        let upload = Upload { repo: &push.to, private, files: &self.files, message: &message, state: &self.state };
        let pushed = hub.push(&upload)?;
        self.forget()?; // kept until now for a second try
        Ok(pushed)
    }

    /// Removes the merged model that was made for this package.
    pub fn forget(&self) -> Result<()> {
        match &self.merged {
            Some(dir) => std::fs::remove_dir_all(dir).map_err(Error::io(dir)),
            None => Ok(()),
        }
    }
}

/// Refuses a corpus that is not known to be anybody's to pass on.
fn data(run: &Run, config: &TrainConfig, push: &PushConfig) -> Result<Data> {
    if run.spec.spec["synthetic"] == Value::Bool(true) {
        return Ok(Data::Synthetic);
    }
    let open = match config.corpus.as_str() {
        "bc5cdr" => Some("bc5cdr"),
        "ncbi" => Some("ncbi-disease"),
        _ => None,
    };
    match open.map(source).transpose()? {
        Some(open) => Ok(Data::Open { title: open.title, licence: open.licence }),
        None if push.permitted => Ok(Data::Permitted),
        None => Err(Error::input(format!(
            "{}: corpus `{}` is neither synthetic nor a known open one. A model can hold pieces of the texts that it was trained on, and gives them back when asked: data under an agreement must not leave with its weights. If you may pass it on, say --i-have-permission",
            run.folder(),
            config.corpus
        ))),
    }
}

/// What transformers and PEFT are to load.
fn base_on_hub(model: &str, push: &PushConfig) -> Result<Option<String>> {
    if let Some(base) = &push.base {
        return Ok(Some(base.clone()));
    }
    Ok(match registry::named(model)? {
        // its file here is SmolLM2's in blocks of 4 bits; the hub has it in bf16
        Some(known) if known.name == "smollm2" => Some("HuggingFaceTB/SmolLM2-135M-Instruct".into()),
        Some(known) => match &known.source {
            Source::Hub(id) => Some(id.clone()),
            _ => None,
        },
        None if Path::new(model).exists() || model.matches('/').count() != 1 => None,
        None => Some(model.split('@').next().unwrap_or(model).into()),
    })
}

/// As the hub calls them.
fn licences(model: &str, push: &PushConfig) -> Result<Vec<String>> {
    if let Some(given) = &push.license {
        return Ok(vec![given.clone()]);
    }
    let known = registry::named(model)?.map(|known| known.licence.to_lowercase());
    match known.as_deref() {
        Some("apache-2.0") => Ok(vec!["apache-2.0".into()]),
        Some("mit or apache-2.0") => Ok(vec!["mit".into(), "apache-2.0".into()]),
        _ => Err(Error::input(format!(
            "base model `{model}`: its licence is not known here: give the hub's name for it, such as --license apache-2.0 (what it allows goes for the adapter too)"
        ))),
    }
}

/// The adapter; its config names the base model as the hub does.
fn adapter_files(run: &Run, subject: &Subject) -> Result<Vec<UploadFile>> {
    let (config, weights) = (run.path("adapter/adapter_config.json"), run.path("adapter/adapter_model.safetensors"));
    let mut json: serde_json::Map<String, Value> = crate::io::read_json(&config)?;
    if let Some(base) = &subject.base {
        json.insert("base_model_name_or_path".into(), base.as_str().into());
    }
    size(&weights)?; // an error names it if it is not there
    let text = serde_json::to_vec_pretty(&json).map_err(|e| Error::failed(format!("{}: {e}", config.display())))?;
    Ok(vec![
        UploadFile { name: "adapter_config.json".into(), content: Content::Bytes(text) },
        UploadFile { name: "adapter_model.safetensors".into(), content: Content::File(weights) },
    ])
}

/// Every file of a folder, in order of name.
fn folder_files(dir: &Path) -> Result<Vec<UploadFile>> {
    let entries = std::fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(Error::io(dir))?;
    paths.retain(|path| path.is_file());
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(paths
        .into_iter()
        .filter(|path| name(path) != "README.md")
        .map(|path| UploadFile { name: name(&path), content: Content::File(path) })
        .collect())
}

/// The merged model in `dir`, unless an earlier call has made it.
fn fold(run: &Run, config: &TrainConfig, push: &PushConfig, dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if !here(&config.model)? {
        return Err(Error::input(format!(
            "base model `{}` is not on this machine: fetch it first, for example by `dxlab merge`",
            config.model
        )));
    }
    let wanted = run.spec.spec["base"].as_str().unwrap_or_default();
    let found = base_id(&config.model)?;
    let digest = |id: &str| id.rsplit('@').next().unwrap_or_default().to_string();
    if digest(wanted) != digest(&found) {
        return Err(Error::input(format!(
            "{}: trained on {wanted}, `{}` is now {found}: a merge would not be the model that was trained",
            run.folder(),
            config.model
        )));
    }
    let merged = MergeConfig {
        model: config.model.clone(),
        adapter: run.dir.clone(),
        out: dir.into(),
        dtype: None,
        shard: if push.shard == 0 { export::SHARD } else { push.shard },
        prompts: None,
        max_delta: None,
        max_kl: None,
    };
    merge(&merged, &mut |_| ()).map(drop)
}

/// True if nobody need be asked for the base model.
fn here(model: &str) -> Result<bool> {
    let known = registry::named(model)?;
    if known.map(|known| known.local()).transpose()?.flatten().is_some() || Path::new(model).exists() {
        return Ok(true);
    }
    Ok(Hub::from_env().has(match known.map(|known| &known.source) {
        Some(Source::Hub(id)) => id,
        _ => model,
    }))
}
