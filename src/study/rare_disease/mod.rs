//! Rankers of rare diseases on published patients: every patient is ranked with its own publication left out, and the part of a score that
//! comes from the annotation file having been written from the same paper is measured.
mod bench;
mod benchmark;
mod change;
mod cross_validation;
mod kept;
mod leak;
mod rerank;
mod shortlist;

pub use bench::{Bench, Protocol};
pub use benchmark::{Benchmark, BenchmarkConfig, BenchmarkPatient, CONTROL, RankerColumn};
pub use change::Change;
pub use cross_validation::{CrossValidated, Folds, bayes_hits, learned_hits, train_all};
pub use kept::{KeptRanks, MethodRanks, WrittenName};
pub use leak::{HitRow, LeakSize, Stratum, hit_row, leak_size};
pub use rerank::{Chosen, Mix, RerankConfig, Reranked, ScoredList, Tried, WEIGHTS};
pub use shortlist::{Shortlister, VALIDATION};
