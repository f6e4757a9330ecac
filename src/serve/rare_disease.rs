//! Rare diseases as a [`Diagnoser`]: signs of a patient to ranked diseases, by the rankers of `dxlab rank-diseases`. No language model is asked.
//!
//! ```text
//! terms, or names one a line ─ signs ─ ranker ─ score of every disease ─ softmax = share of the probability
//! disease ─ what each sign adds to its score
//! ```
//!
//! The share of the best disease is the confidence. Where the run store has the benchmark of published patients, each ranked without its own
//! paper, the server abstains below the least confidence at which the first disease was right for half of them.
use super::diagnose::{Diagnoser, Diagnosis, Finding, Measured, Named, Oracle, Told};
use super::models::Served;
use crate::error::{Error, Result};
use crate::metric::{Bootstrap, RankedCase};
use crate::phenotype::{Knowledge, Left, Ranker, RankerKind, Signs, ranked};
use crate::study::rare_disease::{Bench, Benchmark, BenchmarkConfig, BenchmarkPatient, Protocol, hit_row};
use serde_json::{Value, json};

/// Suggestions for a name that is being typed.
pub const SUGGESTIONS: usize = 10;
/// Share of right first diseases at and above the threshold.
const RIGHT: f64 = 0.5;

/// See the file's header.
pub struct RareDiseases {
    bench: &'static Bench,
    kind: RankerKind,
    ranker: Box<dyn Ranker>,
    measured: Option<Measured>,
    threshold: Option<f64>,
    /// Of what the ranker knows.
    digest: String,
}

impl RareDiseases {
    /// The ontology and its annotations as `make tools` installed them, with the published patients of `DXLAB_DATA` where they are; None
    /// without the ontology.
    pub fn installed() -> Result<Option<Self>> {
        let there = |name: &str| Knowledge::folder().join(name).is_file();
        if !there("hp.obo") || !there("phenotype.hpoa") {
            return Ok(None);
        }
        // the ranker borrows it, and both live as long as the server
        let bench: &'static Bench = Box::leak(Box::new(Bench::installed()?));
        let kind = bench.default_ranker();
        let ranker = bench.ranker(kind, Protocol::FileAsPublished)?;
        let (mut measured, mut threshold) = (None, None);
        if let Some(benchmark) = Benchmark::stored(bench, &BenchmarkConfig::default())? {
            let cases = benchmark.of(kind.name(), Protocol::PublicationsOut)?;
            measured = measure(&benchmark, cases);
            if kind == RankerKind::Learned {
                threshold = least_confidence(&benchmark.patients, cases);
            }
        }
        let digest = digest(bench)?;
        Ok(Some(Self { bench, kind, ranker, measured, threshold, digest }))
    }

    /// Terms whose names or synonyms hold all words that were typed, as id and name.
    pub fn suggestions(&self, typed: &str) -> Vec<Value> {
        let hpo = self.bench.published.ontology();
        let one = |term: &u32| json!({"id": hpo.id(*term), "name": hpo.name(*term)});
        hpo.holding(typed, SUGGESTIONS).iter().map(one).collect()
    }

    fn signs(&self, finding: &Finding) -> Result<(Signs, Vec<String>)> {
        let library = &self.bench.published;
        let (mut observed, mut excluded) = (finding.terms.clone(), finding.excluded.clone());
        for line in lines(&finding.text) {
            let denied = ["no ", "not ", "without "].iter().find_map(|word| {
                let start = line.get(..word.len())?;
                start.eq_ignore_ascii_case(word).then(|| &line[word.len()..])
            });
            match denied.filter(|_| library.ontology().named(line).is_none()) {
                Some(rest) => excluded.push(rest.into()),
                None => observed.push(line.into()),
            }
        }
        let (signs, unread) = library.typed(&observed, &excluded)?;
        Ok((signs, unread.to_string().lines().map(String::from).collect()))
    }

    /// Each candidate's share: softmax of the learned scores; of likelihood ratios (log10) what they make of equal prior odds.
    fn shares(&self, scores: &[f32]) -> Vec<f64> {
        let scale = if self.kind == RankerKind::Learned { 1.0 } else { std::f64::consts::LN_10 };
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let all: Vec<f64> = scores.iter().map(|score| (scale * f64::from(score - best)).exp()).collect();
        let total: f64 = all.iter().sum();
        all.into_iter().map(|one| one / total).collect()
    }

    fn evidence(&self, signs: &Signs, candidate: usize) -> Value {
        let hpo = self.bench.published.ontology();
        let parts = self.ranker.contributions(signs, candidate, Left::nothing());
        let one = |part: &crate::phenotype::rank::Contribution| {
            json!({"id": hpo.id(part.term), "name": hpo.name(part.term), "excluded": part.excluded, "value": part.value,
                "reason": part.reason})
        };
        json!({"signs": parts.iter().map(one).collect::<Vec<_>>()})
    }
}

/// SHA-256 of all that the ranker knows: the ontology's and the annotations' files, and the patients.
fn digest(bench: &Bench) -> Result<String> {
    let mut parts = vec![bench.digest()];
    for name in ["hp.obo", "phenotype.hpoa"] {
        let path = Knowledge::folder().join(name);
        parts.push(crate::io::digest_bytes(&std::fs::read(&path).map_err(Error::io(&path))?));
    }
    Ok(crate::io::digest_bytes(parts.join(" ").as_bytes()))
}

/// Signs as they are typed: one a line, or with semicolons or commas between them in a single line.
fn lines(text: &str) -> Vec<&str> {
    let text = text.trim();
    let by = if text.contains('\n') {
        '\n'
    } else if text.contains(';') {
        ';'
    } else {
        ','
    };
    let tidy =
        |line: &'_ str| line.trim().trim_start_matches(['-', '*', '•']).trim_end_matches(['.', ';', ',']).trim().len();
    text.split(by)
        .filter(|line| tidy(line) > 0)
        .map(|line| line.trim().trim_start_matches(['-', '*', '•']).trim_end_matches(['.', ';', ',']).trim())
        .collect()
}

/// Hit@1 of the published patients, each without its own paper.
fn measure(benchmark: &Benchmark, cases: &[RankedCase]) -> Option<Measured> {
    let row = hit_row(&cases.iter().collect::<Vec<_>>(), &Bootstrap::default());
    let kind = if benchmark.synthetic { "synthetic" } else { "published" };
    let [first, ..] = row.hits;
    Some(Measured {
        run: benchmark.run.folder(),
        metric: "hit_1".into(),
        estimate: first?,
        corpus: format!("{kind} patients, each without the paper that describes it"),
        synthetic: benchmark.synthetic,
    })
}

/// The least confidence such that of all patients with at least as much, the first disease was right for [`RIGHT`].
fn least_confidence(patients: &[BenchmarkPatient], cases: &[RankedCase]) -> Option<f64> {
    let mut all: Vec<(f64, bool)> =
        patients.iter().zip(cases).map(|(one, case)| (one.confidence, case.hit(1))).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut right, mut least) = (0usize, None);
    for (n, (confidence, hit)) in all.iter().enumerate() {
        right += usize::from(*hit);
        if right as f64 >= RIGHT * (n + 1) as f64 {
            least = Some(*confidence);
        }
    }
    least
}

impl Diagnoser for RareDiseases {
    fn task(&self) -> &str {
        "rare-disease"
    }

    fn title(&self) -> &str {
        "Signs of a patient to rare diseases (HPO; no language model)"
    }

    fn input(&self) -> (&str, &str) {
        (
            "Signs of the patient, one a line",
            "HPO names, synonyms or ids (HP:0001166). A line that begins with “no” is a sign that was looked for and not found.",
        )
    }

    fn example(&self) -> Finding {
        Finding {
            text: "Arachnodactyly\nEctopia lentis\nAortic root aneurysm\nno Intellectual disability".into(),
            ..Finding::default()
        }
    }

    fn terms(&self, typed: &str) -> Vec<Value> {
        self.suggestions(typed)
    }

    fn most_tokens(&self, finding: &Finding, _: &Served) -> Result<usize> {
        self.signs(finding).map(|_| 0)
    }

    fn diagnose(&self, finding: &Finding, oracle: &Oracle, _: &mut dyn FnMut(Told)) -> Result<Diagnosis> {
        if oracle.is_gone() {
            return Err(Error::failed("the answer was not waited for"));
        }
        let (signs, warnings) = self.signs(finding)?;
        let library = &self.bench.published;
        let scores = self.ranker.scores(&signs, Left::nothing());
        let shares = self.shares(&scores);
        let list = ranked(&scores, finding.top);
        let named = |one: &crate::phenotype::Ranked| {
            let candidate = &library.candidates[one.candidate];
            Named {
                label: format!("{} ({})", candidate.name, candidate.id),
                probability: shares[one.candidate],
                evidence: Some(self.evidence(&signs, one.candidate)),
            }
        };
        let labels: Vec<Named> = list.iter().filter(|one| one.score.is_finite()).map(named).collect();
        let confidence = labels.first().map(|first| first.probability);
        Ok(Diagnosis {
            task: format!("rare-disease, {}", library.ontology().version),
            model: format!("ranker {}", self.kind.name()),
            adapter: None,
            prompt: "none".into(),
            corpus: format!("{} ({})", self.digest, self.bench.said()),
            labels,
            probabilities: match self.kind {
                RankerKind::Learned => "share of a disease in the learned ranker's softmax over those that it lists".into(),
                _ => "share of a disease where all were equally likely before (product of likelihood ratios)".into(),
            },
            raw: None,
            confidence,
            confidence_is: match self.threshold {
                Some(_) => "share of the first disease; the server abstains where published patients with less had a wrong first \
                            disease more often than not"
                    .into(),
                None => "share of the first disease, not calibrated".into(),
            },
            threshold: self.threshold,
            abstained: confidence.zip(self.threshold).is_some_and(|(confidence, threshold)| confidence < threshold),
            measured: self.measured.clone(),
            warnings,
            prompt_tokens: 0,
            new_tokens: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::rare_disease::Stratum;

    #[test]
    fn signs_are_typed_one_a_line_or_in_one_line() {
        for text in ["a b\n- c, d\n", "a b; c, d;"] {
            assert_eq!(lines(text), ["a b", "c, d"], "{text}");
        }
        assert_eq!(lines("a, b"), ["a", "b"]);
        assert!(lines(" \n-\n").is_empty());
    }

    /// Confidences 0.9 right, 0.8 wrong, 0.7 right, 0.6 wrong, 0.5 wrong: two of four from 0.6 on are right, two of five from 0.5 on.
    #[test]
    fn the_threshold_is_where_half_are_right() {
        let patient = |confidence: f64| BenchmarkPatient {
            stratum: Stratum::Clean,
            disease: "OMIM:1".into(),
            others: 0,
            signs: [1, 0],
            confidence,
        };
        let case = |rank: usize| RankedCase {
            case_id: String::new(),
            group: String::new(),
            gold: vec![("OMIM:1".into(), Some(rank))],
            listed: 10,
            unknown: 0,
            parsed: true,
        };
        let patients = [0.5, 0.9, 0.8, 0.7, 0.6].map(patient);
        let cases = [3, 1, 2, 1, 2].map(case);
        assert_eq!(least_confidence(&patients, &cases), Some(0.6));
        assert_eq!(least_confidence(&patients[..1], &cases[..1]), None);
    }
}
