"""Completions and man pages have everything that the commands have."""

import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest
from click.testing import CliRunner

from noctule.cli.app import noctule
from noctule.cli.completion import bash, fish, zsh
from noctule.cli.flags.table import FLAGS
from noctule.cli.man import FORMAT, manual_page
from noctule.cli.messages.format import FIELDS
from noctule.cli.words import programs

NAMES = ["-".join(program.path) for program in programs()]


def bash_offers(tmp_path: Path, *words: str) -> list[str]:
    """What bash would complete the last word to."""
    script = tmp_path / "completion"
    script.write_text("\n".join(bash(programs())))
    command = (
        f"source {script}; COMP_WORDS=(noctule {' '.join(words)}); "
        f"COMP_CWORD={len(words)}; _noctule; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(tmp_path: Path) -> None:
    assert bash_offers(tmp_path, "d") == ["doctor"]
    assert bash_offers(tmp_path, "sub", "--retain-") == [
        "--retain-as-published",
        "--retain-handling",
    ]
    assert bash_offers(tmp_path, "sub", "--retain-handling", "''") == ["always", "new", "never"]
    assert bash_offers(tmp_path, "topics", "''") == ["lint"]
    assert bash_offers(tmp_path, "pub", "--cafile", f"{tmp_path}/comp") == [
        f"{tmp_path}/completion"
    ]
    assert bash_offers(tmp_path, "pub", "-t", "''") == []
    assert bash_offers(tmp_path, "bench", "i") == ["idle"]
    assert bash_offers(tmp_path, "completion", "''") == ["bash", "zsh", "fish"]
    assert bash_offers(tmp_path, "acl", "check", "p") == ["publish"]
    assert bash_offers(tmp_path, "import", "mosquitto", "--dry") == ["--dry-run"]
    assert bash_offers(tmp_path, "import", "mosquitto", f"{tmp_path}/comp") == [
        f"{tmp_path}/completion"
    ]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(tmp_path: Path) -> None:
    script = tmp_path / "completion.fish"
    script.write_text("\n".join(fish(programs())))

    def offers(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
            check=True, capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert done.stderr == ""
        return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]

    assert offers("noctule d") == ["doctor"]
    assert offers("noctule sub --retain-") == ["--retain-as-published", "--retain-handling"]
    assert sorted(offers("noctule sub --retain-handling ")) == ["always", "never", "new"]
    assert offers("noctule topics ") == ["lint"]
    assert offers("noctule import ") == ["mosquitto"]
    assert offers("noctule import mosquitto completion") == ["completion.fish"]
    assert offers("noctule bench i") == ["idle"]
    assert offers("noctule acl check p") == ["publish"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(tmp_path: Path) -> None:
    """At its own prompt, in a terminal: what TAB makes of a line that has one way to go on."""
    (tmp_path / "_noctule").write_text("\n".join(zsh(programs())))
    child = pexpect.spawn(
        "zsh", ["-f", "-i"], env={"TERM": "dumb", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        timeout=30, dimensions=(24, 250),
    )  # fmt: skip
    child.sendline(f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; PS1='RE'ADY:")
    child.expect_exact("READY:")
    for line, completed in (
        ("noctule doc", "tor "),
        ("noctule sub --retain-h", "andling "),
        ("noctule sub --retain-handling al", "ways "),
        ("noctule import mos", "quitto "),
        ("noctule import mosquitto --dry", "-run "),
        ("noctule bench id", "le "),
        ("noctule acl check pub", "lish "),
        (f"noctule pub --cafile {tmp_path}/_noc", "tule "),
    ):
        child.send(f"{line}\t")
        child.expect_exact(f"{line}{completed}")
        child.send("\x15\r")  # The line away, and a new prompt.
        child.expect_exact("READY:")
    child.close(force=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_offered(shell: str) -> None:
    text = "\n".join({"bash": bash, "zsh": zsh, "fish": fish}[shell](programs()))
    for program in programs():
        assert program.path[0] in text
    for flag in FLAGS:
        for name in flag.names:
            spelled = name if shell != "fish" else name.lstrip("-")
            assert spelled in text


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_shell_reads_its_completion(tmp_path: Path, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    script = tmp_path / "completion"
    script.write_text("\n".join({"zsh": zsh, "fish": fish}[name](programs())))
    subprocess.run([name, "-n", str(script)], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_page_with_every_option(name: str) -> None:
    program = next(p for p in programs() if "-".join(p.path) == name)
    page = manual_page(program)
    assert f'.TH "NOCTULE-{name.upper()}"' in page
    for option in program.options:
        for spelled in option.names:
            assert spelled.replace("-", "\\-") in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_groff_has_nothing_to_complain_about(name: str) -> None:
    program = next(p for p in programs() if "-".join(p.path) == name)
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-Kutf8"],
        input=manual_page(program) + "\n",
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "break line" not in line]
    assert complaints == []


@pytest.mark.parametrize("name", NAMES)
def test_examples_stand_in_lines_of_their_own(name: str) -> None:
    program = next(p for p in programs() if "-".join(p.path) == name)
    assert "\\b" not in program.help
    page = manual_page(program)
    assert "\b" not in page
    for line in program.help.partition("\b\n")[2].partition("\n\n")[0].splitlines():
        assert line.strip().replace("-", "\\-") in page.splitlines() or len(program.path) == 1


def test_page_of_sub_has_every_field_of_the_format() -> None:
    said = " ".join(term for term, _ in FORMAT)
    for letter in (*FIELDS, "j", "J"):
        assert f"%{letter}" in said


def test_pages_are_written(tmp_path: Path) -> None:
    result = CliRunner().invoke(noctule, ["man", "--directory", str(tmp_path / "man1")])
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "man1").iterdir()} == {
        "noctule.1",
        *(f"noctule-{name}.1" for name in NAMES),
    }
    first = (tmp_path / "man1" / "noctule.1").read_text()
    for name in NAMES:
        assert f"noctule-{name}(1)".replace("-", "\\-") in first
    assert CliRunner().invoke(noctule, ["man", "topics", "lint"]).output.startswith(".TH")
    assert CliRunner().invoke(noctule, ["man", "nonsense"]).exit_code == 2
