"""Debian's slapd on loopback, with a few people in it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from tests.conformance.certificates import folder

__all__ = ["ADMIN", "BASE", "SLAPD", "slapd"]

SLAPD = which("slapd") or which("slapd", path="/usr/sbin:/usr/lib/openldap")
BASE = "dc=example,dc=org"
ADMIN = f"cn=admin,{BASE}"
CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile DIRECTORY/slapd.pid
TLSCertificateFile CERTIFICATES/server.pem
TLSCertificateKeyFile CERTIFICATES/server.key
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
    """The URL of a server that runs while the context lasts; over TLS at the port behind it."""
    assert SLAPD is not None
    (directory / "data").mkdir()
    configuration = directory / "slapd.conf"
    text = CONFIGURATION.replace("DIRECTORY", str(directory))
    configuration.write_text(text.replace("CERTIFICATES", str(folder())))
    people = directory / "people.ldif"
    people.write_text(PEOPLE)
    subprocess.run(
        ["/usr/sbin/slapadd", "-f", configuration, "-l", people], check=True, capture_output=True
    )
    port = two_free_ports()
    url = f"ldap://127.0.0.1:{port}"
    hosts = ("127.0.0.1", "127.0.0.2")
    plain = [f"ldap://{host}:{port}" for host in hosts]
    secure = [f"ldaps://{host}:{port + 1}" for host in hosts]
    server = subprocess.Popen(
        [SLAPD, "-f", configuration, "-h", " ".join([*plain, *secure]), "-d", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def two_free_ports() -> int:
    """The first of two in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


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
