"""How a setting is declared, parsed and checked.

Settings are declared once, as the fields of ``Config`` (``worker_config``); each field carries
its environment variable, unit, bounds and help text. This module reads such a
declaration: it turns strings into values and collects every fault, so that one message
names them all.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Parse = Callable[[str], Any]


class SettingsError(ValueError):
    """One or more settings cannot be used.

    Attributes:
        faults: One sentence for each fault, each beginning with the setting's name.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("invalid settings:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting.

    Attributes:
        env: The environment variable.
        help: One or two sentences for the documentation.
        parse: Makes a value of the variable's text; raises ValueError with a predicate
            ("is not a number") that says what is wrong.
        unit: The unit of a number ("s", "ms", "bytes", "").
        minimum: The least value that is allowed, for numbers.
        secret: Whether the value must never be shown.
        group: The heading under which the documentation lists it.
        kind: What the value is, in words, for the documentation ("number", "URL").
        default_text: How the documentation words the default when the value itself would
            not do.
    """

    env: str
    help: str
    parse: Parse
    kind: str
    unit: str = ""
    minimum: float | None = None
    secret: bool = False
    group: str = "Service"
    default_text: str | None = None


def setting(
    env: str,
    default: Any,
    help: str,
    *,
    parse: Parse,
    kind: str,
    unit: str = "",
    minimum: float | None = None,
    secret: bool = False,
    group: str = "Service",
    default_text: str | None = None,
) -> Any:
    """Declare a dataclass field that is a setting."""
    declaration = Setting(env, help, parse, kind, unit, minimum, secret, group, default_text)
    # A factory even for plain values: dataclasses refuse any unhashable default, and the
    # immutable mapping of limits is one.
    return dataclasses.field(
        default_factory=lambda: default, repr=not secret, metadata={"setting": declaration}
    )


def parse_text(text: str) -> str:
    return text


def parse_integer(text: str) -> int:
    """A whole number; "64MiB" and "5 KB" style suffixes multiply by powers of 1024."""
    match = re.fullmatch(r"([+-]?\d+)\s*(?:([kmg])i?b?)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("is not a whole number")
    power = " kmg".index((match[2] or " ").lower())
    return int(match[1]) * int(1024**power)


def parse_seconds(text: str) -> int:
    """A duration in seconds, kept in ms."""
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("is not a number of seconds") from None
    if not -1e9 < seconds < 1e9:  # also false for NaN
        raise ValueError("is not a number of seconds")
    return round(seconds * 1000)


def parse_switch(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("is neither true nor false")


def parse_list(text: str) -> tuple[str, ...]:
    """Values between commas, without surrounding white space and without empty ones."""
    values = tuple(part.strip() for part in text.split(",") if part.strip())
    if not values:
        raise ValueError("holds no value")
    return values


def parse_url(text: str) -> str:
    """An absolute http or https URL without credentials in it."""
    try:
        parts = urlsplit(text.strip())
        parts.port  # noqa: B018 - raises for a port that is not a number
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials; use the _USERNAME and _PASSWORD settings")
    return text.strip()


def parse_store_url(text: str) -> str:
    """Where a key-value store is."""
    text = text.strip()
    if text.lower() in ("auto", "memory", "sqlite"):
        return text.lower()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    match parts.scheme:
        case "sqlite" | "unix":
            if not parts.path.strip("/"):
                raise ValueError(f"names no file ({parts.scheme}:///path)")
        case "redis" | "rediss":
            if not parts.hostname or port == 0:
                raise ValueError(f"names no host ({parts.scheme}://host:6379/0)")
            if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
                raise ValueError("ends in something that is not the number of a database")
        case _:
            raise ValueError("is not auto, memory, sqlite, or a sqlite, redis, rediss or unix URL")
    return text


def parse_json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    except RecursionError:
        raise ValueError("is not JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def parse_choice(*choices: str) -> Parse:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return text.strip().lower()

    return parse


def declared_settings(config_type: type) -> dict[str, Setting]:
    """The settings of a dataclass by field name, in order of declaration."""
    return {
        field.name: field.metadata["setting"]
        for field in dataclasses.fields(config_type)
        if "setting" in field.metadata
    }


def parse_environment(
    config_type: type, environment: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parse the variables that are present and not empty.

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
    """The faults of numbers below their minimum."""
    faults = []
    for name, declaration in declared_settings(type(config)).items():
        value, minimum = getattr(config, name), declaration.minimum
        if minimum is not None and value is not None and not value >= minimum:
            in_ms = declaration.unit == "s"
            shown = f"{minimum / 1000:g} s" if in_ms else f"{minimum:g} {declaration.unit}".strip()
            faults.append(f"{declaration.env} must be at least {shown}")
    return tuple(faults)


def find_unknown_variables(config_type: type, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names that begin like a setting of ours but are none; most often a typing error."""
    known = {declaration.env for declaration in declared_settings(config_type).values()}
    return tuple(
        sorted(name for name in environment if name.startswith("OPENQOE_") and name not in known)
    )
