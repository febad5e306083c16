use std::time::{Duration, Instant};

/// Runs two pieces of work in turns for about `seconds` in all; gives the median seconds of each.
pub(crate) fn interleaved(
    seconds: f64,
    first: &mut dyn FnMut(),
    second: &mut dyn FnMut(),
) -> (f64, f64) {
    interleaved_with_rests(seconds, first, &mut || {}, second)
}

/// The same, with something before each of the two that does not count.
pub(crate) fn interleaved_with_rests(
    seconds: f64,
    first: &mut dyn FnMut(),
    rest: &mut dyn FnMut(),
    second: &mut dyn FnMut(),
) -> (f64, f64) {
    let (mut firsts, mut seconds) = rounds(seconds, first, rest, second);
    (median(&mut firsts), median(&mut seconds))
}

/// The same, where a machine that is busy with other things may stretch any round: gives the medians
/// and the fastest rounds, each as `(first, second)`.
pub(crate) fn interleaved_with_fastest(
    seconds: f64,
    first: &mut dyn FnMut(),
    second: &mut dyn FnMut(),
) -> ((f64, f64), (f64, f64)) {
    let (mut firsts, mut seconds) = rounds(seconds, first, &mut || {}, second);
    let medians = (median(&mut firsts), median(&mut seconds));
    (medians, (firsts[0], seconds[0]))
}

fn rounds(
    seconds: f64,
    first: &mut dyn FnMut(),
    rest: &mut dyn FnMut(),
    second: &mut dyn FnMut(),
) -> (Vec<f64>, Vec<f64>) {
    let mut timed = |work: &mut dyn FnMut()| {
        rest();
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    timed(first);
    timed(second);
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    // At least five rounds, however slow they are.
    while firsts.len() < 5 || Instant::now() < deadline {
        firsts.push(timed(first));
        seconds.push(timed(second));
    }
    (firsts, seconds)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds of processor time that all threads of this process have used, where the system tells.
///
/// On a machine with other work to do, this says what a piece of work costs when the clock cannot.
pub(crate) fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
}
