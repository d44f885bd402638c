//! The machine, as the operating system and NVIDIA's driver describe it.

use nvml_wrapper::Nvml;
use sysinfo::System;

use crate::format::provenance::{Gpu, Machine};

/// Takes some milliseconds.
pub(super) fn machine() -> Machine {
    let threads = std::thread::available_parallelism().ok();
    let mut machine = Machine {
        host: System::host_name().ok(),
        system: System::long_os_version().ok(),
        kernel: System::kernel_long_version().ok(),
        processor: None,
        threads: threads.map(|threads| threads.get() as u64),
        memory: None,
        gpus: gpus(),
    };
    if let Ok(mut system) = System::new() {
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        system.refresh_memory();
        let brand = system
            .cpus()
            .first()
            .map(|cpu| cpu.brand().trim().to_owned());
        machine.processor = brand.filter(|brand| !brand.is_empty());
        machine.memory = Some(system.total_memory());
    }
    machine
}

/// None without a driver.
fn gpus() -> Vec<Gpu> {
    let Ok(nvml) = Nvml::init() else {
        return Vec::new();
    };
    let driver = nvml.sys_driver_version().unwrap_or_default();
    let devices = 0..nvml.device_count().unwrap_or(0);
    let gpus = devices.filter_map(|at| {
        let device = nvml.device_by_index(at).ok()?;
        Some(Gpu {
            name: device.name().ok()?,
            memory: device.memory_info().ok()?.total,
            driver: driver.clone(),
        })
    });
    gpus.collect()
}
