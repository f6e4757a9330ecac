//! What a run was made with: code, compiler, machine, time and memory. Recorded beside a run, never part of its digest.
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this crate.
    pub dxlab: String,
    /// Commit of the source tree with `-dirty` where it was changed; none outside a git tree.
    pub commit: Option<String>,
    /// The compiler on the path, else the version the crate asks for.
    pub rustc: String,
    pub os: String,
    pub cpu: Option<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Threads of the global rayon pool.
    pub threads: usize,
    /// UTC, `2026-01-31T23:59:59Z`.
    pub started: String,
    /// Of all legs together, where the run was stopped and taken up again.
    pub wall_seconds: f64,
    /// Highest resident memory while the run was made (`VmHWM`), in whichever leg; Linux only.
    pub peak_bytes: Option<u64>,
    /// Every leg, where there was more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<Session>,
}

impl Environment {
    /// As of the run whose last leg this is.
    pub(super) fn after(mut self, earlier: Vec<Session>) -> Self {
        let Some(first) = earlier.first().map(|leg| leg.started.clone()) else { return self };
        let last = Session { started: self.started, seconds: self.wall_seconds, peak_bytes: self.peak_bytes };
        self.legs = earlier;
        self.legs.push(last);
        self.started = first;
        self.wall_seconds = self.legs.iter().map(|leg| leg.seconds).sum();
        self.peak_bytes = self.legs.iter().filter_map(|leg| leg.peak_bytes).max();
        self
    }

    /// `started` as seconds since 1970; 0 if it cannot be read.
    pub fn started_seconds(&self) -> u64 {
        let part = |range: std::ops::Range<usize>| self.started.get(range)?.parse::<u64>().ok();
        let read = || {
            let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
            let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
            let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
            Some((days - 719_468) * 86_400 + part(11..13)? * 3600 + part(14..16)? * 60 + part(17..19)?)
        };
        read().unwrap_or(0)
    }
}

/// What one process took for its share of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// UTC, `2026-01-31T23:59:59Z`.
    pub started: String,
    pub seconds: f64,
    /// Highest resident memory (`VmHWM`), Linux only.
    pub peak_bytes: Option<u64>,
}

/// Started with the run, finished when its files are there.
pub struct Stopwatch {
    started: SystemTime,
    clock: Instant,
    /// Bytes: the peak before others last had it start anew.
    earlier_peak: Arc<AtomicU64>,
}

/// Of the stopwatches that run.
static EARLIER_PEAKS: Mutex<Vec<Weak<AtomicU64>>> = Mutex::new(Vec::new());

/// Has the peak of the process's memory start anew where Linux lets it; the stopwatches that run remember what it was, as a run (an arm,
/// a search) makes others while it is made.
pub(crate) fn reset_peak() {
    let mut running = EARLIER_PEAKS.lock();
    running.retain(|earlier| earlier.strong_count() > 0);
    let peak = peak_bytes().unwrap_or(0);
    for earlier in running.iter().filter_map(Weak::upgrade) {
        earlier.fetch_max(peak, Ordering::Relaxed);
    }
    let _ = std::fs::write("/proc/self/clear_refs", "5"); // absent elsewhere: then the peak is the whole process's
}

impl Stopwatch {
    /// Also resets the peak of the process's memory, so that a notebook's earlier cells do not count.
    pub fn start() -> Self {
        reset_peak();
        let earlier_peak = Arc::new(AtomicU64::new(0));
        EARLIER_PEAKS.lock().push(Arc::downgrade(&earlier_peak));
        Self { started: SystemTime::now(), clock: Instant::now(), earlier_peak }
    }

    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn started(&self) -> String {
        utc(self.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    fn peak_bytes(&self) -> Option<u64> {
        peak_bytes().map(|now| now.max(self.earlier_peak.load(Ordering::Relaxed)))
    }

    /// What was taken so far.
    pub fn leg(&self) -> Session {
        Session { started: self.started(), seconds: self.elapsed().as_secs_f64(), peak_bytes: self.peak_bytes() }
    }

    pub fn finish(self) -> Environment {
        Environment {
            dxlab: env!("CARGO_PKG_VERSION").into(),
            commit: output("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            rustc: output("rustc", &["--version"])
                .unwrap_or_else(|| format!("{} or later", env!("CARGO_PKG_RUST_VERSION"))),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
            started: self.started(),
            wall_seconds: self.elapsed().as_secs_f64(),
            peak_bytes: self.peak_bytes(),
            legs: Vec::new(),
        }
    }
}

/// First line that a command prints in the project's folder, if it is there and succeeds.
fn output(command: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(command).args(args).current_dir(crate::home()).output().ok()?;
    let line = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_string();
    (output.status.success() && !line.is_empty()).then_some(line)
}

/// Value of the first `key : value` line.
fn field(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key)?;
    Some(value.trim().to_string())
}

/// Highest resident memory of this process since it was last reset, in bytes; Linux only.
pub fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM")
}

/// Resident memory of this process now, in bytes; Linux only.
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS")
}

fn status_bytes(key: &str) -> Option<u64> {
    let kib: u64 = field("/proc/self/status", key)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Seconds since 1970 as `2026-01-31T23:59:59Z`. Civil date by Hinnant's days algorithm.
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // March is 0
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400 + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        for seconds in [0, 951_782_400, 1_735_689_599, 1_804_723_200] {
            let environment = Environment { started: utc(seconds), ..Stopwatch::start().finish() };
            assert_eq!(environment.started_seconds(), seconds);
        }
    }

    #[test]
    fn environment_is_filled_in() {
        let environment = Stopwatch::start().finish();
        assert!(environment.cores > 0 && environment.threads > 0 && environment.started.ends_with('Z'));
        assert!(cfg!(not(target_os = "linux")) || environment.peak_bytes.is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn a_run_of_several_legs_took_all_their_time_and_the_memory_of_the_largest() {
        let leg = |started: &str, seconds, peak_bytes| Session { started: started.into(), seconds, peak_bytes };
        let last = || {
            let (started, peak_bytes) = ("2026-01-03T00:00:00Z".into(), Some(5));
            Environment { started, wall_seconds: 2.0, peak_bytes, ..Stopwatch::start().finish() }
        };
        let earlier = vec![leg("2026-01-01T00:00:00Z", 30.0, Some(9)), leg("2026-01-02T00:00:00Z", 0.5, None)];
        let all = last().after(earlier.clone());
        assert_eq!((all.started.as_str(), all.wall_seconds, all.peak_bytes), ("2026-01-01T00:00:00Z", 32.5, Some(9)));
        assert_eq!(all.legs, [earlier, vec![leg("2026-01-03T00:00:00Z", 2.0, Some(5))]].concat());
        assert_eq!(last().after(Vec::new()), last());
    }

    #[test]
    fn what_was_written_before_legs_were_kept_is_read() {
        let text = r#"{"dxlab":"0.1.0","commit":null,"rustc":"rustc 1.95.0","os":"linux x86_64","cpu":null,"cores":2,
            "threads":2,"started":"2026-01-31T23:59:59Z","wall_seconds":1.5,"peak_bytes":null}"#;
        let old: Environment = serde_json::from_str(text).unwrap();
        assert!(old.legs.is_empty() && old.wall_seconds == 1.5);
        assert!(!serde_json::to_string(&old).unwrap().contains("legs"), "a run of one leg is written as before");
    }
}
