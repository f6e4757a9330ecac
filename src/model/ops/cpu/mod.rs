//! Loops for the processor: vector loops, products, tiles, blocks of quantised weights, and the threads that share them. The operations
//! above say what is computed, these how. From the ground up: `lanes`, `workers`, `blocks`, `source`, `small_batch`, `tiles`, `matrix`.
pub mod blocks;
pub mod lanes;
pub mod matrix;
pub mod small_batch;
pub mod source;
pub mod tiles;
pub mod workers;
