//! The address of an endpoint, checked once: nothing secret is in it, and it is known whether a key may travel there.
use crate::error::{Error, Result};
use url::{Host, Url};

/// `scheme://host[:port]/path`, without the last `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    base: String,
    /// With the port where it is not the scheme's own.
    host: String,
    loopback: bool,
    secure: bool,
}

impl Address {
    /// An address as the openai packages take it: `http://localhost:8000/v1`. Without a path `/v1` is added, and
    /// `/chat/completions` at its end is taken off. An error never shows what was given: it may hold a key.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::input(format!(
                "--endpoint: {what}: give an address such as http://localhost:8000/v1, with the key in the environment (DXLAB_API_KEY)"
            ))
        };
        if url.contains(['@', '?', '#']) || url.contains(":///") {
            return Err(wrong("a user, a password, a query, a fragment or an empty host is in it"));
        }
        let url = Url::parse(url.trim()).map_err(|_| wrong("this is not an address"))?;
        let host = url.host().filter(|_| ["http", "https"].contains(&url.scheme()));
        let Some(host) = host else { return Err(wrong("http:// or https:// and a host are missing")) };
        let (loopback, secure) = (is_loopback(&host), url.scheme() == "https");
        let host = url.port().map_or(host.to_string(), |port| format!("{host}:{port}"));
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/chat/completions").unwrap_or(path);
        let path = if path.is_empty() { "/v1" } else { path };
        Ok(Self { base: format!("{}://{host}{path}", url.scheme()), host, loopback, secure })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn chat(&self) -> String {
        format!("{}/chat/completions", self.base)
    }

    /// This machine: no proxy stands between.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Nobody on the way can read what is sent.
    pub fn is_private(&self) -> bool {
        self.secure || self.loopback
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_write_an_address_become_one() {
        for url in [
            "http://localhost:8000/v1",
            "http://LOCALHOST:8000/v1/",
            "http://localhost:8000",
            "http://localhost:8000/v1/chat/completions",
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.base(), address.host()), ("http://localhost:8000/v1", "localhost:8000"), "{url}");
        }
        let hosted = Address::parse("https://API.example.org:443/openai/v1").unwrap();
        assert_eq!(hosted.chat(), "https://api.example.org/openai/v1/chat/completions");
        assert_eq!(hosted.host(), "api.example.org");
    }

    #[test]
    fn a_key_may_travel_to_this_machine_or_under_https() {
        let private = |url: &str| Address::parse(url).unwrap().is_private();
        for url in ["http://127.0.0.1:1", "http://[::1]:8000/v1", "http://localhost", "https://example.org"] {
            assert!(private(url), "{url}");
        }
        for url in [
            "http://example.org",
            "http://10.0.0.7:8000",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
        ] {
            assert!(!private(url), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_or_holds_a_secret_is_refused_without_being_shown() {
        for url in [
            "",
            "localhost:8000/v1",
            "ftp://h/v1",
            "http://",
            "http:///v1",
            "not an address",
            "https://me:hunter2@example.org/v1",
            "https://example.org/v1?key=hunter2",
            "https://example.org/v1#hunter2",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.exit_code() == 2 && !error.to_string().contains("hunter2"), "{url}: {error}");
        }
    }
}
