//! The simulated card from outside: through the device seam, as everybody uses it.

#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod closed_forms;
#[cfg(test)]
mod packings;
#[cfg(test)]
mod seam;
#[cfg(test)]
mod single_tile;
#[cfg(test)]
mod streamed;
