"""`noctule completion`: what the shell needs to complete commands and options."""

from __future__ import annotations

from collections.abc import Iterator

import click

from noctule.cli.app import COMMANDS
from noctule.cli.words import Option, Program, programs

__all__ = ["bash", "completion", "fish", "zsh"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion for a SHELL: bash, zsh or fish.

    \b
    noctule completion bash > ~/.local/share/bash-completion/completions/noctule
    noctule completion zsh  > ~/.zfunc/_noctule        # with ~/.zfunc in fpath
    noctule completion fish > ~/.config/fish/completions/noctule.fish
    """
    written = {"bash": bash, "zsh": zsh, "fish": fish}[shell]
    click.echo("\n".join(written(programs())))


def _names(option: Option) -> list[str]:
    return [name for name in option.names if name.startswith("-")]


def _groups(given: list[Program]) -> dict[str, list[str]]:
    """Commands that hold others, with these."""
    groups: dict[str, list[str]] = {}
    for program in given:
        if len(program.path) > 1:
            groups.setdefault(program.path[0], []).append(program.path[1])
    return groups


# --- bash ---------------------------------------------------------------------------------


def bash(given: list[Program]) -> Iterator[str]:
    """A function for `complete`. It looks up the command, then what the last option takes."""
    yield "# bash completion for noctule, by `noctule completion bash`"
    yield "_noctule() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local command="${COMP_WORDS[1]}" options="" files="" values="" first=2'
    yield "    if [ $COMP_CWORD -eq 1 ]; then"
    yield f'        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$word"))'
    yield "        return"
    yield "    fi"
    yield '    case "$command" in'
    for name, inner in _groups(given).items():
        yield f"    {name})"
        yield "        if [ $COMP_CWORD -eq 2 ]; then"
        yield f'            COMPREPLY=($(compgen -W "{" ".join(inner)}" -- "$word")); return'
        yield "        fi"
        yield '        command="$command ${COMP_WORDS[2]}" first=3 ;;'
    yield "    esac"
    yield '    case "$command" in'
    for program in given:
        yield from _bash_command(program)
    yield "    esac"
    yield '    if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$word"))'
    yield '    elif [ -n "$values" ] && [ $COMP_CWORD -eq $first ]; then'
    yield '        COMPREPLY=($(compgen -W "$values" -- "$word"))'
    yield '    elif [ -n "$files" ]; then COMPREPLY=($(compgen -f -- "$word"))'
    yield "    fi"
    yield "}"
    yield "complete -o filenames -F _noctule noctule"


def _bash_command(program: Program) -> Iterator[str]:
    yield f"    '{' '.join(program.path)}')"
    takers = [option for option in program.options if option.metavar or option.values]
    if takers:
        yield '        case "$before" in'
        for option in takers:
            yield f"        {'|'.join(_names(option))}) {_bash_argument(option)} return;;"
        yield "        esac"
    words = dict.fromkeys(name for option in program.options for name in _names(option))
    yield f'        options="{" ".join(words)}"'
    if program.values:
        yield f'        values="{" ".join(program.values)}"'
    if program.takes_files:
        yield "        files=1"
    yield "        ;;"


def _bash_argument(option: Option) -> str:
    if option.values:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.values)}" -- "$word"));'
    if option.takes:
        kind = "-f" if option.takes == "file" else "-d"
        return f'COMPREPLY=($(compgen {kind} -- "$word"));'
    return "COMPREPLY=();"


# --- zsh ----------------------------------------------------------------------------------


def zsh(given: list[Program]) -> Iterator[str]:
    """A function for compinit, with the meaning of each option beside it."""
    yield "#compdef noctule"
    yield "# zsh completion for noctule, by `noctule completion zsh`"
    yield "_noctule() {"
    yield "    local -a commands"
    yield '    local command="$words[2]"'
    yield "    commands=("
    for name, (_, summary) in COMMANDS.items():
        yield f"        {_zsh_quoted(f'{name}:{summary}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )); then _describe command commands; return; fi"
    yield "    shift words; (( CURRENT -= 1 ))"
    yield '    case "$command" in'
    for name, inner in _groups(given).items():
        yield f"    {name})"
        yield f"        if (( CURRENT == 2 )); then compadd {' '.join(inner)}; return; fi"
        yield '        command="$command $words[2]"; shift words; (( CURRENT -= 1 )) ;;'
    yield "    esac"
    yield '    case "$command" in'
    for program in given:
        yield from _zsh_command(program)
    yield "    esac"
    yield "}"
    yield '_noctule "$@"'


def _zsh_command(program: Program) -> Iterator[str]:
    yield f"    '{' '.join(program.path)}')"
    yield "        _arguments -s \\"
    for option in program.options:
        for word in _names(option):
            yield f"            {_zsh_option(word, option)} \\"
    if program.values:
        yield f"            '1:argument:({' '.join(program.values)})' \\"
    if program.takes_files:
        yield "            '*:file:_files'"
    else:
        yield "            '*:argument:()'"
    yield "        ;;"


def _zsh_option(name: str, option: Option) -> str:
    meaning = option.meaning.replace("[", "(").replace("]", ")")
    spec = f"*{name}[{meaning}]"
    if option.values:
        spec += f":{option.metavar.lower()}:({' '.join(option.values)})"
    elif option.takes:
        spec += f":{option.takes}:{'_files' if option.takes == 'file' else '_files -/'}"
    elif option.metavar:
        spec += f":{option.metavar.lower().replace(':', ' ')}: "
    return _zsh_quoted(spec)


def _zsh_quoted(text: str) -> str:
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"


# --- fish ---------------------------------------------------------------------------------


def fish(given: list[Program]) -> Iterator[str]:
    """A line for each command and each option."""
    yield "# fish completion for noctule, by `noctule completion fish`"
    yield "complete -c noctule -f"
    for name, (_, summary) in COMMANDS.items():
        yield f"complete -c noctule -n __fish_use_subcommand -a {name} -d {_fish_quoted(summary)}"
    for name, inner in _groups(given).items():
        where = f"__fish_seen_subcommand_from {name}"
        where += f"; and not __fish_seen_subcommand_from {' '.join(inner)}"
        yield f"complete -c noctule -n '{where}' -a '{' '.join(inner)}'"
    for program in given:
        where = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in program.path)
        if program.values:
            unseen = f"not __fish_seen_subcommand_from {' '.join(program.values)}"
            values = " ".join(program.values)
            yield f"complete -c noctule -n '{where}; and {unseen}' -a '{values}'"
        if program.takes_files:
            yield f"complete -c noctule -n '{where}' -F"
        for option in program.options:
            yield f"complete -c noctule -n '{where}' {_fish_option(option)}"


def _fish_option(option: Option) -> str:
    words = [f"-l {name[2:]}" if name[1] == "-" else f"-s {name[1:]}" for name in _names(option)]
    if option.values:
        words.append(f"-x -a '{' '.join(option.values)}'")
    elif option.takes:
        words.append("-r -F")
    elif option.metavar:
        words.append("-x")
    words.append(f"-d {_fish_quoted(option.meaning)}")
    return " ".join(words)


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
