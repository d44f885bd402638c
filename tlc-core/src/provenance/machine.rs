//! The machine, as the operating system and NVIDIA's driver describe it.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use sysinfo::System;

use crate::format::provenance::{Gpu, Machine};

/// The machine, and what of it is not known, in sentences. Takes some milliseconds; much longer where a driver takes long.
pub(super) fn machine() -> (Machine, Vec<String>) {
    let (gpus, missing) = gpus();
    let threads = std::thread::available_parallelism().ok();
    let mut machine = Machine {
        host: System::host_name().ok(),
        system: System::long_os_version().ok(),
        kernel: System::kernel_long_version().ok(),
        processor: None,
        threads: threads.map(|threads| threads.get() as u64),
        memory: None,
        gpus,
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
    (machine, missing)
}

/// None without a driver, which nothing is missing for.
fn gpus() -> (Vec<Gpu>, Vec<String>) {
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => {
            return (Vec::new(), Vec::new());
        }
        Err(err) => return (Vec::new(), vec![unknown(&err)]),
    };
    let driver = nvml.sys_driver_version().unwrap_or_default();
    let (mut gpus, mut missing) = (Vec::new(), Vec::new());
    let n = nvml.device_count();
    let n = n.unwrap_or_else(|err| {
        missing.push(unknown(&err));
        0
    });
    for at in 0..n {
        match gpu(&nvml, at, &driver) {
            Ok(gpu) => gpus.push(gpu),
            Err(err) => missing.push(format!("GPU {at} is not known: {err}")),
        }
    }
    (gpus, missing)
}

fn gpu(nvml: &Nvml, at: u32, driver: &str) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(at)?;
    Ok(Gpu {
        name: device.name()?,
        memory: device.memory_info()?.total,
        driver: driver.to_owned(),
    })
}

fn unknown(err: &NvmlError) -> String {
    format!("GPUs are not known: {err}")
}
