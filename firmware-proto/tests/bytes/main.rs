//! The protocol from outside: frozen bytes, hostile bytes, small machines, speed.

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod parsers;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod throughput;
