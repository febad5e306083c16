//! The last results of pure functions that are slow, and asked the same again and again: by an audit,
//! which changes one number of a description after the other.

use std::cell::RefCell;
use std::collections::VecDeque;

/// The last few results, newest first.
pub(super) struct Memo<K, V>(RefCell<VecDeque<(K, V)>>);

impl<K: PartialEq, V: Copy> Memo<K, V> {
    /// Results kept.
    const KEPT: usize = 8;

    pub(super) const fn new() -> Self {
        Self(RefCell::new(VecDeque::new()))
    }

    /// The result for these arguments.
    pub(super) fn get(&self, asked: K, compute: impl FnOnce() -> V) -> V {
        let known = self.0.borrow().iter().find(|(before, _)| *before == asked).map(|(_, v)| *v);
        known.unwrap_or_else(|| {
            let value = compute();
            let mut results = self.0.borrow_mut();
            results.truncate(Self::KEPT - 1);
            results.push_front((asked, value));
            value
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_results_are_known_and_older_ones_made_again() {
        let memo = Memo::new();
        let mut made = Vec::new();
        for asked in [1, 2, 1, 3, 4, 5, 6, 7, 8, 2, 1, 9, 1] {
            let value = memo.get(asked, || {
                made.push(asked);
                10 * asked
            });
            assert_eq!(value, 10 * asked);
        }
        assert_eq!(made, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]);
    }
}
