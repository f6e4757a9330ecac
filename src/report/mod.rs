//! Figures and tables as notebook displays, and the workbook.
mod display;

pub mod tables;
pub mod workbook;

pub use display::{Figure, NONE, Table, difference, interval, number};
