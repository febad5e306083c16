//! Lists of what has a number on the wire, in both directions.

/// The number of a value; 0 where it is not in the list.
pub(crate) fn number_of<T: PartialEq>(list: &[(T, u16)], value: &T) -> u16 {
    list.iter().find(|(listed, _)| listed == value).map_or(0, |(_, number)| *number)
}

/// The value of a number, if it is in the list.
pub(crate) fn value_of<T: Copy>(list: &[(T, u16)], number: u16) -> Option<T> {
    list.iter().find(|(_, listed)| *listed == number).map(|(value, _)| *value)
}
