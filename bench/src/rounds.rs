use std::time::{Duration, Instant};

/// Runs two pieces of work in turns for about `seconds` in all; gives the median seconds of each.
pub(crate) fn interleaved(
    seconds: f64,
    first: &mut dyn FnMut(),
    second: &mut dyn FnMut(),
) -> (f64, f64) {
    first();
    second();
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    // At least five rounds, however slow they are.
    while firsts.len() < 5 || Instant::now() < deadline {
        firsts.push(timed(first));
        seconds.push(timed(second));
    }
    (median(&mut firsts), median(&mut seconds))
}

fn timed(work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
