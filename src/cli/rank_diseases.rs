//! `dxlab rank-diseases`: from the signs of a patient to a ranked list of rare diseases, with what each sign adds.
use crate::corpus::phenopacket::Packets;
use crate::error::{Error, Result};
use crate::phenotype::rank::{Significance, worst_rank};
use crate::phenotype::{Left, Library, Ranked, Ranker, RankerKind, Signs};
use crate::study::rare_disease::{Bench, Protocol};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Rank rare diseases by the signs of a patient, with the evidence of each sign; no language model is asked
///
///   dxlab rank-diseases --signs "Arachnodactyly,Ectopia lentis,Aortic root aneurysm"
///   dxlab rank-diseases --signs HP:0001166,HP:0001083 --excluded HP:0000545 --ranker likelihood-ratio
///   dxlab rank-diseases --phenopacket patient.json --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct RankDiseases {
    /// Observed signs: HPO ids, or names and exact synonyms; separated by commas, or by semicolons where a name holds a comma
    #[arg(long, visible_alias = "hpo", required_unless_present = "phenopacket")]
    signs: Option<String>,
    /// Signs that were looked for and not found, written alike
    #[arg(long)]
    excluded: Option<String>,
    /// A GA4GH phenopacket instead; its own publication is left out of patients and annotations
    #[arg(long, conflicts_with_all = ["signs", "excluded"])]
    phenopacket: Option<PathBuf>,
    /// How to rank; default `learned` with the published patients of DXLAB_DATA, else `likelihood-ratio`
    #[arg(long)]
    ranker: Option<RankerKind>,
    /// Diseases to list
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// For how many of them to show what each sign adds
    #[arg(long, default_value_t = 3)]
    evidence: usize,
    /// Random queries for p-values of Resnik's score (Phenomizer); 0 for none
    #[arg(long, default_value_t = 0)]
    random_queries: usize,
    /// One JSON object in the place of text
    #[arg(long)]
    json: bool,
}

/// One patient to rank for.
struct Asked {
    id: String,
    group: Option<String>,
    signs: Signs,
}

/// The first and the last place that a disease can have among those with its score.
fn places(scores: &[f32], candidate: usize) -> (usize, usize) {
    let better = scores.iter().filter(|&&other| other > scores[candidate]).count();
    (better + 1, worst_rank(scores, candidate))
}

impl RankDiseases {
    pub fn run(self) -> Result<()> {
        if self.top == 0 {
            return Err(Error::input("--top 0 lists nothing: expected 1 or more"));
        }
        let mut bench = Bench::installed()?;
        let asked = self.asked(&mut bench.published)?;
        let kind = self.ranker.unwrap_or_else(|| bench.default_ranker());
        let ranker = bench.ranker(kind, Protocol::FileAsPublished)?;
        if !ranker.uses_excluded() && asked.iter().any(|one| !one.signs.excluded.is_empty()) {
            eprintln!("warning: the ranker {} does not use excluded signs", ranker.name());
        }
        for one in asked {
            self.rank(&bench, &*ranker, &one)?;
        }
        Ok(())
    }

    fn asked(&self, library: &mut Library) -> Result<Vec<Asked>> {
        let list = |text: &Option<String>| -> Vec<String> {
            let text = text.as_deref().unwrap_or_default();
            let by = if text.contains(';') { ';' } else { ',' };
            text.split(by).map(str::trim).filter(|one| !one.is_empty()).map(String::from).collect()
        };
        let Some(path) = &self.phenopacket else {
            let (signs, unread) = library.typed(&list(&self.signs), &list(&self.excluded))?;
            eprint!("{unread}");
            return Ok(vec![Asked { id: "the patient".into(), group: None, signs }]);
        };
        let packets = Packets::read(path)?;
        packets.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let (patients, unread) = library.patients_of(&packets.packets);
        eprint!("{unread}");
        for one in patients.iter().filter(|one| one.signs.observed.is_empty()) {
            eprintln!("warning: patient `{}` has no sign that can be ranked by and is left out", one.id);
        }
        if packets.loose > 0 {
            eprintln!(
                "warning: {} of {} patients name no publication (`PMID:…` in metaData.externalReferences): for them nothing is left out of patients and annotations",
                packets.loose,
                packets.packets.len()
            );
        }
        let asked: Vec<Asked> = patients
            .into_iter()
            .filter(|one| !one.signs.observed.is_empty())
            .map(|one| Asked { id: one.id, group: Some(one.group), signs: one.signs })
            .collect();
        match asked.is_empty() {
            true => Err(Error::input(format!("{}: no patient with a sign that can be ranked by", path.display()))),
            false => Ok(asked),
        }
    }

    fn rank(&self, bench: &Bench, ranker: &dyn Ranker, one: &Asked) -> Result<()> {
        let left = one.group.as_deref().map_or(Left::nothing(), Left::out);
        let start = std::time::Instant::now();
        let scores = ranker.scores(&one.signs, left);
        let list = crate::phenotype::ranked(&scores, self.top);
        let seconds = start.elapsed().as_secs_f64();
        let p = match self.random_queries {
            0 => vec![],
            n => crate::phenotype::rank::Resnik::of(&bench.published).significance(&one.signs, left, n, 7),
        };
        if self.json {
            println!("{}", self.object(bench, ranker, one, (&list, &scores), &p, seconds));
            return Ok(());
        }
        let library = &bench.published;
        println!(
            "{}: {} observed, {} excluded; {}",
            one.id,
            one.signs.observed.len(),
            one.signs.excluded.len(),
            bench.said()
        );
        println!("{:>7}  {:>8}  disease ({}, {:.1} ms)", "rank", "score", ranker.name(), 1000.0 * seconds);
        for (i, ranked) in list.iter().enumerate() {
            let candidate = &library.candidates[ranked.candidate];
            let p = p.get(ranked.candidate).copied().flatten();
            let p = p.map_or(String::new(), |p| format!("  Resnik's p {:.4}, adjusted {:.3}", p.p, p.adjusted));
            let place = match places(&scores, ranked.candidate) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}–{last}"),
            };
            println!("{place:>7}  {:>8.3}  {} ({}){p}", ranked.score, candidate.name, candidate.id);
            if i < self.evidence {
                for part in ranker.contributions(&one.signs, ranked.candidate, left) {
                    let sign = library.ontology().name(part.term);
                    let not = if part.excluded { "not " } else { "" };
                    println!("{:>7}  {:>+8.3}    {not}{sign}: {}", "", part.value, part.reason);
                }
            }
        }
        if let Some(other) = ranker.explained_by() {
            println!("The score weighs all rankers; what a sign adds is that of {other} alone.");
        }
        println!("For research only: a ranked list is no diagnosis.");
        Ok(())
    }

    fn object(
        &self,
        bench: &Bench,
        ranker: &dyn Ranker,
        one: &Asked,
        (list, scores): (&[Ranked], &[f32]),
        p: &[Option<Significance>],
        seconds: f64,
    ) -> serde_json::Value {
        let left = one.group.as_deref().map_or(Left::nothing(), Left::out);
        let library = &bench.published;
        let line = |(i, ranked): (usize, &Ranked)| {
            let candidate = &library.candidates[ranked.candidate];
            let parts =
                if i < self.evidence { ranker.contributions(&one.signs, ranked.candidate, left) } else { vec![] };
            let evidence: Vec<_> = parts
                .iter()
                .map(|part| {
                    let (id, name) = (library.ontology().id(part.term), library.ontology().name(part.term));
                    json!({"id": id, "name": name, "excluded": part.excluded, "value": part.value, "reason": part.reason})
                })
                .collect();
            let mut line = json!({
                "rank": worst_rank(scores, ranked.candidate), "id": candidate.id, "name": candidate.name, "score": ranked.score, "evidence": evidence,
            });
            if let Some(found) = p.get(ranked.candidate).copied().flatten() {
                line["resnik_p"] = json!(found.p);
                line["resnik_p_adjusted"] = json!(found.adjusted);
            }
            line
        };
        json!({
            "patient": one.id,
            "ranker": ranker.name(),
            "evidence_of": ranker.explained_by().unwrap_or(ranker.name()),
            "ontology": library.ontology().version,
            "annotations": library.knowledge.version,
            "published_patients": library.patients.len(),
            "seconds": seconds,
            "diseases": list.iter().enumerate().map(line).collect::<Vec<_>>(),
        })
    }
}
