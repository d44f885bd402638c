//! How a program ended: the exit code for who called us, and the reason for the run.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use signal_hook::consts::SIGKILL;
use signal_hook::low_level::signal_name;

/// Where the system mounts control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// See the module.
#[derive(Debug)]
pub(super) struct Ended {
    how: How,
    /// The last signal that we were told and told the program.
    told: Option<i32>,
    memory: Option<&'static str>,
}

#[derive(Debug)]
enum How {
    Code(i32),
    Signal(i32),
    Unknown(String),
}

impl Ended {
    pub(super) fn new(status: Option<io::Result<ExitStatus>>, told: Option<i32>) -> Self {
        let how = match status {
            Some(Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => How::Code(code),
                (None, Some(signal)) => How::Signal(signal),
                (None, None) => How::Unknown(status.to_string()),
            },
            Some(Err(err)) => How::Unknown(format!("how it ended is not known: {err}")),
            None => How::Unknown("how it ended is not known".to_owned()),
        };
        Self {
            how,
            told,
            memory: None,
        }
    }

    /// Says so if it was killed because memory had run out since `before`, as far as the system tells.
    pub(super) fn of_memory(mut self, before: &MemoryKills) -> Self {
        if matches!(self.how, How::Signal(SIGKILL)) {
            self.memory = MemoryKills::now().since(before);
        }
        self
    }

    /// As shells have it: the program's own, or 128 and the number of the signal.
    pub(super) fn code(&self) -> u8 {
        let code = match self.how {
            How::Code(code) => code,
            How::Signal(signal) => signal.saturating_add(128),
            How::Unknown(_) => 1,
        };
        u8::try_from(code).unwrap_or(1)
    }

    /// `None` if all is well.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.how {
            How::Code(0) => None,
            How::Code(code) => Some(match self.told {
                Some(told) => format!("exit code {code} after {}", name(told)),
                None => format!("exit code {code}"),
            }),
            How::Signal(signal) => {
                let memory = self.memory.map(|memory| format!(": {memory}"));
                let memory = memory.unwrap_or_default();
                Some(format!("killed by {}{memory}", name(*signal)))
            }
            How::Unknown(what) => Some(what.clone()),
        }
    }
}

fn name(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// How many processes the system has killed because memory had run out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryKills {
    /// In our control group.
    own: Option<u64>,
    /// On the whole machine.
    machine: Option<u64>,
}

impl MemoryKills {
    /// What the system says; nothing where it says nothing.
    pub(super) fn now() -> Self {
        let read = |path: String| fs::read_to_string(path).ok();
        let group = read("/proc/self/cgroup".to_owned());
        let group = group.as_deref().and_then(group_path);
        let events = group.and_then(|group| read(format!("{CGROUPS}{group}/memory.events")));
        let machine = read("/proc/vmstat".to_owned());
        Self {
            own: events.as_deref().and_then(kills),
            machine: machine.as_deref().and_then(kills),
        }
    }

    /// What more kills mean for a program of ours that was killed.
    fn since(self, before: &Self) -> Option<&'static str> {
        let more = |now: Option<u64>, before: Option<u64>| {
            now.zip(before).is_some_and(|(now, before)| now > before)
        };
        if more(self.own, before.own) {
            Some("out of memory")
        } else if more(self.machine, before.machine) {
            Some("perhaps out of memory, for which the system killed something at that time")
        } else {
            None
        }
    }
}

/// The path of the control group in the one hierarchy of version 2.
fn group_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_end_matches('/'))
}

fn kills(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason and the code of a wait status.
    #[track_caller]
    fn check(status: i32, told: Option<i32>, memory: Option<&'static str>, expected: &str) {
        let mut ended = Ended::new(Some(Ok(ExitStatus::from_raw(status))), told);
        ended.memory = memory;
        let reason = ended.reason().unwrap_or("-".to_owned());
        assert_eq!(format!("{} {reason}", ended.code()), expected);
    }

    #[test]
    fn the_end_is_told_as_shells_tell_it() {
        check(0, None, None, "0 -");
        check(0, Some(15), None, "0 -");
        check(3 << 8, None, None, "3 exit code 3");
        check(255 << 8, None, None, "255 exit code 255");
        check(1 << 8, Some(2), None, "1 exit code 1 after SIGINT");
        check(9, None, None, "137 killed by SIGKILL");
        check(
            9,
            None,
            Some("out of memory"),
            "137 killed by SIGKILL: out of memory",
        );
        check(11, None, None, "139 killed by SIGSEGV");
        check(15, Some(15), None, "143 killed by SIGTERM");
        check(63, None, None, "191 killed by signal 63");
        let unknown = Ended::new(None, None);
        assert_eq!((unknown.code(), unknown.reason().is_some()), (1, true));
    }

    #[test]
    fn kills_for_memory_are_read_and_compared() {
        assert_eq!(
            kills("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(kills("nr_free_pages 7\noom_kill 12"), Some(12));
        assert_eq!(kills("oom_kill many"), None);
        assert_eq!(group_path("1:cpu:/a\n0::/b/c\n"), Some("/b/c"));
        assert_eq!(group_path("0::/\n"), Some(""));
        assert_eq!(group_path("1:cpu:/a\n"), None);
        let kills = |own, machine| MemoryKills { own, machine };
        let check = |now: MemoryKills, before: MemoryKills, expected: Option<&str>| {
            let told = now
                .since(&before)
                .map(|told| told.split(',').next().unwrap());
            assert_eq!(told, expected, "{now:?} {before:?}");
        };
        check(
            kills(Some(2), Some(9)),
            kills(Some(1), Some(8)),
            Some("out of memory"),
        );
        check(
            kills(Some(1), Some(9)),
            kills(Some(1), Some(8)),
            Some("perhaps out of memory"),
        );
        check(
            kills(None, Some(9)),
            kills(None, Some(8)),
            Some("perhaps out of memory"),
        );
        check(kills(Some(1), Some(8)), kills(Some(1), Some(8)), None);
        check(kills(None, None), kills(None, None), None);
    }
}
