//! Learning rate by step: linear warm-up, then a cosine down to a share of the peak.
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Peak learning rate.
    pub lr: f64,
    /// Share of all steps spent warming up.
    #[serde(default = "warmup")]
    pub warmup: f64,
    /// The last step's rate as a share of the peak.
    #[serde(default)]
    pub floor: f64,
}

fn warmup() -> f64 {
    0.05
}

impl Schedule {
    /// Rate of update `step` (from 0) of `steps`. It is never 0 before the last step, so no update is wasted.
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        let warm = (self.warmup * steps as f64).round() as usize;
        if step < warm {
            return self.lr * (step + 1) as f64 / warm as f64;
        }
        let done = (step - warm) as f64 / (steps - warm).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.lr * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_to_the_peak_and_falls_to_the_floor() {
        let s = Schedule { lr: 2.0, warmup: 0.1, floor: 0.1 };
        assert!((s.at(0, 100) - 0.2).abs() < 1e-12);
        assert!((s.at(9, 100) - 2.0).abs() < 1e-12);
        assert!((s.at(10, 100) - 2.0).abs() < 1e-12);
        assert!((s.at(55, 100) - 1.1).abs() < 1e-12, "half way down");
        assert!(s.at(99, 100) < 0.21 && s.at(99, 100) > 0.2);
    }
}
