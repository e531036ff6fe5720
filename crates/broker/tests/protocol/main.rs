//! Rules that need a clock or a second connection, played on workers in memory.

mod access;
mod bans;
mod flow;
mod groups;
mod hooks;
mod messages;
mod prefixes;
mod rig;
mod sessions;
mod wills;
mod worst;
