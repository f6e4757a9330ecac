//! What often lies where a file of weights should: told by its first bytes, so that the message is not about a broken
//! header.
use std::io::Read;
use std::path::Path;

/// Bytes that are looked at.
const FIRST: u64 = 512;

/// What `path` is instead of weights, and what to do; None where nothing speaks against weights.
pub fn foreign(path: &Path) -> Option<&'static str> {
    let mut first = Vec::new();
    std::fs::File::open(path).ok()?.take(FIRST).read_to_end(&mut first).ok()?;
    crate::io::stand_in_advice(&first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Checkpoint;

    #[test]
    fn a_pointer_or_a_page_in_place_of_weights_is_named_as_such() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
        let page = "\u{feff}\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>";
        for (bytes, said) in [(pointer, "Git LFS pointer"), (page, "a web page"), ("PK\u{3}\u{4}...", "a zip archive")]
        {
            let dir = tempfile::tempdir().unwrap();
            std::fs::copy(crate::model::golden::path("tied/config.json"), dir.path().join("config.json")).unwrap();
            let (gguf, safetensors) = (dir.path().join("model.gguf"), dir.path().join("model.safetensors"));
            for (file, open) in [(&gguf, &gguf), (&safetensors, &dir.path().to_path_buf())] {
                std::fs::write(file, bytes).unwrap();
                let error = Checkpoint::open(open).unwrap_err();
                assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
                assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
            }
        }
        assert_eq!(foreign(&crate::model::golden::path("gguf/tiny.gguf")), None);
        assert_eq!(foreign(&crate::model::golden::path("tied/model.safetensors")), None);
    }
}
