//! Scores for a card, computed anew from the predictions that the store holds of the run's own adapter.
use crate::error::Result;
use crate::generate::adapter_id;
use crate::metric::{Bootstrap, Estimate, Reading};
use crate::model::registry;
use crate::run::{Run, Store};
use crate::study::config::{Method, TrainConfig};
use crate::study::evaluation::evaluate;
use crate::task::{self, AnyTask};
use std::path::Path;
use std::sync::Arc;

/// One predict run's main score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Folder of the predict run.
    pub run: String,
    pub corpus: String,
    pub synthetic: bool,
    pub metric: String,
    pub reading: Reading,
    pub estimate: Estimate,
}

/// Scores of the runs in the same store that asked this adapter, with the prompt that it was trained with and on all test cases; empty
/// where there are none, or where the corpus is no longer the one that was asked about.
pub fn scores(run: &Run, config: &TrainConfig) -> Result<Vec<Score>> {
    let who = match config.adapter.method {
        Method::Full => return Ok(Vec::new()), // predictions name such a model by a digest of all its weights
        _ => adapter_id(&run.dir)?,
    };
    let store = Store::open(Some(run.dir.parent().unwrap_or(Path::new("."))));
    let spec = |run: &Run, key: &str| run.spec.spec[key].as_str().map(String::from);
    let mut asked = store.list()?;
    asked.retain(|other| {
        other.spec.kind == "predict"
            && other.spec.numerics == run.spec.numerics
            && spec(other, "adapter").as_deref() == Some(&who)
            && spec(other, "prompt") == spec(run, "prompt")
            && other.spec.spec["cases"].is_null()
            && ["constrain", "vote", "ranking"].iter().all(|key| other.spec.spec[*key].is_null())
    });
    let tasks = if asked.is_empty() { Vec::new() } else { tasks(config) };
    let mut all = Vec::new();
    for other in &asked {
        let fits = |task: &&Arc<dyn AnyTask>| Some(task.corpus_digest()) == spec(other, "corpus");
        let Some(task) = tasks.iter().find(fits) else { continue };
        let (metric, reading) = (task.main_metric()?, task.readings().first().copied().unwrap_or(Reading::Raw));
        let evaluation = evaluate(&**task, &other.answers(&**task)?, &Bootstrap::default())?;
        if let Some(estimate) = evaluation.get(reading, &metric) {
            let (corpus, synthetic) = (task.corpus_name().to_string(), task.synthetic());
            all.push(Score { run: other.folder(), corpus, synthetic, metric, reading, estimate: estimate.clone() });
        }
    }
    Ok(all)
}

/// The corpus of the training, and the sealed test split where it is the synthetic one; what cannot be opened here is left out.
fn tasks(config: &TrainConfig) -> Vec<Arc<dyn AnyTask>> {
    let names = [config.corpus.as_str(), "findings-sealed"];
    let wanted = if config.corpus == "findings" { &names[..] } else { &names[..1] };
    wanted.iter().filter_map(|name| task::open(name).ok()).collect()
}

/// What the registry says of the base model.
pub fn about(model: &str) -> Result<Option<&'static str>> {
    Ok(registry::named(model)?.map(|known| known.about.as_str()))
}
