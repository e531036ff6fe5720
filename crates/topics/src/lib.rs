//! Topic names and topic filters of MQTT, and the two structures they index:
//! subscriptions by filter, and retained messages by name.
//!
//! Nothing here does I/O, waits or recurses with the depth of its input: a name of
//! 65,535 bytes (32,768 levels and more) costs time in proportion and no stack.
//! Source of all rules: MQTT 5.0 §4.7 and §4.8.2, MQTT 3.1.1 §4.7.
#![forbid(unsafe_code)]

mod filter;
mod generations;
mod name;
mod retained_tree;
mod storage;
mod subscription_tree;

pub use filter::{Filter, matches};
pub use generations::Generations;
pub use name::{MAX_TOPIC_BYTES, TopicError, levels, validate_filter, validate_name};
pub use retained_tree::{Bookmark, RetainedTree, Walk};
pub use subscription_tree::SubscriptionTree;
