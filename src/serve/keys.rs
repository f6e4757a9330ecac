//! Who may ask, and how much: keys with requests a minute and tokens a day.
//!
//! ```toml
//! [[key]]
//! name = "ward-a"                 # for the file's reader and its errors
//! sha256 = "9f86d0…"              # of the key: printf %s KEY | sha256sum
//! requests_per_minute = 60        # absent: no limit
//! tokens_per_day = 200000         # prompt and new tokens, of a day in UTC
//! ```
//! Before a request runs its worst case is taken from the day; what it did not use is given back when it is over, also where it was cut.
use super::error::ApiError;
use crate::error::{Error, Result};
use crate::io;
use axum::http::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;

/// What a key may use; None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    pub requests_per_minute: Option<u32>,
    pub tokens_per_day: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    requests_per_minute: Option<u32>,
    tokens_per_day: Option<u64>,
}

/// One key, or everybody where there are none.
pub struct Account {
    pub name: String,
    limit: Limit,
    used: Mutex<Used>,
}

struct Used {
    /// When the requests of the last minute came.
    requests: Vec<Instant>,
    day: u64,
    tokens: u64,
}

/// The keys of a server, by their SHA-256 in hex.
pub struct Keys {
    accounts: BTreeMap<String, Arc<Account>>,
    /// Where there is no key: one account for everybody.
    open: Option<Arc<Account>>,
}

/// Tokens that one request has taken from its account's day.
pub struct Charge {
    account: Arc<Account>,
    day: u64,
    taken: u64,
    /// What was used of them; the rest goes back when this is dropped.
    pub used: u64,
}

impl Keys {
    /// Everybody may ask, all together within `limit`.
    pub fn open(limit: Limit) -> Self {
        Self { accounts: BTreeMap::new(), open: Some(Account::new("anyone", limit)) }
    }

    /// One key.
    pub fn single(key: &str, limit: Limit) -> Result<Self> {
        if key.len() < 16 {
            return Err(Error::input(
                "the key has fewer than 16 characters: take a longer one, such as `openssl rand -hex 24` prints",
            ));
        }
        let accounts = BTreeMap::from([(io::digest_bytes(key.as_bytes()), Account::new("key", limit))]);
        Ok(Self { accounts, open: None })
    }

    /// See the file's header. Limits that a key does not have are those of `usual`.
    pub fn read(path: &Path, usual: Limit) -> Result<Self> {
        let named = |what: String| Error::input(format!("{}: {what}", path.display()));
        let file: File = toml::from_str(&io::read_text(path)?).map_err(|e| named(e.message().into()))?;
        let mut accounts = BTreeMap::new();
        for entry in file.key {
            let digest = entry.sha256.to_lowercase();
            if digest.len() != 64 || !digest.chars().all(|c| c.is_ascii_hexdigit()) {
                let what = format!(
                    "key `{}`: sha256 is not 64 hex digits: expected what `printf %s KEY | sha256sum` prints",
                    entry.name
                );
                return Err(named(what));
            }
            let limit = Limit {
                requests_per_minute: entry.requests_per_minute.or(usual.requests_per_minute),
                tokens_per_day: entry.tokens_per_day.or(usual.tokens_per_day),
            };
            if accounts.insert(digest, Account::new(&entry.name, limit)).is_some() {
                return Err(named(format!("key `{}` is given twice", entry.name)));
            }
        }
        match accounts.is_empty() {
            true => Err(named("no key: expected [[key]] entries".into())),
            false => Ok(Self { accounts, open: None }),
        }
    }

    /// Whether a key is wanted.
    pub fn wanted(&self) -> bool {
        self.open.is_none()
    }

    /// The account of the key that a request brings (`Authorization: Bearer KEY`).
    pub fn account(&self, authorization: Option<&str>) -> Result<Arc<Account>, ApiError> {
        if let Some(open) = &self.open {
            return Ok(open.clone());
        }
        let refused = |what: &str| ApiError::new(StatusCode::UNAUTHORIZED, what).code("invalid_api_key");
        let header = authorization.ok_or_else(|| refused("no key: expected the header `Authorization: Bearer KEY`"))?;
        let key = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim());
        let key = key.ok_or_else(|| refused("expected the header `Authorization: Bearer KEY`"))?;
        // looked up by digest, so that the time it takes tells nothing of other keys
        self.accounts
            .get(&io::digest_bytes(key.as_bytes()))
            .cloned()
            .ok_or_else(|| refused("this key is not known here"))
    }
}

impl Account {
    fn new(name: &str, limit: Limit) -> Arc<Self> {
        let used = Mutex::new(Used { requests: vec![], day: 0, tokens: 0 });
        Arc::new(Self { name: name.into(), limit, used })
    }

    /// Counts a request; 429 where the minute is full.
    pub fn request(&self) -> Result<(), ApiError> {
        let Some(most) = self.limit.requests_per_minute else { return Ok(()) };
        let (mut used, now) = (self.used.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        used.requests.retain(|at| now.duration_since(*at) < MINUTE);
        if used.requests.len() >= most as usize {
            let wait = used.requests.first().map_or(MINUTE, |first| MINUTE - now.duration_since(*first));
            let what = format!("{most} requests a minute are reached");
            return Err(too_many(what, "requests_per_minute", wait.as_secs() + 1));
        }
        used.requests.push(now);
        Ok(())
    }

    /// Takes `tokens` from the day; 429 where it does not hold them.
    pub fn charge(self: &Arc<Self>, tokens: u64) -> Result<Charge, ApiError> {
        self.charge_at(tokens, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    fn charge_at(self: &Arc<Self>, tokens: u64, seconds: u64) -> Result<Charge, ApiError> {
        let day = seconds / DAY;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.day != day {
            (used.day, used.tokens) = (day, 0);
        }
        if let Some(most) = self.limit.tokens_per_day.filter(|most| tokens > *most) {
            let what = format!("this request may need {tokens} tokens, and the key has {most} a day: ask for less");
            return Err(ApiError::bad(what).code("tokens_per_day"));
        }
        if let Some(most) = self.limit.tokens_per_day.filter(|most| used.tokens + tokens > *most) {
            let what = format!(
                "{most} tokens a day: {} are used or promised, and this request may need {tokens}",
                used.tokens
            );
            return Err(too_many(what, "tokens_per_day", DAY - seconds % DAY));
        }
        used.tokens += tokens;
        Ok(Charge { account: self.clone(), day, taken: tokens, used: 0 })
    }
}

fn too_many(what: String, code: &'static str, seconds: u64) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, what).code(code).retry(seconds)
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut used = self.account.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.day == self.day {
            used.tokens = used.tokens.saturating_sub(self.taken.saturating_sub(self.used));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, tokens: u64) -> Limit {
        Limit { requests_per_minute: Some(requests), tokens_per_day: Some(tokens) }
    }

    #[test]
    fn only_known_keys_are_let_in() {
        let keys = Keys::single("0123456789abcdef", Limit::default()).unwrap();
        assert_eq!(keys.account(Some("Bearer 0123456789abcdef")).unwrap().name, "key");
        for wrong in
            [None, Some("Bearer no"), Some("0123456789abcdef"), Some("Basic 0123456789abcdef"), Some("Bearer ")]
        {
            let error = keys.account(wrong).err().unwrap();
            assert_eq!((error.status, error.code), (StatusCode::UNAUTHORIZED, Some("invalid_api_key")), "{wrong:?}");
        }
        assert!(Keys::open(Limit::default()).account(None).is_ok());
        assert!(Keys::single("short", Limit::default()).is_err());
    }

    #[test]
    fn what_was_not_used_of_a_day_goes_back_and_the_next_day_is_new() {
        let account = Account::new("a", limit(2, 100));
        let mut first = account.charge_at(60, 10).unwrap();
        let full = account.charge_at(60, 20).err().unwrap();
        assert_eq!((full.status, full.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(DAY - 20)));
        let never = account.charge_at(101, 20).err().unwrap();
        assert_eq!((never.status, never.retry_after), (StatusCode::BAD_REQUEST, None), "waiting would not help");
        first.used = 30;
        drop(first);
        let second = account.charge_at(70, 30).unwrap();
        assert!(account.charge_at(1, 40).is_err() && account.charge_at(100, DAY).is_ok());
        drop(second); // of a day that is over: nothing goes back
        assert!(account.charge_at(60, DAY + 5).is_ok());
        account.request().unwrap();
        account.request().unwrap();
        let third = account.request().unwrap_err();
        assert!(third.retry_after.is_some_and(|seconds| (1..=61).contains(&seconds)));
    }

    #[test]
    fn a_file_of_keys_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let digest = io::digest_bytes(b"a key");
        std::fs::write(&path, format!("[[key]]\nname = \"a\"\nsha256 = \"{digest}\"\nrequests_per_minute = 1\n"))
            .unwrap();
        let keys = Keys::read(&path, limit(5, 7)).unwrap();
        assert_eq!(keys.account(Some("bearer a key")).unwrap().limit, limit(1, 7));
        for (text, said) in [
            ("", "missing field"),
            ("key = []", "no key"),
            ("[[key]]\nname = \"a\"\nsha256 = \"12\"", "64 hex digits"),
            ("[[key]]\nname = \"a\"\nsha256 = \"12\"\nlimit = 1", "unknown field"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Keys::read(&path, Limit::default()).err().unwrap();
            assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
        }
    }
}
