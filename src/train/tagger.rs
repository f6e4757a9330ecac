//! Fine-tuning of a token classifier: all of its tensors by AdamW on the mean cross-entropy of the labelled tokens.
use super::optimizer::{AdamW, Gradients, Moments};
use super::schedule::Schedule;
use crate::error::{Error, Result};
use crate::model::encoder::{Tagged, TokenClassifier, cross_entropy_sum};
use crate::model::ops::Segments;
use candle_core::Var;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// How a token classifier learns. The default is what BERT's authors recommend for fine-tuning (Devlin et al. 2019, appendix A.3).
#[derive(Clone, Debug, PartialEq)]
pub struct TaggerConfig {
    pub adamw: AdamW,
    pub schedule: Schedule,
    pub epochs: usize,
    /// Windows of one update.
    pub batch: usize,
    /// Tokens that go through the model at once; an update of more is made in parts.
    pub tokens: usize,
    /// Gradients are scaled down to this norm.
    pub max_grad_norm: f64,
    /// One a label; None: all 1.
    pub class_weights: Option<Vec<f32>>,
    /// Of the order of the windows.
    pub seed: u64,
}

impl Default for TaggerConfig {
    fn default() -> Self {
        Self {
            adamw: AdamW { weight_decay: 0.01, ..AdamW::default() },
            schedule: Schedule { lr: 3e-5, warmup: 0.1, floor: 0.0 },
            epochs: 3,
            batch: 16,
            tokens: 1024,
            max_grad_norm: 1.0,
            class_weights: None,
            seed: 0,
        }
    }
}

/// Trains `model`, whose tensors are `parameters`. `each` hears of every update: its number from 0, of how many, and its loss before it.
pub fn fit_tagger(
    model: &TokenClassifier,
    parameters: &BTreeMap<String, Var>,
    windows: &[Tagged],
    how: &TaggerConfig,
    each: &mut dyn FnMut(usize, usize, f64),
) -> Result<()> {
    let mut windows: Vec<&Tagged> = windows.iter().filter(|w| w.labels.iter().any(Option::is_some)).collect();
    if windows.is_empty() || how.batch == 0 || how.epochs == 0 {
        return Err(Error::input(format!(
            "{} windows with labels, {} a batch, {} epochs: nothing to train on",
            windows.len(),
            how.batch,
            how.epochs
        )));
    }
    let updates = how.epochs * windows.len().div_ceil(how.batch);
    let (mut moments, mut rng) = (Moments::default(), ChaCha8Rng::seed_from_u64(how.seed));
    let mut update = 0;
    for _ in 0..how.epochs {
        windows.shuffle(&mut rng);
        for batch in windows.chunks(how.batch) {
            let (mut gradients, loss) = gradients(model, parameters, batch, how)?;
            gradients.finish(how.max_grad_norm);
            moments.update(&how.adamw, &gradients, how.schedule.at(update, updates))?;
            each(update, updates, loss);
            update += 1;
        }
    }
    Ok(())
}

/// The gradient of a batch's mean loss, made in parts of at most `how.tokens` tokens, and that loss.
fn gradients<'a>(
    model: &TokenClassifier,
    parameters: &'a BTreeMap<String, Var>,
    batch: &[&Tagged],
    how: &TaggerConfig,
) -> Result<(Gradients<'a>, f64)> {
    let class_weights = how.class_weights.as_deref();
    let of = |label: &u32| class_weights.map_or(Some(&1.0), |w| w.get(*label as usize));
    let labels = batch.iter().flat_map(|w| w.labels.iter().flatten());
    let whole: f64 = labels.filter_map(of).map(|w| *w as f64).sum(); // a label without a weight is refused below
    if whole <= 0.0 {
        return Err(Error::input("every label of a batch has class weight 0: there is nothing to learn from it"));
    }
    let (mut gradients, mut loss, mut rest) = (Gradients::of(parameters), 0.0, batch);
    while !rest.is_empty() {
        let mut tokens = 0;
        let fits = |w: &&&Tagged| {
            tokens += w.ids.len();
            tokens <= how.tokens
        };
        let (part, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let ids: Vec<u32> = part.iter().flat_map(|w| w.ids.iter().copied()).collect();
        let labels: Vec<Option<u32>> = part.iter().flat_map(|w| w.labels.iter().copied()).collect();
        let segments = Segments::of_lengths(part.iter().map(|w| w.ids.len()));
        let sum = cross_entropy_sum(&model.logits(&ids, &segments)?, &labels, class_weights)?.sum;
        let share = (sum / whole)?;
        loss += share.to_scalar::<f32>()? as f64;
        gradients.add(&share.backward()?)?;
        rest = later;
    }
    gradients.targets = 1; // the parts have been divided by the whole batch's weight
    gradients.complete()?;
    Ok((gradients, loss))
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
            let how = TaggerConfig { schedule, epochs: 40, batch: 8, ..Default::default() };
            let mut losses = Vec::new();
            fit_tagger(&model, &parameters, &windows(&model), &how, &mut |_, _, loss| losses.push(loss)).unwrap();
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
        let class_weights = Some(vec![0.5, 2.0, 1.0, 3.0, 0.25]);
        let how = |tokens| TaggerConfig { tokens, class_weights: class_weights.clone(), ..Default::default() };
        let (whole, loss) = gradients(&model, &parameters, &batch, &how(10_000)).unwrap();
        let (parts, same) = gradients(&model, &parameters, &batch, &how(20)).unwrap();
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
            let error = fit_tagger(&model, &parameters, windows, how, &mut |_, _, _| {}).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let unlabelled = Tagged { ids: vec![2, 3], labels: vec![None, None] };
        assert!(run(&[unlabelled], &TaggerConfig::default()).contains("nothing to train on"));
        let zero = TaggerConfig { class_weights: Some(vec![0.0; 5]), ..Default::default() };
        assert!(run(&windows(&model), &zero).contains("class weight 0"));
        let few = TaggerConfig { class_weights: Some(vec![1.0; 4]), ..Default::default() };
        assert!(run(&windows(&model), &few).contains("expected 5 numbers"));
    }
}
