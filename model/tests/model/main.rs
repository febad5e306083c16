//! Tests of the model crate through its public interface.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

mod bfloat;
mod checkpoint_flips;
mod checkpoint_round_trip;
mod checkpoint_writing;
mod config;
mod damaged_manifests;
mod damaged_shards;
mod imports;
mod many_shards;
mod names;
mod routing_flat;
mod routing_frozen;
mod routing_naive;
mod tiers;
mod tiny;
mod tokenizer;
mod victim;
