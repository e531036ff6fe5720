//! A process that has run out of descriptors: the limit is the process's, so the server
//! runs in a child, and the clients here.

mod wire;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use noctule_packets::Version;
use rustix::process::{Resource, Rlimit, setrlimit};
use wire::Client;

const CHILD: &str = "NOCTULE_TEST_FEW_DESCRIPTORS";
const ALLOWED: u64 = 64;

/// The child: serves until its standard input ends.
#[test]
fn serve_with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let limit = Rlimit {
        current: Some(ALLOWED),
        maximum: Some(ALLOWED),
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let engine = wire::engine(2, "");
    println!("\nlistening {}", wire::address(&engine));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!(
        "\nrefused {}",
        wire::statistic(&engine, "sockets_refused_no_descriptor")
    );
    engine.stop(Duration::from_secs(1)).unwrap();
}

fn spawn() -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "serve_with_few_descriptors", "--nocapture"]);
    command
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// What follows `word` on the child's next line that begins with it.
fn read_after(lines: &mut impl Iterator<Item = std::io::Result<String>>, word: &str) -> String {
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with(word));
    line.expect("the child ended early")[word.len() + 1..].to_owned()
}

/// Ticks of processor time a process has taken.
#[cfg(target_os = "linux")]
fn processor_ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_without_descriptors_serves_on_refuses_and_recovers_without_spinning() {
    let mut child = spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = read_after(&mut lines, "listening").parse().unwrap();

    let mut witness = Client::connect(address, Version::V4, "witness");
    let crowd: Vec<Client> = (0..200)
        .map(|_| Client::open(address, Version::V4))
        .collect();
    witness.ping();
    // Whoever comes now is closed, not left in the queue.
    Client::open(address, Version::V4).expect_end();
    let before = processor_ticks(&child);
    std::thread::sleep(Duration::from_millis(500));
    let ticks = processor_ticks(&child) - before;
    assert!(ticks < 10, "{ticks} of 50 ticks spent on accepting nothing");
    witness.ping();

    drop(crowd);
    wire::eventually("there is room again", || {
        let mut next = Client::open(address, Version::V4);
        next.send_if_open(&wire::connect(Version::V4, "next"));
        next.receive().is_some()
    });
    witness.ping();
    drop(child.stdin.take());
    let refused: u64 = read_after(&mut lines, "refused").parse().unwrap();
    assert!(refused > 100, "{refused}");
    assert!(child.wait().unwrap().success());
}
