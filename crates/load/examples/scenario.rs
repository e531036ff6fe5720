//! Carries out a scenario given as JSON: `cargo run --release --example scenario -- '{"qos": 1}'`.
//!
//! The report is printed as JSON; the exit code is 1 where it is not clean, 2 where the
//! run could not be carried out.

use std::ops::ControlFlow;
use std::process::ExitCode;

use noctule_load::{Scenario, run};

fn main() -> ExitCode {
    let text = std::env::args().nth(1).unwrap_or_else(|| "{}".into());
    let scenario: Scenario = match serde_json::from_str(&text) {
        Ok(scenario) => scenario,
        Err(error) => return fail(&error),
    };
    let report = match run(scenario, |_| ControlFlow::Continue(())) {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    match serde_json::to_string_pretty(&report) {
        Ok(text) => println!("{text}"),
        Err(error) => return fail(&error),
    }
    ExitCode::from(u8::from(!report.is_clean()))
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(2)
}
