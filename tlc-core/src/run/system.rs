//! What the machine and this process do while a run goes on, as scalars.
//!
//! Sampled by the writer's thread with each sign of life, so the training thread pays nothing. The step is
//! the seconds since the run was started. What the system does not tell is not there.

use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use sysinfo::{Networks, Pid, ProcessRefreshKind, ProcessesToUpdate};

/// Names and values.
pub(crate) type Values = Vec<(String, f64)>;

/// See the module.
pub(crate) struct System {
    system: sysinfo::System,
    networks: Option<Networks>,
    process: Option<Pid>,
    /// `None` without a driver of NVIDIA.
    gpus: Option<Nvml>,
    sampled: Instant,
}

impl System {
    /// Begins to measure: rates and shares of time are of the time between two samples.
    /// `None` where the system tells nothing.
    pub(crate) fn new() -> Option<Self> {
        let mut begun = Self {
            system: sysinfo::System::new().ok()?,
            networks: Networks::new_with_refreshed_list().ok(),
            process: sysinfo::get_current_pid().ok(),
            gpus: Nvml::init().ok(),
            sampled: Instant::now(),
        };
        begun.refresh();
        Some(begun)
    }

    /// What was so since the last sample. Takes a few milliseconds.
    pub(crate) fn sample(&mut self) -> Values {
        let since = self.sampled.elapsed();
        self.sampled = Instant::now();
        self.refresh();
        let mut values = self.of_machine(since);
        values.extend(self.of_process(since));
        values.extend(self.gpus.iter().flat_map(of_gpus));
        let named = values.into_iter();
        named
            .map(|(name, value)| (format!("system/{name}"), value))
            .collect()
    }

    fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        if let Some(networks) = &mut self.networks {
            networks.refresh(true);
        }
        let kind = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_disk_usage();
        if let Some(process) = self.process {
            let own = ProcessesToUpdate::Some(&[process]);
            self.system
                .refresh_processes_specifics(own, false, kind.without_tasks());
        }
    }

    fn of_machine(&self, since: Duration) -> Values {
        let networks = self.networks.iter().flat_map(|networks| networks.iter());
        let others = networks.filter(|(name, _)| *name != "lo" && *name != "lo0");
        let (received, sent) = others.fold((0, 0), |(received, sent), (_, data)| {
            (received + data.received(), sent + data.transmitted())
        });
        vec![
            ("cpu".to_owned(), f64::from(self.system.global_cpu_usage())),
            ("memory".to_owned(), number(self.system.used_memory())),
            ("network/received".to_owned(), rate(received, since)),
            ("network/sent".to_owned(), rate(sent, since)),
        ]
    }

    fn of_process(&self, since: Duration) -> Values {
        let process = self
            .process
            .and_then(|process| self.system.process(process));
        let Some(process) = process else {
            return Values::new();
        };
        let disk = process.disk_usage();
        vec![
            ("process/cpu".to_owned(), f64::from(process.cpu_usage())),
            ("process/memory".to_owned(), number(process.memory())),
            ("process/disk/read".to_owned(), rate(disk.read_bytes, since)),
            (
                "process/disk/written".to_owned(),
                rate(disk.written_bytes, since),
            ),
        ]
    }
}

/// What each GPU tells of itself.
fn of_gpus(gpus: &Nvml) -> Values {
    let devices = 0..gpus.device_count().unwrap_or(0);
    let devices = devices.filter_map(|at| Some((at, gpus.device_by_index(at).ok()?)));
    let told = devices.flat_map(|(at, device)| {
        let used = device
            .utilization_rates()
            .ok()
            .map(|used| f64::from(used.gpu));
        let memory = device.memory_info().ok().map(|memory| number(memory.used));
        let power = device
            .power_usage()
            .ok()
            .map(|milliwatts| f64::from(milliwatts) / 1e3);
        let temperature = device
            .temperature(TemperatureSensor::Gpu)
            .ok()
            .map(f64::from);
        let told = [
            ("use", used),
            ("memory", memory),
            ("power", power),
            ("temperature", temperature),
        ];
        told.map(|(name, value)| Some((format!("gpu/{at}/{name}"), value?)))
    });
    told.flatten().collect()
}

/// Bytes a second.
fn rate(bytes: u64, since: Duration) -> f64 {
    number(bytes) / since.as_secs_f64().max(1e-3)
}

/// Exact for all that a machine has: less than 2^53.
#[expect(clippy::cast_precision_loss, reason = "bytes of one machine")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn work(time: Duration) {
        let start = Instant::now();
        let mut n: u64 = 1;
        while start.elapsed() < time {
            n = black_box(n.wrapping_mul(31));
        }
    }

    #[test]
    fn work_of_this_process_shows() {
        // Shares are of the time since the last look, at which some time must have been used.
        work(Duration::from_millis(100));
        let mut system = System::new().unwrap();
        let filled = vec![1_u8; 64 << 20];
        work(Duration::from_millis(300));
        black_box(&filled);
        let values = system.sample();
        let value = |name: &str| values.iter().find(|(own, _)| own == name).unwrap().1;
        assert!(value("system/process/memory") > (64 << 20) as f64);
        assert!(value("system/memory") >= value("system/process/memory") / 2.0);
        assert!(value("system/process/cpu") > 5.0, "{values:?}");
        assert!((0.0..=100.0).contains(&value("system/cpu")), "{values:?}");
        for name in [
            "network/received",
            "network/sent",
            "process/disk/read",
            "process/disk/written",
        ] {
            assert!(value(&format!("system/{name}")) >= 0.0);
        }
    }

    #[test]
    fn bytes_become_rates() {
        assert_eq!(rate(3_000, Duration::from_secs(2)), 1_500.0);
        assert_eq!(rate(0, Duration::ZERO), 0.0);
    }
}
