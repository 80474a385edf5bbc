//! Media of Limpid: byte-addressable memory behind one trait.
//!
//! Without the feature `std` only the trait and its types exist, so that `no_std` crates can be
//! generic over a medium.
#![cfg_attr(not(feature = "std"), no_std)]

mod media;

pub use media::{Durability, Media, MediaError, Persist};
