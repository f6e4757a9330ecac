//! What the chapters show: tables and figures computed from runs, one file a topic.
pub mod architecture;
pub mod asking;
pub mod causes;
pub mod data;
pub mod detail;
pub mod failures;
pub mod grid;
pub mod latency;
pub mod prompts;
pub mod published;
pub mod real_text;
pub mod remedies;
pub mod results;
pub mod runs;
pub mod training;
pub mod votes;

pub use data::wrapped;
pub use results::{beside, beside_alone, score, verdict};
