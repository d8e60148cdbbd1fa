"""Declaration, parsing and validation of settings.

A setting is declared once, as a field of ``Settings`` (``settings_table``) with its environment
variable, unit, minimum and help text. This module parses the text of the variables and collects
all faults, so that one error message names every one of them.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Parse = Callable[[str], Any]
"""Converts the text of a variable; raises ValueError with a predicate ("is not a number")."""


class SettingsError(ValueError):
    """One or more settings are invalid.

    Attributes:
        faults: One sentence per fault; each begins with the name of the setting.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("invalid settings:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Setting:
    """Declaration of one setting.

    Attributes:
        env: Name of the environment variable.
        help: One or more sentences for the documentation.
        parse: Converts the text of the variable.
        unit: Unit of a number: "s" (the value is in ms), "bytes" or "".
        minimum: Least valid value of a number.
        group: Heading of the documentation that this and the following settings belong to; "" to
            stay under the previous heading.
        default_text: Replaces the default value in the documentation.
    """

    env: str
    help: str
    parse: Parse
    unit: str = ""
    minimum: float | None = None
    group: str = ""
    default_text: str | None = None


def setting(
    env: str,
    default: Any,
    help: str,
    *,
    parse: Parse,
    unit: str = "",
    minimum: float | None = None,
    secret: bool = False,
    group: str = "",
    default_text: str | None = None,
) -> Any:
    """Declare a field of a dataclass as a setting; see ``Setting`` for the arguments.

    Args:
        secret: Leave the value out of the configuration's ``repr``.
    """
    declaration = Setting(env, help, parse, unit, minimum, group, default_text)
    # A factory, because dataclasses refuse unhashable defaults such as a mapping.
    return dataclasses.field(
        default_factory=lambda: default, repr=not secret, metadata={"setting": declaration}
    )


def parse_text(text: str) -> str:
    """Return the text without the blanks and newlines around it.

    Files of secrets and templates end in a newline that belongs to no value.
    """
    return text.strip()


def parse_integer(text: str) -> int:
    """Parse a whole number; suffixes like "64MiB" and "5 KB" multiply by powers of 1024."""
    match = re.fullmatch(r"([+-]?\d+)\s*(?:([kmg])i?b?)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("is not a whole number")
    power = " kmg".index((match[2] or " ").lower())
    return int(match[1]) * int(1024**power)


def parse_seconds(text: str) -> int:
    """Parse a duration in seconds, with or without a fraction, into ms."""
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("is not a number of seconds") from None
    if not -1e9 < seconds < 1e9:  # also false for NaN
        raise ValueError("is not a number of seconds")
    return round(seconds * 1000)


def parse_fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError("is not a number from 0 to 1") from None
    if not 0 <= value <= 1:
        raise ValueError("is not a number from 0 to 1")
    return value


def parse_switch(text: str) -> bool:
    """Parse 1/true/yes/on or 0/false/no/off, in any case."""
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("is neither true nor false")


def parse_list(text: str) -> tuple[str, ...]:
    """Split text at commas; strips white space and drops empty values."""
    values = tuple(part.strip() for part in text.split(",") if part.strip())
    if not values:
        raise ValueError("holds no value")
    return values


def parse_url(text: str) -> str:
    """Check an absolute http or https URL; credentials in it are an error."""
    try:
        parts = urlsplit(text.strip())
        parts.port  # noqa: B018 - raises for a port that is not a number
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or re.search(r"\s", text.strip())
    ):
        raise ValueError("is not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials; use the _USERNAME and _PASSWORD settings")
    return text.strip()


_ONE_PRIMARY = (
    "not supported; name the address of one primary, which may follow it after a failover (a DNS "
    "name, a service or a proxy)"
)


def parse_store_url(text: str) -> str:
    """Check the location of a key-value store: a keyword or a URL (see OPENQOE_KV_URL)."""
    text = text.strip()
    if text.lower() == "none":
        return "none"
    try:
        parts = urlsplit(text)
        port = None if "," in parts.netloc else parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    match parts.scheme:
        case "unix":
            if not parts.path.strip("/"):
                raise ValueError(f"names no file ({parts.scheme}:///path)")
        case "redis" | "rediss":
            if not parts.hostname or port == 0:
                raise ValueError(f"names no host ({parts.scheme}://host:6379/0)")
            if "," in parts.netloc:
                raise ValueError(f"names several hosts: {_ONE_PRIMARY}")
            if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
                raise ValueError("does not end in the number of a database")
        case scheme if "cluster" in scheme or "sentinel" in scheme:
            raise ValueError(f"names a cluster or Sentinel: {_ONE_PRIMARY}")
        case _:
            raise ValueError("is not none, or a redis, rediss or unix URL")
    return text


def parse_json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    except RecursionError:
        raise ValueError("is not JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def parse_headers(text: str) -> dict[str, str]:
    """Parse a JSON object of header names and values."""
    headers = parse_json_object(text)
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ValueError(f"names {name!r}, which is not the name of a header")
        if name.lower() in ("host", "content-length", "content-type", "content-encoding"):
            raise ValueError(f"names {name}, which the worker sets itself")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ValueError(f"gives {name} a value that is not printable ASCII text")
    return headers


def parse_choice(*choices: str) -> Parse:
    """Return a parser that accepts one of the choices, in any case."""

    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return text.strip().lower()

    return parse


def declared_settings(config_type: type) -> dict[str, Setting]:
    """Return the settings of a dataclass by field name, in order of declaration."""
    return {
        field.name: field.metadata["setting"]
        for field in dataclasses.fields(config_type)
        if "setting" in field.metadata
    }


def parse_environment(
    config_type: type, environment: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parse the variables that are present and not blank.

    Returns:
        The values by field name, and the faults.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, declaration in declared_settings(config_type).items():
        text = environment.get(declaration.env, "")
        if not text.strip():
            continue
        try:
            values[name] = declaration.parse(text)
        except ValueError as error:
            faults.append(f"{declaration.env} {error}")
    return values, tuple(faults)


def find_out_of_bounds(config: Any) -> tuple[str, ...]:
    """Return the faults of numbers below their minimum."""
    faults = []
    for name, declaration in declared_settings(type(config)).items():
        value, minimum = getattr(config, name), declaration.minimum
        if minimum is not None and value is not None and not value >= minimum:
            in_ms = declaration.unit == "s"
            shown = f"{minimum / 1000:g} s" if in_ms else f"{minimum} {declaration.unit}".strip()
            faults.append(f"{declaration.env} must be at least {shown}")
    return tuple(faults)


def find_control_characters(config: Any) -> tuple[str, ...]:
    """Return the faults of texts with a newline or another control character inside.

    Such a character in a header fails every request to a destination.
    """
    faults = []
    for name, declaration in declared_settings(type(config)).items():
        value = getattr(config, name)
        texts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(text, str) and _CONTROL.search(text) for text in texts):
            faults.append(f"{declaration.env} holds a newline or another control character")
    return tuple(faults)


def find_unknown_variables(config_type: type, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return variables with the prefix OPENQOE_ that no setting has, sorted; usually typos."""
    known = {declaration.env for declaration in declared_settings(config_type).values()}
    return tuple(
        sorted(name for name in environment if name.startswith("OPENQOE_") and name not in known)
    )
