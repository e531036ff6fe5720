//! The load generator against a broker that is told what to do wrong.

mod fake_broker;
mod faults;
mod scenarios;
