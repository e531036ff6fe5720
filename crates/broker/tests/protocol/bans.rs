//! Who is banned is not let in, and does not stay.

use noctule_broker::{Banned, Event, Time};

use crate::rig::{Got, Hello, Rig};

#[test]
fn a_banned_client_is_refused_until_its_time_is_over() {
    let mut rig = Rig::new(2, |_| ());
    let until = rig.now.after_seconds(10);
    rig.shared.bans().ban(Banned::Client("c".into()), until, "");
    let refused = rig.knock("c", Hello::default());
    let banned = Got::Connack {
        present: false,
        reason: 0x8A,
    };
    assert_eq!(rig.take(refused), [banned]);
    assert_eq!(rig.statistic("connections_banned"), 1);
    rig.connect("d", Hello::default());
    rig.wait_seconds(11);
    rig.connect("c", Hello::default());
}

#[test]
fn a_ban_ends_the_connection_that_is_there_and_keeps_the_session() {
    let mut rig = Rig::new(1, |_| ());
    let (client, other) = (
        rig.connect("c", Hello::kept()),
        rig.connect("d", Hello::kept()),
    );
    let never = Time::NEVER;
    rig.shared.bans().ban(Banned::Client("c".into()), never, "");
    let now = rig.now;
    rig.workers[0].end_banned(now);
    rig.run();
    assert_eq!(rig.take(client), [Got::Disconnect(0x98, None)]);
    assert!(rig.is_closing(client) && !rig.is_closing(other));
    rig.shared.bans().unban(&Banned::Client("c".into()));
    let back = rig.knock("c", Hello::kept());
    assert!(matches!(
        rig.take(back)[..],
        [Got::Connack {
            present: true,
            reason: 0
        }]
    ));
}

#[test]
fn a_client_that_comes_again_and_again_is_banned_and_told_of_once() {
    let mut rig = Rig::new(1, |options| options.bans.flapping_connects = 3);
    for _ in 0..3 {
        let client = rig.connect("restless", Hello::default());
        rig.cut(client);
    }
    let refused = rig.knock("restless", Hello::default());
    assert!(matches!(
        rig.take(refused)[..],
        [Got::Connack { reason: 0x8A, .. }]
    ));
    let told = |event: &&Event| matches!(event, Event::Banned { .. });
    assert_eq!(rig.events.iter().filter(told).count(), 1);
    assert_eq!(rig.statistic("bans_made"), 1);
}
