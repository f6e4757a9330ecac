//! Figures and tables as notebook displays, and the workbook.
mod card;
pub mod chapters;
pub mod kit;
pub mod tensorboard;
mod workbook;

pub use card::{base_card, bits_per_byte};
pub use workbook::{Answers, Contents, write_workbook};
