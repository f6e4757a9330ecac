//! The key: from the environment into one request header and nowhere else.
use super::address::Address;
use crate::error::{Error, Result};
use std::fmt;
use ureq::http::HeaderValue;

/// Where the key is looked for if nothing else is said.
pub const KEY_ENV: &str = "DXLAB_API_KEY";
/// A shorter one is a placeholder for servers that ask for no key (`EMPTY`, `ollama`), and may well be a word of an answer.
const SECRET: usize = 12;
const REDACTED: &str = "[key]";

/// Cannot be printed.
#[derive(Clone)]
pub struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Key {
    /// Visible ASCII, as a header takes it.
    pub fn new(key: &str) -> Result<Self> {
        let key = key.trim();
        match !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self(key.into())),
            false => {
                Err(Error::input("the endpoint's key is empty or holds a character that no HTTP header can carry"))
            }
        }
    }

    /// From the variable `name`, which must then be set; else from DXLAB_API_KEY if it is.
    pub fn from_env(name: Option<&str>) -> Result<Option<Self>> {
        // What was given is not shown: it may be the key itself.
        let Some(name) = name else {
            return std::env::var(KEY_ENV)
                .ok()
                .filter(|key| !key.trim().is_empty())
                .map(|key| Self::new(&key))
                .transpose();
        };
        match std::env::var(name) {
            Ok(key) => Self::new(&key).map(Some),
            Err(_) => Err(Error::input(
                "--key-env: the environment has no variable of that name; give the NAME of the variable that holds the key",
            )),
        }
    }

    /// Refuses a key that others could read on its way.
    pub fn check_transport(&self, to: &Address, allowed: bool) -> Result<()> {
        match to.is_private() || allowed {
            true => Ok(()),
            false => Err(Error::input(format!(
                "{}: a key would travel unencrypted over http:// to another machine; use https://, unset the key, or say --key-over-http if the network is yours",
                to.base()
            ))),
        }
    }

    /// `Bearer …`, marked so that no debug output shows it.
    pub fn header(&self) -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .map_err(|_| Error::input("the endpoint's key holds a character that no HTTP header can carry"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text without the key, which some servers repeat in what they answer.
    pub fn redact(&self, text: &str) -> String {
        if self.is_in(text) { text.replace(&self.0, REDACTED) } else { text.into() }
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.0.len() >= SECRET && text.contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_nowhere() {
        let key = Key::new("sk-0123456789abcdef\n").unwrap();
        assert_eq!(format!("{key:?} {:?}", Some(&key)), "[key] Some([key])");
        assert!(!format!("{:?}", key.header().unwrap()).contains("0123"));
        assert_eq!(key.header().unwrap().to_str().unwrap(), "Bearer sk-0123456789abcdef");
        assert_eq!(key.redact("wrong key sk-0123456789abcdef!"), "wrong key [key]!");
        assert_eq!(Key::new("EMPTY").unwrap().redact("EMPTY bladder"), "EMPTY bladder", "a placeholder is no secret");
        for wrong in ["", " ", "two words", "naïve-key"] {
            assert_eq!(Key::new(wrong).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_not_shown() {
        let error = Key::from_env(Some("sk-pasted-by-mistake-0123")).unwrap_err().to_string();
        assert!(error.contains("NAME") && !error.contains("pasted"), "{error}");
    }

    #[test]
    fn a_key_does_not_travel_in_the_clear() {
        let (key, far) = (Key::new("sk-0123456789abcdef").unwrap(), Address::parse("http://example.org/v1").unwrap());
        let error = key.check_transport(&far, false).unwrap_err().to_string();
        assert!(error.contains("--key-over-http") && !error.contains("sk-"), "{error}");
        key.check_transport(&far, true).unwrap();
        key.check_transport(&Address::parse("http://localhost:1").unwrap(), false).unwrap();
    }
}
