//! What a client may do: rules as data, matched without regular expressions.
//!
//! A client's rules are looked at in their order; the first that speaks of the action
//! and the topic decides, and where none does the answer is no. The client
//! identifier and the user name are put into filters as literals: a `+`, `#` or `/`
//! in them matches itself and nothing else.

use std::sync::Arc;

use hashbrown::HashMap;
use noctule_packets::QoS;
use parking_lot::Mutex;
use serde::Deserialize;

/// From so many rules on it costs less to remember what they said of a topic than to ask again.
const REMEMBERED_FROM_RULES: usize = 16;
/// Topics remembered for one client; beyond it all are forgotten.
const MAX_REMEMBERED: usize = 256;

/// A rule as an operator writes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub allow: bool,
    pub actions: Vec<Action>,
    /// A topic filter in which `%c` stands for the client identifier and `%u` for
    /// the user name; a rule with `%u` never matches a client without one.
    pub filter: String,
    /// The highest QoS an allowing rule allows; above it the rule does not match.
    #[serde(default = "highest_qos")]
    pub maximum_qos: u8,
    /// Whether an allowing rule allows publishing with RETAIN.
    #[serde(default = "yes")]
    pub retain: bool,
}

fn highest_qos() -> u8 {
    2
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Publish,
    Subscribe,
    /// To be delivered a message.
    Receive,
}

impl Action {
    /// Its name, as rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::Publish => "publish",
            Action::Subscribe => "subscribe",
            Action::Receive => "receive",
        }
    }
}

/// The rules of one client, its names put in. Other rules are another one of these, so what is
/// remembered is never older than the rules.
#[derive(Debug)]
pub struct Permissions {
    rules: Box<[Bound]>,
    /// What was said of topics; `None` where there are few rules.
    remembered: Option<Mutex<HashMap<Box<str>, Verdicts>>>,
}

/// By a bit for each way to ask about a topic: whether it was asked, and what was said.
#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    asked: u8,
    allowed: u8,
}

/// The bit of a delivery; those before it are of messages to be published.
const RECEIVE_BIT: u8 = 1 << 6;

#[derive(Debug)]
struct Bound {
    allow: bool,
    publish: bool,
    subscribe: bool,
    receive: bool,
    maximum_qos: u8,
    retain: bool,
    levels: Box<[Level]>,
    /// For the log line of a denied action.
    text: Box<str>,
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    /// `+`
    One,
    /// `#`
    Rest,
}

impl Permissions {
    /// Binds `rules` to a client. A rule for user names is left out for a client
    /// that has none.
    #[must_use]
    pub fn new(rules: &[Rule], client: &str, user: Option<&str>) -> Arc<Permissions> {
        let bound = rules
            .iter()
            .filter_map(|rule| Bound::new(rule, client, user))
            .collect();
        Arc::new(Permissions::of(bound))
    }

    fn of(rules: Box<[Bound]>) -> Permissions {
        let is_long = rules.len() >= REMEMBERED_FROM_RULES;
        Permissions {
            rules,
            remembered: is_long.then(Mutex::default),
        }
    }

    fn remember(&self, topic: &str, bit: u8, decide: impl FnOnce() -> bool) -> bool {
        let Some(remembered) = &self.remembered else {
            return decide();
        };
        let mut remembered = remembered.lock();
        if let Some(verdicts) = remembered.get_mut(topic) {
            if verdicts.asked & bit == 0 {
                verdicts.asked |= bit;
                verdicts.allowed |= if decide() { bit } else { 0 };
            }
            return verdicts.allowed & bit != 0;
        }
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        let allowed = decide();
        let verdicts = Verdicts {
            asked: bit,
            allowed: if allowed { bit } else { 0 },
        };
        remembered.insert(topic.into(), verdicts);
        allowed
    }

    /// Whether a message may be published.
    #[must_use]
    pub fn may_publish(&self, topic: &str, qos: QoS, retain: bool) -> bool {
        let decides =
            |rule: &&Bound| rule.publish && rule.matches(topic) && rule.covers(qos, retain);
        let bit = 1 << (2 * qos as u8 + u8::from(retain));
        self.remember(topic, bit, || {
            let mut rules = self.rules.iter();
            rules.find(decides).is_some_and(|rule| rule.allow)
        })
    }

    /// Whether a message of this topic may be delivered to the client.
    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        let decides = |rule: &&Bound| rule.receive && rule.matches(topic);
        self.remember(topic, RECEIVE_BIT, || {
            let mut rules = self.rules.iter();
            rules.find(decides).is_some_and(|rule| rule.allow)
        })
    }

    /// Whether the client may subscribe: a rule has to cover all that the filter
    /// matches. What a denying rule takes out of the middle is left out at delivery.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str, qos: QoS) -> bool {
        let decides =
            |rule: &&Bound| rule.subscribe && rule.contains(filter) && rule.covers(qos, false);
        self.rules
            .iter()
            .find(decides)
            .is_some_and(|rule| rule.allow)
    }

    /// The text of the rule that decides about publishing, for explanations.
    #[must_use]
    pub fn deciding(&self, action: Action, topic: &str, qos: QoS, retain: bool) -> Option<&str> {
        let speaks = |rule: &&Bound| match action {
            Action::Publish => rule.publish && rule.matches(topic) && rule.covers(qos, retain),
            Action::Subscribe => rule.subscribe && rule.contains(topic) && rule.covers(qos, false),
            Action::Receive => rule.receive && rule.matches(topic),
        };
        self.rules.iter().find(speaks).map(|rule| &*rule.text)
    }
}

impl Bound {
    fn new(rule: &Rule, client: &str, user: Option<&str>) -> Option<Bound> {
        if user.is_none() && rule.filter.contains("%u") {
            return None;
        }
        let level = |text: &str| match text {
            "+" => Level::One,
            "#" => Level::Rest,
            _ => Level::Literal(put_in(text, client, user.unwrap_or_default()).into()),
        };
        let verb = if rule.allow { "allow" } else { "deny" };
        Some(Bound {
            allow: rule.allow,
            publish: rule.actions.contains(&Action::Publish),
            subscribe: rule.actions.contains(&Action::Subscribe),
            receive: rule.actions.contains(&Action::Receive),
            maximum_qos: rule.maximum_qos,
            retain: rule.retain,
            levels: rule.filter.split('/').map(level).collect(),
            text: format!("{verb} {}", rule.filter).into(),
        })
    }

    /// An allowing rule has limits; a denying one denies at any QoS.
    fn covers(&self, qos: QoS, retain: bool) -> bool {
        !self.allow || (qos as u8 <= self.maximum_qos && (self.retain || !retain))
    }

    fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return false;
        }
        let mut topic = topic.split('/');
        for (place, level) in self.levels.iter().enumerate() {
            if *level == Level::Rest {
                return place + 1 == self.levels.len();
            }
            match (level, topic.next()) {
                (Level::One, Some(_)) => {}
                (Level::Literal(literal), Some(each)) if **literal == *each => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    /// Whether everything that `filter` matches, this rule matches too. `a/#`
    /// matches `a` as well, for rules as for subscriptions.
    fn contains(&self, filter: &str) -> bool {
        if filter.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return false;
        }
        let mut asked = filter.split('/');
        for (place, level) in self.levels.iter().enumerate() {
            if *level == Level::Rest {
                return true;
            }
            match (level, asked.next()) {
                // A topic has a first level, so `+/#` matches whatever `#` matches.
                (Level::One, Some("#")) => return place == 0 && self.levels[1..] == [Level::Rest],
                (_, Some("#") | None) => return false,
                (Level::One, Some(_)) => {}
                (Level::Literal(literal), Some(each)) if **literal == *each && each != "+" => {}
                _ => return false,
            }
        }
        asked.next().is_none()
    }
}

/// Puts the names in, once: what they contain is never looked at again.
fn put_in(text: &str, client: &str, user: &str) -> String {
    let mut whole = String::with_capacity(text.len() + client.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        whole.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("%c") {
            whole.push_str(client);
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("%u") {
            whole.push_str(user);
            rest = behind;
        } else {
            whole.push('%');
            rest = &rest[1..];
        }
    }
    whole.push_str(rest);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, actions: &[Action], filter: &str) -> Rule {
        Rule {
            allow,
            actions: actions.to_vec(),
            filter: filter.into(),
            maximum_qos: 2,
            retain: true,
        }
    }

    const ALL: &[Action] = &[Action::Publish, Action::Subscribe, Action::Receive];

    #[test]
    fn only_a_client_itself_may_publish_its_status() {
        let rules = [rule(true, &[Action::Publish], "%c/status")];
        let own = Permissions::new(&rules, "client1", None);
        assert!(own.may_publish("client1/status", QoS::AtMostOnce, false));
        assert!(!own.may_publish("client2/status", QoS::AtMostOnce, false));
        assert!(!own.may_publish("client1/status/x", QoS::AtMostOnce, false));
        assert!(!own.may_receive("client1/status"));
    }

    #[test]
    fn wildcards_in_a_clients_names_match_only_themselves() {
        let rules = [rule(true, ALL, "home/%u/%c/#")];
        let sly = Permissions::new(&rules, "+", Some("#"));
        assert!(!sly.may_receive("home/alice/phone/x"));
        assert!(!sly.may_subscribe("home/+/+/#", QoS::AtMostOnce));
        let slashed = Permissions::new(&rules, "b/c", Some("a"));
        assert!(!slashed.may_receive("home/a/b/c/d"));
        let tricky = Permissions::new(&rules, "%u", Some("%c"));
        assert!(tricky.may_receive("home/%c/%u/x"));
    }

    #[test]
    fn the_first_rule_that_speaks_decides_and_silence_is_no() {
        let rules = [rule(false, ALL, "a/secret/#"), rule(true, ALL, "a/#")];
        let permissions = Permissions::new(&rules, "c", None);
        assert!(permissions.may_receive("a/open"));
        assert!(permissions.may_receive("a"));
        assert!(!permissions.may_receive("a/secret"));
        assert!(!permissions.may_receive("b"));
        assert!(permissions.may_subscribe("a/#", QoS::AtLeastOnce));
        assert!(!permissions.may_subscribe("#", QoS::AtLeastOnce));
        assert!(!permissions.may_subscribe("a/secret/x", QoS::AtLeastOnce));
        assert_eq!(
            permissions.deciding(Action::Receive, "a/secret/x", QoS::AtMostOnce, false),
            Some("deny a/secret/#")
        );
    }

    #[test]
    fn a_filter_is_allowed_only_if_all_it_matches_is() {
        let rules = [rule(true, ALL, "a/+/c"), rule(true, ALL, "x/#")];
        let permissions = Permissions::new(&rules, "c", None);
        for filter in ["a/+/c", "a/b/c", "x/#", "x/+/y", "x"] {
            assert!(
                permissions.may_subscribe(filter, QoS::AtMostOnce),
                "{filter}"
            );
        }
        let all = Permissions::new(&[rule(true, ALL, "+/#")], "c", None);
        assert!(all.may_subscribe("#", QoS::AtMostOnce));
        for filter in ["a/+/+", "a/#", "+/b/c", "#", "a/b", "+/y", "$SYS/#"] {
            assert!(
                !permissions.may_subscribe(filter, QoS::AtMostOnce),
                "{filter}"
            );
        }
    }

    #[test]
    fn dollar_topics_need_a_rule_that_names_them() {
        let permissions = Permissions::new(&[rule(true, ALL, "#")], "c", None);
        assert!(!permissions.may_receive("$SYS/broker/uptime"));
        let named = Permissions::new(&[rule(true, ALL, "$SYS/#")], "c", None);
        assert!(named.may_receive("$SYS/broker/uptime"));
    }

    #[test]
    fn what_is_remembered_is_what_the_rules_say() {
        let mut rules: Vec<Rule> = (0..40)
            .map(|number| rule(number % 3 != 0, ALL, &format!("t/{number}/+")))
            .collect();
        for (number, limited) in rules.iter_mut().enumerate() {
            limited.maximum_qos = (number % 3) as u8;
            limited.retain = number % 2 == 0;
        }
        let many = Permissions::new(&rules, "c", None);
        assert!(many.remembered.is_some());
        let mut fresh = Permissions::of(Box::default());
        fresh.rules = rules
            .iter()
            .filter_map(|rule| Bound::new(rule, "c", None))
            .collect();
        let mut allowed = 0;
        // Twice, and more topics than are remembered.
        for topic in (0..2 * MAX_REMEMBERED).chain(0..100).chain(0..100) {
            let topic = format!("t/{}/{topic}", topic % 50);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for retain in [false, true] {
                    let said = many.may_publish(&topic, qos, retain);
                    assert_eq!(said, fresh.may_publish(&topic, qos, retain), "{topic}");
                    allowed += usize::from(said);
                }
            }
            assert_eq!(many.may_receive(&topic), fresh.may_receive(&topic));
        }
        assert!(allowed > 100);
        let remembered = many.remembered.as_ref().unwrap().lock().len();
        assert!((100..=MAX_REMEMBERED).contains(&remembered));
        assert!(
            Permissions::new(&rules[..4], "c", None)
                .remembered
                .is_none()
        );
    }

    #[test]
    fn qos_and_retain_limits_hold() {
        let mut limited = rule(true, ALL, "t");
        limited.maximum_qos = 1;
        limited.retain = false;
        let permissions = Permissions::new(&[limited], "c", None);
        assert!(permissions.may_publish("t", QoS::AtLeastOnce, false));
        assert!(!permissions.may_publish("t", QoS::ExactlyOnce, false));
        assert!(!permissions.may_publish("t", QoS::AtLeastOnce, true));
    }
}
