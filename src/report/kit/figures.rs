//! Figures of the report. Each takes numbers that a file yielded and gives a `Figure`; equal numbers give equal bytes.
mod calibration;
mod counts;
mod curves;
mod forests;
#[cfg(test)]
mod tests;

pub use calibration::{reliability, risk_coverage, without};
pub use counts::{label_frequencies, lengths, top_labels};
pub use curves::{bands, learning_curve};
pub use forests::{forest, paired_forest};
