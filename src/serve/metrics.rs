//! `/metrics` in Prometheus' text format. Labels are routes and statuses: no text, no key, no address.
use crate::generate::Done;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of times, in seconds.
const BOUNDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Times in buckets.
#[derive(Default)]
struct Times {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Times {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        BOUNDS.iter().zip(&mut self.buckets).filter(|(bound, _)| seconds <= **bound).for_each(|(_, n)| *n += 1);
        (self.count, self.seconds) = (self.count + 1, self.seconds + seconds);
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bound, n) in BOUNDS.iter().zip(&self.buckets) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {n}");
        }
        let _ = writeln!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {}\n{name}_sum {}\n{name}_count {}",
            self.count, self.seconds, self.count
        );
    }
}

/// See the file's header.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    times: Mutex<Times>,
    first_tokens: Mutex<Times>,
}

impl Metrics {
    pub fn request(&self, route: &'static str, status: u16, time: Duration) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
        self.times.lock().unwrap_or_else(PoisonError::into_inner).add(time);
    }

    pub fn first_token(&self, time: Duration) {
        self.first_tokens.lock().unwrap_or_else(PoisonError::into_inner).add(time);
    }

    /// The page's text.
    pub fn text(&self, done: Done) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# HELP dxlab_requests_total Requests answered.\n# TYPE dxlab_requests_total counter");
        for ((route, status), n) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(out, "dxlab_requests_total{{route=\"{route}\",status=\"{status}\"}} {n}");
        }
        self.times.lock().unwrap_or_else(PoisonError::into_inner).write(
            "dxlab_request_seconds",
            "Time to the answer, of a stream to its first byte.",
            &mut out,
        );
        self.first_tokens.lock().unwrap_or_else(PoisonError::into_inner).write(
            "dxlab_first_token_seconds",
            "Time from a request to its first token.",
            &mut out,
        );
        for (name, kind, help, value) in [
            ("dxlab_engine_steps_total", "counter", "Steps of the engine.", done.steps),
            ("dxlab_prompt_tokens_read_total", "counter", "Tokens of prompts read.", done.read),
            ("dxlab_prompt_tokens_copied_total", "counter", "Tokens of prompts copied from earlier ones.", done.copied),
            ("dxlab_new_tokens_total", "counter", "Tokens drawn.", done.new_tokens),
            ("dxlab_requests_left_total", "counter", "Requests whose client went away.", done.left),
            ("dxlab_sequences_active", "gauge", "Sequences decoded now.", done.active as u64),
            ("dxlab_requests_waiting", "gauge", "Requests whose prompt is not read yet.", done.waiting as u64),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_sample_and_buckets_grow() {
        let metrics = Metrics::default();
        metrics.request("/v1/models", 200, Duration::from_millis(3));
        metrics.request("/v1/models", 200, Duration::from_secs(90));
        metrics.first_token(Duration::from_millis(40));
        let text = metrics.text(Done { new_tokens: 7, ..Done::default() });
        assert!(text.contains("dxlab_requests_total{route=\"/v1/models\",status=\"200\"} 2\n"), "{text}");
        assert!(
            text.contains("dxlab_request_seconds_bucket{le=\"30\"} 1\ndxlab_request_seconds_bucket{le=\"+Inf\"} 2\n"),
            "{text}"
        );
        assert!(text.contains(
            "dxlab_first_token_seconds_bucket{le=\"0.025\"} 0\ndxlab_first_token_seconds_bucket{le=\"0.05\"} 1\n"
        ));
        assert!(text.contains("\ndxlab_new_tokens_total 7\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
        }
    }
}
