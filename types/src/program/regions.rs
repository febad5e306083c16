//! A buffer cut into regions that no access divides: elements by symbols.

use super::Symbols;
use std::ops::Range;

/// Elements and symbols of one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) symbols: Symbols,
}

/// The regions of one buffer, with something known about each.
pub(super) struct Regions<T> {
    elements: Vec<usize>,
    symbols: Vec<u64>,
    states: Vec<T>,
}

impl<T: Clone + Default> Regions<T> {
    /// Cuts a buffer along the edges of all its accesses.
    ///
    /// Errors: the number of regions, where there would be more than `most`.
    pub(super) fn new(areas: &[Area], symbols_max: u64, most: usize) -> Result<Self, usize> {
        let mut elements: Vec<usize> = areas.iter().flat_map(|a| [a.first, a.end]).collect();
        let edges = |a: &Area| [a.symbols.from.min(symbols_max), a.symbols.to.min(symbols_max)];
        let mut symbols: Vec<u64> = areas.iter().flat_map(edges).collect();
        elements.sort_unstable();
        elements.dedup();
        symbols.sort_unstable();
        symbols.dedup();
        let count = elements.len().saturating_mul(symbols.len());
        if count > most {
            return Err(count);
        }
        Ok(Self { states: vec![T::default(); count], elements, symbols })
    }

    /// How many regions there are.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// The first element and the first symbol of a region.
    pub(super) fn corner(&self, region: usize) -> (usize, u64) {
        (self.elements[region / self.symbols.len()], self.symbols[region % self.symbols.len()])
    }

    /// The regions of an area, by element, then by symbol.
    pub(super) fn of(&self, area: &Area) -> impl Iterator<Item = usize> + use<T> {
        let (rows, columns) = self.sides(area);
        let width = self.symbols.len();
        rows.flat_map(move |row| columns.clone().map(move |column| row * width + column))
    }

    /// How many regions an area has.
    pub(super) fn count(&self, area: &Area) -> usize {
        let (rows, columns) = self.sides(area);
        rows.len() * columns.len()
    }

    fn sides(&self, area: &Area) -> (Range<usize>, Range<usize>) {
        let last = self.symbols.last().copied().unwrap_or(0);
        let rows = places(&self.elements, &area.first, &area.end);
        (rows, places(&self.symbols, &area.symbols.from, &area.symbols.to.min(last)))
    }

    /// What is known about a region.
    pub(super) fn state(&mut self, region: usize) -> &mut T {
        &mut self.states[region]
    }
}

fn places<E: Ord>(edges: &[E], from: &E, to: &E) -> Range<usize> {
    let place = |edge: &E| edges.partition_point(|other| other < edge);
    place(from)..place(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_fall_into_whole_regions() {
        let area = |first, end, from, to| Area { first, end, symbols: Symbols { from, to } };
        let areas = [area(0, 8, 0, 4), area(4, 8, 2, u64::MAX), area(0, 8, 0, u64::MAX)];
        let regions = Regions::<()>::new(&areas, 10, 100).unwrap();
        let corners = |area| regions.of(area).map(|r| regions.corner(r)).collect::<Vec<_>>();
        assert_eq!(corners(&areas[0]), [(0, 0), (0, 2), (4, 0), (4, 2)]);
        assert_eq!(corners(&areas[1]), [(4, 2), (4, 4)]);
        assert_eq!(corners(&areas[2]).len(), 6);
        assert_eq!(areas.map(|area| regions.count(&area)), [4, 2, 6]);
        assert_eq!(Regions::<()>::new(&areas, 10, 11).err(), Some(12));
    }
}
