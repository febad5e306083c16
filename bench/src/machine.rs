use litecore_kernels::Isa;
use serde::Serialize;

/// The machine a measurement was made on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name, where the system tells.
    pub processor: String,
    /// Threads the program may use.
    pub threads: usize,
    /// The instruction set the kernels chose.
    pub instructions: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown".to_owned(), |(_, name)| name.trim().to_owned());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { processor, threads, instructions: format!("{:?}", Isa::detected()) }
    }
}
