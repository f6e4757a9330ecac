//! From errors without a class to errors with one, a class after the other.
use super::words::{content, head, plain};
use super::{Class, Format, LabelError, SENTENCE, Taxonomy, Where};
use crate::label::{Certainty, Cue, Evidence, Qualified, certainty, without_denial};

/// The errors of a case that have no class yet.
pub(super) struct Open<'a> {
    pub(super) taxonomy: &'a Taxonomy,
    pub(super) case_id: &'a str,
    pub(super) reading: crate::label::lexicon::Reading<'a>,
    pub(super) missed: Vec<String>,
    pub(super) extra: Vec<String>,
    pub(super) errors: Vec<LabelError>,
}

impl Open<'_> {
    pub(super) fn formats(&mut self, format: &Format, last: Option<&String>) {
        if format.unparsed {
            let missed = std::mem::take(&mut self.missed);
            missed.into_iter().for_each(|label| self.close(Where::Gold, label, Class::Format, None));
        }
        let names = &self.taxonomy.names;
        let unknown = |label: &String| names.outside_vocabulary(label);
        let prose = |label: &String| label.split_whitespace().count() >= SENTENCE && unknown(label);
        let torn = |label: &String| format.cut && last == Some(label) && unknown(label);
        let (bad, extra) = std::mem::take(&mut self.extra).into_iter().partition(|label| prose(label) || torn(label));
        self.extra = extra;
        let bad: Vec<String> = bad;
        bad.into_iter().for_each(|label| self.close(Where::Given, label, Class::Format, None));
    }

    /// One name for both, once normalised.
    pub(super) fn names(&mut self, gold: &[String], given: &[String]) {
        let taxonomy = self.taxonomy;
        let same = |label: &String, others: &[String]| {
            let name = taxonomy.names.normalise(label);
            others.iter().find(|other| !name.is_empty() && taxonomy.names.normalise(other) == name).cloned()
        };
        let class = |gold: &str, given: &str| {
            if certainty(gold) != certainty(given) {
                Class::WrongCertainty
            } else if !taxonomy.written.contains(&plain(gold)) && !taxonomy.names.outside_vocabulary(gold) {
                Class::NamingShift
            } else {
                Class::SynonymOnly
            }
        };
        for label in std::mem::take(&mut self.missed) {
            match same(&label, given) {
                Some(other) => {
                    let class = class(&label, &other);
                    self.close(Where::Gold, label, class, Some(other));
                }
                None => self.missed.push(label),
            }
        }
        for label in std::mem::take(&mut self.extra) {
            match same(&label, gold) {
                Some(other) => {
                    let class = class(&other, &label);
                    self.close(Where::Given, label, class, Some(other));
                }
                None => self.extra.push(label),
            }
        }
    }

    /// Pairs of a missed and a given label that are nearly the same; then given labels that are nearly a gold label which is
    /// right or has its partner already.
    pub(super) fn relatives(&mut self, gold: &[String]) {
        let taxonomy = self.taxonomy;
        let relation =
            |gold: &str, given: &str| related(&taxonomy.names.normalise(gold), &taxonomy.names.normalise(given));
        let mut pairs = Vec::new();
        for missed in &self.missed {
            let of = |given: &String| Some((relation(missed, given)?, missed.clone(), given.clone()));
            pairs.extend(self.extra.iter().filter_map(of));
        }
        pairs.sort();
        for (class, missed, given) in pairs {
            if self.missed.contains(&missed) && self.extra.contains(&given) {
                self.missed.retain(|label| *label != missed);
                self.extra.retain(|label| *label != given);
                self.close(Where::Gold, missed.clone(), class, Some(given.clone()));
                self.close(Where::Given, given, class, Some(missed));
            }
        }
        for given in std::mem::take(&mut self.extra) {
            let near = gold.iter().filter_map(|gold| Some((relation(gold, &given)?, gold.clone()))).min();
            match near {
                Some((class, gold)) => self.close(Where::Given, given, class, Some(gold)),
                None => self.extra.push(given),
            }
        }
    }

    pub(super) fn rest(&mut self) {
        for label in std::mem::take(&mut self.missed) {
            self.close(Where::Gold, label, Class::Missed, None);
        }
        for label in std::mem::take(&mut self.extra) {
            let name = self.taxonomy.names.normalise(&label);
            let mention = self.reading.mention(&name);
            let denied = |evidence: &Evidence| !names_nothing(&name) && self.reading.denies(evidence, &name);
            let class = match mention.as_ref().and_then(|evidence| Some((evidence.cue?, evidence))) {
                Some((Cue::Denied, evidence)) if denied(evidence) => Class::NegationMissed,
                Some((Cue::Asked | Cue::Past, _)) => Class::OtherDistractor,
                Some((Cue::Denied, _)) | None => Class::Invented,
            };
            self.close(Where::Given, label, class, None);
        }
    }

    fn close(&mut self, on: Where, label: String, class: Class, partner: Option<String>) {
        let names = &self.taxonomy.names;
        let name = names.normalise(&label);
        let evidence = match on {
            Where::Gold => self.reading.best(&name),
            Where::Given => self.reading.mention(&name),
        };
        self.errors.push(LabelError {
            case_id: self.case_id.to_string(),
            on,
            class,
            forgiven: partner.as_ref().is_some_and(|partner| names.normalise(partner) == name),
            partner,
            training_cases: self.taxonomy.counts.get(&name).copied().unwrap_or(0),
            evidence,
            name,
            label,
        });
    }
}

/// Whether a label (normalised) says that nothing was found: sentences that deny something are where its words come from.
fn names_nothing(name: &str) -> bool {
    let word = |word: &str| ["normal", "unremarkable", "healthy", "none", "negative"].contains(&word);
    certainty(name) == Certainty::Denied || name.split(' ').any(word)
}

/// How a given label is nearly a gold one (both normalised).
pub(super) fn related(gold: &str, given: &str) -> Option<Class> {
    let (wanted, got) = (Qualified::of(gold), Qualified::of(given));
    if wanted.other_side(&got) {
        return (wanted.core == got.core).then_some(Class::WrongSide);
    }
    if certainty(gold) != certainty(given) {
        return (without_denial(gold) == without_denial(given)).then_some(Class::WrongCertainty);
    }
    let (wanted, got) = (content(gold), content(given));
    let same_head = head(gold) == head(given) && head(gold).is_some();
    match (got.is_subset(&wanted), wanted.is_subset(&got)) {
        (true, false) if same_head => Some(Class::TooGeneral),
        (false, true) if same_head => Some(Class::TooSpecific),
        _ => None,
    }
}
