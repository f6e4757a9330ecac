//! The run store and the rows that every table, figure and workbook cell is computed from.
mod prediction;
pub use prediction::Prediction;
