//! The emulated card from its host's side: command by command, over a pipe, over rings, and under
//! fault plans.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod firmware_update;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod pipe_host;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod ring_host;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod transports;
