//! A metric reduced to what each case adds to it: a case enters a resample by its weight alone, so a bootstrap of a thousand resamples
//! takes milliseconds, and what resamples cases does not know what a case is about.

/// A metric reduced to what each case adds to it.
#[derive(Clone, Debug)]
pub enum Statistic {
    /// (numerator, denominator) a case, no numerator below 0 or above its denominator: the metric is a share.
    Ratio(Vec<(f64, f64)>),
    /// A count a case, of which the metric is the mean: it has no upper end.
    Count(Vec<f64>),
    /// A mean over labels; per case what became of every label that is gold or predicted there.
    PerLabel { labels: usize, score: Score, mean: Mean, cases: Vec<Vec<(usize, Hit)>> },
}

/// What a label's counts give; 0 where it is 0/0, as scikit-learn's `zero_division=0` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// TP / (TP + FP)
    Precision,
    /// TP / (TP + FN)
    Recall,
    /// 2 TP / (2 TP + FP + FN)
    F1,
}

/// How labels enter a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// Those of the set, all alike: macro.
    Of(LabelSet),
    /// By their number of gold cases: weighted.
    ByGold,
}

/// What became of one label in one case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hit {
    TruePositive,
    FalsePositive,
    FalseNegative,
}

impl Score {
    fn of(self, [right, invented, missed]: [u32; 3]) -> f64 {
        let (right, invented, missed) = (f64::from(right), f64::from(invented), f64::from(missed));
        let (num, den) = match self {
            Score::Precision => (right, right + invented),
            Score::Recall => (right, right + missed),
            Score::F1 => (2.0 * right, 2.0 * right + invented + missed),
        };
        if den > 0.0 { num / den } else { 0.0 }
    }
}

impl Mean {
    fn weight(self, [right, invented, missed]: [u32; 3]) -> f64 {
        match self {
            Mean::Of(LabelSet::Gold) => f64::from(right + missed > 0),
            Mean::Of(LabelSet::Union) => f64::from(right + invented + missed > 0),
            Mean::ByGold => f64::from(right + missed),
        }
    }
}

impl Statistic {
    pub fn cases(&self) -> usize {
        match self {
            Statistic::Ratio(cases) => cases.len(),
            Statistic::Count(cases) => cases.len(),
            Statistic::PerLabel { cases, .. } => cases.len(),
        }
    }

    /// The metric of a sample that holds case i `weights[i]` times. None where it is 0/0.
    pub fn value(&self, weights: &[u32]) -> Option<f64> {
        match self {
            Statistic::Ratio(cases) => {
                let add = |(num, den), (case, &weight): (&(f64, f64), &u32)| {
                    (num + case.0 * f64::from(weight), den + case.1 * f64::from(weight))
                };
                let (num, den) = cases.iter().zip(weights).fold((0.0, 0.0), add);
                (den > 0.0).then(|| num / den)
            }
            Statistic::Count(cases) => {
                let add =
                    |(sum, n), (count, &weight): (&f64, &u32)| (sum + count * f64::from(weight), n + f64::from(weight));
                let (sum, n) = cases.iter().zip(weights).fold((0.0, 0.0), add);
                (n > 0.0).then(|| sum / n)
            }
            Statistic::PerLabel { labels, score, mean, cases } => {
                let counts = label_counts(*labels, cases, weights);
                let (sum, of) = counts.into_iter().fold((0.0, 0.0), |(sum, of), counts| {
                    let weight = mean.weight(counts);
                    (sum + weight * score.of(counts), of + weight)
                });
                (of > 0.0).then(|| sum / of)
            }
        }
    }

    /// True where a resample's value is off-centre, so that its interval must be moved back.
    ///
    /// A label with one case is absent from a third of the resamples and then leaves a mean over labels, and where it is drawn twice
    /// it outweighs what was invented under its name.
    pub fn needs_recentring(&self) -> bool {
        matches!(self, Statistic::PerLabel { .. })
    }

    /// An interval of moved values cut to where the metric can be: a mean over labels lies in [0, 1]. Values that were not moved
    /// never leave their range.
    pub(super) fn within(&self, (low, high): (f64, f64)) -> (f64, f64) {
        match self.needs_recentring() {
            true => (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0)),
            false => (low, high),
        }
    }

    /// Whether a case bears on the metric: one with the denominator 0 does not.
    pub(super) fn bears(&self, case: usize) -> bool {
        match self {
            Statistic::Ratio(cases) => cases[case].1 > 0.0,
            _ => true,
        }
    }

    /// Of the cases at these places, in this order.
    pub fn at(&self, places: &[usize]) -> Statistic {
        fn pick<T: Clone>(cases: &[T], places: &[usize]) -> Vec<T> {
            places.iter().map(|&i| cases[i].clone()).collect()
        }
        match self {
            Statistic::Ratio(cases) => Statistic::Ratio(pick(cases, places)),
            Statistic::Count(cases) => Statistic::Count(pick(cases, places)),
            Statistic::PerLabel { labels, score, mean, cases } => {
                Statistic::PerLabel { labels: *labels, score: *score, mean: *mean, cases: pick(cases, places) }
            }
        }
    }

    /// Of the cases of both, `self` first. None where they are not of one kind and label space.
    pub fn joined(&self, other: &Statistic) -> Option<Statistic> {
        match (self, other) {
            (Statistic::Ratio(a), Statistic::Ratio(b)) => Some(Statistic::Ratio([a.as_slice(), b].concat())),
            (Statistic::Count(a), Statistic::Count(b)) => Some(Statistic::Count([a.as_slice(), b].concat())),
            (
                Statistic::PerLabel { labels, score, mean, cases: a },
                Statistic::PerLabel { labels: l, score: s, mean: m, cases: b },
            ) => ((labels, score, mean) == (l, s, m)).then(|| Statistic::PerLabel {
                labels: *labels,
                score: *score,
                mean: *mean,
                cases: [a.as_slice(), b].concat(),
            }),
            _ => None,
        }
    }

    /// The metric of the cases as they are.
    pub fn plain(&self) -> Option<f64> {
        self.value(&vec![1; self.cases()])
    }
}

/// Right, invented and missed of every label.
fn label_counts(labels: usize, cases: &[Vec<(usize, Hit)>], weights: &[u32]) -> Vec<[u32; 3]> {
    let mut counts = vec![[0u32; 3]; labels];
    for (case, &weight) in cases.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
        case.iter().for_each(|&(label, hit)| counts[label][hit as usize] += weight);
    }
    counts
}

/// Which labels macro-F1 is the mean over; with long tails the two differ a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelSet {
    /// Labels with at least one gold case.
    Gold,
    /// Labels with at least one gold case or one prediction; an invented label counts with F1 = 0.
    Union,
}
