//! A training log as a TensorBoard event file: TFRecords, each a protobuf `Event`.
//!
//! ```text
//! record   length u64 · masked CRC-32C of the length · bytes · masked CRC-32C of the bytes       all little endian
//! Event    1 wall_time double · 2 step int64 · 3 file_version string | 5 Summary { 1 Value { 1 tag · 2 simple_value float } }
//! ```
//!
//! A log has no clock but speeds: an event's time is the run's start and the seconds that its updates computed, without
//! evaluations. What it deliberately does not do: write while a run is being made, or anything but scalars.
use crate::error::Result;
use crate::io;
use crate::run::Run;
use crate::train::{LogLine, read_log};
use std::path::{Path, PathBuf};

/// Writes `<dir>/<run>/events.out.tfevents.<start>.dxlab` of a training run and says where.
pub fn export(run: &Run, dir: &Path) -> Result<PathBuf> {
    let log = read_log(&run.path("log.jsonl"))?;
    let start = run.environment()?.started_seconds();
    let path = dir.join(run.folder()).join(format!("events.out.tfevents.{start}.dxlab"));
    io::write(&path, &events(&log, start as f64))?;
    Ok(path)
}

/// The bytes of an event file; `start` in seconds since 1970.
pub fn events(log: &[LogLine], start: f64) -> Vec<u8> {
    let mut bytes = Vec::new();
    record(&mut bytes, &event(start, 0, 3, b"brain.Event:2"));
    let mut time = start;
    for line in log {
        time += line.tokens as f64 / line.tokens_per_sec;
        let summary: Vec<u8> =
            scalars(line).into_iter().flat_map(|(tag, value)| field(1, &scalar(tag, value))).collect();
        record(&mut bytes, &event(time, line.step as u64, 5, &summary));
    }
    bytes
}

fn scalars(line: &LogLine) -> Vec<(&'static str, f64)> {
    let always = [
        ("train/loss", line.loss),
        ("train/lr", line.lr),
        ("train/grad_norm", line.grad_norm),
        ("train/tokens_per_sec", line.tokens_per_sec),
    ];
    let some = [("train/cross_entropy", line.cross_entropy), ("eval/loss", line.eval_loss)];
    always.into_iter().chain(some.into_iter().filter_map(|(tag, value)| Some((tag, value?)))).collect()
}

fn event(time: f64, step: u64, number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1 << 3 | 1]; // field 1, 64 bits
    bytes.extend(time.to_le_bytes());
    if step > 0 {
        bytes.push(2 << 3); // field 2, varint; 0 is not written
        varint(&mut bytes, step);
    }
    bytes.extend(field(number, content));
    bytes
}

fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let mut bytes = field(1, tag.as_bytes());
    bytes.push(2 << 3 | 5); // field 2, 32 bits
    bytes.extend((value as f32).to_le_bytes());
    bytes
}

/// A field of bytes: a string or a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    varint(&mut bytes, content.len() as u64);
    bytes.extend(content);
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn record(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u64).to_le_bytes();
    bytes.extend(length);
    bytes.extend(masked(crc32c(&length)).to_le_bytes());
    bytes.extend(content);
    bytes.extend(masked(crc32c(content)).to_le_bytes());
}

/// So that the checksum of bytes that hold checksums stays a good one.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, reflected), bit by bit: a log is small.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283); // the catalogue's check value
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa); // RFC 3720, B.4
    }

    #[test]
    fn large_numbers_take_several_bytes() {
        let mut bytes = Vec::new();
        varint(&mut bytes, 300);
        assert_eq!(bytes, [0xac, 0x02]);
    }
}
