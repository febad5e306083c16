//! Chips of any shape and speed, for tests here and of the whole.

use proptest::prelude::*;

/// Values that make another chip of a small one.
///
/// Rates and latencies spread over three decades, so that each unit is the slowest at times.
pub(crate) fn settings() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let geometry = (1_usize..6, 1_usize..6, 1_usize..4, 1_usize..5, 1_usize..3);
    let rates = proptest::collection::vec(8.0_f64..11.0, 6);
    let delays = proptest::collection::vec(-10.0_f64..-7.0, 5);
    (geometry, rates, delays).prop_map(|(geometry, rates, delays)| {
        let (inputs, outputs, arrays, banks, wavelengths) = geometry;
        let power = |exponent: f64| format!("{:e}", pxfm::f_exp10(exponent));
        vec![
            ("array.inputs", inputs.to_string()),
            ("array.outputs", outputs.to_string()),
            ("array.arrays", arrays.to_string()),
            ("array.banks", banks.to_string()),
            ("array.wavelengths", wavelengths.to_string()),
            ("weights.load_bytes_per_s", power(rates[0])),
            ("weights.fetch_bytes_per_s", power(rates[1])),
            ("memory.port_bytes_per_s", power(rates[2])),
            ("memory.accumulator_bytes_per_s", power(rates[3])),
            ("vector.elements_per_s", power(rates[4])),
            ("host.bytes_per_s", power(rates[5])),
            ("host.latency_s", power(delays[0])),
            ("vector.latency_s", power(delays[1])),
            ("cell.settling_s", power(delays[2])),
            ("receiver.pipeline_s", power(delays[3])),
            ("command.issue_s", power(delays[4] - 1.0)),
        ]
    })
}
