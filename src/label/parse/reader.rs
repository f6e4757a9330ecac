//! Values of JSON, and of what looks like it.

/// Deeper than any answer; what nests deeper is no answer.
const DEPTH: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Text(String),
    Number(f64),
    Flag(bool),
    Null,
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

/// Reads JSON and what looks like it; the end of the text closes all that is open.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, also: &[char]) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace() || also.contains(c)) {
            self.at += c.len_utf8();
        }
    }

    pub(super) fn value(&mut self, depth: usize) -> Option<Json> {
        self.skip(&[]);
        match self.peek()? {
            '[' if depth < DEPTH => self.list(depth, ']'),
            '(' if depth < DEPTH && quoted(&self.text[self.at + 1..]) => self.list(depth, ')'),
            '{' if depth < DEPTH => self.map(depth),
            '"' | '\'' | '“' | '‘' => self.string().map(Json::Text),
            _ => self.word(),
        }
    }

    fn list(&mut self, depth: usize, close: char) -> Option<Json> {
        self.at += 1;
        let mut all = Vec::new();
        loop {
            self.skip(&[',']);
            match self.peek() {
                None => return Some(Json::List(all)),
                Some(c) if c == close => {
                    self.at += 1;
                    return Some(Json::List(all));
                }
                Some(_) => (),
            }
            match self.value(depth + 1) {
                Some(value) => all.push(value),
                None if self.at >= self.text.len() && !all.is_empty() => return Some(Json::List(all)),
                None => return None,
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut all = Vec::new();
        loop {
            self.skip(&[',']);
            match self.peek() {
                None => return Some(Json::Map(all)),
                Some('}') => {
                    self.at += 1;
                    return Some(Json::Map(all));
                }
                Some(_) => (),
            }
            let pair = self.pair(depth);
            match pair {
                Some(pair) => all.push(pair),
                None if self.at >= self.text.len() => return Some(Json::Map(all)),
                None => return None,
            }
        }
    }

    fn pair(&mut self, depth: usize) -> Option<(String, Json)> {
        let key = self.string()?;
        self.skip(&[]);
        if self.peek()? != ':' {
            return None;
        }
        self.at += 1;
        Some((key, self.value(depth + 1)?))
    }

    /// A quoted string; None, with the rest used up, where it never ends.
    fn string(&mut self) -> Option<String> {
        let open = self.peek()?;
        let close = match open {
            '"' | '\'' => open,
            '“' => '”',
            '‘' => '’',
            _ => return None,
        };
        let rest = &self.text[self.at + open.len_utf8()..];
        let (mut out, mut chars) = (String::new(), rest.char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => out.push(escaped(&mut chars)),
                c if c == close && (c != '\'' || self.closes(rest, at)) => {
                    self.at += open.len_utf8() + at + c.len_utf8();
                    return Some(out);
                }
                c => out.push(c),
            }
        }
        self.at = self.text.len();
        None
    }

    /// An apostrophe in a word does not end a string in single quotes.
    fn closes(&self, rest: &str, at: usize) -> bool {
        rest[at + 1..].chars().next().is_none_or(|next| !next.is_alphanumeric())
    }

    /// true, false, null, a number; None for other words.
    fn word(&mut self) -> Option<Json> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_alphanumeric() && !"+-.%_".contains(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        self.at += length;
        match word.to_lowercase().as_str() {
            "true" | "yes" => Some(Json::Flag(true)),
            "false" | "no" => Some(Json::Flag(false)),
            "null" | "none" => Some(Json::Null),
            number => match number.strip_suffix('%') {
                Some(percent) => percent.parse().ok().map(|share: f64| Json::Number(share / 100.0)),
                None => number.parse().ok().map(Json::Number),
            },
        }
    }
}

fn escaped(chars: &mut std::str::CharIndices) -> char {
    match chars.next().map_or('\\', |(_, c)| c) {
        'n' => '\n',
        't' | 'r' => ' ',
        'u' => {
            let code: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
            u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
        }
        c => c,
    }
}

/// Whether a quote comes first: a tuple of Python, and no remark in brackets.
pub(super) fn quoted(text: &str) -> bool {
    text.trim_start().starts_with(['"', '\'', '“', '‘'])
}
