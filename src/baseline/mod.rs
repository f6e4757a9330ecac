//! Methods without a language model: most frequent labels, TF-IDF with logistic regression, nearest training case, search for known names.
mod logreg;
mod methods;
mod name_search;
mod nearest;
mod tfidf;

pub use logreg::{Kernel, OneVsRest};
pub use methods::{Baseline, MostFrequent, Settings as BaselineSettings, TfidfLogReg};
pub use name_search::NameSearch;
pub use nearest::Nearest;
pub use tfidf::{Sparse, Tfidf};
