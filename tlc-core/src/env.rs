//! The outside world as one value: the clock, fresh ids, the author, and this process.
//!
//! Everything that is not a function of its arguments comes from here, so a test that owns the
//! [`Env`] owns time and ids. No environment variable and no configuration file changes what the library does,
//! except that it asks the system for the home folder, and reads there which files Git passes over: whoever opens a root says who the author is. What the program was called with is
//! written down with its runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// Microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// RFC 3339 in UTC with microseconds, such as `2026-11-01T12:00:00.000000Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        DateTime::<Utc>::from_timestamp_micros(self.0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// Reads what [`Self::to_rfc3339`] wrote; `None` if it is not a time.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| Self(time.timestamp_micros()))
    }

    /// Reads a time as people write it: RFC 3339, also without seconds, or a day, which is its
    /// beginning in UTC. `None` if it is neither.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let full = Self::from_rfc3339(text);
        // `12:00Z` and `12:00+01:00`: the zone begins after the minutes.
        let minutes = || {
            let (before, zone) = (text.get(..16)?, text.get(16..)?);
            Self::from_rfc3339(&format!("{before}:00{zone}"))
        };
        let day = || Self::from_rfc3339(&format!("{text}T00:00:00Z"));
        full.or_else(minutes).or_else(day)
    }

    /// The time from `earlier` to this one; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Where the library gets time, ids and names from. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    author: Arc<str>,
    source: Arc<Source>,
}

enum Source {
    System,
    Manual { now: AtomicI64, ids: AtomicU64 },
}

impl Env {
    /// The real clock and random ids; `author` is written into every revision.
    #[must_use]
    pub fn system(author: &str) -> Self {
        Self {
            author: author.into(),
            source: Arc::new(Source::System),
        }
    }

    /// For tests: the clock stands at 0 until it is advanced, and ids count up.
    #[must_use]
    pub fn manual() -> Self {
        let source = Source::Manual {
            now: AtomicI64::new(0),
            ids: AtomicU64::new(0),
        };
        Self {
            author: "tester".into(),
            source: Arc::new(source),
        }
    }

    /// Who makes the revisions, unless a commit says otherwise.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.author
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Micros {
        match &*self.source {
            Source::System => system_now(),
            Source::Manual { now, .. } => Micros(now.load(Ordering::Relaxed)),
        }
    }

    /// Whether the clock is that of a test.
    pub(crate) fn is_manual(&self) -> bool {
        matches!(&*self.source, Source::Manual { .. })
    }

    /// Moves a manual clock on. A system clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { now, .. } = &*self.source {
            let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            now.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// An id that no other call, process or machine gets: 32 hexadecimal digits.
    #[must_use]
    pub fn fresh_id(&self) -> String {
        match &*self.source {
            Source::System => random_id(),
            Source::Manual { ids, .. } => format!("{:032x}", ids.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Where runs keep what is not in their store yet, unless the root says another folder; `None` for a test, and
    /// without a home folder.
    pub(crate) fn spool(&self) -> Option<PathBuf> {
        match &*self.source {
            Source::System => Some(std::env::home_dir()?.join(".local/state/tlc/spool")),
            Source::Manual { .. } => None,
        }
    }

    /// What the program was called with, itself first.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        arguments.collect()
    }

    /// The variables of its environment. Nothing here depends on them: they are only written down.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        variables.collect()
    }

    /// The folder that it works in.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    /// The home folder of whoever runs it, if it has one.
    #[cfg(feature = "code")]
    pub(crate) fn home_folder(&self) -> Option<PathBuf> {
        std::env::home_dir()
    }

    /// Where programs keep their configuration, if that was said.
    #[cfg(feature = "code")]
    pub(crate) fn config_folder(&self) -> Option<PathBuf> {
        let mut variables = std::env::vars_os();
        let (_, folder) = variables.find(|(name, _)| name == "XDG_CONFIG_HOME")?;
        (!folder.is_empty()).then(|| folder.into())
    }

    /// The file of the program.
    pub(crate) fn executable(&self) -> Option<PathBuf> {
        std::env::current_exe().ok()
    }

    /// The process that runs this code, in a form that [`Process::is_dead`] can judge later.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::current()
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = match &*self.source {
            Source::System => "system",
            Source::Manual { .. } => "manual",
        };
        f.debug_struct("Env")
            .field("author", &self.author)
            .field("clock", &clock)
            .finish()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
fn system_now() -> Micros {
    Micros(Utc::now().timestamp_micros())
}

/// Sixteen bytes of the operating system's randomness; if it has none to give, the clock and the
/// process id, which still differ from writer to writer.
fn random_id() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let seed = format!("{}-{}", system_now().0, std::process::id());
        bytes.copy_from_slice(&blake3::hash(seed.as_bytes()).as_bytes()[..16]);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One process on one machine since its last boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The kernel's identity of this boot and process namespace; empty where there is none to read.
    pub machine: String,
    /// The process id.
    pub id: u32,
    /// When the process started, in the kernel's ticks; 0 where it cannot be read.
    pub started: u64,
}

impl Process {
    fn current() -> Self {
        let id = std::process::id();
        Self {
            machine: machine(),
            id,
            started: started(id).unwrap_or(0),
        }
    }

    /// Whether the process is known to have ended: it ran on this machine and is no longer there.
    ///
    /// `false` means alive *or not known from here*: the process of another machine, or a system
    /// without `/proc`.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        !self.machine.is_empty()
            && self.machine == machine()
            && started(self.id) != Some(self.started)
    }
}

fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match boot.trim() {
        "" => String::new(),
        boot => format!("{boot}/{}", namespace.display()),
    }
}

/// The start time of a living process: field 22 of `/proc/<pid>/stat`, counted after the command's
/// name, which is in parentheses and may hold spaces. A zombie has ended.
fn started(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let env = Env::manual();
        env.advance(Duration::from_millis(2));
        assert_eq!(env.now(), Micros(2_000));
        assert_eq!(env.now().to_rfc3339(), "1970-01-01T00:00:00.002000Z");
        assert_eq!(
            Micros::from_rfc3339("1970-01-01T00:00:00.002000Z"),
            Some(Micros(2_000))
        );
        assert_ne!(env.fresh_id(), env.fresh_id());
    }

    #[test]
    fn this_process_lives_and_another_start_time_is_a_dead_one() {
        let own = Env::manual().process();
        assert!(!own.is_dead());
        let reused = Process {
            started: own.started + 1,
            ..own.clone()
        };
        assert_eq!(reused.is_dead(), !own.machine.is_empty());
        let elsewhere = Process {
            machine: "elsewhere".to_owned(),
            ..reused
        };
        assert!(!elsewhere.is_dead());
    }
}
