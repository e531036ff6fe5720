"""Users of an LDAP server, which is OpenLDAP's."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from noctule.access import DENIED, AccessError, BackEndError, Identity
from noctule.access.keepers import still_stands
from noctule.access.ldap import Ldap, LdapPlan
from tests.conformance.certificates import folder
from tests.integration.access.slapd import ADMIN, BASE, SLAPD, slapd
from tests.unit.access.test_authenticators import REQUEST

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(SLAPD is None, reason="slapd is not installed"),
]

SEARCHED = LdapPlan(
    url="ldap://127.0.0.1",
    base=f"ou=people,{BASE}",
    bind_dn=ADMIN,
    bind_password="admin",
    group_base=f"ou=groups,{BASE}",
)
NAMED = replace(SEARCHED, user_dn=f"uid=%u,ou=people,{BASE}", bind_dn=None, bind_password=None)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with slapd(tmp_path_factory.mktemp("slapd")) as url:
        yield url


@pytest.mark.parametrize("plan", [SEARCHED, NAMED], ids=["searched", "named"])
@pytest.mark.parametrize(
    ("user", "password", "groups"),
    [
        ("alice", b"a", {"operators", "night"}),
        ("bob, jr", b"b", {"night"}),
        ("alice", b"b", None),
        ("alice", b"", None),
        ("alice", b"\xff", None),
        # Names that a server would take for alice's, or for everybody's.
        ("ALICE", b"a", None),
        ("alice ", b"a", None),
        ("*", b"a", None),
        ("a*", b"a", None),
        ("alice)(uid=*", b"a", None),
        ("alice,ou=people", b"a", None),
        ("%u", b"a", None),
        ("%d", b"a", None),
        ("nobody", b"a", None),
        ("", b"a", None),
    ],
)
async def test_password_is_tried_and_groups_are_found(
    url: str, plan: LdapPlan, user: str, password: bytes, groups: set[str] | None
) -> None:
    link = Ldap(replace(plan, url=url))
    verdict = await link.identify(replace(REQUEST, user=user, password=password))
    await link.close()
    if groups is None:
        assert verdict in (None, DENIED)
    else:
        assert verdict == Identity(user, frozenset(groups))


@pytest.mark.parametrize("start_tls", [True, False])
async def test_tls_is_taken_with_the_right_authority_and_the_right_name_alone(
    url: str, start_tls: bool
) -> None:
    host, port = url.removeprefix("ldap://").split(":")

    def at(host: str, authority: str) -> Ldap:
        secured = f"ldap://{host}:{port}" if start_tls else f"ldaps://{host}:{int(port) + 1}"
        return Ldap(
            replace(SEARCHED, url=secured, start_tls=start_tls, ca_file=folder() / authority)
        )

    right = at(host, "authority.pem")
    assert await right.identify(REQUEST) == Identity("alice", frozenset({"operators", "night"}))
    await right.close()
    # 127.0.0.2 is the same server, and not in its certificate.
    for wrong in (at(host, "good.pem"), at("127.0.0.2", "authority.pem")):
        with pytest.raises(BackEndError):
            await wrong.identify(REQUEST)
        await wrong.close()


async def test_unknown_user_may_be_known_to_the_next(url: str) -> None:
    link = Ldap(replace(SEARCHED, url=url))
    assert await link.identify(replace(REQUEST, user="nobody")) is None
    assert await link.identify(replace(REQUEST, password=b"wrong")) == DENIED
    assert await link.identify(replace(REQUEST, user=None)) is None
    await link.close()


@pytest.mark.parametrize("user_dn", [None, NAMED.user_dn], ids=["searched", "named"])
async def test_what_is_held_of_a_user_is_the_entry(url: str, user_dn: str | None) -> None:
    link = Ldap(replace(SEARCHED, url=url, user_dn=user_dn))
    identity = await link.identify(REQUEST)
    assert isinstance(identity, Identity)
    assert await still_stands(identity, link)
    assert not await still_stands(replace(identity, user="somebody who has gone"), link)
    await link.close()
    nobody_there = Ldap(replace(SEARCHED, url="ldap://127.0.0.1:9", user_dn=user_dn))
    with pytest.raises(BackEndError):
        await still_stands(identity, nobody_there)
    await nobody_there.close()


@pytest.mark.parametrize("bind_password", ["wrong", None])
async def test_server_that_does_not_let_us_search_is_an_error(
    url: str, bind_password: str | None
) -> None:
    link = Ldap(replace(SEARCHED, url=url, bind_password=bind_password))
    with pytest.raises(BackEndError) as caught:
        await link.identify(REQUEST)
    assert "wrong" not in str(caught.value)
    await link.close()


async def test_server_that_is_not_there_is_an_error() -> None:
    link = Ldap(replace(SEARCHED, url="ldap://127.0.0.1:9"))
    with pytest.raises(BackEndError):
        await link.identify(REQUEST)
    await link.close()


@pytest.mark.parametrize("url", ["ldap://ldap.example.org", "http://x", "ldaps://"])
def test_passwords_go_nowhere_in_the_clear(url: str) -> None:
    with pytest.raises(AccessError):
        replace(SEARCHED, url=url)
    replace(SEARCHED, url="ldaps://ldap.example.org")
    replace(SEARCHED, url="ldap://ldap.example.org", start_tls=True)
