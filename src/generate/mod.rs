//! Answers from a model.
mod agreement;
mod answers;
mod constraint;
mod copy;
mod decode;
mod endpoint;
mod engine;
mod grammar;
mod insert;
mod kept;
mod labels;
mod pairs;
mod passes;
mod rank;
mod sample;
mod sequence;
mod spans;
mod text;
mod trained_on;
mod uncertainty;
mod worker;

pub use agreement::{Agreement, Seen};
pub use answers::{Answer, Answers, Local, MAX_NEW, adapter_folder, adapter_id, base_id, encoder_for};
pub use constraint::Constraint;
pub use copy::{Copied, copy_with_tags};
pub use decode::{Constraints, Decoding, Finish, Generated, Limits, decode, greedy, greedy_with, stop_tokens};
pub use endpoint::{
    CaseReply, ClientConfig, Defect, Endpoint, EndpointConfig, KEY_ENV, Key, Record, Reply, Tokens, Usage,
};
pub use engine::{Ask, Done, Drawn, Engine, Listen, Room};
pub use grammar::Grammar;
pub use insert::{Insertions, Spelling, WhileOpen};
pub use labels::{Count, Labels, read_labels};
pub use pairs::{Pair, check_pairs, read_pairs, score};
pub use rank::{By, Ranked, rank};
pub use sample::{Place, Sampling};
pub use text::{Pieces, StopStrings};
pub use trained_on::{note_base, warn_of_other_base};
pub use uncertainty::{Uncertainty, uncertainty};
pub use worker::Worker;

#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod tests;
