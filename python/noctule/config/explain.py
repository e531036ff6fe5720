"""Why an option was refused, in words that say what to write."""

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from noctule.config.errors import Problem
from noctule.config.schema import all_keys, dotted, field_at, section_of, toml_value
from noctule.config.source import KeyPath, Source

__all__ = ["explain"]

# What kind of value an option wants, by the name pydantic gives the failure.
KINDS = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "path_type": "a directory in quotes",
    "model_type": "a section",
    "model_attributes_type": "a table or a URL in quotes",
    "tuple_type": "a list",
}


def explain(error: ValidationError, source: Source) -> list[Problem]:
    """A problem for each thing that the validation refused, in the order it was written in."""
    problems = [problem_of(details, source) for details in error.errors(include_url=False)]
    order = {place: number for number, place in enumerate(source.places.values())}
    return sorted(problems, key=lambda problem: order.get(problem.where, -1))


def problem_of(details: ErrorDetails, source: Source) -> Problem:
    """One refusal, its place and its remedy."""
    path: KeyPath = details["loc"]
    if details["type"] == "data_dir_missing":
        path = ("durability",)
    what, remedy = words_of(details, path)
    return Problem(source.place_of(path) or "configuration", what, remedy)


def words_of(details: ErrorDetails, path: KeyPath) -> tuple[str, str]:
    """What is wrong and what to do, for each kind of failure that the options can have."""
    key = dotted(path)
    given = shown(details["input"])
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return f"there is no option {key}", known_key(path)
        case "literal_error":
            return f"{key} cannot be {given}", literal_remedy(path, details["input"], context)
        case "greater_than_equal":
            return f"{key} is {given}, which is too small", f"the least is {context['ge']}"
        case "less_than_equal":
            return f"{key} is {given}, which is too large", f"the most is {context['le']}"
        case "string_too_long":
            return f"{key} is too long", f"it may have {context['max_length']} characters"
        case "data_dir_missing":
            return details["msg"], 'write data_dir = "DIRECTORY", or durability = "memory"'
        case "no_listener":
            return "there is no listener", 'write listeners = ["mqtt://127.0.0.1:1883"]'
        case "value_error":
            return f"{key}: {context['error']}", value_remedy(path)
        case kind if kind in KINDS:
            return f"{key} cannot be {given}, it is {KINDS[kind]}", example(path)
        case _:
            return f"{key}: {details['msg']}", example(path)


def value_remedy(path: KeyPath) -> str:
    """How a listener is written, or an example of the option."""
    is_filter = path[-1:] == ("filter",)
    return example(path) if is_filter else "a listener is written mqtt://HOST:PORT"


def shown(value: object) -> str:
    """The value as the user wrote it, more or less, and not too much of it."""
    text = toml_value(value) if isinstance(value, str | int | float) else f"`{value}`"
    return text if len(text) <= 60 else f"{text[:57]}…"


def known_key(path: KeyPath) -> str:
    """The option that was probably meant, or where to find them all."""
    *section, last = path
    keys = [candidate for candidate, _ in all_keys()]
    plain = tuple(key for key in section if isinstance(key, str))
    moved = [candidate for candidate in keys if candidate[-1] == last]
    if moved:
        return belongs(moved[0])
    siblings = {str(key[-1]): key for key in keys if key[:-1] == plain}
    anywhere = {dotted(key): key for key in keys} | {str(key[-1]): key for key in keys}
    for candidates in (siblings, anywhere):
        close = get_close_matches(str(last), candidates, n=1)
        if close:
            return f"did you mean {dotted(candidates[close[0]])}?"
    return "`noctule config` prints all there are"


def belongs(path: KeyPath) -> str:
    """Where an option that exists has to stand."""
    if len(path) == 1:
        return f"{path[0]} stands at the top of the file, before the first [section]"
    return f"{path[-1]} stands in the section [{dotted(path[:-1])}]"


def literal_remedy(path: KeyPath, value: object, context: dict[str, Any]) -> str:
    """The values there are, the likeliest first where one is close."""
    expected = str(context["expected"]).replace("'", '"')
    choices = [choice for choice in expected.split('"') if choice.strip(", ") not in ("", "or")]
    close = get_close_matches(str(value), choices, n=1)
    if close:
        return f'did you mean "{close[0]}"? It is one of {expected}'
    return f"write {path[-1]} = {expected}"


def example(path: KeyPath) -> str:
    """A line that would be right."""
    field = field_at(path)
    names = [key for key in path if isinstance(key, str)]
    if field is None or not names:
        return "`noctule config` prints what is right"
    if names == ["listeners"]:
        return 'write listeners = ["mqtt://127.0.0.1:1883"]'
    if section_of(field) is not None:
        return f"write [{'.'.join(names)}] and the section's keys below it"
    if field.is_required():
        return f"write for example {names[-1]} = {toml_value((field.examples or ['…'])[0])}"
    if field.default is None:
        return f'write {names[-1]} = "…", or leave it out'
    return f"write for example {names[-1]} = {toml_value(field.default)}"
