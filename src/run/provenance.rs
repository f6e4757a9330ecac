//! What a notebook says first: with what its numbers were made. The same on every machine, so that it can be compared; time,
//! memory and hardware stand in each run's `environment.json`.
use super::store::NUMERICS_VERSION;
use crate::corpus::Corpus;
use crate::error::Result;

/// Two lines: crate and compiler; corpus. Dependencies are pinned by `Cargo.lock`, and every run records its commit.
pub fn provenance(corpus: &Corpus) -> Result<String> {
    let home = crate::home();
    let toolchain = std::fs::read_to_string(home.join("rust-toolchain.toml")).unwrap_or_default();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = "));
    Ok(format!(
        "dxlab {} (numerics {NUMERICS_VERSION}), Rust {}\ncorpus: {}{}, {} training and {} test cases, digest {}",
        env!("CARGO_PKG_VERSION"),
        channel.unwrap_or(env!("CARGO_PKG_RUST_VERSION")).trim_matches('"'),
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
