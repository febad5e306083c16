use crate::{CardDevice, DeviceError};
use std::time::{Duration, Instant};

/// How fast a card answers through its link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkFigures {
    /// 64 bytes there and back.
    pub small: Latency,
    /// Bytes a second, each way at the same time or in turn as the link can, at the largest size
    /// tried.
    pub bytes_per_s: f64,
    /// That size.
    pub largest_bytes: usize,
}

/// Times of one kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// How many were measured.
    pub count: usize,
    /// Half of them were at most this long.
    pub p50: Duration,
    /// All but one in a hundred were at most this long.
    pub p99: Duration,
}

/// Measures a card with loopbacks, for about `time`.
///
/// Errors: [`DeviceError`] of the card.
pub fn measure(card: &mut CardDevice, time: Duration) -> Result<LinkFigures, DeviceError> {
    let (began, half) = (Instant::now(), time / 2);
    let mut times = Vec::new();
    let payload = [0x5a; 64];
    while times.len() < 20 || (began.elapsed() < half && times.len() < 10_000) {
        let call = Instant::now();
        card.loopback(&payload)?;
        times.push(call.elapsed());
    }
    // The largest size of which one call is a small part of the time: a slow serial line would
    // take minutes for what is nothing on a bus.
    let most = card.transfer_max().min(1 << 20);
    let mut largest_bytes = most.min(1 << 10);
    loop {
        let began = Instant::now();
        card.loopback(&vec![0x5a; largest_bytes])?;
        let next = (4 * largest_bytes).min(most);
        if next == largest_bytes || 4 * began.elapsed() > half / 4 {
            break;
        }
        largest_bytes = next;
    }
    let large = vec![0x5a; largest_bytes];
    let (began, mut rounds) = (Instant::now(), 0_u32);
    while rounds < 2 || (began.elapsed() < half && rounds < 1000) {
        card.loopback(&large)?;
        rounds += 1;
    }
    let bytes_per_s =
        largest_bytes as f64 * f64::from(rounds) / began.elapsed().as_secs_f64().max(1e-9);
    Ok(LinkFigures { small: Latency::of(times), bytes_per_s, largest_bytes })
}

impl Latency {
    /// Of a set of times; zero where there are none.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(rank).copied().unwrap_or_default()
        };
        Self { count: times.len(), p50: at(50), p99: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let times = |n: u64| (1..=n).rev().map(Duration::from_micros).collect();
        let of_hundred = Latency::of(times(100));
        assert_eq!(of_hundred.p50, Duration::from_micros(50));
        assert_eq!(of_hundred.p99, Duration::from_micros(99));
        let of_three = Latency::of(times(3));
        assert_eq!(
            (of_three.p50, of_three.p99),
            (Duration::from_micros(2), Duration::from_micros(3))
        );
        assert_eq!(Latency::of(Vec::new()).count, 0);
    }
}
