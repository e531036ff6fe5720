"""From noctule.toml to the access control that it describes."""

from pathlib import Path

import pytest

from noctule.access import Access, AccessError, access_of, local_rules
from noctule.access.http_service import HttpRules, HttpService
from noctule.access.insecure_sasl import CramMd5
from noctule.access.ldap import Ldap
from noctule.access.sql import SqlRules, SqlUsers
from noctule.broker import Accept, AuthenticationRequest
from noctule.config import Configuration, ConfigurationError, load_options

NAMELESS = AuthenticationRequest(
    stage="connect",
    client="c",
    user=None,
    password=None,
    method=None,
    data=None,
    version=5,
    address="127.0.0.1",
    port=1,
    listener=0,
    is_private=True,
)

EVERYTHING = """\
data_dir = "HERE/data"
listeners = ["mqtt://127.0.0.1:0"]

[access]
peer_names = true
certificate_name = "subject"
directory = true
acl_file = "HERE/acl"
password_file = "HERE/users"
plain = true
insecure_methods = ["CRAM-MD5"]
clear_text_file = "HERE/clear"

[access.jwt]
key_file = "HERE/key"
algorithms = ["HS256"]
issuer = "us"
leeway_seconds = 2
oauthbearer = true

[access.sql]
url = "sqlite:///HERE/sql"
rules_query = "SELECT * FROM acl"
refresh_seconds = 1.5

[access.ldap]
url = "ldap://127.0.0.1"
base = "dc=example"
bind_dn = "cn=reader"
bind_password_file = "HERE/secret"
group_base = "dc=groups"

[access.http]
url = "http://127.0.0.1/"
rules_url = "http://127.0.0.1/rules"
failures = 2
pause_seconds = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "acl").write_text("pattern read a/#\n")
    (tmp_path / "users").write_text("")
    (tmp_path / "clear").write_text("al:s3cret\n")
    (tmp_path / "clear").chmod(0o600)
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "secret").write_text("s3cret\n")
    return tmp_path


def configured(folder: Path, text: str) -> Configuration:
    file = folder / "noctule.toml"
    file.write_text(text.replace("HERE", str(folder)))
    return load_options(file)


async def test_everything_is_reachable_from_the_file(folder: Path) -> None:
    options = configured(folder, EVERYTHING)
    access = access_of(options.access, options)
    assert isinstance(access, Access)
    kinds = [type(link).__name__ for link in access._links]
    # What the transport vouches for first, what costs most last.
    assert kinds == ["Peer", "Tokens", "PasswordFile", "Directory", "SqlUsers", "Ldap",
                     "HttpService"]  # fmt: skip
    assert set(access._mechanisms) == {"PLAIN", "CRAM-MD5", "OAUTHBEARER"}
    sources = access._sources._sources
    assert [type(each).__name__ for each in sources] == ["AclFile", "Directory", "SqlRules",
                                                         "HttpRules"]  # fmt: skip
    assert isinstance(access._mechanisms["CRAM-MD5"], CramMd5)
    by_kind = {type(each): each for each in (*access._links, *sources)}
    http, ldap, rules = by_kind[HttpService], by_kind[Ldap], by_kind[SqlRules]
    assert isinstance(http, HttpService)
    assert (http._most_failures, http._pause_seconds) == (2, 3)
    assert isinstance(ldap, Ldap)
    assert (ldap._plan.bind_password, ldap._plan.group_base) == ("s3cret", "dc=groups")
    assert isinstance(rules, SqlRules)
    assert rules._refresh_seconds == 1.5
    assert {SqlUsers, HttpRules} < set(by_kind)
    await access.detach()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[access.jwt]\nkey_file = "HERE/key"\n', "issuer"),
        ('[access]\ninsecure_methods = ["CRAM-MD5"]\n', "clear_text_file"),
        ('[access]\ninsecure_methods = ["PLAIN"]\n', "insecure_methods"),
        ('[access]\ncertificate_name = "serial"\n', "certificate_name"),
        ("[access.ldap]\ntimeout_seconds = 0\n", "timeout_seconds"),
    ],
)
def test_wrong_option_is_named(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        configured(folder, text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[access]\ndirectory = true\n", "data_dir"),
        ('[access.ldap]\nurl = "ldap://ldap.example.org"\nbase = "x"\n', "in the clear"),
        ('[access.ldap]\nurl = "ldaps://ldap.example.org"\n', "base"),
        ('[access]\nacl_file = "HERE/none"\n', "none"),
        ('[access]\npassword_file = "HERE/none"\n', "none"),
        ('[access.sql]\nurl = "HERE"\n', "URL"),
        ('[access.jwt]\nkey_file = "HERE/key"\nissuer = "x"\nalgorithms = ["none"]\n', "none"),
        (
            '[access.jwt]\nkey_file = "HERE/key"\nissuer = "x"\nalgorithms = ["HS256", "RS256"]\n',
            "HS",
        ),
    ],
)
def test_what_cannot_work_is_said_at_the_start(folder: Path, text: str, complaint: str) -> None:
    options = configured(folder, text)
    with pytest.raises((AccessError, OSError, ValueError), match=complaint):
        access_of(options.access, options)


async def test_rules_are_explained_as_far_as_nobody_has_to_be_asked(folder: Path) -> None:
    text = EVERYTHING.replace('"sqlite:///HERE/sql"', '"postgresql://127.0.0.1/x"')
    options = configured(folder, text)
    found, elsewhere = await local_rules(options.access, options)
    assert [rule.filter for rule in found.rules] == ["a/#"]
    assert elsewhere == ["access.sql", "access.http.rules_url"]
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    ("line", "let_in"),
    [("", True), ("allow_anonymous = false", False), ("allow_anonymous = true", True)],
)
async def test_nobody_is_let_in_without_a_name_where_the_file_says_so(
    folder: Path, line: str, let_in: bool
) -> None:
    """A rule alone leaves loopback open, unless that is refused in so many words."""
    file = folder / "noctule.toml"
    file.write_text(f"[access]\n{line}\n[[access.rules]]\nfilter = 'a'\n")
    options = load_options(file, {})
    access = access_of(options.access, options)
    assert access is not None
    assert isinstance(await access.start(NAMELESS), Accept) is let_in


async def test_refusing_the_nameless_is_enough_to_set_up_access_control(folder: Path) -> None:
    file = folder / "noctule.toml"
    file.write_text("[access]\nallow_anonymous = false\n")
    options = load_options(file, {})
    assert access_of(options.access, options) is not None
