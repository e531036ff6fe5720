//! How long messages were on their way.

use hdrhistogram::Histogram;

use crate::report::Latency;

/// An hour; what is longer counts as one.
const MAX_NANOSECONDS: u64 = 3_600 * 1_000_000_000;
/// Two digits keep the counters within the processor's caches; quantiles are exact to 1 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// A histogram of nanoseconds.
#[derive(Debug)]
pub(crate) struct LatencyHistogram(Histogram<u64>);

impl LatencyHistogram {
    pub(crate) fn new() -> LatencyHistogram {
        let histogram = Histogram::new_with_max(MAX_NANOSECONDS, SIGNIFICANT_DIGITS);
        LatencyHistogram(histogram.expect("constant bounds that the histogram takes"))
    }

    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    pub(crate) fn add(&mut self, other: &LatencyHistogram) {
        self.0 += &other.0;
    }

    /// Microseconds below which a share of the latencies lies; 0 of none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        microseconds(self.0.value_at_quantile(share))
    }

    /// None where nothing was recorded.
    pub(crate) fn report(&self) -> Option<Latency> {
        if self.0.is_empty() {
            return None;
        }
        Some(Latency {
            count: self.0.len(),
            min_us: microseconds(self.0.min()),
            mean_us: self.0.mean() / 1e3,
            p50_us: self.quantile(0.5),
            p90_us: self.quantile(0.9),
            p99_us: self.quantile(0.99),
            p999_us: self.quantile(0.999),
            p9999_us: self.quantile(0.9999),
            max_us: microseconds(self.0.max()),
        })
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64) -> bool {
        (value / wanted - 1.0).abs() < 0.01
    }

    #[test]
    fn quantiles_are_exact_to_one_percent() {
        let mut histogram = LatencyHistogram::new();
        for microsecond in 1..=100_000 {
            histogram.record(microsecond * 1_000);
        }
        let latency = histogram.report().unwrap();
        assert_eq!(latency.count, 100_000);
        assert!(near(latency.p50_us, 50_000.0), "{latency:?}");
        assert!(near(latency.p99_us, 99_000.0), "{latency:?}");
        assert!(near(latency.p9999_us, 99_990.0), "{latency:?}");
        assert!(near(latency.max_us, 100_000.0), "{latency:?}");
        assert!(near(latency.mean_us, 50_000.5), "{latency:?}");
    }

    #[test]
    fn threads_are_added_up() {
        let (mut one, mut other) = (LatencyHistogram::new(), LatencyHistogram::new());
        one.record(1_000);
        other.record(3_000_000);
        one.add(&other);
        let latency = one.report().unwrap();
        assert_eq!(latency.count, 2);
        assert!(near(latency.max_us, 3_000.0));
        assert!(near(latency.min_us, 1.0));
    }

    #[test]
    fn hours_count_as_the_longest() {
        let mut histogram = LatencyHistogram::new();
        histogram.record(u64::MAX);
        assert_eq!(histogram.report().unwrap().count, 1);
        assert!(LatencyHistogram::new().report().is_none());
    }
}
