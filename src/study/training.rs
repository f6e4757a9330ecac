//! A training run read back: its log, where it stopped, and how many numbers it trained.
use super::config::{Method, PredictConfig, TrainConfig};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::io;
use crate::model::{Checkpoint, resolve, tensors};
use crate::prompt::Prompt;
use crate::run::Run;
use crate::task;
use crate::train::{LogLine, Progress, read_log};
use std::path::Path;

/// What a training run left in its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// One line an update.
    pub log: Vec<LogLine>,
    pub progress: Progress,
    /// Numbers in the base model, and in what was trained (an adapter, or every weight) with its tensors.
    pub base_parameters: usize,
    pub adapter_parameters: usize,
    pub adapter_tensors: usize,
}

impl Training {
    /// Of a run that `Run::open_or_train` gave.
    pub fn of(run: &Run, config: &TrainConfig) -> Result<Self> {
        let adapter = match config.adapter.method {
            Method::Full => tensors::read(&run.path("model/model.safetensors"))?,
            _ => tensors::read(&run.path("adapter/adapter_model.safetensors"))?,
        };
        Ok(Self {
            log: read_log(&run.path("log.jsonl"))?,
            progress: io::read_json(&run.path("progress.json"))?,
            base_parameters: Checkpoint::open(&resolve(&config.model)?)?.config().parameters(),
            adapter_parameters: adapter.values().map(|tensor| tensor.elem_count()).sum(),
            adapter_tensors: adapter.len(),
        })
    }

    /// Validation loss by update, in order.
    pub fn validation(&self) -> Vec<(usize, f64)> {
        self.log.iter().filter_map(|line| Some((line.step, line.eval_loss?))).collect()
    }

    /// Every update moved something: no gradient was zero.
    pub fn always_moved(&self) -> bool {
        !self.log.is_empty() && self.log.iter().all(|line| line.grad_norm > 0.0)
    }
}

/// Asks again about the first `cases` test cases of a predict run: (answers that are word for word those stored, asked).
pub fn ask_again(run: &Run, config: &PredictConfig, cases: usize) -> Result<(usize, usize)> {
    let task = task::open(&config.corpus)?;
    let prompt = Prompt::named(&config.prompt, task.context())?;
    let stored = run.answers(&*task)?;
    let mut first = task.test();
    first.retain(|case| stored.iter().any(|answer| answer.case_id == case.case_id));
    first.truncate(cases);
    let fresh = config.ask(&config.open(&*task)?, &prompt, &*task, &first)?;
    let same = fresh.iter().filter(|new| stored.iter().any(|old| old.case_id == new.case_id && old.raw == new.raw));
    Ok((same.count(), fresh.len()))
}

impl TrainConfig {
    /// The config in `configs/` that `DXLAB_CONFIG` names, else `smollm2-lora`, on the base model that `DXLAB_MODEL` names, else the
    /// config's own: what the notebooks run. A config on another corpus than the findings that the notebooks show is an error.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(Error::input(format!("{name}: {error}"))),
        };
        let mut config = Self::named(set("DXLAB_CONFIG")?.as_deref().unwrap_or("smollm2-lora"))?;
        config.of_findings(&Corpus::path_from_env())?;
        if let Some(model) = set("DXLAB_MODEL")? {
            config.model = model;
        }
        Ok(config)
    }

    /// Fails where the corpus is not the findings at `shown`.
    fn of_findings(&self, shown: &Path) -> Result<()> {
        let same = |path: &str| {
            Path::new(path).canonicalize().is_ok_and(|path| shown.canonicalize().is_ok_and(|shown| path == shown))
        };
        match self.corpus.as_str() {
            "findings" => Ok(()),
            path if same(path) => Ok(()),
            path if Path::new(path).exists() => Err(Error::input(format!(
                "DXLAB_CONFIG: config `{}` has the corpus {path}, and the chapters show {}: set DXLAB_FINDINGS={path} too",
                self.name,
                shown.display()
            ))),
            other => Err(Error::input(format!(
                "DXLAB_CONFIG: config `{}` has the corpus `{other}`: the chapters need one with corpus = \"findings\", which is the file that \
                 DXLAB_FINDINGS names, else the synthetic findings",
                self.name
            ))),
        }
    }

    /// Asking this config's base model about its corpus with a prompt, before any training.
    pub fn zero_shot(&self, prompt: &str) -> PredictConfig {
        PredictConfig { model: self.model.clone(), corpus: self.corpus.clone(), ..PredictConfig::zero_shot(prompt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_before_training_uses_the_configs_model_and_corpus() {
        let config = TrainConfig::named("lora-bc5cdr").unwrap();
        let asked = config.zero_shot("closed");
        assert_eq!((asked.name.as_str(), asked.prompt.as_str()), ("zero-shot-closed", "closed"));
        assert_eq!((asked.model, asked.corpus, asked.adapter), (config.model, config.corpus, None));
        assert_eq!(TrainConfig::named("lora-plain").unwrap().zero_shot("plain"), PredictConfig::zero_shot("plain"));
    }

    #[test]
    fn the_chapters_refuse_a_config_on_another_corpus() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own.csv"), folder.path().join("other.csv"));
        for path in [&own, &other] {
            std::fs::write(path, "").unwrap();
        }
        let on = |corpus: &str, shown: &Path| {
            let config = TrainConfig { corpus: corpus.into(), ..TrainConfig::named("smollm2-lora").unwrap() };
            config.of_findings(shown).map_err(|error| error.to_string())
        };
        assert_eq!(on("findings", &other), Ok(()));
        assert_eq!(
            on(own.to_str().unwrap(), &folder.path().join("./own.csv")),
            Ok(()),
            "the same file, written otherwise"
        );
        let told = on(own.to_str().unwrap(), &other).unwrap_err();
        assert!(told.contains("set DXLAB_FINDINGS=") && told.contains("own.csv"), "{told}");
        for corpus in ["bc5cdr", "findings-sealed", "decisions", "nothing.csv"] {
            let told = on(corpus, &own).unwrap_err();
            assert!(told.contains(&format!("the corpus `{corpus}`")) && told.contains("DXLAB_FINDINGS"), "{told}");
        }
    }
}
