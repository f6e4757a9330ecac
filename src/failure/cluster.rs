//! Failures in clusters: the sentences that errors hang on, as TF-IDF rows of length 1, by spherical k-means (Dhillon and Modha
//! 2001: centres are mean directions, similarity is the cosine). Seeded as k-means++, the best of ten starts by the sum of
//! similarities; the number of clusters is the one with the largest mean silhouette. Bit for bit the same for one seed.
use super::{CaseFailures, Class, LabelError};
use crate::baseline::{Sparse, Tfidf};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const STARTS: u64 = 10;
const ROUNDS: usize = 50;

/// Error sentences that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub errors: Vec<LabelError>,
    /// Classes and labels by how many of the errors they have, the most frequent first.
    pub classes: Vec<(Class, usize)>,
    pub labels: Vec<(String, usize)>,
    /// Words and word pairs that weigh more in the cluster's centre than in the mean of all sentences, by how much more.
    pub terms: Vec<String>,
    /// The sentence nearest to the centre.
    pub typical: String,
}

/// Clusters of the errors that hang on a sentence (forgiven ones aside), the largest first; `most` clusters at most. None
/// for fewer than four sentences.
pub fn clusters(cases: &[CaseFailures], most: usize, seed: u64) -> Vec<Cluster> {
    let errors: Vec<&LabelError> = cases
        .iter()
        .flat_map(|case| &case.errors)
        .filter(|error| !error.forgiven && error.evidence.is_some())
        .collect();
    let texts: Vec<&str> = errors.iter().filter_map(|error| Some(error.evidence.as_ref()?.text.as_str())).collect();
    if texts.len() < 4 {
        return Vec::new();
    }
    let tfidf = Tfidf::fit(&texts);
    let rows = tfidf.transform(&texts);
    let best = (2..=most.min(texts.len() - 1))
        .map(|k| kmeans(&rows, k, seed))
        .map(|found| (silhouette(&rows, &found.0), found));
    let best = best.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let Some((_, (assigned, centres))) = best else { return Vec::new() };
    let names = tfidf.names();
    // one cluster that holds every sentence: `means` gives as many directions as it is given
    let mean = means(&rows, &vec![0; rows.rows.len()], &[vec![0.0; rows.columns]]).remove(0);
    let cluster = |(at, centre): (usize, &Vec<f64>)| {
        let members: Vec<usize> = (0..rows.rows.len()).filter(|&i| assigned[i] == at).collect();
        let errors: Vec<LabelError> = members.iter().map(|&i| errors[i].clone()).collect();
        let more = |term: usize| centre[term] - mean[term];
        let mut terms: Vec<usize> = (0..centre.len()).filter(|&term| more(term) > 0.0).collect();
        terms.sort_by(|&a, &b| more(b).total_cmp(&more(a)).then(a.cmp(&b)));
        let typical = members.iter().copied().reduce(|best, next| {
            if cosine(&rows.rows[next], centre) > cosine(&rows.rows[best], centre) { next } else { best }
        });
        Cluster {
            classes: counted(errors.iter().map(|error| error.class)),
            labels: counted(errors.iter().map(|error| error.name.clone())),
            terms: terms.into_iter().take(5).map(|term| names[term].to_string()).collect(),
            typical: typical.map_or(String::new(), |i| texts[i].to_string()),
            errors,
        }
    };
    let mut all: Vec<Cluster> = centres.iter().enumerate().map(|(i, centre)| cluster((i, centre))).collect();
    all.retain(|cluster| !cluster.errors.is_empty());
    all.sort_by_key(|cluster| std::cmp::Reverse(cluster.errors.len()));
    all
}

fn counted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_insert(0) += 1);
    let mut counts: Vec<(T, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// (cluster of every row, centres of length 1) of the best start.
fn kmeans(rows: &Sparse, k: usize, seed: u64) -> (Vec<usize>, Vec<Vec<f64>>) {
    let run = |start: u64| {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        dice.set_stream(start);
        let mut centres = seeds(rows, k, &mut dice);
        let mut assigned = assign(rows, &centres);
        for _ in 0..ROUNDS {
            centres = means(rows, &assigned, &centres);
            let next = assign(rows, &centres);
            if next == assigned {
                break;
            }
            assigned = next;
        }
        let total: f64 = rows.rows.iter().zip(&assigned).map(|(row, at)| cosine(row, &centres[*at])).sum();
        (total, assigned, centres)
    };
    let first = run(0);
    let (_, assigned, centres) =
        (1..STARTS).map(run).fold(first, |best, next| if next.0 > best.0 { next } else { best });
    (assigned, centres)
}

/// k rows: the first by chance, every other with probability proportional to its distance (1 − cosine) from the nearest so far.
fn seeds(rows: &Sparse, k: usize, dice: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut centres = vec![dense(rows, dice.random_range(0..rows.rows.len()))];
    while centres.len() < k {
        let far = |row: &Vec<(u32, f64)>| {
            let near = centres.iter().map(|centre| cosine(row, centre)).fold(f64::MIN, f64::max);
            (1.0 - near).max(0.0)
        };
        let weights: Vec<f64> = rows.rows.iter().map(far).collect();
        let mut at = dice.random::<f64>() * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|weight| {
            at -= weight;
            at <= 0.0
        });
        centres.push(dense(rows, chosen.unwrap_or(0)));
    }
    centres
}

fn dense(rows: &Sparse, at: usize) -> Vec<f64> {
    let mut row = vec![0.0; rows.columns];
    rows.rows[at].iter().for_each(|(column, value)| row[*column as usize] = *value);
    row
}

/// The nearest centre of every row; of equals the first.
fn assign(rows: &Sparse, centres: &[Vec<f64>]) -> Vec<usize> {
    let nearest = |row: &Vec<(u32, f64)>| {
        let near = centres.iter().map(|centre| cosine(row, centre)).enumerate();
        near.fold((0, f64::MIN), |best, next| if next.1 > best.1 { next } else { best }).0
    };
    rows.rows.iter().map(nearest).collect()
}

/// Directions of the clusters' sums; a cluster without rows keeps its centre.
fn means(rows: &Sparse, assigned: &[usize], before: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut sums = vec![vec![0.0; rows.columns]; before.len()];
    for (row, at) in rows.rows.iter().zip(assigned) {
        row.iter().for_each(|(column, value)| sums[*at][*column as usize] += value);
    }
    let unit = |(mut sum, before): (Vec<f64>, &Vec<f64>)| {
        let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
        sum.iter_mut().for_each(|v| *v /= length.max(f64::MIN_POSITIVE));
        if length > 0.0 { sum } else { before.clone() }
    };
    sums.into_iter().zip(before).map(unit).collect()
}

fn cosine(row: &[(u32, f64)], centre: &[f64]) -> f64 {
    row.iter().map(|(column, value)| value * centre[*column as usize]).sum()
}

/// Mean of (b − a) / max(a, b) over the rows, a the mean distance (1 − cosine) to the other rows of the row's cluster, b the
/// smallest mean distance to those of another; 0 for a row alone in its cluster (Rousseeuw 1987).
fn silhouette(rows: &Sparse, assigned: &[usize]) -> f64 {
    let k = assigned.iter().max().map_or(0, |most| most + 1);
    let mut sums = vec![vec![0.0; rows.columns]; k];
    let mut sizes = vec![0usize; k];
    for (row, at) in rows.rows.iter().zip(assigned) {
        sizes[*at] += 1;
        row.iter().for_each(|(column, value)| sums[*at][*column as usize] += value);
    }
    // Σ over rows of a cluster of (1 − cosine) is size − row · sum
    let of = |(row, at): (&Vec<(u32, f64)>, &usize)| {
        let own = row.iter().map(|(_, value)| value * value).sum::<f64>();
        let apart = |cluster: usize| sizes[cluster] as f64 - cosine(row, &sums[cluster]);
        if sizes[*at] < 2 {
            return 0.0;
        }
        let a = (apart(*at) - (1.0 - own)) / (sizes[*at] - 1) as f64;
        let others = (0..k).filter(|cluster| cluster != at && sizes[*cluster] > 0);
        let b = others.map(|cluster| apart(cluster) / sizes[cluster] as f64).fold(f64::INFINITY, f64::min);
        if b.is_finite() && a.max(b) > 0.0 { (b - a) / a.max(b) } else { 0.0 }
    };
    rows.rows.iter().zip(assigned).map(of).sum::<f64>() / rows.rows.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::tests::taxonomy;
    use crate::run::Prediction;
    use crate::run::prediction::tests::answer;

    fn texts() -> Vec<String> {
        let kinds = [
            "bright concretion in the renal calyx",
            "free fluid around the spleen tip",
            "dilated loops of small bowel",
        ];
        (0..30).map(|i| format!("{} variant{}", kinds[i % 3], i / 3)).collect()
    }

    #[test]
    fn planted_clusters_are_found_and_every_row_is_with_its_nearest_centre() {
        let texts = texts();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rows = Tfidf::fit(&texts).transform(&texts);
        let (assigned, centres) = kmeans(&rows, 3, 7);
        for i in 0..30 {
            assert_eq!(assigned[i], assigned[i % 3], "row {i}");
            let naive = (0..3).max_by(|&a, &b| {
                let similarity =
                    |c: usize| -> f64 { dense(&rows, i).iter().zip(&centres[c]).map(|(x, y)| x * y).sum() };
                similarity(a).total_cmp(&similarity(b))
            });
            assert_eq!(Some(assigned[i]), naive);
        }
        assert!(assigned[0] != assigned[1] && assigned[1] != assigned[2] && assigned[0] != assigned[2]);
        assert_eq!(kmeans(&rows, 3, 7), (assigned, centres), "one seed, one answer");
    }

    #[test]
    fn the_silhouette_is_that_of_all_pairs() {
        let texts = texts();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rows = Tfidf::fit(&texts).transform(&texts);
        let assigned: Vec<usize> = (0..30).map(|i| if i == 29 { 3 } else { (i / 2) % 3 }).collect();
        let distance = |i: usize, j: usize| 1.0 - cosine(&rows.rows[i], &dense(&rows, j));
        let mean = |i: usize, cluster: usize| {
            let others: Vec<usize> = (0..30).filter(|&j| j != i && assigned[j] == cluster).collect();
            others.iter().map(|&j| distance(i, j)).sum::<f64>() / others.len() as f64
        };
        let of = |i: usize| {
            if i == 29 {
                return 0.0;
            }
            let a = mean(i, assigned[i]);
            let b = (0..4).filter(|c| *c != assigned[i]).map(|c| mean(i, c)).fold(f64::INFINITY, f64::min);
            (b - a) / a.max(b)
        };
        let naive = (0..30).map(of).sum::<f64>() / 30.0;
        assert!((silhouette(&rows, &assigned) - naive).abs() < 1e-12);
    }

    #[test]
    fn errors_with_like_sentences_come_together() {
        let kinds = [
            ("There is no concretion in the calyx today.", "kidney stone"),
            ("Free fluid was seen 9 months ago.", "ascites"),
        ];
        let row = |i: usize| {
            let (input, label) = kinds[i % 2];
            Prediction { input: input.into(), ..answer(&i.to_string(), &["renal cyst"], &["renal cyst", label]) }
        };
        let rows: Vec<Prediction> = (0..12).map(row).collect();
        let found = clusters(&taxonomy().cases(&rows, None), 4, 7);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|cluster| cluster.classes.len() == 1 && cluster.errors.len() == 6), "{found:?}");
        assert!(clusters(&[], 4, 7).is_empty());
    }
}
