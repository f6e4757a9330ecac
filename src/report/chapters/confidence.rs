//! Whether a model's log-probability tells right answers from wrong ones, in sentences; the tables and figures are
//! [`super::results`]'s.
use crate::error::{Error, Result};
use crate::metric::{Calibration, Signal};
use crate::report::kit::display::{interval, number};
use crate::study::{Results, Target};

/// Two sentences a signal of the model: does it rank answers, and can it be taken at its word.
pub fn answer(results: &Results, model: &str, target: Target) -> Result<Vec<String>> {
    let all = &results.detail(model)?.calibration;
    let found: Vec<&Calibration> = all.iter().filter(|c| c.target == target).map(|c| &c.calibration).collect();
    if found.is_empty() {
        return Err(Error::input(format!(
            "the answers of `{model}` have no log-probability, or are too few: choose a model that generates"
        )));
    }
    Ok(found.into_iter().flat_map(|c| [ranking(model, c), probability(c)]).collect())
}

fn signal(signal: Signal) -> &'static str {
    match signal {
        Signal::Sequence => "the log-probability of the whole answer",
        Signal::PerToken => "the log-probability a token",
    }
}

fn ranking(model: &str, c: &Calibration) -> String {
    let said = match c.random_aurc {
        random if c.aurc.high < random => "ranks the answers: the more confident are the better ones",
        random if c.aurc.low > random => "ranks the answers the wrong way round",
        _ => "cannot be shown to rank the answers",
    };
    format!(
        "{model}, {}: it {said} (area under risk against coverage {}, {} in random order).",
        signal(c.signal),
        interval(Some(&c.aurc)),
        number(c.random_aurc)
    )
}

fn probability(c: &Calibration) -> String {
    let (raw, scaled) = (&c.raw.error, &c.scaled.error);
    let scaling = match (scaled.high < raw.low, scaled.low > raw.high) {
        (true, _) => "scaling mends it",
        (_, true) => "scaling makes it worse",
        _ => "scaling changes no more than chance could",
    };
    let constant = match c.raw.brier.value < c.constant_brier {
        true => "better than always saying the mean",
        false => "no better than always saying the mean",
    };
    format!(
        "Taken at its word as a probability it is off by {} on average, scaled by {}: {scaling}. Its Brier score, {}, \
         is {constant} ({}).",
        interval(Some(raw)),
        interval(Some(scaled)),
        interval(Some(&c.raw.brier)),
        number(c.constant_brier),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    /// Eighty answers, as right as they are confident.
    fn confident(turned: bool) -> (tempfile::TempDir, Results) {
        let folder = tempfile::tempdir().unwrap();
        let mut results = toy(folder.path());
        let model = &mut results.models[1];
        let one = model.predictions[0].clone();
        model.predictions = (0..80)
            .map(|i| {
                let mut p = one.clone();
                (p.case_id, p.group) = (format!("c{i:03}"), format!("g{i:03}"));
                (p.gold, p.new_tokens) = (vec!["renal cyst".into()], 4);
                let right = (i % 4 < 2) != turned;
                p.answer = vec![if right { "renal cyst" } else { "ascites" }.into()];
                p.logprob = Some(if i % 4 < 2 { -0.1 - 0.001 * i as f64 } else { -6.0 - 0.01 * i as f64 });
                p
            })
            .collect();
        (folder, results)
    }

    #[test]
    fn a_model_that_knows_when_it_is_right_is_told_from_one_that_has_it_the_wrong_way() {
        let (_folder, results) = confident(false);
        let said = answer(&results, "good", Target::CaseF1).unwrap();
        assert_eq!(said.len(), 4, "two signals");
        assert!(said[0].contains("the more confident are the better ones"), "{said:?}");
        assert!(
            said[1].starts_with("Taken at its word as a probability it is off by")
                && said[1].contains("always saying the mean"),
            "{said:?}"
        );
        let (_folder, results) = confident(true);
        assert!(answer(&results, "good", Target::CaseF1).unwrap()[0].contains("the wrong way round"));
    }

    #[test]
    fn a_baseline_has_no_confidence() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        assert!(answer(&results, "good", Target::CaseF1).unwrap_err().to_string().contains("`good`"));
    }
}
