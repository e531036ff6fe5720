"""Debian's slapd on loopback, with a few people in it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

__all__ = ["ADMIN", "BASE", "SLAPD", "slapd"]

SLAPD = which("slapd") or which("slapd", path="/usr/sbin:/usr/lib/openldap")
BASE = "dc=example,dc=org"
ADMIN = f"cn=admin,{BASE}"
CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile DIRECTORY/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw admin
directory DIRECTORY/data
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""
PEOPLE = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
userPassword: a

dn: uid=bob\\, jr,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob, jr
cn: Bob
sn: B
userPassword: b

dn: cn=operators,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: operators
member: uid=alice,ou=people,dc=example,dc=org

dn: cn=night,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: night
member: uid=alice,ou=people,dc=example,dc=org
member: uid=bob\\, jr,ou=people,dc=example,dc=org
"""


@contextmanager
def slapd(directory: Path) -> Iterator[str]:
    """The URL of a server that runs while the context lasts."""
    assert SLAPD is not None
    (directory / "data").mkdir()
    configuration = directory / "slapd.conf"
    configuration.write_text(CONFIGURATION.replace("DIRECTORY", str(directory)))
    people = directory / "people.ldif"
    people.write_text(PEOPLE)
    subprocess.run(
        ["/usr/sbin/slapadd", "-f", configuration, "-l", people], check=True, capture_output=True
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ldap://127.0.0.1:{port}"
    server = subprocess.Popen(
        [SLAPD, "-f", configuration, "-h", url, "-d", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
