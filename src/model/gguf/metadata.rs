//! Entries of metadata, as they stand in a GGUF file.

/// A text as the format has it: its length in bytes, then UTF-8.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Entries that are written one after the other.
#[derive(Default)]
pub struct Metadata {
    pub count: u64,
    pub bytes: Vec<u8>,
}

impl Metadata {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.count += 1;
        push_text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        &mut self.bytes
    }
    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4).extend(value.to_le_bytes());
    }
    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }
    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 7).push(value.into());
    }
    pub fn text(&mut self, key: &str, value: &str) {
        push_text(self.key(key, 8), value);
    }
    pub fn texts(&mut self, key: &str, values: &[String]) {
        let out = self.list(key, 8, values.len());
        values.iter().for_each(|text| push_text(out, text));
    }
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        self.list(key, 5, values.len()).extend(values.iter().flat_map(|n| n.to_le_bytes()));
    }
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        self.list(key, 6, values.len()).extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    /// A file of nothing but these entries.
    #[cfg(test)]
    pub fn file(&self) -> Vec<u8> {
        [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &self.count.to_le_bytes(), &self.bytes].concat()
    }
    fn list(&mut self, key: &str, kind: u32, count: usize) -> &mut Vec<u8> {
        let out = self.key(key, 9);
        out.extend(kind.to_le_bytes());
        out.extend((count as u64).to_le_bytes());
        out
    }
}
