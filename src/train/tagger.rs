//! Fine-tuning of a token classifier: all of its tensors by AdamW on the mean cross-entropy of the labelled tokens, and of its epochs the one
//! with the best score on validation texts.
use super::optimizer::{AdamW, Gradients, Moments};
use super::schedule::Schedule;
use super::state::{Progress, State};
use super::trainer::{LogLine, check_counts, check_numbers, keep_best, open_log, print_line, side_by_side, take_best};
use crate::error::{Error, Result};
use crate::io;
use crate::model::encoder::{Tagged, TokenClassifier, cross_entropy_sum};
use crate::model::ops::Segments;
use candle_core::Var;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// How a token classifier learns. The default is what BERT's authors recommend for fine-tuning (Devlin et al. 2019, appendix A.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggerConfig {
    /// Of the order of the windows, the fresh tensors, and the drawing of cases.
    pub seed: u64,
    pub epochs: usize,
    /// Windows of one update.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Tokens that go through the model at once; an update of more is made in parts, side by side where there are threads.
    #[serde(default = "batch_tokens")]
    pub batch_tokens: usize,
    /// Gradients are scaled down to this norm.
    #[serde(default = "max_norm")]
    pub max_norm: f64,
    /// p of the labels' weights; see [`class_weights`].
    #[serde(default)]
    pub class_weight_power: f64,
    pub schedule: Schedule,
    #[serde(default)]
    pub adamw: AdamW,
}

fn batch() -> usize {
    16
}
fn batch_tokens() -> usize {
    1024
}
fn max_norm() -> f64 {
    1.0
}

impl Default for TaggerConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 3,
            batch: batch(),
            batch_tokens: batch_tokens(),
            max_norm: max_norm(),
            class_weight_power: 0.0,
            schedule: Schedule { lr: 3e-5, warmup: 0.1, floor: 0.0 },
            adamw: AdamW { weight_decay: 0.01, ..AdamW::default() },
        }
    }
}

impl TaggerConfig {
    /// What no training can follow is refused before it starts, with its key.
    pub fn check(&self) -> Result<()> {
        let p = self.class_weight_power;
        let own = [("class_weight_power", p, (0.0..=1.0).contains(&p), "a number from 0 (all labels alike) to 1")];
        check_numbers(&self.schedule, &self.adamw, self.max_norm, &own)?;
        check_counts(self.epochs, &[("batch", self.batch), ("batch_tokens", self.batch_tokens)])
    }
}

/// A weight for each of `labels` labels: (N / (L n))^`power` with n tokens of the label, N of all, and L labels that occur. Power 0 weighs
/// all alike, 1 by the inverse of their frequency (King & Zeng 2001). A label that no window has weighs 1.
pub fn class_weights(windows: &[Tagged], labels: usize, power: f64) -> Vec<f32> {
    let mut counts = vec![0usize; labels];
    for label in windows.iter().flat_map(|w| w.labels.iter().flatten()) {
        if let Some(count) = counts.get_mut(*label as usize) {
            *count += 1;
        }
    }
    let (all, occurring) = (counts.iter().sum::<usize>() as f64, counts.iter().filter(|n| **n > 0).count() as f64);
    let weight = |n: usize| if n == 0 { 1.0 } else { (all / (occurring * n as f64)).powf(power) as f32 };
    counts.into_iter().map(weight).collect()
}

/// What an update did.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggerUpdate {
    pub line: LogLine,
    /// Updates in all.
    pub of: usize,
    /// From 1.
    pub epoch: usize,
    /// Whether it was the last of its epoch.
    pub ends_epoch: bool,
}

/// Trains `model`, whose tensors are `parameters`. `moments` are those of a fresh optimiser, or as they were after so many updates of the
/// same training, which are then not made again. `each` hears of every update made.
pub fn fit_tagger(
    model: &TokenClassifier,
    parameters: &BTreeMap<String, Var>,
    windows: &[Tagged],
    how: &TaggerConfig,
    moments: &mut Moments,
    each: &mut dyn FnMut(&TaggerUpdate, &Moments) -> Result<()>,
) -> Result<()> {
    how.check()?;
    let weights =
        (how.class_weight_power > 0.0).then(|| class_weights(windows, model.bio.len(), how.class_weight_power));
    let mut windows: Vec<&Tagged> = windows.iter().filter(|w| w.labels.iter().any(Option::is_some)).collect();
    if windows.is_empty() {
        return Err(Error::input("no window has a labelled token: nothing to train on"));
    }
    let per_epoch = windows.len().div_ceil(how.batch);
    let (of, mut rng) = (how.epochs * per_epoch, ChaCha8Rng::seed_from_u64(how.seed));
    for epoch in 0..how.epochs {
        windows.shuffle(&mut rng); // also of an epoch that was gone through before: the next order follows from this one
        for (i, batch) in windows.chunks(how.batch).enumerate() {
            let made = epoch * per_epoch + i;
            if made < moments.steps {
                continue;
            }
            let started = Instant::now();
            let (mut gradients, loss) = gradients(model, parameters, batch, how.batch_tokens, weights.as_deref())?;
            let (grad_norm, lr) = (gradients.finish(how.max_norm), how.schedule.at(made, of));
            if !(grad_norm.is_finite() && loss.is_finite()) {
                return Err(Error::failed(format!(
                    "update {}: loss {loss}, |grad| {grad_norm}; lower the learning rate or look for NaN in the weights",
                    made + 1
                )));
            }
            moments.update(&how.adamw, &gradients, lr)?;
            let tokens = batch.iter().map(|w| w.ids.len()).sum();
            let line = LogLine {
                step: made + 1,
                loss,
                cross_entropy: None,
                lr,
                grad_norm,
                tokens,
                targets: batch.iter().map(|w| w.labels.iter().flatten().count()).sum(),
                tokens_per_sec: tokens as f64 / started.elapsed().as_secs_f64(),
                eval_loss: None,
                eval_tags: None,
            };
            each(&TaggerUpdate { line, of, epoch: epoch + 1, ends_epoch: i + 1 == per_epoch }, moments)?;
        }
    }
    Ok(())
}

/// The gradient of a batch's mean loss, and that loss. It is made in parts of at most `batch_tokens` tokens, as many of them side by side as
/// there are threads, and added in their order: the sums are the same on any number of threads.
fn gradients<'a>(
    model: &TokenClassifier,
    parameters: &'a BTreeMap<String, Var>,
    batch: &[&Tagged],
    batch_tokens: usize,
    class_weights: Option<&[f32]>,
) -> Result<(Gradients<'a>, f64)> {
    let of = |label: &u32| class_weights.map_or(Some(&1.0), |w| w.get(*label as usize));
    let labels = batch.iter().flat_map(|w| w.labels.iter().flatten());
    let whole: f64 = labels.filter_map(of).map(|w| *w as f64).sum(); // a label without a weight is refused below
    if whole <= 0.0 {
        return Err(Error::input("every label of a batch has class weight 0: there is nothing to learn from it"));
    }
    let learn = |part: &&[&Tagged]| -> Result<(Gradients<'a>, f64)> {
        let ids: Vec<u32> = part.iter().flat_map(|w| w.ids.iter().copied()).collect();
        let labels: Vec<Option<u32>> = part.iter().flat_map(|w| w.labels.iter().copied()).collect();
        let segments = Segments::of_lengths(part.iter().map(|w| w.ids.len()));
        let sum = cross_entropy_sum(&model.logits(&ids, &segments)?, &labels, class_weights)?.sum;
        let (share, mut gradients) = ((sum / whole)?, Gradients::of(parameters));
        gradients.add(&share.backward()?)?;
        Ok((gradients, share.to_scalar::<f32>()? as f64))
    };
    let (mut gradients, mut loss) = (Gradients::of(parameters), 0.0);
    for some in parts(batch, batch_tokens).chunks(side_by_side(false)) {
        let made: Vec<Result<(Gradients, f64)>> = some.par_iter().map(learn).collect();
        for made in made {
            let (one, share) = made?;
            gradients.merge(one);
            loss += share;
        }
    }
    gradients.targets = 1; // the parts have been divided by the whole batch's weight
    gradients.complete()?;
    Ok((gradients, loss))
}

/// Neighbours of at most `most` tokens together; a window of more stands alone.
fn parts<'a, 'b>(batch: &'b [&'a Tagged], most: usize) -> Vec<&'b [&'a Tagged]> {
    let (mut parts, mut rest) = (Vec::new(), batch);
    while !rest.is_empty() {
        let mut tokens = 0;
        let fits = |w: &&&Tagged| {
            tokens += w.ids.len();
            tokens <= most
        };
        let (part, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        parts.push(part);
        rest = later;
    }
    parts
}

/// One line of `validation.jsonl`: what an epoch reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochScore {
    /// From 1.
    pub epoch: usize,
    /// Updates made by its end.
    pub step: usize,
    /// On the validation texts, to six digits; higher is better.
    pub score: f64,
}

/// The file of the epochs' scores in a run's folder.
pub const VALIDATION: &str = "validation.jsonl";

/// Training in a run's folder: `log.jsonl`, `validation.jsonl`, and while it goes on `state/` and `best.safetensors`.
pub struct TaggerTrainer<'a> {
    pub config: &'a TaggerConfig,
    pub model: &'a TokenClassifier,
    pub parameters: &'a BTreeMap<String, Var>,
    pub dir: &'a Path,
    /// Print a line an update.
    pub verbose: bool,
}

impl TaggerTrainer<'_> {
    /// Trains all epochs and leaves the parameters of the best one set, the earliest of equals; `score` tells after each how well the
    /// parameters do as they stand. Goes on from the last whole epoch in `state/` if there is one, to the same numbers.
    pub fn run(&self, windows: &[Tagged], score: &mut dyn FnMut() -> Result<f64>) -> Result<Progress> {
        let state = State::at(self.dir);
        let (mut progress, mut moments) =
            if state.exists() { state.load(self.parameters)? } else { (Progress::default(), Moments::default()) };
        let mut log = open_log(self.dir, progress.step)?;
        let mut epochs = self.epochs(progress.step)?;
        let (started, first) = (Instant::now(), progress.step);
        fit_tagger(self.model, self.parameters, windows, self.config, &mut moments, &mut |update, moments| {
            let line = &update.line;
            writeln!(log, "{}", line.json()?).map_err(Error::io(self.dir))?;
            progress.step = line.step;
            progress.tokens += line.tokens;
            if self.verbose {
                print_line(line, update.of, started.elapsed().as_secs_f64() / (line.step - first) as f64);
            }
            if !update.ends_epoch {
                return Ok(());
            }
            let made = EpochScore { epoch: update.epoch, step: line.step, score: rounded(score()?) };
            self.judge(&mut progress, &mut epochs, made)?;
            progress.finished = line.step == update.of;
            log.sync_data().map_err(Error::io(self.dir))?; // no state without its lines
            state.save(&progress, self.parameters, moments)
        })?;
        take_best(self.dir, self.parameters, &progress)?;
        Ok(progress)
    }

    /// Keeps the parameters if no epoch before was as good, and writes down the score.
    fn judge(&self, progress: &mut Progress, epochs: &mut Vec<EpochScore>, made: EpochScore) -> Result<()> {
        if self.verbose {
            println!("… epoch {:>3}  score on validation {:.4}", made.epoch, made.score);
        }
        if epochs.iter().all(|before| made.score > before.score) {
            (progress.best_step, progress.stale) = (made.step, 0);
            keep_best(self.dir, self.parameters)?;
        } else {
            progress.stale += 1;
        }
        epochs.push(made);
        let lines = epochs.iter().map(|one| Ok(io::to_value(one)?.to_string() + "\n")).collect::<Result<String>>()?;
        io::write(&self.dir.join(VALIDATION), lines.as_bytes())
    }

    /// The scores of the epochs up to update `step`.
    fn epochs(&self, step: usize) -> Result<Vec<EpochScore>> {
        let path = self.dir.join(VALIDATION);
        if step == 0 || !path.is_file() {
            return Ok(Vec::new());
        }
        let mut all = read_validation(&path)?;
        all.retain(|one| one.step <= step);
        Ok(all)
    }
}

/// Reads `validation.jsonl`.
pub fn read_validation(path: &Path) -> Result<Vec<EpochScore>> {
    let read = |line: &str| -> Result<EpochScore> {
        let one: EpochScore = io::parse_json(path, line)?;
        Ok(EpochScore { score: rounded(one.score), ..one })
    };
    io::read_text(path)?.lines().map(read).collect()
}

/// To six digits, so that what is read back compares as what was written.
fn rounded(score: f64) -> f64 {
    (score * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::encoder::{Bio, Marked, Span};

    const CLASSES: [&str; 2] = ["disease", "organ"];
    const WORDS: [(&str, usize); 4] = [("renal cyst", 0), ("fever", 0), ("kidney", 1), ("left liver", 1)];
    const FRAMES: [&str; 4] =
        ["the {} is normal and {} shows .", "segment of {} ; ({}) , 14 mm", "a {} - simple {} in the segment", "{} {}"];

    /// Every frame filled with every pair of names, and where they stand.
    fn texts() -> Vec<(String, Vec<Span>)> {
        let mut all = Vec::new();
        for frame in FRAMES {
            for (a, first) in WORDS {
                for (b, second) in WORDS {
                    let (mut text, mut spans) = (String::new(), Vec::new());
                    for (part, name) in frame.split("{}").zip([Some((a, first)), Some((b, second)), None]) {
                        text.push_str(part);
                        let start = text.len(); // all of it is ASCII
                        if let Some((name, class)) = name {
                            text.push_str(name);
                            spans.push(Span { start, end: text.len(), class });
                        }
                    }
                    all.push((text, spans));
                }
            }
        }
        all
    }

    fn fresh(marked: Marked) -> (TokenClassifier, BTreeMap<String, Var>) {
        let folder = crate::model::golden::path("encoder/embedder");
        let (mut model, parameters) = TokenClassifier::start(&folder, Bio::new(CLASSES).unwrap(), 3).unwrap();
        model.marked = marked;
        (model, parameters)
    }

    fn windows(model: &TokenClassifier) -> Vec<Tagged> {
        texts().iter().flat_map(|(text, spans)| model.tag(text, spans).unwrap().0).collect()
    }

    #[test]
    fn a_toy_is_learnt_and_its_spans_are_found() {
        for marked in [Marked::Words, Marked::Tokens] {
            let (model, parameters) = fresh(marked);
            let schedule = Schedule { lr: 1.5e-2, warmup: 0.1, floor: 0.05 };
            let how = TaggerConfig { schedule, epochs: 40, batch: 8, class_weight_power: 0.25, ..Default::default() };
            let mut losses = Vec::new();
            fit_tagger(&model, &parameters, &windows(&model), &how, &mut Moments::default(), &mut |update, _| {
                losses.push(update.line.loss);
                Ok(())
            })
            .unwrap();
            assert!(losses[0] > 1.0 && losses[losses.len() - 1] < 0.1, "{marked:?}: {losses:?}");
            let texts = texts();
            let asked: Vec<&str> = texts.iter().map(|(text, _)| text.as_str()).collect();
            let found = model.detached().unwrap().spans(&asked).unwrap();
            let right = found.iter().zip(&texts).filter(|(found, (_, want))| *found == want).count();
            assert_eq!(right, texts.len(), "{marked:?}");
            // what was saved answers alike
            let dir = tempfile::tempdir().unwrap();
            model.save(dir.path()).unwrap();
            let mut again = TokenClassifier::open(dir.path()).unwrap();
            again.marked = marked;
            assert_eq!(again.spans(&asked).unwrap(), found);
        }
    }

    #[test]
    fn an_update_in_parts_has_the_gradient_of_the_whole() {
        let (model, parameters) = fresh(Marked::Words);
        let windows = windows(&model);
        let batch: Vec<&Tagged> = windows.iter().step_by(9).collect();
        let weights = Some([0.5, 2.0, 1.0, 3.0, 0.25].as_slice());
        let (whole, loss) = gradients(&model, &parameters, &batch, 10_000, weights).unwrap();
        let (parts, same) = gradients(&model, &parameters, &batch, 20, weights).unwrap();
        assert!((loss - same).abs() < 1e-5, "{loss} {same}");
        for name in parameters.keys() {
            let far = whole.get(name).iter().zip(parts.get(name)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-5, "{name}: {far}");
        }
    }

    #[test]
    fn nothing_to_learn_is_an_error() {
        let (model, parameters) = fresh(Marked::Words);
        let run = |windows: &[Tagged], how: &TaggerConfig| {
            let made = fit_tagger(&model, &parameters, windows, how, &mut Moments::default(), &mut |_, _| Ok(()));
            let error = made.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let unlabelled = Tagged { ids: vec![2, 3], labels: vec![None, None] };
        assert!(run(std::slice::from_ref(&unlabelled), &TaggerConfig::default()).contains("nothing to train on"));
        for (how, says) in [
            (TaggerConfig { epochs: 0, ..Default::default() }, "training.epochs is 0"),
            (TaggerConfig { batch: 0, ..Default::default() }, "training.batch is 0"),
            (TaggerConfig { class_weight_power: 1.5, ..Default::default() }, "training.class_weight_power is 1.5"),
        ] {
            assert!(run(&windows(&model), &how).contains(says));
        }
        let windows = windows(&model);
        let wrong = |weights: &[f32]| gradients(&model, &parameters, &[&windows[0]], 99, Some(weights)).err().unwrap();
        assert!(wrong(&[0.0; 5]).to_string().contains("class weight 0"));
        assert!(wrong(&[1.0; 4]).to_string().contains("expected 5 numbers"));
    }

    #[test]
    fn rare_labels_weigh_more_and_all_alike_with_power_0() {
        let windows = [Tagged { ids: vec![0; 8], labels: [vec![Some(0); 6], vec![Some(2), None]].concat() }];
        assert_eq!(class_weights(&windows, 3, 0.0), [1.0; 3]);
        let whole = class_weights(&windows, 3, 1.0);
        assert!((whole[0] - 7.0 / 12.0).abs() < 1e-6 && (whole[2] - 3.5).abs() < 1e-6, "{whole:?}");
        assert_eq!(whole[1], 1.0, "no window has it");
        let root = class_weights(&windows, 3, 0.5);
        assert!((root[2] - 3.5f32.sqrt()).abs() < 1e-6);
    }

    /// Everything that a training in `dir` leaves, and its parameters as text.
    fn trained(dir: &Path, scores: &[f64], stop_after: Option<usize>) -> (Result<Progress>, String) {
        let (model, parameters) = fresh(Marked::Words);
        let schedule = Schedule { lr: 5e-3, warmup: 0.1, floor: 0.0 };
        let config = TaggerConfig { schedule, epochs: scores.len(), batch: 24, ..Default::default() };
        let trainer = TaggerTrainer { config: &config, model: &model, parameters: &parameters, dir, verbose: false };
        let gone_through = read_validation(&dir.join(VALIDATION)).map_or(0, |lines| lines.len());
        let mut asked = gone_through;
        let made = trainer.run(&windows(&model), &mut || {
            asked += 1;
            match stop_after {
                Some(most) if asked > most => Err(Error::failed("killed")),
                _ => Ok(scores[asked - 1]),
            }
        });
        let values =
            parameters.values().map(|var| format!("{:?}", var.flatten_all().unwrap().to_vec1::<f32>().unwrap()));
        (made, values.collect())
    }

    #[test]
    fn the_best_epoch_stays_and_a_stopped_training_ends_in_the_same_numbers() {
        let [alone, stopped, last] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let scores = [0.1, 0.4, 0.4, 0.2];
        let (progress, values) = trained(alone.path(), &scores, None);
        let progress = progress.unwrap();
        assert_eq!((progress.best_step, progress.step, progress.stale), (6, 12, 2), "the earlier of two alike");
        assert!(progress.finished);
        assert_ne!(values, trained(last.path(), &[0.0, 0.0, 0.0, 1.0], None).1, "the last epoch has other parameters");
        assert_eq!(trained(stopped.path(), &scores, Some(2)).0.unwrap_err().to_string(), "killed");
        let (again, same) = trained(stopped.path(), &scores, None);
        assert_eq!((again.unwrap(), same), (progress, values));
        let file = |dir: &tempfile::TempDir, name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(file(&alone, VALIDATION), file(&stopped, VALIDATION));
        let losses = |dir| -> Vec<f64> {
            super::super::read_log(&Path::new(dir).join("log.jsonl")).unwrap().iter().map(|line| line.loss).collect()
        };
        assert_eq!(losses(alone.path()), losses(stopped.path()));
        assert_eq!(losses(alone.path()).len(), 12);
    }
}
