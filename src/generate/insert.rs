//! Copying a text with tags put in, and nothing else: at every step the next token of the text or a legal tag (insert-only decoding). What comes
//! out is the text, tags aside, whatever the model; only where tags stand is the model's.
//!
//! ```text
//! text      Hold aspirin.              a tag opens before a word and closes behind one, no category twice at a time (but see [`WhileOpen`])
//! allowed   Hold │ or │<               then of ` aspirin` │ ` <`, of `drug`, … the tags that begin so, of `aspirin`, `.` │ `</`
//! answer    <drug_decision>Hold aspirin</drug_decision>.
//! ```
//!
//! A step that can only copy needs no choice, and one that may copy is mostly a copy. [`copy_with_tags`] therefore reads a run of the text in
//! one pass and keeps it as far as the model would have copied it; where the model would rather have put a tag, it takes the tag and goes on from
//! there. The answer is that of one token at a time. (Speculative decoding with the text as the draft: Leviathan et al., ICML 2023.)
use super::constraint::Constraint;
use super::text::Pieces;
use crate::error::{Error, Result};
use crate::model::Tokenizer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The tokens of a vocabulary by their bytes.
pub struct Spelling {
    nodes: Vec<Letter>,
    /// Bytes by id; none for control tokens.
    bytes: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Letter {
    next: BTreeMap<u8, usize>,
    ids: Vec<u32>,
}

impl Spelling {
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let pieces = Pieces::of(tokenizer)?;
        let mut made = Self { nodes: vec![Letter::default()], bytes: vec![Vec::new(); pieces.len()] };
        for id in (0..pieces.len() as u32).filter(|&id| !pieces.is_added(id)) {
            let mut node = 0;
            for &byte in pieces.bytes(id) {
                let fresh = made.nodes.len();
                node = *made.nodes[node].next.entry(byte).or_insert(fresh);
                if node == fresh {
                    made.nodes.push(Letter::default());
                }
            }
            made.nodes[node].ids.push(id);
            made.bytes[id as usize] = pieces.bytes(id).to_vec();
        }
        Ok(made)
    }

    /// The fewest tokens that spell `text` from each of its bytes on.
    fn fewest(&self, text: &[u8]) -> Vec<usize> {
        let mut fewest = vec![0; text.len() + 1];
        for at in (0..text.len()).rev() {
            let (mut node, mut best) = (0, usize::MAX - 1);
            for (i, byte) in text[at..].iter().enumerate() {
                let Some(&next) = self.nodes[node].next.get(byte) else { break };
                node = next;
                if !self.nodes[node].ids.is_empty() {
                    best = best.min(fewest[at + i + 1]);
                }
            }
            fewest[at] = best + 1; // each byte is a token, so there is a way
        }
        fewest
    }
}

/// What an answer copies and which tags it may hold.
struct Plan {
    tokenizer: Arc<Tokenizer>,
    spelling: Arc<Spelling>,
    text: String,
    /// Whether a tag may open or close at a byte of the text.
    opens: Vec<bool>,
    closes: Vec<bool>,
    /// The last place where a tag may close.
    last: usize,
    /// Those that may open anywhere, then the second tags of [`WhileOpen::Second`] in the same order.
    tags: Vec<Pair>,
    /// How many may open anywhere.
    first: usize,
    /// Whether a tag may be opened again while it is open.
    reopens: bool,
    /// By place in the text: the token that copies on from there, and how many it takes to the end.
    copies: Mutex<BTreeMap<usize, (u32, usize)>>,
}

/// What may open while a tag is open, beside other tags.
pub enum WhileOpen {
    /// Nothing of the same category: no span is lost, but a tag opened by mistake blocks its category until it closes.
    Nothing,
    /// The same tag again; the earlier one is then given up, and no span comes of it. A model that has opened a tag which it did not mean would
    /// otherwise have to close it somewhere, and could mark nothing else with that tag until then.
    Again,
    /// Its second tag, such as `<drug_decision#1>` beside `<drug_decision>`: two spans of one category can cross or nest where the second begins
    /// later, and none is lost. (Gold answers write a nested span with the plain tag, which cannot be told here.) There is one for each tag, in the
    /// same order.
    Second(Vec<(String, String)>),
}

/// An opening and a closing tag, and the fewest tokens that spell each from its byte `i` on.
struct Pair {
    written: [Vec<u8>; 2],
    tokens: [Vec<usize>; 2],
}

const OPEN: usize = 0;
const CLOSE: usize = 1;

/// One way to read the tokens so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// Bytes of the text that were copied.
    at: usize,
    /// The tag being written: which, opening or closing, how many bytes of it.
    within: Option<(usize, usize, usize)>,
    /// Where each tag was opened, if it is open.
    open: Vec<Option<usize>>,
    /// A tag must come: the last token stopped short of what the tokenizer writes for the plain text.
    owes: bool,
}

/// The state of one answer that copies a text with tags put in.
#[derive(Clone)]
pub struct Insertions {
    plan: Arc<Plan>,
    /// More than one only where a `<` may be the text's or a tag's.
    states: Vec<State>,
}

impl Insertions {
    /// An answer to `text` in which nothing of a category opens while its tag is open, see [`Insertions::by`].
    pub fn new(
        text: &str,
        tags: &[(String, String)],
        tokenizer: &Arc<Tokenizer>,
        spelling: &Arc<Spelling>,
    ) -> Result<Self> {
        Self::by(WhileOpen::Nothing, text, tags, tokenizer, spelling)
    }

    /// An answer to `text`; `tags` are pairs of an opening and a closing tag, each beginning with `<`. Fails for a text that the tokenizer does not
    /// give back.
    pub fn by(
        rule: WhileOpen,
        text: &str,
        tags: &[(String, String)],
        tokenizer: &Arc<Tokenizer>,
        spelling: &Arc<Spelling>,
    ) -> Result<Self> {
        let ids = tokenizer.encode(text, false)?;
        if text.is_empty() || tokenizer.decode(&ids, false)? != text {
            return Err(Error::input(
                "this text is empty, or the tokenizer does not give it back as it is: it cannot be copied",
            ));
        }
        let pair = |(open, close): &(String, String)| {
            let written = [open.clone().into_bytes(), close.clone().into_bytes()];
            let tokens = [spelling.fewest(&written[OPEN]), spelling.fewest(&written[CLOSE])];
            match open.starts_with('<') && close.starts_with('<') {
                true => Ok(Pair { written, tokens }),
                false => Err(Error::input(format!("tags `{open}` and `{close}`: expected both to begin with `<`"))),
            }
        };
        let (first, reopens) = (tags.len(), matches!(rule, WhileOpen::Again));
        let second = if let WhileOpen::Second(second) = &rule { second.as_slice() } else { &[] };
        if !second.is_empty() && second.len() != first {
            return Err(Error::failed(format!("{first} tags and {} second ones: expected one for each", second.len())));
        }
        let tags = tags.iter().chain(second).map(pair).collect::<Result<Vec<_>>>()?;
        let (opens, closes) = bounds(text);
        let open = vec![None; tags.len()];
        let (tokenizer, spelling) = (tokenizer.clone(), spelling.clone());
        let last = closes.iter().rposition(|closes| *closes).unwrap_or_default();
        let (text, copies) = (text.into(), Mutex::default());
        let plan = Plan { tokenizer, spelling, text, opens, closes, last, tags, first, reopens, copies };
        Ok(Self { plan: Arc::new(plan), states: vec![State { at: 0, within: None, open, owes: false }] })
    }

    /// The tokens that go on most plainly, at most `most`: the rest of a tag that is certain, then the text.
    pub(super) fn ahead(&self, most: usize) -> Result<Vec<u32>> {
        let [state] = self.states.as_slice() else { return Ok(Vec::new()) };
        if state.owes {
            return Ok(Vec::new());
        }
        let mut ids = Vec::new();
        if let Some((tag, kind, written)) = state.within {
            let rest = String::from_utf8_lossy(&self.plan.tags[tag].written[kind][written..]).into_owned();
            ids = self.plan.tokenizer.encode(&rest, false)?;
        }
        let mut at = state.at;
        while ids.len() < most
            && let Some((id, _)) = self.plan.copy(at)?
        {
            ids.push(id);
            at += self.plan.bytes(id).len();
        }
        ids.truncate(most);
        Ok(ids)
    }
}

/// Where tags may open (before a character that is no white space) and close (behind one), never inside a word.
fn bounds(text: &str) -> (Vec<bool>, Vec<bool>) {
    let (mut opens, mut closes) = (vec![false; text.len() + 1], vec![false; text.len() + 1]);
    let mut before: Option<char> = None;
    for (at, after) in text.char_indices().map(|(at, c)| (at, Some(c))).chain([(text.len(), None)]) {
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let inside = word(before) && word(after);
        opens[at] = !inside && after.is_some_and(|c| !c.is_whitespace());
        closes[at] = !inside && before.is_some_and(|c| !c.is_whitespace());
        before = after;
    }
    (opens, closes)
}

impl Plan {
    fn bytes(&self, id: u32) -> &[u8] {
        self.spelling.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// The token that copies on from a place as the tokenizer writes the rest, and how many tokens the rest has; None at the end and inside
    /// a character.
    fn copy(&self, at: usize) -> Result<Option<(u32, usize)>> {
        let mut known = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&at) {
            return Ok(Some(*found));
        }
        let Some(rest) = self.text.get(at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
        let ids = self.tokenizer.encode(rest, false)?;
        let mut place = self.text.len();
        for id in ids.into_iter().rev() {
            let to_go = known.get(&place).map_or(0, |(_, to_go)| *to_go);
            place -= self.bytes(id).len();
            known.entry(place).or_insert((id, to_go + 1));
        }
        Ok(known.get(&at).copied())
    }

    /// Fewest tokens from a state to the end, if nothing more is opened.
    fn to_go(&self, state: &State) -> Result<usize> {
        let rest = self.copy(state.at)?.map_or(0, |(_, tokens)| tokens);
        let open = (0..self.tags.len()).filter(|&tag| state.open[tag].is_some());
        let closing: usize = open.map(|tag| self.tags[tag].tokens[CLOSE][0]).sum();
        let within = match state.within {
            Some((tag, OPEN, written)) => self.tags[tag].tokens[OPEN][written] + self.tags[tag].tokens[CLOSE][0],
            // the whole of this closing tag is counted above
            Some((tag, _, written)) => {
                return Ok(rest + closing - self.tags[tag].tokens[CLOSE][0] + self.tags[tag].tokens[CLOSE][written]);
            }
            None if state.owes => self.owed(state),
            None => 0,
        };
        Ok(rest + closing + within)
    }

    /// Tokens that the tag which must come adds: none where one that is open may close, as its closing is counted.
    fn owed(&self, state: &State) -> usize {
        let cost = |(tag, kind): (usize, usize)| {
            let [open, close] = &self.tags[tag].tokens;
            if kind == CLOSE { 0 } else { open[0] + close[0] }
        };
        self.legal(state).map(cost).min().unwrap_or_default()
    }

    /// What a byte makes of a state; `true` where it belongs to a tag.
    fn step(&self, state: &State, byte: u8) -> Vec<(State, bool)> {
        if let Some((tag, kind, written)) = state.within {
            let text = &self.tags[tag].written[kind];
            if text.get(written) != Some(&byte) {
                return Vec::new();
            }
            let mut next = State { within: Some((tag, kind, written + 1)), ..state.clone() };
            if written + 1 == text.len() {
                next.within = None;
                next.open[tag] = (kind == OPEN).then_some(state.at);
            }
            return vec![(next, true)];
        }
        let mut all = Vec::new();
        // behind the last place where a tag may close none can be open
        let lost = state.at + 1 > self.last && state.open.iter().any(Option::is_some);
        if !state.owes && !lost && self.text.as_bytes().get(state.at) == Some(&byte) {
            all.push((State { at: state.at + 1, ..state.clone() }, false));
        }
        if byte == b'<' {
            let begun = |(tag, kind)| State { within: Some((tag, kind, 1)), owes: false, ..state.clone() };
            all.extend(self.legal(state).map(|tag| (begun(tag), true)));
        }
        all
    }

    /// Tags that may begin here. At one place tags close before others open, as gold answers are written.
    fn legal<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (usize, usize)> + 'a {
        let opened_here = state.open.contains(&Some(state.at));
        let here = state.within.is_none();
        let opens = self.opens.get(state.at) == Some(&true) && state.at < self.last;
        let legal = move |tag: usize| {
            // a second tag begins behind its first one and before that ends
            let begun = tag < self.first || state.open[tag - self.first].is_some_and(|from| from < state.at);
            let (open, close) = match state.open[tag] {
                None => (opens && begun, false),
                Some(from) => {
                    (opens && self.reopens && from < state.at, self.closes[state.at] && from < state.at && !opened_here)
                }
            };
            [open.then_some((tag, OPEN)), close.then_some((tag, CLOSE))].into_iter().flatten()
        };
        (0..self.tags.len()).filter(move |_| here).flat_map(legal)
    }

    fn ends(&self, state: &State) -> bool {
        state.at == self.text.len() && state.within.is_none() && state.open.iter().all(Option::is_none)
    }

    /// The states behind a token. One that only copies, and is not the tokenizer's own next token, owes a tag.
    fn after(&self, states: &[State], token: u32) -> Result<Vec<State>> {
        let mut all = BTreeSet::new();
        for start in states {
            let plain = start.within.is_none() && self.copy(start.at)?.is_some_and(|(id, _)| id == token);
            let mut ways = vec![(start.clone(), false)];
            for &byte in self.bytes(token) {
                let step = |(state, tagged): (State, bool)| {
                    self.step(&state, byte).into_iter().map(move |(state, now)| (state, tagged || now))
                };
                ways = ways.into_iter().flat_map(step).collect();
            }
            let kept = ways.into_iter().map(|(state, tagged)| State { owes: !tagged && !plain, ..state });
            all.extend(kept.filter(|state| !state.owes || self.legal(state).next().is_some()));
        }
        Ok(all.into_iter().collect())
    }

    /// Tokens with at least one byte of a tag in them, and those that copy up to a place where a tag may stand, from a node of the spelling on.
    fn tagged(&self, node: usize, states: &[(State, bool)], ids: &mut BTreeSet<u32>) {
        let node = &self.spelling.nodes[node];
        if states.iter().any(|(state, tagged)| *tagged || self.legal(state).next().is_some()) {
            ids.extend(&node.ids);
        }
        for (&byte, &next) in &node.next {
            let step = |(state, tagged): &(State, bool)| {
                let tagged = *tagged;
                self.step(state, byte).into_iter().map(move |(state, now)| (state, tagged || now))
            };
            let states: Vec<(State, bool)> = states.iter().flat_map(step).collect();
            if !states.is_empty() {
                self.tagged(next, &states, ids);
            }
        }
    }
}

impl Constraint for Insertions {
    fn allowed(&mut self, left: usize) -> Result<Vec<u32>> {
        let plan = &self.plan;
        let mut ids = BTreeSet::new();
        for state in self.states.iter().filter(|state| state.within.is_none()) {
            ids.extend(plan.copy(state.at)?.map(|(id, _)| id));
        }
        let states: Vec<(State, bool)> = self.states.iter().map(|state| (state.clone(), false)).collect();
        plan.tagged(0, &states, &mut ids);
        let mut fitting = Vec::new();
        for &id in &ids {
            let next =
                plan.after(&self.states, id)?.iter().map(|state| plan.to_go(state)).collect::<Result<Vec<_>>>()?;
            if next.into_iter().any(|tokens| tokens < left) {
                fitting.push(id);
            }
        }
        if fitting.is_empty() && !self.may_end()? {
            let least = self.states.iter().map(|state| self.plan.to_go(state)).collect::<Result<Vec<_>>>()?;
            let least = least.into_iter().min().unwrap_or_default() + 1;
            return Err(Error::input(format!(
                "the text needs {least} more tokens to be copied, and {left} are left: allow more"
            )));
        }
        Ok(fitting)
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        self.states = self.plan.after(&self.states, token)?;
        match self.states.is_empty() {
            true => Err(Error::failed(format!("token {token} neither copies the text nor writes a tag"))),
            false => Ok(()),
        }
    }

    fn may_end(&mut self) -> Result<bool> {
        Ok(self.states.iter().any(|state| self.plan.ends(state)))
    }

    fn fork(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::labels::tests::wander;
    use super::super::text::tests::tokenizer;
    use super::*;
    use rand::SeedableRng;

    fn tags() -> Vec<(String, String)> {
        ["drug_decision", "define_problem", "x"].map(|tag| (format!("<{tag}>"), format!("</{tag}>"))).to_vec()
    }

    pub(in super::super) fn insertions(text: &str) -> (Arc<Tokenizer>, Insertions) {
        insertions_by(WhileOpen::Nothing, text)
    }

    fn insertions_by(rule: WhileOpen, text: &str) -> (Arc<Tokenizer>, Insertions) {
        let tokenizer = Arc::new(tokenizer());
        let spelling = Arc::new(Spelling::of(&tokenizer).unwrap());
        let made = Insertions::by(rule, text, &tags(), &tokenizer, &spelling).unwrap();
        (tokenizer, made)
    }

    /// Whether an answer, in the tokenizer's own tokens, is legal to its end.
    fn legal(text: &str, answer: &str) -> bool {
        legal_by(WhileOpen::Nothing, text, answer)
    }

    fn legal_by(rule: WhileOpen, text: &str, answer: &str) -> bool {
        let (tokenizer, mut state) = insertions_by(rule, text);
        for id in tokenizer.encode(answer, false).unwrap() {
            if !state.allowed(400).is_ok_and(|ids| ids.contains(&id)) {
                return false;
            }
            state.accept(id).unwrap();
        }
        state.may_end().unwrap()
    }

    #[test]
    fn only_the_text_with_well_formed_tags_is_legal() {
        let text = "Renal cyst, liver.\n(cyst)";
        assert!(legal(text, text));
        assert!(legal(text, "<x>Renal cyst</x>, <drug_decision>liver</drug_decision>.\n(<x>cyst</x>)"));
        assert!(legal(text, "<x><define_problem>Renal</define_problem> cyst</x>, liver.\n(cyst)"));
        assert!(legal(text, "<x>Renal <define_problem>cyst</x>, liver</define_problem>.\n(cyst)"), "tags may cross");
        let illegal = [
            "Renal cyst, liver.",
            "<x>Renal cyst, liver.\n(cyst)",
            "Renal cyst</x>, liver.\n(cyst)",
            "<x></x>Renal cyst, liver.\n(cyst)",
            "Re<x>nal cyst</x>, liver.\n(cyst)",
            "<x>Renal </x>cyst, liver.\n(cyst)",
            "<y>Renal</y> cyst, liver.\n(cyst)",
            "<x>Renal <x>cyst</x></x>, liver.\n(cyst)",
            "Renal  cyst, liver.\n(cyst)",
        ];
        illegal.iter().for_each(|answer| assert!(!legal(text, answer), "{answer}"));
    }

    #[test]
    fn a_tag_may_be_opened_again_where_that_is_allowed_and_closes_once() {
        let text = "Renal cyst, liver.\n(cyst)";
        let again = |answer: &str| legal_by(WhileOpen::Again, text, answer);
        for answer in [text, "<x>Renal <x>cyst</x>, liver.\n(cyst)", "<x>Renal <x>cyst</x>, <x>liver</x>.\n(cyst)"] {
            assert!(again(answer), "{answer}");
        }
        for answer in [
            "<x>Renal <x>cyst</x></x>, liver.\n(cyst)",
            "<x><x>Renal cyst</x>, liver.\n(cyst)",
            "<x>Renal <x>cyst, liver.\n(cyst)",
        ] {
            assert!(!again(answer), "{answer}");
        }
        let (_, start) = insertions_by(WhileOpen::Again, "Renal cyst, liver cyst. naïve 肝臓 (liver), [cyst] < 3");
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        for limit in [60, 90, 300].repeat(5) {
            wander(&mut start.clone(), limit, &mut generator);
        }
    }

    #[test]
    fn a_second_tag_lets_spans_of_one_category_cross_and_opens_only_inside_the_first() {
        let text = "Renal cyst, liver.\n(cyst)";
        let second = || {
            let numbered = |(open, close): (String, String)| (open.replace('>', "#1>"), close.replace('>', "#1>"));
            WhileOpen::Second(tags().into_iter().map(numbered).collect())
        };
        let holds = |answer: &str| legal_by(second(), text, answer);
        for answer in [
            text,
            "<x>Renal <x#1>cyst</x>, liver</x#1>.\n(cyst)",
            "<x>Renal <x#1>cyst</x#1>, liver</x>.\n(cyst)",
            "<x>Renal <x#1>cyst</x>, <x>liver</x#1>.\n(cyst</x>)",
        ] {
            assert!(holds(answer), "{answer}");
        }
        for answer in [
            "<x#1>Renal cyst</x#1>, liver.\n(cyst)",
            "<x><x#1>Renal cyst</x#1>, liver</x>.\n(cyst)",
            "<x>Renal</x> <x#1>cyst</x#1>, liver.\n(cyst)",
            "<x>Renal <x>cyst</x></x>, liver.\n(cyst)",
            "<x>Renal <define_problem#1>cyst</define_problem#1></x>, liver.\n(cyst)",
            "<x>Renal <x#1>cyst</x>, liver.\n(cyst)",
        ] {
            assert!(!holds(answer), "{answer}");
        }
        let (_, start) = insertions_by(second(), "Renal cyst, liver cyst. naïve 肝臓 (liver), [cyst] < 3");
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        for limit in [60, 90, 300].repeat(5) {
            wander(&mut *start.fork(), limit, &mut generator);
        }
        let (tokenizer, _) = insertions(text);
        let spelling = Arc::new(Spelling::of(&tokenizer).unwrap());
        assert!(Insertions::by(WhileOpen::Second(tags()[..1].to_vec()), text, &tags(), &tokenizer, &spelling).is_err());
    }

    #[test]
    fn a_literal_mark_of_the_text_is_copied_beside_tags() {
        let text = "liver <x> cyst < liver";
        assert!(legal(text, text) && legal(text, "<x>liver <x> cyst</x> < liver"));
    }

    /// Whatever is drawn from what is allowed, the answer is the text with tags around parts of it.
    #[test]
    fn random_answers_copy_the_text_and_end_in_time() {
        let text = "Renal cyst, liver cyst. naïve 肝臓 (liver), [cyst] < 3";
        let (_, start) = insertions(text);
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for limit in [60, 90, 300].repeat(15) {
            wander(&mut *start.fork(), limit, &mut generator);
        }
        // no tag can close behind white space at the end: one that is open must have closed before
        for text in ["Renal cyst.\n", "liver cyst \n \n", "(cyst)\u{a0}\n"] {
            let (_, start) = insertions(text);
            (0..40).for_each(|_| drop(wander(&mut *start.fork(), 120, &mut generator)));
        }
        let mut tight = start.clone();
        let error = tight.allowed(4).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("allow more"), "{error}");
    }
}
