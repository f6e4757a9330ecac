//! Figures and tables as notebook displays, and the workbook.
mod canvas;
mod card;
mod display;
pub mod figures;
pub mod tables;
mod workbook;

pub use card::base_card;
pub use display::{Figure, NONE, Table, difference, interval, number};
pub use workbook::{Answers, write_workbook};
