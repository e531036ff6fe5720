//! The codec, from outside: the wire vectors that all languages share, every truncation,
//! any segmentation, round trips of arbitrary packets.

mod description;
mod mutation;
mod properties;
mod refusals;
mod round_trip;
mod segmentation;
mod truncation;
mod values;
mod vector;
mod vectors;
