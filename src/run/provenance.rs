//! What a notebook says first: with what its numbers were made. The same on every machine, so that it can be compared; time,
//! memory and hardware stand in each run's `environment.json`.
use super::store::NUMERICS_VERSION;
use crate::corpus::Corpus;
use crate::error::Result;

/// Crate and compiler, in a line.
pub fn versions() -> String {
    let toolchain = std::fs::read_to_string(crate::home().join("rust-toolchain.toml")).unwrap_or_default();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.unwrap_or(env!("CARGO_PKG_RUST_VERSION")).trim_matches('"');
    format!("dxlab {} (numerics {NUMERICS_VERSION}), Rust {channel}", env!("CARGO_PKG_VERSION"))
}

/// Two lines: crate and compiler; corpus. Dependencies are pinned by `Cargo.lock`, and every run records its commit.
pub fn provenance(corpus: &Corpus) -> Result<String> {
    Ok(format!(
        "{}\ncorpus: {}{}, {} training and {} test cases, digest {}",
        versions(),
        corpus.name,
        if corpus.synthetic && !corpus.name.contains("synthetic") { " (synthetic)" } else { "" },
        corpus.train.len(),
        corpus.test.len(),
        &corpus.digest()[..12],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_and_that_it_is_synthetic_are_named() {
        let text = provenance(&Corpus::embedded().unwrap()).unwrap();
        assert!(text.contains("corpus: synthetic") && text.contains("Rust 1.") && !text.contains("unknown"), "{text}");
    }
}
