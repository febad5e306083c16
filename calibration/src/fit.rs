use pxfm::f_log10;

/// Sums over pairs of what should come out and what came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fit {
    count: f64,
    exact: f64,
    measured: f64,
    exact_exact: f64,
    exact_measured: f64,
    error_error: f64,
}

impl Fit {
    pub(crate) fn add(&mut self, exact: f64, measured: f64) {
        self.count += 1.0;
        self.exact += exact;
        self.measured += measured;
        self.exact_exact += exact * exact;
        self.exact_measured += exact * measured;
        self.error_error += (measured - exact) * (measured - exact);
    }

    /// The line `measured = gain · exact + offset` of least squares.
    ///
    /// Where the exact values do not vary, no gain can be told, and it is one.
    pub(crate) fn gain_and_offset(&self) -> (f64, f64) {
        let (exact, measured) = (self.exact / self.count, self.measured / self.count);
        let variance = self.exact_exact / self.count - exact * exact;
        let covariance = self.exact_measured / self.count - exact * measured;
        let gain = if variance > 0.0 { covariance / variance } else { 1.0 };
        (gain, measured - gain * exact)
    }

    /// Mean square of the exact values over mean square of the error.
    pub(crate) fn snr_rms_db(&self) -> f64 {
        decibels(self.exact_exact / self.error_error)
    }

    /// The same once the line is corrected for: `(measured - offset) / gain` against exact.
    pub(crate) fn corrected_snr_rms_db(&self) -> f64 {
        let (gain, offset) = self.gain_and_offset();
        // Σ (m - g e - o)², with m = e + d: the same line through the errors d.
        let slope = gain - 1.0;
        let error = self.measured - self.exact;
        let exact_error = self.exact_measured - self.exact_exact;
        let rest =
            self.error_error + slope * slope * self.exact_exact + self.count * offset * offset
                - 2.0 * slope * exact_error
                - 2.0 * offset * error
                + 2.0 * slope * offset * self.exact;
        decibels(gain * gain * self.exact_exact / rest.max(0.0))
    }

    /// The square of full scale over mean square of the error.
    pub(crate) fn snr_full_scale_db(&self, full_scale: f64) -> f64 {
        decibels(full_scale * full_scale * self.count / self.error_error)
    }

    pub(crate) fn mean_square_error(&self) -> f64 {
        self.error_error / self.count
    }
}

fn decibels(ratio: f64) -> f64 {
    10.0 * f_log10(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_corrected_for() {
        let mut fit = Fit::default();
        // 1.5 e - 2, and ±1 on it that neither gain nor offset explains.
        for (exact, rest) in [(-6.0, 1.0), (-2.0, -1.0), (2.0, -1.0), (6.0, 1.0)] {
            fit.add(exact, 1.5 * exact - 2.0 + rest);
        }
        let (gain, offset) = fit.gain_and_offset();
        assert!((gain - 1.5).abs() < 1e-12 && (offset + 2.0).abs() < 1e-12);
        // Exact: mean square 20. Errors: -4, -4, -2, 2 have 10; corrected, 1/1.5².
        assert!((fit.mean_square_error() - 10.0).abs() < 1e-12);
        assert!((fit.snr_rms_db() - 3.0103).abs() < 1e-4);
        assert!((fit.corrected_snr_rms_db() - 16.5321).abs() < 1e-4);
        assert!((fit.snr_full_scale_db(100.0) - 30.0).abs() < 1e-9);
    }

    #[test]
    fn values_that_do_not_vary_tell_an_offset_only() {
        let mut fit = Fit::default();
        fit.add(3.0, 5.0);
        fit.add(3.0, 5.0);
        assert_eq!(fit.gain_and_offset(), (1.0, 2.0));
    }
}
