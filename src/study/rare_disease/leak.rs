//! Hit rates by where the annotations of a patient's disease come from, and the size of the leak.
use crate::metric::{Bootstrap, Estimate, RankedCase};
use crate::phenotype::{Library, Patient};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the annotation file has of a patient's disease, by where it has it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// Rows of the disease cite the patient's own paper, and others.
    Leaky,
    /// All rows of the disease cite the patient's own paper.
    OwnPaperOnly,
    /// The disease has rows, none of the patient's paper.
    Clean,
    /// The disease has no rows.
    Unannotated,
}

impl Stratum {
    pub const ALL: [Stratum; 4] = [Self::Leaky, Self::OwnPaperOnly, Self::Clean, Self::Unannotated];

    pub fn title(self) -> &'static str {
        match self {
            Self::Leaky => "leaky",
            Self::OwnPaperOnly => "only own paper",
            Self::Clean => "clean",
            Self::Unannotated => "unannotated",
        }
    }

    /// Of a patient's first disease.
    pub fn of(library: &Library, patient: &Patient) -> Self {
        let Some(&disease) = patient.diseases.first() else { return Self::Unannotated };
        let rows = library.candidates[disease].known.map_or(&[][..], |at| &library.knowledge.diseases[at].annotations);
        let own = library.knowledge.citing(&patient.group);
        let cited = rows.iter().filter(|row| own.contains(&row.source)).count();
        match (rows.len(), cited) {
            (0, _) => Self::Unannotated,
            (_, 0) => Self::Clean,
            (all, cited) if all == cited => Self::OwnPaperOnly,
            _ => Self::Leaky,
        }
    }
}

/// Hit@k with its interval, by stratum or of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HitRow {
    pub cases: usize,
    pub publications: usize,
    /// Hit@1, Hit@3, Hit@10 with intervals by bootstrap over publications.
    pub hits: [Option<Estimate>; 3],
    /// Mean over publications of the publication's own Hit@1 and Hit@10: no large cohort decides.
    pub by_publication: [Option<f64>; 2],
}

/// Hit rates of these cases; intervals resample publications.
pub fn hit_row(cases: &[&RankedCase], bootstrap: &Bootstrap) -> HitRow {
    let groups: Vec<&str> = cases.iter().map(|case| case.group.as_str()).collect();
    let statistic =
        |k: usize| crate::metric::Statistic::Ratio(cases.iter().map(|case| (f64::from(case.hit(k)), 1.0)).collect());
    let statistics = [1, 3, 10].map(statistic);
    let mut estimates = bootstrap.of_groups(&statistics.iter().collect::<Vec<_>>(), &groups).into_iter();
    let publications: BTreeSet<&str> = groups.iter().copied().collect();
    let by_publication = [1, 10].map(|k| {
        let mut means: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for case in cases {
            let (hits, n) = means.entry(&case.group).or_default();
            *hits += f64::from(case.hit(k));
            *n += 1.0;
        }
        (!means.is_empty()).then(|| means.values().map(|(hits, n)| hits / n).sum::<f64>() / means.len() as f64)
    });
    HitRow {
        cases: cases.len(),
        publications: publications.len(),
        hits: std::array::from_fn(|_| estimates.next().flatten()),
        by_publication,
    }
}

/// The leak within diseases: of diseases that have both leaky and clean patients, the difference of their hit rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakSize {
    pub diseases: usize,
    pub leaky_patients: usize,
    pub clean_patients: usize,
    /// Mean over diseases of the hit rate of leaky patients, and of clean ones.
    pub leaky: f64,
    pub clean: f64,
    /// leaky − clean, with an interval by bootstrap over diseases.
    pub difference: Option<Estimate>,
    /// The same with an interval by bootstrap over publications, in each resample over the diseases that still have both.
    pub by_publication: Option<Estimate>,
}

/// The mean difference within diseases in each resample of publications; `value` where no disease keeps both kinds of patients. A case is (disease,
/// leaky or clean, ranks).
fn over_publications(cases: &[(&str, usize, &RankedCase)], k: usize, value: f64, bootstrap: &Bootstrap) -> Vec<f64> {
    let groups: Vec<&str> = cases.iter().map(|(.., case)| case.group.as_str()).collect();
    bootstrap.map_groups(&groups, |weights| {
        let mut drawn: BTreeMap<&str, [(f64, f64); 2]> = BTreeMap::new();
        for ((disease, side, case), &weight) in cases.iter().zip(weights) {
            let (hits, n) = &mut drawn.entry(disease).or_default()[*side];
            *hits += f64::from(weight) * f64::from(case.hit(k));
            *n += f64::from(weight);
        }
        let both = drawn.values().filter(|sides| sides.iter().all(|(_, n)| *n > 0.0));
        let rates: Vec<f64> = both.map(|[a, b]| a.0 / a.1 - b.0 / b.1).collect();
        if rates.is_empty() { value } else { rates.iter().sum::<f64>() / rates.len() as f64 }
    })
}

/// See [`LeakSize`]; none where no disease has both kinds.
pub fn leak_size(cases: &[RankedCase], strata: &[Stratum], k: usize, bootstrap: &Bootstrap) -> Option<LeakSize> {
    let mut diseases: BTreeMap<&str, [(f64, f64); 2]> = BTreeMap::new();
    let mut compared: Vec<(&str, usize, &RankedCase)> = vec![];
    for (case, stratum) in cases.iter().zip(strata) {
        let side = match stratum {
            Stratum::Leaky => 0,
            Stratum::Clean => 1,
            _ => continue,
        };
        let Some((disease, _)) = case.gold.first() else { continue };
        compared.push((disease, side, case));
        let (hits, n) = &mut diseases.entry(disease).or_default()[side];
        *hits += f64::from(case.hit(k));
        *n += 1.0;
    }
    diseases.retain(|_, sides| sides.iter().all(|(_, n)| *n > 0.0));
    if diseases.is_empty() {
        return None;
    }
    let n = diseases.len() as f64;
    let rates: Vec<[f64; 2]> = diseases.values().map(|sides| sides.map(|(hits, n)| hits / n)).collect();
    let patients = |side: usize| diseases.values().map(|sides| sides[side].1 as usize).sum();
    let mean = |side: usize| rates.iter().map(|both| both[side]).sum::<f64>() / n;
    let names: Vec<&str> = diseases.keys().copied().collect();
    let draws = bootstrap.map_groups(&names, |weights| {
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        rates.iter().zip(weights).map(|(both, &weight)| f64::from(weight) * (both[0] - both[1])).sum::<f64>() / total
    });
    let value = mean(0) - mean(1);
    let estimate = |(low, high)| Estimate { value, low, high, n: diseases.len() };
    let difference = bootstrap.interval(draws).map(estimate);
    compared.retain(|(disease, ..)| diseases.contains_key(disease));
    let by_publication = bootstrap.interval(over_publications(&compared, k, value, bootstrap)).map(estimate);
    Some(LeakSize {
        diseases: diseases.len(),
        leaky_patients: patients(0),
        clean_patients: patients(1),
        leaky: mean(0),
        clean: mean(1),
        difference,
        by_publication,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phenotype::library::tests::library;

    #[test]
    fn strata_follow_from_the_references_of_the_rows() {
        let library = library();
        let stratum = |id: &str| Stratum::of(&library, library.patients.iter().find(|one| one.id == id).unwrap());
        assert_eq!(stratum("a"), Stratum::Leaky, "rows of PMID:1 and PMID:2");
        assert_eq!(stratum("c"), Stratum::Leaky);
        assert_eq!(stratum("d"), Stratum::Unannotated);
        let mut clean = library.patients[0].clone();
        clean.group = "PMID:77".into();
        assert_eq!(Stratum::of(&library, &clean), Stratum::Clean);
        let mut own = library.clone();
        own.knowledge.diseases[0].annotations.truncate(1);
        assert_eq!(Stratum::of(&own, &own.patients[0]), Stratum::OwnPaperOnly);
    }

    /// Two diseases with both kinds: (1 − 0) and (1/2 − 1/2), mean 0.5; the third has one kind only and does not count.
    #[test]
    fn the_leak_is_the_mean_difference_within_diseases() {
        let case = |disease: &str, rank: usize| RankedCase {
            case_id: format!("{disease}{rank}"),
            group: "g".into(),
            gold: vec![(disease.into(), Some(rank))],
            listed: 10,
            unknown: 0,
            parsed: true,
        };
        let cases =
            [case("A", 1), case("A", 40), case("B", 1), case("B", 50), case("B", 2), case("B", 60), case("C", 1)];
        use Stratum::{Clean, Leaky};
        let strata = [Leaky, Clean, Leaky, Leaky, Clean, Clean, Leaky];
        let leak = leak_size(&cases, &strata, 10, &Bootstrap::default()).unwrap();
        assert_eq!((leak.diseases, leak.leaky_patients, leak.clean_patients), (2, 3, 3));
        assert!((leak.difference.unwrap().value - 0.5).abs() < 1e-12);
        assert_eq!(leak_size(&cases[..1], &strata[..1], 10, &Bootstrap::default()), None);
    }

    /// One disease, two leaky patients of two papers, one found: resamples of papers go from none found to all; of diseases there is one.
    #[test]
    fn the_interval_over_publications_knows_that_few_papers_decide() {
        let case = |paper: &str, rank: usize| RankedCase {
            case_id: paper.into(),
            group: paper.into(),
            gold: vec![("A".into(), Some(rank))],
            listed: 10,
            unknown: 0,
            parsed: true,
        };
        let cases = [case("p1", 1), case("p2", 40), case("p3", 50)];
        let leak = leak_size(&cases, &[Stratum::Leaky, Stratum::Leaky, Stratum::Clean], 10, &Bootstrap::default());
        let found = leak.unwrap().by_publication.unwrap();
        assert_eq!((found.value, found.low, found.high), (0.5, 0.0, 1.0));
    }
}
