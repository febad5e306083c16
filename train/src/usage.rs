//! How evenly routing uses tiers, groups and experts.

use litecore_model::ModelConfig;

/// Evenness of the choices at each level: the entropy of the shares divided by that of equal
/// shares, averaged over parents and layers. One is even, zero is all in one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UsageEntropy {
    /// Among tiers.
    pub tier: f64,
    /// Among the groups of a tier.
    pub group: f64,
    /// Among the experts of a group.
    pub expert: f64,
    /// The smallest share of any expert among all choices of its layer, times the number of
    /// experts: one is even, zero is an expert nobody takes.
    pub rarest: f64,
}

/// Evenness of counted choices: one list per layer, one count per expert in key order.
pub(crate) fn usage_entropy(config: &ModelConfig, counts: &[Vec<usize>]) -> UsageEntropy {
    let mut tiers = Mean::default();
    let mut groups = Mean::default();
    let mut experts = Mean::default();
    let mut rarest = f64::INFINITY;
    for layer in counts {
        let total: usize = layer.iter().sum();
        let least = layer.iter().min().copied().unwrap_or(0);
        rarest = rarest.min((least * layer.len()) as f64 / total.max(1) as f64);
        let mut rest = layer.as_slice();
        let mut of_tiers = Vec::new();
        for tier in &config.tiers {
            let mut of_groups = Vec::new();
            for _ in 0..tier.groups {
                let (group, later) = rest.split_at(tier.experts_per_group);
                rest = later;
                experts.add(evenness(group));
                of_groups.push(group.iter().sum());
            }
            groups.add(evenness(&of_groups));
            of_tiers.push(of_groups.iter().sum());
        }
        tiers.add(evenness(&of_tiers));
    }
    let rarest = if rarest.is_finite() { rarest } else { 0.0 };
    UsageEntropy { tier: tiers.value(), group: groups.value(), expert: experts.value(), rarest }
}

/// Normalised entropy, or nothing where there is no choice or nobody chose.
fn evenness(counts: &[usize]) -> Option<f64> {
    let total: usize = counts.iter().sum();
    if counts.len() < 2 || total == 0 {
        return None;
    }
    let entropy = counts.iter().filter(|&&count| count > 0).fold(0.0, |sum, &count| {
        let share = count as f64 / total as f64;
        sum - share * pxfm::f_log2(share)
    });
    Some(entropy / pxfm::f_log2(counts.len() as f64))
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> f64 {
        if self.count == 0 { 1.0 } else { self.sum / f64::from(self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::evenness;

    #[test]
    fn evenness_by_hand() {
        let close = |counts: &[usize], expected: f64| {
            let found = evenness(counts).unwrap();
            assert!((found - expected).abs() < 1e-7, "{counts:?}: {found}, not {expected}");
        };
        close(&[5, 5, 5], 1.0);
        close(&[0, 8], 0.0);
        // −¾·log2 ¾ − ¼·log2 ¼.
        close(&[3, 1], 0.811_278_1);
        close(&[3, 1, 0, 0], 0.811_278_1 / 2.0);
        assert_eq!(evenness(&[4]), None);
        assert_eq!(evenness(&[0, 0]), None);
    }
}
