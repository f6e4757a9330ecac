//! The header of a GGUF file (versions 2 and 3, little-endian): what the file says of itself, and where its tensors lie.
//!
//! ```text
//! "GGUF" · version u32 · tensors u64 · entries u64
//! an entry    name · type u32 · value                           a name or text is a u64 of bytes, then UTF-8
//! a tensor    name · dims u32 · dims × u64 (fastest first) · type u32 · offset u64
//! padding to `general.alignment` (32) · data, each tensor at its offset
//! ```
//!
//! Every count, length and offset is held against the length of the file before anything is reserved for it: memory in use stays
//! below a small multiple of the file. Whatever does not fit is an error that says where.
use super::kinds::Kind;
use std::collections::BTreeMap;
use std::io::Read;

const ALIGNMENT: u64 = 32;
/// Names are short; a text (chat template) may be as long as the file.
const LONGEST_NAME: u64 = 1024;

/// A value of the metadata. Lists of lists are refused: nothing about these models is told that way.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

impl std::fmt::Display for Value {
    /// As messages show it: lists by their first values, long texts cut.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        fn list<T: std::fmt::Debug>(all: &[T], f: &mut std::fmt::Formatter) -> std::fmt::Result {
            let more = if all.len() > 4 { format!(", … {} in all", all.len()) } else { String::new() };
            let first: Vec<String> = all.iter().take(4).map(|one| format!("{one:?}")).collect();
            write!(f, "the list [{}{more}]", first.join(", "))
        }
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Text(text) => write!(f, "`{}`", text.chars().take(60).collect::<String>()),
            Self::Texts(all) => list(all, f),
            Self::Ints(all) => list(all, f),
            Self::Floats(all) => list(all, f),
        }
    }
}

/// One tensor: where its bytes are and what they mean.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: &'static Kind,
    /// Rows first: [n, k].
    pub shape: Vec<usize>,
    /// Of the first byte, from the start of the file.
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub struct Header {
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, Entry>,
}

/// Why a header is of no use; neither says the file's name.
#[derive(Debug)]
pub enum Fault {
    /// Not as the format wants it: the file is cut, damaged or of another format.
    Broken(String),
    /// A sound file with a type of numbers that is not computed here.
    Unsupported(String),
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

impl Header {
    /// Reads the header of a file of `size` bytes.
    pub fn read(file: impl Read, size: u64) -> Result<Self, Fault> {
        let mut at = Cursor { file, at: 0, size };
        let magic = at.take(4, "the mark of GGUF")?;
        if magic != b"GGUF" {
            let what = match &magic[..] {
                [b'{', ..] => "is JSON text, no GGUF: give the .gguf file, or the folder with config.json",
                b"ggjt" | b"tjgg" | b"ggml" | b"lmgg" | b"ggmf" | b"fmgg" => {
                    "is in llama.cpp's format from before GGUF, which is no longer in use: convert the model anew"
                }
                [_, _, _, 0] => {
                    "does not start with \"GGUF\": perhaps a .safetensors file; give the folder that it lies in"
                }
                _ => return Err(format!("starts with {magic:02x?}, expected \"GGUF\"").into()),
            };
            return Err(what.to_string().into());
        }
        match at.u32()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => {
                return Err(Fault::Broken("big-endian, expected little-endian".into()));
            }
            version => return Err(format!("GGUF version {version}, expected 2 or 3").into()),
        }
        let (tensors, entries) = (at.u64()?, at.u64()?);
        at.room(tensors, 24, "tensors")?;
        at.room(entries, 13, "entries of metadata")?;
        let metadata = metadata(&mut at, entries)?;
        let tensors = (0..tensors).map(|_| described(&mut at)).collect::<Result<Vec<_>, _>>()?;
        let start = at.at.next_multiple_of(alignment(&metadata)?);
        Ok(Self { tensors: placed(tensors, start, size, alignment(&metadata)?)?, metadata })
    }
}

impl Header {
    /// The text under `key`; None also for what is no text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, String> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT),
        Some(Value::Int(n)) if (8..=1 << 16).contains(n) && n.count_ones() == 1 => Ok(*n as u64),
        Some(other) => Err(format!("`general.alignment` is {other}, expected a power of two from 8 to 65536")),
    }
}

fn metadata<R: Read>(at: &mut Cursor<R>, entries: u64) -> Result<BTreeMap<String, Value>, String> {
    let mut all = BTreeMap::new();
    for _ in 0..entries {
        let key = at.name()?;
        let value = at.u32().and_then(|kind| at.value(kind)).map_err(|e| format!("`{key}`: {e}"))?;
        if all.insert(key.clone(), value).is_some() {
            return Err(format!("`{key}` stands twice in the metadata"));
        }
    }
    Ok(all)
}

/// Name, type, shape and offset (still from the start of the data) of the next tensor.
fn described<R: Read>(at: &mut Cursor<R>) -> Result<(String, Entry), Fault> {
    let name = at.name()?;
    let dims = at.u32()?;
    if !(1..=4).contains(&dims) {
        return Err(format!("tensor `{name}` has {dims} dimensions, expected 1 to 4").into());
    }
    let mut shape = (0..dims).map(|_| at.u64()).collect::<Result<Vec<_>, _>>()?;
    shape.reverse(); // the file has the fastest first
    let unsupported = |e| Fault::Unsupported(format!("tensor `{name}`: {e}"));
    let kind = Kind::of(at.u32()?).map_err(unsupported)?;
    let offset = at.u64()?;
    let bad = || {
        format!("tensor `{name}` of {shape:?} {}: rows are not whole blocks of {}, or too many", kind.name, kind.block)
    };
    let sizes = shape.iter().map(|d| usize::try_from(*d).ok().filter(|d| *d > 0)).collect::<Option<Vec<_>>>();
    let sizes = sizes.ok_or_else(bad)?;
    let bytes = kind.size(&sizes).ok_or_else(bad)?;
    Ok((name, Entry { kind, shape: sizes, offset, bytes }))
}

/// The tensors by name, each inside the file, aligned, and on bytes of its own.
fn placed(
    tensors: Vec<(String, Entry)>,
    start: u64,
    size: u64,
    alignment: u64,
) -> Result<BTreeMap<String, Entry>, String> {
    let mut all = BTreeMap::new();
    for (name, mut entry) in tensors {
        if entry.offset % alignment != 0 {
            return Err(format!("tensor `{name}` lies at {}, not a multiple of {alignment}", entry.offset));
        }
        let end = start.checked_add(entry.offset).and_then(|at| at.checked_add(entry.bytes));
        if end.is_none_or(|end| end > size) {
            let Entry { offset, bytes, .. } = entry;
            return Err(format!("tensor `{name}` has {bytes} bytes at {start} + {offset}, the file ends at {size}"));
        }
        entry.offset += start;
        if all.insert(name.clone(), entry).is_some() {
            return Err(format!("tensor `{name}` stands twice in the header"));
        }
    }
    let mut by_place: Vec<(&String, &Entry)> = all.iter().collect();
    by_place.sort_by_key(|(_, e)| e.offset);
    match by_place.windows(2).find(|pair| pair[0].1.offset + pair[0].1.bytes > pair[1].1.offset) {
        Some(pair) => Err(format!("tensors `{}` and `{}` lie on the same bytes", pair[0].0, pair[1].0)),
        None => Ok(all),
    }
}

/// A place in a file of known size.
struct Cursor<R> {
    file: R,
    at: u64,
    size: u64,
}

impl<R: Read> Cursor<R> {
    /// Fails unless `count` things of at least `least` bytes can still come.
    fn room(&self, count: u64, least: u64, what: &str) -> Result<(), String> {
        let left = self.size.saturating_sub(self.at);
        match count.checked_mul(least) {
            Some(bytes) if bytes <= left => Ok(()),
            _ => Err(format!("{count} {what} are claimed at byte {}, {left} bytes are left", self.at)),
        }
    }

    fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, String> {
        self.room(bytes, 1, &format!("bytes of {what}"))?;
        let mut out = vec![0; bytes as usize];
        self.file.read_exact(&mut out).map_err(|e| format!("byte {}: {e}", self.at))?;
        self.at += bytes;
        Ok(out)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.room(N as u64, 1, "bytes of a number")?;
        let mut out = [0; N];
        self.file.read_exact(&mut out).map_err(|e| format!("byte {}: {e}", self.at))?;
        self.at += N as u64;
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, String> {
        let (place, length) = (self.at, self.u64()?);
        let bytes = self.take(length, "text")?;
        String::from_utf8(bytes).map_err(|e| format!("the text at byte {place} is not UTF-8: {}", e.utf8_error()))
    }

    fn name(&mut self) -> Result<String, String> {
        let (place, length) = (self.at, self.u64()?);
        if length == 0 || length > LONGEST_NAME {
            return Err(format!("a name of {length} bytes at byte {place}, expected 1 to {LONGEST_NAME}"));
        }
        let bytes = self.take(length, "a name")?;
        String::from_utf8(bytes).map_err(|_| format!("the name at byte {place} is not UTF-8"))
    }

    fn value(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Int(self.int(kind)?),
            6 | 12 => Value::Float(self.float(kind)?),
            7 => match self.array::<1>()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(format!("a truth value of {other}, expected 0 or 1")),
            },
            8 => Value::Text(self.text()?),
            9 => self.list()?,
            other => return Err(format!("a value of type {other}, expected 0 to 12")),
        })
    }

    fn list(&mut self) -> Result<Value, String> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err("a list of lists: not read here".into()),
            other => return Err(format!("a list of type {other}, expected 0 to 12")),
        };
        self.room(count, least, "elements of a list")?;
        Ok(match kind {
            8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?),
            6 | 12 => Value::Floats((0..count).map(|_| self.float(kind)).collect::<Result<_, _>>()?),
            7 => Value::Ints((0..count).map(|_| Ok(self.array::<1>()?[0].into())).collect::<Result<_, String>>()?),
            _ => {
                let one = |at: &mut Self| i64::try_from(at.int(kind)?).map_err(|_| "an element above 2⁶³".to_string());
                Value::Ints((0..count).map(|_| one(self)).collect::<Result<_, _>>()?)
            }
        })
    }

    fn int(&mut self, kind: u32) -> Result<i128, String> {
        Ok(match kind {
            0 => self.array::<1>()?[0].into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            _ => i64::from_le_bytes(self.array()?).into(),
        })
    }

    /// The shortest decimal of an f32: 1e-6 is read as the 1e-6 that was meant, not as 9.99999997e-7.
    fn float(&mut self, kind: u32) -> Result<f64, String> {
        if kind == 12 {
            return Ok(f64::from_le_bytes(self.array()?));
        }
        let single = f32::from_le_bytes(self.array()?);
        Ok(single.to_string().parse().unwrap_or(single.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in the order in which they are given.
    fn file(parts: &[&[u8]]) -> Result<Header, String> {
        let all = parts.concat();
        Header::read(&all[..], all.len() as u64).map_err(|fault| match fault {
            Fault::Broken(what) | Fault::Unsupported(what) => what,
        })
    }

    fn text(t: &str) -> Vec<u8> {
        [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat()
    }

    fn start(tensors: u64, entries: u64) -> Vec<u8> {
        [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    }

    fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [&text(key)[..], &kind.to_le_bytes(), value].concat()
    }

    fn tensor(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let dims =
            [&(dims.len() as u32).to_le_bytes()[..], &dims.iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<_>>()];
        [&text(name)[..], &dims.concat(), &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
    }

    #[test]
    fn every_type_of_value_is_read() {
        let list = |kind: u32, count: u64, data: &[u8]| [&kind.to_le_bytes()[..], &count.to_le_bytes(), data].concat();
        let parts = [
            start(0, 8),
            entry("a", 4, &7u32.to_le_bytes()),
            entry("b", 6, &1e-6f32.to_le_bytes()),
            entry("c", 7, &[1]),
            entry("d", 8, &text("Qwen")),
            entry("e", 9, &list(8, 2, &[text("x"), text("")].concat())),
            entry("f", 9, &list(5, 2, &[3i32.to_le_bytes(), (-1i32).to_le_bytes()].concat())),
            entry("g", 10, &u64::MAX.to_le_bytes()),
            entry("h", 9, &list(6, 1, &0.5f32.to_le_bytes())),
        ];
        let got = file(&parts.iter().map(|p| &p[..]).collect::<Vec<_>>()).unwrap().metadata;
        let want = [
            Value::Int(7),
            Value::Float(1e-6),
            Value::Bool(true),
            Value::Text("Qwen".into()),
            Value::Texts(vec!["x".into(), "".into()]),
            Value::Ints(vec![3, -1]),
            Value::Int(u64::MAX.into()),
            Value::Floats(vec![0.5]),
        ];
        assert_eq!(got.into_values().collect::<Vec<_>>(), want);
    }

    #[test]
    fn tensors_are_found_behind_the_padding() {
        let head = [start(2, 0), tensor("w", &[32, 3], 8, 0), tensor("b", &[3], 0, 128)].concat();
        let end = head.len().next_multiple_of(32) + 128 + 12;
        let header = file(&[&head, &vec![0; end - head.len()]]).unwrap();
        let (w, b) = (&header.tensors["w"], &header.tensors["b"]);
        assert_eq!((w.kind.name, &w.shape[..], w.bytes), ("Q8_0", &[3, 32][..], 102));
        assert_eq!((b.kind.name, &b.shape[..], b.offset + b.bytes), ("F32", &[3][..], end as u64));
        assert!(
            file(&[&head, &vec![0; end - head.len() - 1]]).unwrap_err().contains("`b` has 12 bytes"),
            "one byte short"
        );
    }

    #[test]
    fn hostile_headers_are_errors_that_say_where() {
        let says = |parts: &[&[u8]], wanted: &str| {
            let error = file(parts).unwrap_err();
            assert!(error.contains(wanted), "{error}, expected {wanted}");
        };
        says(&[b"GG"], "bytes of the mark");
        says(&[b"GGML\x03\0\0\0"], "expected \"GGUF\"");
        says(&[b"GGUF", &1u32.to_le_bytes()], "version 1");
        says(&[b"GGUF", &3u32.to_be_bytes()], "big-endian");
        says(&[&start(u64::MAX, 0)], "18446744073709551615 tensors are claimed");
        says(&[&start(0, 1 << 40)], "entries of metadata are claimed");
        let one = |kind: u32, value: &[u8]| [start(0, 1), entry("key", kind, value)].concat();
        says(&[&one(8, &u64::MAX.to_le_bytes())], "bytes of text are claimed");
        says(
            &[&one(9, &[&8u32.to_le_bytes()[..], &(1u64 << 60).to_le_bytes()].concat())],
            "`key`: 1152921504606846976 elements",
        );
        says(&[&one(9, &[&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat())], "list of lists");
        says(&[&one(7, &[2])], "truth value of 2");
        says(&[&one(13, &[0])], "type 13");
        says(&[&one(8, &[&1u64.to_le_bytes()[..], &[0xff]].concat())], "not UTF-8");
        says(&[&start(0, 2), &entry("key", 7, &[1]), &entry("key", 7, &[1])], "stands twice");
        let a = |n: u32| entry("general.alignment", 4, &n.to_le_bytes());
        for wrong in [0, 1, 12, 1 << 20] {
            says(&[&start(0, 1), &a(wrong)], "general.alignment");
        }
        let t = |t: Vec<u8>| [start(1, 0), t, vec![0; 400]].concat();
        says(&[&t(tensor("w", &[4], 0, 4))], "not a multiple of 32");
        says(&[&t(tensor("w", &[4], 0, u64::MAX - 31))], "the file ends");
        says(&[&t(tensor("w", &[4], 0, 1 << 20))], "the file ends");
        says(&[&t(tensor("w", &[1 << 62, 8], 0, 0))], "too many");
        says(&[&t(tensor("w", &[33], 8, 0))], "whole blocks of 32");
        says(&[&t(tensor("w", &[0], 0, 0))], "`w`");
        says(&[&t(tensor("w", &[1, 1, 1, 1, 1], 0, 0))], "5 dimensions");
        says(&[&t(tensor("w", &[4], 23, 0))], "IQ4_XS is not supported");
        let two = [start(2, 0), tensor("v", &[16], 0, 0), tensor("w", &[16], 0, 32), vec![0; 400]].concat();
        says(&[&two], "the same bytes");
        let two = [start(2, 0), tensor("w", &[4], 0, 0), tensor("w", &[4], 0, 32), vec![0; 400]].concat();
        says(&[&two], "stands twice");
    }
}
