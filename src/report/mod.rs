//! Figures and tables as notebook displays, and the workbook.
mod canvas;
mod card;
pub mod data;
pub mod detail;
mod display;
pub mod failures;
pub mod figures;
mod flow;
pub mod grid;
pub mod ingredients;
mod passage;
pub mod prompts;
pub mod published;
pub mod results;
pub mod runs;
pub mod tables;
pub mod tensorboard;
pub mod training;
mod workbook;

pub use card::{base_card, bits_per_byte};
pub use data::wrapped;
pub use display::{Figure, NONE, Table, difference, interval, number};
pub use passage::Passage;
pub use results::verdict;
pub use workbook::{Answers, Contents, write_workbook};
