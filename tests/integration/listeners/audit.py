"""Has programs that nobody here wrote judge TLS as it is by default: `make tls-audit`.

`python -m tests.integration.listeners.audit SSLYZE` starts a broker and looks at it with sslyze,
and with testssl.sh where that is installed. Prints a line for each finding, and ends with 1 where
one is worse than "ok".
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.listeners.secure import CERTIFICATES
from tests.served_broker import ServedBroker

FILES = f"tls_certificate={CERTIFICATES}/server.pem&tls_key={CERTIFICATES}/server.key"
LISTEN = {
    f"mqtts://127.0.0.1:0?{FILES}": "intermediate",
    f"wss://127.0.0.1:0?{FILES}": "intermediate",
    f"mqtts://127.0.0.1:0?{FILES}&tls_minimum_version=1.3": "modern",
}
"""Listeners, and the recommendation of Mozilla that each is to follow."""

GOOD = {
    "heartbleed": {"is_vulnerable_to_heartbleed": False},
    "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
    "robot": {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"},
    "session_renegotiation": {"is_vulnerable_to_client_renegotiation_dos": False},
    "tls_compression": {"supports_compression": False},
}
"""What sslyze may say, by scan and field, at every listener."""

GOOD_AT_1_2 = {
    "session_renegotiation": {"supports_secure_renegotiation": True},
    "tls_extended_master_secret": {"supports_ems_extension": True},
    "tls_fallback_scsv": {"supports_fallback_scsv": True},
}
OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")

HARMLESS = {"OK", "INFO", "DEBUG"}
"""Severities of testssl.sh that are no finding."""

EXCUSED = {
    "cipher_order": "all three suites of each version are good: the client takes what it does best",
    "sessionresumption_ticket": "its own attempt fails; test_tls.py resumes at both versions",
    "cert_expirationStatus": "of the test's certificate",
    "cert_notAfter": "of the test's certificate",
    "cert_revocation": "of the test's certificate",
    "DNS_CAArecord": "of localhost",
}


@dataclass(frozen=True)
class Finding:
    """What a program says about something, and whether that will do."""

    about: str
    said: str
    is_good: bool
    excuse: str = ""

    def __str__(self) -> str:
        if self.excuse:
            return f"excused  {self.about}: {self.said} ({self.excuse})"
        return f"{'ok' if self.is_good else 'BAD':8} {self.about}: {self.said}"


def sslyze(program: str, port: int, recommendation: str) -> Iterator[Finding]:
    """All scans, and whether the recommendation is followed."""
    authority = str(CERTIFICATES / "authority.pem")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sslyze.json"
        options = ["--mozilla_config", recommendation, "--certinfo_ca_file", authority]
        options += ["--quiet", "--json_out", str(file)]
        done = subprocess.run(
            [program, *options, f"localhost:{port}"], check=False, capture_output=True
        )
        (result,) = json.loads(file.read_text())["server_scan_results"]
    yield Finding(f"Mozilla's {recommendation!r}", f"exit {done.returncode}", done.returncode == 0)
    scans = result["scan_result"]
    oldest = 2 if recommendation == "intermediate" else 3
    expected = [*GOOD.items(), *(GOOD_AT_1_2.items() if oldest == 2 else ())]
    for scan, fields in expected:
        for name, good in fields.items():
            said = scans[scan]["result"][name]
            yield Finding(name, str(said), said == good)
    for version in OLD:
        accepted = suites(scans, version)
        yield Finding(version, f"{len(accepted)} suites", not accepted)
    for version in ("tls_1_2", "tls_1_3")[oldest - 2 :]:
        accepted = suites(scans, version)
        is_good = len(accepted) == 3 and not any("CBC" in name for name in accepted)
        yield Finding(version, ", ".join(accepted), is_good)


def suites(scans: dict[str, Any], version: str) -> list[str]:
    """Names of what is accepted at a version."""
    accepted = scans[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"]
    return [each["cipher_suite"]["name"] for each in accepted]


def testssl(program: str, port: int) -> Iterator[Finding]:
    """What is worse than OK; takes more than a minute."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "testssl.json"
        options = ["--quiet", "--color", "0", "--warnings", "off", "--jsonfile", str(file)]
        options += ["--ip", "127.0.0.1", "--add-ca", str(CERTIFICATES / "authority.pem")]
        subprocess.run(
            [program, *options, f"localhost:{port}"], check=False, stdout=subprocess.DEVNULL
        )
        found = json.loads(file.read_text())
    yield Finding("testssl.sh", f"{len(found)} findings", len(found) > 50)
    for each in found:
        if each["severity"] not in HARMLESS:
            excuse = EXCUSED.get(each["id"], "")
            said = f"{each['severity']}: {each['finding']}"
            yield Finding(each["id"], said, bool(excuse), excuse)


def main(program: str) -> int:
    """Look at every listener; 1 where anything is worse than ok."""
    first, *others = LISTEN
    more = [word for url in others for word in ("--listen", url)]
    findings: list[Finding] = []
    with ServedBroker("--durability", "memory", *more, listen=first) as broker:
        ports = [int(port) for port in re.findall(r"//127\.0\.0\.1:(\d+)", broker.ready_line)]
        for port, (url, recommendation) in zip(ports, LISTEN.items(), strict=True):
            print(f"{url.partition(':')[0]}, {recommendation}", flush=True)
            for finding in sslyze(program, port, recommendation):
                print(f"  {finding}", flush=True)
                findings.append(finding)
        other = shutil.which("testssl") or shutil.which("testssl.sh")
        if other is None:
            print("testssl.sh is not installed, and is left out")
        else:
            for finding in testssl(other, ports[0]):
                print(f"  {finding}", flush=True)
                findings.append(finding)
    return 0 if all(finding.is_good for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
