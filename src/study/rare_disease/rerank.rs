//! A ranker's best candidates in the order in which a language model believes them.
//!
//! ```text
//! score(d) = r · log p_ranker(d) + w · s(d)
//!
//! p_ranker   learned ranker: softmax of its scores over the list; every other: 1 / rank, normalised
//! s(d)       log p(name of d and the end of its line | prompt about the patient), the sum over its tokens or their mean;
//!            calibrated: minus log p₀, the same about texts without content (Zhao et al., ICML 2021)
//! r, w       1 and one of WEIGHTS; or 0 and 1, the language model alone
//! ```
//!
//! The prompt asks for ten diagnoses, the likeliest on the first line, so p is the probability that the model begins its answer with d. Which
//! score is taken is chosen by MRR on validation patients, who trained neither the ranker nor the adapter. The log-probabilities are kept:
//!
//! ```text
//! runs/rerank-…/   lists.jsonl    a line a patient: candidates, both log-probabilities, tokens
//!                  free.json      log p₀ of every candidate
//!                  chosen.json    the score chosen, and what each that was tried reaches on validation patients
//!                  preds.jsonl    ten diseases of each test patient by the score chosen
//! ```
use super::shortlist::{Shortlister, VALIDATION};
use crate::corpus::split::Part;
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::generate::{By, Local, base_id, rank};
use crate::io;
use crate::metric::RankedCase;
use crate::phenotype::{Patient, Ranked, RankerKind};
use crate::prompt::Prompt;
use crate::run::{AskedSpec, Prediction, RerankSpec, Run, RunSpec, Spec, Store, keep_predictions};
use crate::study::asking::Progress;
use crate::study::config::PredictConfig;
use crate::study::experiment::asked_spec;
use crate::study::ranking::CONTENT_FREE;
use crate::task::rare_disease::Gold;
use crate::task::{AnyTask, RareDisease, Task};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// Weights of the language model beside a ranker that validation patients choose from; 0 is the ranker alone.
pub const WEIGHTS: [f64; 9] = [0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// Candidates scored at the same time.
const BATCH: usize = 50;
/// Validation patients that the score is chosen on.
const VALIDATION_PATIENTS: usize = 200;

/// How the two log-probabilities become one score; see the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// 1, or 0 for the language model alone.
    pub ranker: f64,
    pub weight: f64,
    /// The mean over a name's tokens in the place of the sum.
    pub mean: bool,
    pub calibrated: bool,
}

impl Mix {
    pub const RANKER: Self = Self { ranker: 1.0, weight: 0.0, mean: false, calibrated: false };

    /// The language model alone.
    pub fn alone(mean: bool, calibrated: bool) -> Self {
        Self { ranker: 0.0, weight: 1.0, mean, calibrated }
    }

    /// All that validation patients choose from, the ranker alone first.
    pub fn all() -> Vec<Self> {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        let of = |weight: f64| kinds.map(|(mean, calibrated)| Self { ranker: 1.0, weight, mean, calibrated });
        let mixed = WEIGHTS.into_iter().skip(1).flat_map(of);
        std::iter::once(Self::RANKER).chain(mixed).chain(kinds.map(|(a, b)| Self::alone(a, b))).collect()
    }

    /// In words: `ranker + 0.2 × mean log p`.
    pub fn title(&self) -> String {
        let free = if self.calibrated { " − log p₀" } else { "" };
        let model = format!("{}log p{free}", if self.mean { "mean " } else { "" });
        match (self.ranker > 0.0, self.weight) {
            (true, 0.0) => "ranker alone".into(),
            (true, weight) => format!("ranker + {weight} × ({model})"),
            (false, _) => format!("language model alone, {model}"),
        }
    }
}

/// A line of `lists.jsonl`: one patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredList {
    pub case_id: String,
    pub validation: bool,
    /// Ids, the ranker's best first.
    pub candidates: Vec<String>,
    /// Natural logarithms, as all here; to four digits.
    pub ranker: Vec<f64>,
    pub model: Vec<f64>,
    /// Of each name with the end of its line.
    pub tokens: Vec<usize>,
    pub prompt_tokens: usize,
    pub seconds: f64,
}

/// What one score reaches on validation patients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    pub mix: Mix,
    pub mrr: f64,
    pub hit_1: f64,
    pub hit_10: f64,
}

/// `chosen.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    pub mix: Mix,
    pub validation_patients: usize,
    pub tried: Vec<Tried>,
}

/// What is re-ranked, and by whom.
#[derive(Clone, Debug)]
pub struct RerankConfig {
    pub ranker: RankerKind,
    /// Candidates for each patient.
    pub top: usize,
    /// Model, adapter, prompt and weights; its name is the run's, its corpus `rare-disease`.
    pub asked: PredictConfig,
}

/// A run, read back.
pub struct Reranked {
    pub run: Run,
    pub ranker: String,
    pub lists: Vec<ScoredList>,
    pub free: BTreeMap<String, f64>,
    pub chosen: Chosen,
}

impl RerankConfig {
    /// The validation patients of the adapter's own training where it says which they were, else [`VALIDATION`].
    fn part(&self) -> Result<Part> {
        let run = self.asked.adapter.as_deref().filter(|dir| dir.join("spec.json").is_file()).map(Run::load);
        let Some(config) = run.transpose()?.and_then(|run| run.known().config) else { return Ok(VALIDATION) };
        let (share, seed) = (config["validation"].as_f64(), config["training"]["seed"].as_u64());
        let part = Part { validation: share.unwrap_or(VALIDATION.validation), seed: seed.unwrap_or(VALIDATION.seed) };
        match part.validation > 0.0 {
            true => Ok(part),
            false => Err(Error::input(
                "the adapter was trained without validation patients: no patient is left to choose the weight of the language model by",
            )),
        }
    }

    fn check(&self) -> Result<()> {
        let asked = &self.asked;
        if asked.endpoint.is_some() || asked.vote.is_some() || asked.constrain.is_some() || asked.ranking.is_some() {
            return Err(Error::input("re-ranking takes a model in this process, and neither a vote nor a constraint"));
        }
        match self.top {
            0 | 1 => Err(Error::input(format!("top = {}: expected at least 2 candidates to re-rank", self.top))),
            _ => Ok(()),
        }
    }
}

impl Reranked {
    /// The run of this config: opened, or scored.
    pub fn open_or_rerank(store: &Store, config: &RerankConfig, task: &RareDisease) -> Result<Self> {
        config.check()?;
        let prompt = Prompt::named(&config.asked.prompt, Task::context(task))?;
        let asked = asked_spec(base_id(&config.asked.model)?, &config.asked, task, &prompt)?;
        let part = config.part()?;
        let spec = RunSpec::Rerank(RerankSpec {
            asked: asked.clone(),
            ranker: config.ranker.name().into(),
            ranker_version: super::shortlist::VERSION,
            annotations: task.library.knowledge.is_other().then(|| task.library.knowledge.id()),
            top: config.top,
            part: io::to_value(&part)?,
        });
        let name = &config.asked.name;
        let folder = Spec::new("rerank", name, &spec)?.folder();
        let run = store.open_or_make("rerank", name, &spec, |dir| {
            let known = Shortlister::of(task, part, VALIDATION_PATIENTS)?;
            if known.validation.is_empty() {
                return Err(Error::input(format!(
                    "no training patient is for validation (share {} of the publications, seed {}): nothing to choose the weight of the \
                     language model by",
                    part.validation, part.seed
                )));
            }
            let (lists, free) = score(config, task, &known, &prompt)?;
            let chosen = choose(task, &lists, &free)?;
            println!("chosen on {} validation patients: {}", chosen.validation_patients, chosen.mix.title());
            let predictions = predictions(task, &known, &lists, &free, &chosen.mix, (&asked, &folder));
            let text: Vec<String> =
                lists.iter().map(io::to_value).map(|v| v.map(|v| v.to_string() + "\n")).collect::<Result<_>>()?;
            io::write(&dir.join("lists.jsonl"), text.concat().as_bytes())?;
            io::write_json(&dir.join("free.json"), &free)?;
            io::write_json(&dir.join("chosen.json"), &chosen)?;
            io::write_json(&dir.join("prompt.json"), &prompt)?;
            keep_predictions(&dir.join("preds.jsonl"), &predictions)
        })?;
        Self::read(run)
    }

    pub fn read(run: Run) -> Result<Self> {
        let path = run.path("lists.jsonl");
        let lists = io::read_text(&path)?.lines().map(|line| io::parse_json(&path, line)).collect::<Result<_>>()?;
        let ranker = run.spec.spec["ranker"].as_str().unwrap_or_default().to_string();
        let (free, chosen) = (io::read_json(&run.path("free.json"))?, io::read_json(&run.path("chosen.json"))?);
        Ok(Self { run, ranker, lists, free, chosen })
    }

    /// Every run of this task's corpus in the store.
    pub fn in_store(store: &Store, task: &RareDisease) -> Result<Vec<Self>> {
        let digest = task.corpus().digest();
        let of = |run: &Run| run.spec.kind == "rerank" && run.known().corpus.as_ref() == Some(&digest);
        store.list()?.into_iter().filter(of).map(Self::read).collect()
    }

    /// Where a score puts the disease of every test or every validation patient, in the order of the lists.
    pub fn cases(&self, task: &RareDisease, mix: &Mix, validation: bool) -> Result<Vec<RankedCase>> {
        cases(task, &self.lists, &self.free, mix, validation)
    }
}

/// Indices of a list in the order of a score; of equals the ranker's better one first.
fn order(list: &ScoredList, free: &BTreeMap<String, f64>, mix: &Mix) -> Vec<usize> {
    let score = |i: usize| {
        let known = free.get(&list.candidates[i]).copied().unwrap_or_default();
        let logprob = list.model[i] - if mix.calibrated { known } else { 0.0 };
        let model = if mix.mean { logprob / list.tokens[i].max(1) as f64 } else { logprob };
        mix.ranker * list.ranker[i] + mix.weight * model
    };
    let scores: Vec<f64> = (0..list.candidates.len()).map(score).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order
}

fn cases(
    task: &RareDisease,
    lists: &[ScoredList],
    free: &BTreeMap<String, f64>,
    mix: &Mix,
    validation: bool,
) -> Result<Vec<RankedCase>> {
    let corpus = task.corpus();
    let all = if validation { &corpus.train } else { &corpus.test };
    let by_id: HashMap<&str, &Example<Gold>> = all.iter().map(|one| (one.case_id.as_str(), one)).collect();
    let of = |list: &ScoredList| {
        let missing = || Error::input(format!("patient `{}` of a list is not in {}", list.case_id, corpus.name));
        let case = by_id.get(list.case_id.as_str()).ok_or_else(missing)?;
        let order = order(list, free, mix);
        let place = |id: &str| order.iter().position(|&i| list.candidates[i] == id).map(|at| at + 1);
        Ok(RankedCase {
            case_id: case.case_id.clone(),
            group: case.group.clone(),
            gold: case.gold.iter().map(|gold| (gold.id.clone(), place(&gold.id))).collect(),
            listed: order.len().min(10),
            unknown: 0,
            parsed: true,
        })
    };
    lists.iter().filter(|list| list.validation == validation).map(of).collect()
}

/// The score that is best by MRR on the validation patients, the first of equals.
fn choose(task: &RareDisease, lists: &[ScoredList], free: &BTreeMap<String, f64>) -> Result<Chosen> {
    let of = |mix: Mix| {
        let cases = cases(task, lists, free, &mix, true)?;
        let mean =
            |value: &dyn Fn(&RankedCase) -> f64| cases.iter().map(value).sum::<f64>() / cases.len().max(1) as f64;
        let hit = |k: usize| mean(&|case| f64::from(case.hit(k)));
        let mrr = mean(&|case| case.best().map_or(0.0, |rank| 1.0 / rank as f64));
        Ok(Tried { mix, mrr, hit_1: hit(1), hit_10: hit(10) })
    };
    let tried = Mix::all().into_iter().map(of).collect::<Result<Vec<Tried>>>()?;
    let best = tried.iter().rev().max_by(|a, b| a.mrr.total_cmp(&b.mrr)).map_or(Mix::RANKER, |one| one.mix);
    Ok(Chosen { mix: best, validation_patients: lists.iter().filter(|one| one.validation).count(), tried })
}

/// Lists of all validation and test patients, and log p₀ of every candidate on them.
fn score(
    config: &RerankConfig,
    task: &RareDisease,
    known: &Shortlister,
    prompt: &Prompt,
) -> Result<(Vec<ScoredList>, BTreeMap<String, f64>)> {
    let (valid, test) = {
        let ranker = known.ranker(config.ranker)?;
        let of = |patients: &[Patient]| known.lists(&*ranker, patients, config.top);
        (of(&known.validation), of(&known.test))
    };
    let model = config.asked.open(task)?;
    let texts: HashMap<&str, &Case> =
        task.corpus().train.iter().chain(&task.corpus().test).map(|one| (one.case_id.as_str(), &one.case)).collect();
    let mut said = Progress::new(valid.len() + test.len());
    let mut lists = vec![];
    let patients = known.validation.iter().zip(&valid).map(|pair| (pair, true));
    for ((patient, list), validation) in patients.chain(known.test.iter().zip(&test).map(|pair| (pair, false))) {
        let case = texts.get(patient.id.as_str()).ok_or_else(|| Error::failed("a patient without a text"))?;
        let names: Vec<&str> = list.iter().map(|one| known.name(one.candidate)).collect();
        let started = Instant::now();
        let (scored, prompt_tokens) = logprobs(&model, prompt, case, &names)?;
        let digits = |value: f64| (value * 1e4).round() / 1e4;
        lists.push(ScoredList {
            case_id: patient.id.clone(),
            validation,
            candidates: list.iter().map(|one| known.id(one.candidate).to_string()).collect(),
            ranker: shares(list, config.ranker).into_iter().map(digits).collect(),
            model: scored.iter().map(|one| digits(one.0)).collect(),
            tokens: scored.iter().map(|one| one.1).collect(),
            prompt_tokens,
            seconds: started.elapsed().as_secs_f64(),
        });
        said.update(lists.len());
    }
    let candidates: BTreeSet<usize> = valid.iter().chain(&test).flatten().map(|one| one.candidate).collect();
    let free = content_free(&model, prompt, known, &candidates.into_iter().collect::<Vec<_>>())?;
    Ok((lists, free))
}

/// log of the ranker's share of each candidate of its list; see the file's header.
fn shares(list: &[Ranked], ranker: RankerKind) -> Vec<f64> {
    let logits: Vec<f64> = match ranker {
        RankerKind::Learned => list.iter().map(|one| f64::from(one.score)).collect(),
        _ => (0..list.len()).map(|i| -((i + 1) as f64).ln()).collect(),
    };
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let whole = most + logits.iter().map(|one| (one - most).exp()).sum::<f64>().ln();
    logits.into_iter().map(|one| one - whole).collect()
}

/// log p and number of tokens of each name with the end of its line, and the prompt's tokens.
fn logprobs(model: &Local, prompt: &Prompt, case: &Case, names: &[&str]) -> Result<(Vec<(f64, usize)>, usize)> {
    let candidates =
        names.iter().map(|name| model.tokenizer.encode(&format!("{name}\n"), false)).collect::<Result<Vec<_>>>()?;
    let ids = model.encoder().serve_case(prompt, case)?.ids;
    let prompt_tokens = ids.len();
    if names.is_empty() {
        return Ok((vec![], prompt_tokens));
    }
    let mut scored = vec![(0.0, 0); names.len()];
    for one in rank(&model.model, &[ids], &candidates, By::Sum, BATCH)?.into_iter().flatten() {
        scored[one.candidate] = (one.logprob, one.tokens);
    }
    Ok((scored, prompt_tokens))
}

/// log of the mean of p over the texts without content.
fn content_free(
    model: &Local,
    prompt: &Prompt,
    known: &Shortlister,
    candidates: &[usize],
) -> Result<BTreeMap<String, f64>> {
    let names: Vec<&str> = candidates.iter().map(|&at| known.name(at)).collect();
    let mut p = vec![0.0; names.len()];
    for text in CONTENT_FREE {
        let case = Case { case_id: String::new(), group: String::new(), input: text.into() };
        let (scored, _) = logprobs(model, prompt, &case, &names)?;
        p.iter_mut().zip(scored).for_each(|(p, (logprob, _))| *p += logprob.exp() / CONTENT_FREE.len() as f64);
    }
    let log = |p: f64| (p.max(f64::MIN_POSITIVE).ln() * 1e4).round() / 1e4;
    Ok(candidates.iter().zip(p).map(|(&at, p)| (known.id(at).to_string(), log(p))).collect())
}

/// The ten best of each test patient by a score, as of a model that wrote their names.
fn predictions(
    task: &RareDisease,
    known: &Shortlister,
    lists: &[ScoredList],
    free: &BTreeMap<String, f64>,
    mix: &Mix,
    (asked, run): (&AskedSpec, &str),
) -> Vec<Prediction<Vec<String>, Gold>> {
    let names: HashMap<&str, &str> =
        known.bench.library.candidates.iter().map(|one| (one.id.as_str(), one.name.as_str())).collect();
    let corpus = task.corpus();
    let lists = lists.iter().filter(|list| !list.validation);
    let one = |(case, list): (&Example<Gold>, &ScoredList)| {
        let best = order(list, free, mix).into_iter().take(10).map(|i| list.candidates[i].as_str());
        let answer: Vec<String> = best.map(|id| names.get(id).copied().unwrap_or(id).to_string()).collect();
        Prediction {
            task: <dyn AnyTask>::id(task),
            corpus: corpus.digest()[..12].into(),
            run: run.into(),
            prompt: asked.prompt.clone(),
            model: asked.model.clone(),
            adapter: asked.adapter.clone(),
            prompt_tokens: list.prompt_tokens,
            new_tokens: list.tokens.iter().sum(),
            seconds: list.seconds,
            ..Prediction::of(case, answer.clone(), &answer.join("\n"))
        }
    };
    corpus.test.iter().zip(lists).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ScoredList {
        ScoredList {
            case_id: "a".into(),
            validation: false,
            candidates: ["OMIM:1", "OMIM:2", "OMIM:3"].map(String::from).to_vec(),
            ranker: vec![-0.5, -1.0, -3.0],
            model: vec![-8.0, -4.0, -9.0],
            tokens: vec![2, 1, 4],
            prompt_tokens: 5,
            seconds: 0.0,
        }
    }

    /// By hand: ranker −0.5, −1, −3; sums −8, −4, −9; means −4, −4, −2.25; calibrated by −1, −1, −8: −7, −3, −1.
    #[test]
    fn both_log_probabilities_are_weighed() {
        let free = BTreeMap::from([("OMIM:1".into(), -1.0), ("OMIM:2".into(), -1.0), ("OMIM:3".into(), -8.0)]);
        let by = |mix: Mix| order(&list(), &free, &mix);
        assert_eq!(by(Mix::RANKER), [0, 1, 2]);
        assert_eq!(by(Mix::alone(false, false)), [1, 0, 2]);
        assert_eq!(by(Mix::alone(true, false)), [2, 0, 1], "of equal means the ranker's better one");
        assert_eq!(by(Mix::alone(false, true)), [2, 1, 0]);
        // −0.5 − 0.8 = −1.3, −1 − 0.4 = −1.4, −3 − 0.9
        assert_eq!(by(Mix { weight: 0.1, ..Mix::RANKER }), [0, 1, 2]);
        // −0.5 − 1.6 = −2.1, −1 − 0.8 = −1.8
        assert_eq!(by(Mix { weight: 0.2, ..Mix::RANKER }), [1, 0, 2]);
        assert_eq!(Mix::all().len(), 1 + 4 * (WEIGHTS.len() - 1) + 4);
    }

    #[test]
    fn shares_of_a_list_sum_to_one() {
        let list = [3.0f32, 1.0, 1.0].map(|score| Ranked { candidate: 0, score });
        for kind in [RankerKind::Learned, RankerKind::Nearest] {
            let shares = shares(&list, kind);
            assert!((shares.iter().map(|one| one.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let by_rank = shares(&list, RankerKind::Nearest);
        assert!((by_rank[0].exp() - 6.0 / 11.0).abs() < 1e-12, "1 : 1/2 : 1/3");
    }
}
