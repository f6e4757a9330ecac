//! All rankers weighed by a small network that was trained on published patients.
//!
//! Of every patient the candidates that any of several rankers puts near the top are listed, each with its [features](super::super::features).
//! A network with one hidden layer gives each a score; the loss is the cross-entropy of the right disease among those listed (ListNet with
//! one relevant item, Cao et al., ICML 2007). Several networks are trained from different starts and their scores averaged. A tenth of the publications
//! trains none of them; on it the scores are divided by a temperature (Guo et al., ICML 2017), so that the share of the first disease is how often it is right.
//!
//! A disease of which nothing is known once the patient's publication is left out is never listed: it would be in the list of candidates
//! only because of this very patient.
use super::super::features::{Features, LISTED, Listed, NAMES};
use super::{Contribution, Left, Ranker, Signs};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

const BATCH: usize = 64;

/// Chosen on the patients of one fold of publications: `dxlab rare-disease settings`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedSettings {
    /// Units of the hidden layer.
    pub hidden: usize,
    pub epochs: usize,
    /// Learning rate of AdamW at the start; it falls linearly.
    pub rate: f64,
    /// Networks whose scores are averaged.
    pub networks: usize,
}

/// One publication in so many calibrates and does not train.
const CALIBRATING: u64 = 10;

impl Default for LearnedSettings {
    fn default() -> Self {
        Self { hidden: 32, epochs: 8, rate: 3e-3, networks: 3 }
    }
}

/// A trained network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// What the features are, in order; files made for other features are refused.
    pub features: Vec<String>,
    /// Every feature enters as (value − mean) / scale.
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    /// `[hidden][features]`.
    pub hidden: Vec<Vec<f32>>,
    pub bias: Vec<f32>,
    /// Of each hidden unit.
    pub output: Vec<f32>,
    /// Patients and publications that it was trained and calibrated on.
    pub patients: usize,
    pub publications: usize,
}

impl Weights {
    /// Those that come with dxlab, trained on all published patients.
    pub fn embedded() -> Result<Self> {
        let path = crate::home().join("data").join("rare-disease").join("learned.json");
        let weights: Self = crate::io::read_json(&path)?;
        let known = names();
        if weights.features != known {
            return Err(Error::input(format!(
                "{}: made for other features ({} and not {}): train it anew with `dxlab rare-disease train`",
                path.display(),
                weights.features.len(),
                known.len()
            )));
        }
        Ok(weights)
    }

    /// The score of one candidate.
    pub fn score(&self, row: &[f32]) -> f32 {
        let input: Vec<f32> = row
            .iter()
            .zip(self.mean.iter().zip(&self.scale))
            .map(|(value, (mean, scale))| (value - mean) / scale)
            .collect();
        let unit = |(weights, bias): (&Vec<f32>, &f32)| {
            (weights.iter().zip(&input).map(|(weight, value)| weight * value).sum::<f32>() + bias).max(0.0)
        };
        self.hidden.iter().zip(&self.bias).map(unit).zip(&self.output).map(|(unit, weight)| unit * weight).sum()
    }

    /// Trains on the lists at these places; those whose disease is not listed teach nothing and are passed over. The same seed gives the
    /// same weights on the same processor.
    pub fn train(lists: &[Listed], at: &[usize], seed: u64) -> Result<Self> {
        Self::train_by(lists, at, seed, LearnedSettings::default())
    }

    /// As [`Weights::train`], with other settings.
    pub fn train_by(lists: &[Listed], at: &[usize], seed: u64, by: LearnedSettings) -> Result<Self> {
        let all: Vec<&Listed> = at.iter().map(|&i| &lists[i]).collect();
        let calibrates = |list: &&Listed| {
            let drawn = crate::io::seed_of(&format!("calibration {seed}/{}", list.group));
            (drawn >> 32).is_multiple_of(CALIBRATING)
        };
        let (held, train): (Vec<&Listed>, Vec<&Listed>) = all.iter().copied().partition(calibrates);
        let train: Vec<&Listed> = train.into_iter().filter(|list| list.gold.is_some()).collect();
        if train.is_empty() {
            return Err(Error::input("no patient whose disease is among the candidates: nothing to learn from"));
        }
        let (mean, scale) = moments(&train);
        let networks = (0..by.networks.max(1) as u64)
            .map(|i| Network::trained(&train, (&mean, &scale), seed.wrapping_mul(1000).wrapping_add(i), by))
            .collect::<Result<Vec<_>>>()?;
        let used = || all.iter().filter(|list| list.gold.is_some());
        let groups: std::collections::BTreeSet<&str> = used().map(|list| list.group.as_str()).collect();
        let mut weights = average(&networks, mean, scale, (used().count(), groups.len()))?;
        let by = temperature(&held, &weights);
        weights.output.iter_mut().for_each(|weight| *weight /= by);
        Ok(weights)
    }
}

/// The temperature under which the share of the best candidate is nearest to how often it is right, by the mean logarithm; a disease that is not
/// listed makes its list wrong. 1 without lists.
fn temperature(held: &[&Listed], weights: &Weights) -> f32 {
    let scored: Vec<(Vec<f64>, bool)> = held
        .iter()
        .filter(|list| !list.candidates.is_empty())
        .map(|list| {
            let scores: Vec<f64> = list.rows().map(|row| f64::from(weights.score(row))).collect();
            let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            (scores, best == list.gold)
        })
        .collect();
    let loss = |t: f64| {
        let of = |(scores, right): &(Vec<f64>, bool)| {
            let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let share = 1.0 / scores.iter().map(|score| ((score - best) / t).exp()).sum::<f64>();
            -(if *right { share } else { 1.0 - share }).max(1e-9).ln()
        };
        scored.iter().map(of).sum::<f64>()
    };
    let tried = (-40..=80).map(|step| 1.03f64.powi(step));
    let best = tried.min_by(|a, b| loss(*a).total_cmp(&loss(*b)));
    best.filter(|_| !scored.is_empty()).unwrap_or(1.0) as f32
}

/// Networks side by side as one whose score is the mean of theirs.
fn average(
    networks: &[Network],
    mean: Vec<f32>,
    scale: Vec<f32>,
    (patients, publications): (usize, usize),
) -> Result<Weights> {
    let mut all = Weights {
        features: names(),
        mean,
        scale,
        hidden: vec![],
        bias: vec![],
        output: vec![],
        patients,
        publications,
    };
    for one in networks {
        all.hidden.extend(one.hidden.to_vec2::<f32>()?);
        all.bias.extend(one.bias.to_vec2::<f32>()?.remove(0));
        all.output
            .extend(one.output.to_vec2::<f32>()?.remove(0).into_iter().map(|weight| weight / networks.len() as f32));
    }
    Ok(all)
}

fn names() -> Vec<String> {
    let kinds = ["", ", rank (log)", ", behind the best"];
    let of = |kind: usize| NAMES.iter().enumerate().filter(move |(i, _)| kind == 0 || LISTED.contains(i));
    (0..3).flat_map(|kind| of(kind).map(move |(_, name)| format!("{name}{}", kinds[kind]))).collect()
}

fn moments(lists: &[&Listed]) -> (Vec<f32>, Vec<f32>) {
    let width = lists[0].width();
    let (mut sum, mut squares, mut n) = (vec![0.0f64; width], vec![0.0f64; width], 0.0f64);
    for row in lists.iter().flat_map(|list| list.rows()) {
        n += 1.0;
        for ((sum, square), &value) in sum.iter_mut().zip(&mut squares).zip(row) {
            *sum += f64::from(value);
            *square += f64::from(value).powi(2);
        }
    }
    let mean: Vec<f64> = sum.iter().map(|sum| sum / n).collect();
    let scale =
        squares.iter().zip(&mean).map(|(square, mean)| ((square / n - mean * mean).max(0.0).sqrt() + 1e-3) as f32);
    (mean.iter().map(|&mean| mean as f32).collect(), scale.collect())
}

struct Network {
    hidden: Var,
    bias: Var,
    output: Var,
}

impl Network {
    fn new(units: usize, rng: &mut impl rand::Rng) -> Result<Self> {
        let width = names().len();
        let mut drawn = |rows: usize, columns: usize| -> Result<Var> {
            let limit = (6.0 / (rows + columns) as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-limit..limit)).collect();
            Ok(Var::from_vec(values, (rows, columns), &Device::Cpu)?)
        };
        let (hidden, output) = (drawn(units, width)?, drawn(1, units)?);
        Ok(Self { hidden, output, bias: Var::zeros((1, units), DType::F32, &Device::Cpu)? })
    }

    fn trained(lists: &[&Listed], (mean, scale): (&[f32], &[f32]), seed: u64, by: LearnedSettings) -> Result<Self> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let network = Self::new(by.hidden, &mut rng)?;
        let settings = ParamsAdamW { lr: by.rate, weight_decay: 1e-3, ..ParamsAdamW::default() };
        let learning = vec![network.hidden.clone(), network.bias.clone(), network.output.clone()];
        let mut optimiser = AdamW::new(learning, settings)?;
        let mut order: Vec<usize> = (0..lists.len()).collect();
        for epoch in 0..by.epochs {
            order.shuffle(&mut rng);
            optimiser.set_learning_rate(by.rate * (1.0 - epoch as f64 / by.epochs as f64));
            for batch in order.chunks(BATCH) {
                let batch: Vec<&Listed> = batch.iter().map(|&i| lists[i]).collect();
                optimiser.backward_step(&network.loss(&batch, mean, scale)?)?;
            }
        }
        Ok(network)
    }

    /// Cross-entropy of the right candidates among those listed, mean over the lists.
    fn loss(&self, lists: &[&Listed], mean: &[f32], scale: &[f32]) -> Result<Tensor> {
        let longest = lists.iter().map(|list| list.candidates.len()).max().unwrap_or(1);
        let width = mean.len();
        let (mut rows, mut mask, mut gold) =
            (vec![0.0f32; lists.len() * longest * width], vec![-1e9f32; lists.len() * longest], vec![]);
        for (i, list) in lists.iter().enumerate() {
            for (j, row) in list.rows().enumerate() {
                let at = i * longest + j;
                mask[at] = 0.0;
                for (k, &value) in row.iter().enumerate() {
                    rows[at * width + k] = (value - mean[k]) / scale[k];
                }
            }
            gold.push(list.gold.unwrap_or_default() as u32);
        }
        let rows = Tensor::from_vec(rows, (lists.len() * longest, width), &Device::Cpu)?;
        let units = rows.matmul(&self.hidden.t()?)?.broadcast_add(self.bias.as_tensor())?.relu()?;
        let scores = units.matmul(&self.output.t()?)?.reshape((lists.len(), longest))?;
        let scores = (scores + Tensor::from_vec(mask, (lists.len(), longest), &Device::Cpu)?)?;
        let gold = Tensor::from_vec(gold, lists.len(), &Device::Cpu)?;
        Ok(candle_nn::loss::cross_entropy(&scores, &gold)?)
    }
}

/// See the file's header.
pub struct Learned<'a> {
    features: Features<'a>,
    weights: Weights,
}

impl<'a> Learned<'a> {
    pub fn new(features: Features<'a>, weights: Weights) -> Self {
        Self { features, weights }
    }
}

impl Ranker for Learned<'_> {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn uses_excluded(&self) -> bool {
        true
    }

    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32> {
        let list = self.features.list(signs, left, &[]);
        list.scores(&self.weights, self.features.candidates())
    }

    /// What naive Bayes over annotations and patients says of each sign: the network's own score has no parts.
    fn explained_by(&self) -> Option<&'static str> {
        Some("bayes")
    }

    fn contributions(&self, signs: &Signs, candidate: usize, left: Left) -> Vec<Contribution> {
        self.features.bayes().contributions(signs, candidate, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two candidates for each patient; the right one has the greater first feature, which the network must find.
    fn lists() -> Vec<Listed> {
        let width = names().len();
        let one = |i: usize| {
            let right = i % 2;
            let mut values = vec![0.0; 2 * width];
            for j in 0..2 {
                values[j * width] = if j == right { 2.0 + (i % 5) as f32 } else { (i % 3) as f32 - 1.0 };
                values[j * width + 1] = ((i * 7 + j * 3) % 4) as f32;
            }
            Listed { group: format!("p{i}"), candidates: vec![4, 9], values, gold: Some(right) }
        };
        (0..200).map(one).collect()
    }

    #[test]
    fn what_tells_the_right_disease_is_learned_and_the_same_each_time() {
        let lists = lists();
        let train: Vec<usize> = (0..150).collect();
        let weights = Weights::train(&lists, &train, 7).unwrap();
        let right = |list: &&Listed| {
            let scores: Vec<f32> = list.rows().map(|row| weights.score(row)).collect();
            scores[list.gold.unwrap()] > scores[1 - list.gold.unwrap()]
        };
        assert!(lists[150..].iter().filter(right).count() >= 48);
        assert_eq!(weights, Weights::train(&lists, &train, 7).unwrap());
        assert_ne!(weights, Weights::train(&lists, &train, 8).unwrap());
        assert_eq!((weights.patients, weights.publications), (150, 150));
        let scores = lists[0].scores(&weights, 12);
        assert!(scores[4].is_finite() && scores[0] == f32::NEG_INFINITY, "what is not listed is behind all that is");
    }

    #[test]
    fn scores_that_are_surer_than_right_are_cooled() {
        let weights = |factor: f32| Weights {
            features: names(),
            mean: vec![0.0; names().len()],
            scale: vec![1.0; names().len()],
            hidden: vec![std::iter::once(factor).chain(std::iter::repeat_n(0.0, names().len() - 1)).collect()],
            bias: vec![0.0],
            output: vec![1.0],
            patients: 0,
            publications: 0,
        };
        // the first of two candidates is ahead by 2 and right three times in four: log 3 is the margin that says so
        let mut values = vec![0.0; 2 * names().len()];
        values[0] = 2.0;
        let one = |i: usize| Listed {
            group: "p".into(),
            candidates: vec![4, 9],
            values: values.clone(),
            gold: Some(usize::from(i.is_multiple_of(4))),
        };
        let lists: Vec<Listed> = (0..400).map(one).collect();
        let held: Vec<&Listed> = lists.iter().collect();
        for factor in [1.0, 2.0] {
            let wanted = 2.0 * factor / 3f32.ln();
            let found = temperature(&held, &weights(factor));
            assert!((found / wanted - 1.0).abs() < 0.02, "{found} is not {wanted}");
        }
        assert_eq!(temperature(&[], &weights(1.0)), 1.0);
    }

    #[test]
    fn the_score_of_the_file_is_that_of_the_network() {
        let lists = lists();
        let weights = Weights::train(&lists, &(0..100).collect::<Vec<_>>(), 7).unwrap();
        let json = serde_json::to_string(&weights).unwrap();
        let back: Weights = serde_json::from_str(&json).unwrap();
        let row: Vec<f32> = lists[3].rows().next().unwrap().to_vec();
        assert_eq!(back.score(&row).to_bits(), weights.score(&row).to_bits());
        let by_hand: f32 = (0..weights.hidden.len())
            .map(|h| {
                let sum: f32 =
                    (0..row.len()).map(|k| weights.hidden[h][k] * (row[k] - weights.mean[k]) / weights.scale[k]).sum();
                (sum + weights.bias[h]).max(0.0) * weights.output[h]
            })
            .sum();
        assert!((by_hand - weights.score(&row)).abs() < 1e-3, "{by_hand} {}", weights.score(&row));
    }
}
