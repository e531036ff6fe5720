"""Every option of the commands that connect, once."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["COMMANDS", "COMMON", "FLAGS", "GROUPS", "Command", "Flag", "Kind", "flags_of"]


class Kind(Enum):
    """How an option's arguments are read."""

    SWITCH = "no argument: true when given"
    TEXT = "one argument, as it is; the last one counts"
    INTEGER = "one whole number within its bounds"
    NUMBER = "one number within its bounds"
    LIST = "one argument each time, all of which count"
    VERSION = "a version of MQTT"
    EXPIRY = "seconds, -1 or ∞"
    CHOICE = "one of a few words"
    PROPERTY = "packet, property and value, or name and value"
    HELP = "prints the help"


class Flag(NamedTuple):
    """One option.

    `commands` holds the letter of each command that takes it. `field` is the attribute of
    `Settings`; `bounds` are inclusive.
    """

    names: tuple[str, ...]
    field: str
    kind: Kind
    commands: str
    group: str
    help: str
    metavar: str = ""
    bounds: tuple[float, float] = (0, 0)
    choices: tuple[str, ...] = ()


class Command(NamedTuple):
    """A command whose options stand in the table."""

    letter: str
    usage: tuple[str, ...]
    summary: str
    examples: tuple[tuple[str, str], ...]


COMMANDS = {
    "pub": Command(
        "p",
        (
            "noctule pub [-h HOST] -t TOPIC -m MESSAGE [OPTIONS]",
            "noctule pub URL/TOPIC {-m MESSAGE | -f FILE | -l | -s | -n} [OPTIONS]",
        ),
        "Publish messages.",
        (
            ("noctule pub -t lights/hall -m on", "one message to a broker on this machine"),
            ("sensor | noctule pub -t temperature -l -q 1", "each line of a pipe"),
            ("noctule pub mqtts://broker.example/door -m open -r", "over TLS, retained"),
        ),
    ),
    "sub": Command(
        "s",
        (
            "noctule sub [-h HOST] -t TOPIC [-t TOPIC …] [OPTIONS]",
            "noctule sub URL/TOPIC [OPTIONS]",
        ),
        "Subscribe, and print what comes.",
        (
            ("noctule sub -t 'sensors/#' -v", "topic and payload, a line each"),
            ("noctule sub -t '#' --tree", "a live tree of topics with values and rates"),
            ("noctule sub -t door -C 1 -W 10", "one message, within ten seconds"),
            ("noctule sub -t '#' --save day.jsonl", "record, for `noctule replay`"),
        ),
    ),
    "rr": Command(
        "r",
        (
            "noctule rr [-h HOST] -t TOPIC -e RESPONSE_TOPIC -m MESSAGE [OPTIONS]",
            "noctule rr URL/TOPIC -e RESPONSE_TOPIC -m MESSAGE [OPTIONS]",
        ),
        "Publish a request, and print the response.",
        (("noctule rr -t service/time -e answer/me -m now -W 5", "wait five seconds at most"),),
    ),
    "replay": Command(
        "y",
        ("noctule replay FILE [--speed N] [OPTIONS]",),
        "Publish what `noctule sub --save` has recorded.",
        (
            ("noctule replay day.jsonl", "at the pace of the recording"),
            ("noctule replay day.jsonl --speed 60", "an hour in a minute"),
            ("noctule replay day.jsonl --speed 0 --prefix test/", "at once, below test/"),
        ),
    ),
    "top": Command(
        "o",
        ("noctule top [-h HOST] [OPTIONS]", "noctule top URL [OPTIONS]"),
        "Watch a broker: connections, rates, drops, busiest topics.",
        (
            ("noctule top", "the broker on this machine"),
            ("noctule top --once --json", "one look, for a program"),
        ),
    ),
    "doctor": Command(
        "d",
        ("noctule doctor [-h HOST] [OPTIONS]", "noctule doctor URL [OPTIONS]"),
        "Try a broker step by step, and say what fails and what to do.",
        (
            ("noctule doctor mqtts://broker.example", "from the name to QoS 2"),
            ("noctule doctor --json", "for a program; the exit code is 1 where something fails"),
        ),
    ),
}

GROUPS = {
    "connection": "Where to connect",
    "identity": "Who connects",
    "tls": "TLS",
    "session": "Session and will",
    "message": "What is sent",
    "subscription": "What is subscribed",
    "selection": "Which messages are shown, and when it ends",
    "output": "How messages are shown",
    "general": "In general",
}

EVERY = "psrdoy"

FLAGS = (
    # --- Where to connect ---
    Flag(("-h", "--host"), "host", Kind.TEXT, EVERY, "connection",
         "Host to connect to; localhost if nothing else is said.", "HOST"),
    Flag(("-p", "--port"), "port", Kind.INTEGER, EVERY, "connection",
         "Port; 1883, 8883 with TLS, 8083 and 8084 with WebSocket.", "PORT", (1, 65_535)),
    Flag(("-L", "--url"), "url", Kind.TEXT, EVERY, "connection",
         "All at once: mqtt(s)://[user[:password]@]host[:port]/topic. Can stand without -L.",
         "URL"),
    Flag(("--unix",), "unix", Kind.TEXT, EVERY, "connection",
         "Connect to this Unix socket instead.", "FILE"),
    Flag(("--ws",), "websocket", Kind.SWITCH, EVERY, "connection",
         "Speak MQTT inside of WebSocket, at the path /mqtt."),
    Flag(("-S",), "srv", Kind.SWITCH, EVERY, "connection",
         "Find host and port in the DNS, under _mqtt._tcp or _secure-mqtt._tcp of HOST."),
    Flag(("-A",), "bind_address", Kind.TEXT, EVERY, "connection",
         "Connect from this address of this machine.", "ADDRESS"),
    Flag(("--proxy",), "proxy", Kind.TEXT, EVERY, "connection",
         "Connect through socks5h://[user[:password]@]host[:port], or http://….", "URL"),
    Flag(("--nodelay",), "no_delay", Kind.SWITCH, EVERY, "connection",
         "Send small packets at once (TCP_NODELAY)."),
    Flag(("-k", "--keepalive"), "keep_alive", Kind.INTEGER, EVERY, "connection",
         "Keep alive in seconds; 60 if not given.", "SECONDS", (5, 65_535)),
    Flag(("--connect-timeout",), "connect_timeout", Kind.NUMBER, EVERY, "connection",
         "Seconds to wait for a connection; 10 if not given.", "SECONDS", (0.1, 86_400)),
    # --- Who connects ---
    Flag(("-i", "--id"), "client_id", Kind.TEXT, EVERY, "identity",
         "Client identifier; the server makes one up if none is given.", "ID"),
    Flag(("-I", "--id-prefix"), "client_id_prefix", Kind.TEXT, EVERY, "identity",
         "Client identifier made of this and the process number.", "PREFIX"),
    Flag(("-u", "--username"), "user_name", Kind.TEXT, EVERY, "identity",
         "User name.", "NAME"),
    Flag(("-P", "--pw"), "password", Kind.TEXT, EVERY, "identity",
         "Password. Others on this machine can see it; the next three cannot be seen.",
         "PASSWORD"),
    Flag(("--password-file",), "password_file", Kind.TEXT, EVERY, "identity",
         "The password is the first line of this file. Or set NOCTULE_PASSWORD.", "FILE"),
    Flag(("--ask-password",), "ask_password", Kind.SWITCH, EVERY, "identity",
         "Ask for the password at the terminal."),
    Flag(("--profile",), "profile", Kind.TEXT, EVERY, "identity",
         "Use [profiles.NAME] of ~/.config/noctule/config.toml. Or set NOCTULE_PROFILE.", "NAME"),
    Flag(("-V", "--protocol-version"), "version", Kind.VERSION, EVERY, "identity",
         "Version of MQTT: 5, 311 or 31. 311 if not given; 5 for `rr` and with -D.", "VERSION"),
    # --- TLS ---
    Flag(("--tls",), "tls", Kind.SWITCH, EVERY, "tls",
         "Use TLS, and trust the certificates that the system trusts."),
    Flag(("--tls-use-os-certs",), "tls", Kind.SWITCH, EVERY, "tls", "The same."),
    Flag(("--cafile",), "cafile", Kind.TEXT, EVERY, "tls",
         "Use TLS, and trust the certificates in this file (PEM).", "FILE"),
    Flag(("--capath",), "capath", Kind.TEXT, EVERY, "tls",
         "Use TLS, and trust the certificates in this directory (`openssl rehash`).", "DIR"),
    Flag(("--cert",), "cert", Kind.TEXT, EVERY, "tls",
         "Our certificate (PEM), where the server asks for one.", "FILE"),
    Flag(("--key",), "key", Kind.TEXT, EVERY, "tls", "The private key of --cert (PEM).", "FILE"),
    Flag(("--ciphers",), "ciphers", Kind.TEXT, EVERY, "tls",
         "Ciphers for TLS 1.2 and before, as OpenSSL lists them.", "LIST"),
    Flag(("--tls-version",), "tls_version", Kind.CHOICE, EVERY, "tls",
         "Speak this version alone: tlsv1.3, tlsv1.2 or tlsv1.1.", "VERSION",
         choices=("tlsv1.3", "tlsv1.2", "tlsv1.1")),
    Flag(("--tls-alpn",), "tls_alpn", Kind.TEXT, EVERY, "tls",
         "Protocol to ask for in the handshake.", "NAME"),
    Flag(("--tls-keylog",), "tls_keylog", Kind.TEXT, EVERY, "tls",
         "Write the secrets of TLS into this file, for Wireshark. For tests alone.", "FILE"),
    Flag(("--no-tls",), "no_tls", Kind.SWITCH, EVERY, "tls",
         "No TLS, even at port 8883."),
    Flag(("--insecure",), "insecure", Kind.SWITCH, EVERY, "tls",
         "Do not compare the server's name with its certificate. For tests alone."),
    # --- Session and will ---
    Flag(("-c", "--disable-clean-session"), "keep_session", Kind.SWITCH, "psr", "session",
         "Continue the session of this client identifier, and leave it to the server."),
    Flag(("-x", "--session-expiry-interval"), "session_expiry", Kind.EXPIRY, "psr", "session",
         "Seconds that the session outlives the connection; -1 or ∞: for ever. MQTT 5.0.",
         "SECONDS"),
    Flag(("--will-topic",), "will_topic", Kind.TEXT, "psr", "session",
         "Topic of the will, which the server publishes when we are gone without goodbye.",
         "TOPIC"),
    Flag(("--will-payload",), "will_payload", Kind.TEXT, "psr", "session",
         "Payload of the will; empty if not given.", "TEXT"),
    Flag(("--will-qos",), "will_qos", Kind.INTEGER, "psr", "session",
         "QoS of the will.", "QOS", (0, 2)),
    Flag(("--will-retain",), "will_retain", Kind.SWITCH, "psr", "session", "Retain the will."),
    Flag(("-D", "--property"), "properties", Kind.PROPERTY, "psr", "session",
         "A property of 5.0 in one of our packets: -D publish content-type text/plain, "
         "-D connect user-property NAME VALUE. PACKET is connect, will, disconnect, and what the "
         "command sends: publish, subscribe, unsubscribe.",
         "PACKET NAME VALUE"),
    # --- What is sent ---
    Flag(("-t", "--topic"), "topics", Kind.LIST, "pr", "message",
         "Topic to publish to.", "TOPIC"),
    Flag(("-e", "--response-topic"), "response_topic", Kind.TEXT, "r", "message",
         "Topic to wait for the response on.", "TOPIC"),
    Flag(("-m", "--message"), "message", Kind.TEXT, "pr", "message",
         "Publish this text.", "TEXT"),
    Flag(("-f", "--file"), "file", Kind.TEXT, "pr", "message",
         "Publish what is in this file, as one message.", "FILE"),
    Flag(("-n", "--null-message"), "null_message", Kind.SWITCH, "pr", "message",
         "Publish a message without payload; with -r it removes the retained one."),
    Flag(("-s", "--stdin-file"), "standard_input", Kind.SWITCH, "pr", "message",
         "Publish all of standard input, as one message."),
    Flag(("-l", "--stdin-line"), "lines", Kind.SWITCH, "p", "message",
         "Publish each line of standard input, as a message of its own."),
    Flag(("-q", "--qos"), "qos", Kind.INTEGER, "pr", "message",
         "QoS: 0, 1 or 2. 0 if not given.", "QOS", (0, 2)),
    Flag(("-r", "--retain"), "retain", Kind.SWITCH, "p", "message",
         "Let the server keep the message for later subscribers."),
    Flag(("--repeat",), "repeat", Kind.INTEGER, "p", "message",
         "Publish the message so many times (-m, -f, -n and -s).", "N", (1, 2_147_483_647)),
    Flag(("--repeat-delay",), "repeat_delay", Kind.NUMBER, "p", "message",
         "Seconds between two of --repeat.", "SECONDS", (0, 31_536_000)),
    Flag(("-M",), "max_inflight", Kind.INTEGER, "psr", "message",
         "Messages of QoS 1 and 2 on their way at a time; 20 if not given.", "N", (1, 65_535)),
    # --- What is subscribed ---
    Flag(("-t", "--topic"), "topics", Kind.LIST, "s", "subscription",
         "Topic filter to subscribe to; + and # stand for a level and for all that follow. "
         "May be given several times.", "TOPIC"),
    Flag(("-U", "--unsubscribe"), "unsubscribe", Kind.LIST, "s", "subscription",
         "Topic filter to unsubscribe from, after subscribing. May be given several times.",
         "TOPIC"),
    Flag(("-q", "--qos"), "qos", Kind.INTEGER, "s", "subscription",
         "Highest QoS of what comes. 0 if not given.", "QOS", (0, 2)),
    Flag(("--retain-as-published",), "retain_as_published", Kind.SWITCH, "sr", "subscription",
         "Leave the retain flag as the publisher set it. MQTT 5.0."),
    Flag(("--retain-handling",), "retain_handling", Kind.CHOICE, "sr", "subscription",
         "When retained messages are sent: always, new (subscriptions) or never. MQTT 5.0.",
         "WHEN", choices=("always", "new", "never")),
    # --- Which messages, and when it ends ---
    Flag(("-C",), "count", Kind.INTEGER, "s", "selection",
         "End after so many messages.", "N", (1, 2_147_483_647)),
    Flag(("-W",), "timeout", Kind.NUMBER, "sr", "selection",
         "End after so many seconds, with exit code 27.", "SECONDS", (0.001, 31_536_000)),
    Flag(("-E",), "exit_after_subscribing", Kind.SWITCH, "s", "selection",
         "End when the server has answered the subscriptions."),
    Flag(("-T", "--filter-out"), "filter_out", Kind.LIST, "s", "selection",
         "Do not show messages of this topic filter. May be given several times.", "TOPIC"),
    Flag(("-R",), "no_retained", Kind.SWITCH, "sr", "selection",
         "Do not show retained messages."),
    Flag(("--retained-only",), "retained_only", Kind.SWITCH, "s", "selection",
         "Show retained messages alone, and end at the first other one."),
    Flag(("--remove-retained",), "remove_retained", Kind.SWITCH, "s", "selection",
         "Remove each retained message that comes, -T apart. With -E it ends when none has "
         "come for a second."),
    Flag(("--random-filter",), "random_filter", Kind.NUMBER, "s", "selection",
         "Show this share of the messages, by chance.", "PERCENT", (0.1, 100)),
    # --- How messages are shown ---
    Flag(("-v", "--verbose"), "verbose", Kind.SWITCH, "sr", "output",
         "Print the topic before the payload."),
    Flag(("-F",), "format", Kind.TEXT, "sr", "output",
         "Print in this form: %t topic, %p payload, %x in hex, %q QoS, %r retain, %j JSON, "
         "%I time, @H strftime; widths as in %-20t. `man noctule-sub` has all.", "FORMAT"),
    Flag(("-N",), "no_newline", Kind.SWITCH, "sr", "output",
         "Print no newline after a message."),
    Flag(("--pretty",), "pretty", Kind.SWITCH, "sr", "output",
         "Break JSON into lines: that of %j and %J, and payloads shown to the eye."),
    Flag(("--json",), "json", Kind.SWITCH, "sr", "output",
         "Print each message as a line of JSON, any payload included: what --save writes."),
    Flag(("--eyes",), "eyes", Kind.SWITCH, "s", "output",
         "For people: time, topic and payload aligned and in colour, binary as hex. What a "
         "terminal gets when no other form is asked for."),
    Flag(("--plain",), "plain", Kind.SWITCH, "s", "output",
         "In a terminal, too, print the payload and nothing else."),
    Flag(("--tree",), "tree", Kind.SWITCH, "s", "output",
         "A live tree of topics, last values and rates."),
    Flag(("-w", "--watch"), "watch", Kind.SWITCH, "s", "output",
         "A line for each topic that stays where it is, with what came last."),
    Flag(("--stats",), "stats", Kind.SWITCH, "s", "output",
         "Messages and bytes by topic, busiest first."),
    Flag(("--save",), "save", Kind.TEXT, "s", "output",
         "Record the messages in this file, a line of JSON each, for `noctule replay`.", "FILE"),
    Flag(("--message-rate",), "message_rate", Kind.SWITCH, "s", "output",
         "Print how many messages came, once a second, instead of the messages."),
    # --- replay, top, doctor ---
    Flag(("--speed",), "speed", Kind.NUMBER, "y", "message",
         "How many times faster than recorded; 0: without waiting. 1 if not given.", "N",
         (0, 1_000_000)),
    Flag(("--prefix",), "prefix", Kind.TEXT, "y", "message",
         "Put this before every topic.", "TEXT"),
    Flag(("-t", "--topic"), "topics", Kind.LIST, "y", "message",
         "Publish what matches this topic filter alone. May be given several times.", "TOPIC"),
    Flag(("--no-retain",), "no_retained", Kind.SWITCH, "y", "message",
         "Publish nothing retained, whatever the recording says."),
    Flag(("-M",), "max_inflight", Kind.INTEGER, "y", "message",
         "Messages of QoS 1 and 2 on their way at a time; 20 if not given.", "N", (1, 65_535)),
    Flag(("-t", "--topic"), "topics", Kind.LIST, "d", "message",
         "Topic for the round trips; one of our own below noctule/doctor/ if not given.",
         "TOPIC"),
    Flag(("-t", "--topic"), "topics", Kind.LIST, "o", "subscription",
         "Count the topics of this filter to find the busiest; # if not given.", "TOPIC"),
    Flag(("--no-topics",), "no_topics", Kind.SWITCH, "o", "subscription",
         "Subscribe to $SYS alone: a broker under load is spared our copy of everything."),
    Flag(("--once",), "once", Kind.SWITCH, "o", "output",
         "Look once, print, and end."),
    Flag(("-W",), "timeout", Kind.NUMBER, "o", "selection",
         "End after so many seconds.", "SECONDS", (0.001, 31_536_000)),
    Flag(("--json",), "json", Kind.SWITCH, "yod", "output", "Print JSON, for programs."),
    # --- In general ---
    Flag(("-d", "--debug"), "debug", Kind.SWITCH, EVERY, "general",
         "Print each packet that is sent or received."),
    Flag(("--quiet",), "quiet", Kind.SWITCH, "psr", "general",
         "Print no errors but those of the command line itself."),
    Flag(("-o", "--options"), "options_file", Kind.LIST, "psr", "general",
         "Read options from this file, one on each line, # before comments.", "FILE"),
    Flag(("--version",), "show_version", Kind.SWITCH, "psr", "general", "Print the version."),
    Flag(("--help",), "help", Kind.HELP, EVERY, "general", "Print what is needed most."),
    Flag(("--help-all",), "help_all", Kind.HELP, EVERY, "general", "Print all options."),
)  # fmt: skip

# What --help shows of each command; --help-all and the manual page have the rest.
COMMON = {
    "pub": "-h -p -t -m -f -l -s -n -q -r -u --password-file --cafile --profile -V -D",
    "sub": "-h -p -t -q -v -F -C -W -R -T -u --password-file --cafile --profile --tree --stats "
    "--json --save",
    "rr": "-h -p -t -e -m -f -q -v -F -W -u --password-file --cafile --profile",
    "replay": "-h -p -t --speed --prefix --no-retain -u --password-file --profile --json",
    "top": "-h -p -t --no-topics --once --json -u --password-file --profile",
    "doctor": "-h -p -t -u --password-file --cafile --ws --profile --json",
}


def flags_of(letter: str) -> list[Flag]:
    """The options of one command, in the order of the groups."""
    order = list(GROUPS)
    return sorted(
        (flag for flag in FLAGS if letter in flag.commands),
        key=lambda flag: order.index(flag.group),
    )
