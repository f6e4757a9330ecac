//! What a training config says, in words, so that a chapter's text is about the config that it runs.
use crate::augment::Augmentation;
use crate::study::{Method, TrainConfig};
use crate::train::LoopConfig;

/// What learns, by which optimiser and loss, how long, and how the cases are shown: a few sentences.
pub fn sentences(config: &TrainConfig) -> Vec<String> {
    vec![learns(config), moved(&config.training), shown(&config.augmentation)]
}

/// The method by its name, `LoRA`.
pub fn name(config: &TrainConfig) -> &'static str {
    config.adapter.method.name()
}

fn learns(config: &TrainConfig) -> String {
    let a = &config.adapter;
    let place = match &a.target_modules {
        Some(modules) => modules.join(", "),
        None => "every linear layer".into(),
    };
    let layers = a.layers.as_ref().map(|layers| format!(" of {} layers", layers.len())).unwrap_or_default();
    let what = match a.method {
        Method::Full => "every weight learns (full fine-tuning, no adapter)".to_string(),
        method => format!("{} of rank {} and α = {} stands beside {place}{layers}", method.name(), a.r, a.alpha),
    };
    let dropout = if a.dropout > 0.0 { format!(", with dropout {}", a.dropout) } else { String::new() };
    format!(
        "The config {} takes the base model {} and asks with the prompt {}: {what}{dropout}.",
        config.name, config.model, config.prompt
    )
}

fn moved(t: &LoopConfig) -> String {
    let optimiser = match &t.muon {
        Some(muon) => {
            format!("Matrices are moved by Muon (momentum {}), what there is besides by AdamW", muon.momentum)
        }
        None => "All of it is moved by AdamW".to_string(),
    };
    let loss = match (t.loss.dft, t.loss.label_smoothing) {
        (dft, _) if dft >= 1.0 => "DFT".to_string(),
        (dft, _) if dft > 0.0 => format!("cross-entropy with a share of {dft} of DFT"),
        _ => "cross-entropy".to_string(),
    };
    let smoothed = match t.loss.label_smoothing {
        e if e > 0.0 => format!(", smoothed by {e}"),
        _ => String::new(),
    };
    format!(
        "{optimiser}, at a learning rate that warms up over {:.0} % of the updates to {} and falls along a cosine to \
         {:.0} % of that; the loss is {loss}{smoothed}.",
        100.0 * t.schedule.warmup,
        t.schedule.lr,
        100.0 * t.schedule.floor
    )
}

fn shown(showing: &Augmentation) -> String {
    let share = |of: f64, what: &str| (of > 0.0).then(|| format!("{:.0} % {what}", 100.0 * of));
    let flag = |on: bool, what: &str| on.then(|| what.to_string());
    let parts: Vec<String> = [
        share(showing.recombine, "are recombined"),
        share(showing.sentence_subsets, "are excerpts in the first epoch, falling to none in the last"),
        share(showing.concatenate, "have another joined to them"),
        share(showing.entity_replacement, "have the names of their labels exchanged"),
        (showing.oversample > 0.0)
            .then(|| format!("cases with a label of fewer than {} % come more often", 100.0 * showing.oversample)),
        flag(showing.curriculum, "repeats grow over the epochs"),
        flag(showing.shuffled, "sentences are shuffled"),
        flag(showing.normalised, "labels are learnt normalised"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.is_empty() {
        true => "Every training case is shown as written, once an epoch.".into(),
        false => format!("Of the training cases in an epoch: {}.", parts.join("; ")),
    }
}

/// How long training may last, and what is kept.
pub fn stopping(config: &TrainConfig) -> String {
    let t = &config.training;
    let length = format!("{} epochs, an evaluation every {} updates", t.epochs, t.eval_every);
    let kept = "what its best evaluation found is what is kept";
    match (config.validation > 0.0, t.patience) {
        (false, _) => format!("No case is set aside: training lasts {} epochs and its last state is kept.", t.epochs),
        (true, 0) => format!("Training lasts its full length ({length}); nothing ends it early, and {kept}."),
        (true, n) => {
            format!(
                "Training lasts at most {length}; it ends when {n} of these in a row bring no lower loss, and {kept}."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_config_is_told_as_it_is() {
        let config = TrainConfig::named("lora-plain").unwrap();
        let said = sentences(&config).join(" ");
        for part in [
            "The config lora-plain takes the base model embedded and asks with the prompt plain: LoRA of rank 32 and \
             α = 64 stands beside every linear layer.",
            "Matrices are moved by Muon (momentum 0.95)",
            "the loss is cross-entropy.",
            "90 % are recombined; 90 % are excerpts in the first epoch",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(stopping(&config).contains("nothing ends it early"), "{}", stopping(&config));
    }

    #[test]
    fn another_config_is_told_otherwise() {
        let mut config = TrainConfig::named("qwen3-4b-dora").unwrap();
        let said = sentences(&config).join(" ");
        assert!(said.contains("DoRA of rank 16") && said.contains("with dropout 0.05"), "{said}");
        assert!(said.contains("All of it is moved by AdamW") && said.contains("shown as written"), "{said}");
        assert!(stopping(&config).contains("it ends when 3 of these in a row"), "{}", stopping(&config));
        (config.training.loss.dft, config.training.loss.label_smoothing) = (0.5, 0.1);
        assert!(sentences(&config)[1].ends_with("cross-entropy with a share of 0.5 of DFT, smoothed by 0.1."));
        config.validation = 0.0;
        assert!(stopping(&config).starts_with("No case is set aside"));
        assert!(sentences(&TrainConfig::named("full-muon").unwrap())[0].contains("every weight learns"));
    }
}
