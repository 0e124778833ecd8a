//! Metrics of this process, with the names of Prometheus' own client libraries. Linux only.

use std::{fs, io};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Reads `/proc` whenever metrics are read.
#[derive(Debug)]
pub struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Ok(usage) = Usage::read() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Resident memory", usage.resident_bytes)?;
        gauge("process_open_fds", "Open files and connections", usage.open_files)?;
        gauge("process_max_fds", "Limit of open files and connections", usage.most_files)?;
        gauge("process_start_time_seconds", "Start of the process in seconds since 1970", usage.started)?;
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let name = "process_cpu_seconds";
        cpu.encode(encoder.encode_descriptor(name, "Processor time used", None, cpu.metric_type())?)
    }
}

struct Usage {
    resident_bytes: f64,
    open_files: f64,
    most_files: f64,
    started: f64,
    cpu_seconds: f64,
}

impl Usage {
    /// proc(5): `/proc/self/stat`, `statm`, `limits`, and `btime` of `/proc/stat`.
    fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        // The program's name, in parentheses, may contain any character. The numbers follow it, from field 3 on.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let booted = fs::read_to_string("/proc/stat")?;
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let limits = fs::read_to_string("/proc/self/limits")?;
        let most_files = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<f64>().ok());
        Ok(Self {
            resident_bytes: field(24) * rustix::param::page_size() as f64,
            open_files: fs::read_dir("/proc/self/fd")?.count() as f64,
            most_files: most_files.unwrap_or(0.0),
            started: booted.unwrap_or(0.0) + field(22) / ticks,
            cpu_seconds: (field(14) + field(15)) / ticks,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_figures_are_those_of_this_process() {
        let usage = Usage::read().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((1e6..1e10).contains(&usage.resident_bytes), "{}", usage.resident_bytes);
        assert!((0.0..3600.0).contains(&(now - usage.started)), "{}", usage.started);
        assert!(usage.open_files >= 3.0 && usage.most_files > usage.open_files);
        assert!(usage.cpu_seconds >= 0.0 && usage.cpu_seconds < 3600.0);
    }
}
