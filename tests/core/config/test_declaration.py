"""Parsing of settings, and the messages of their faults."""

from dataclasses import dataclass
from typing import Any

import pytest

from openqoe.core.config import declaration
from openqoe.core.config.declaration import Parse, setting


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (declaration.parse_integer, "0", 0),
        (declaration.parse_integer, " 42 ", 42),
        (declaration.parse_integer, "-1", -1),
        (declaration.parse_integer, "+7", 7),
        (declaration.parse_integer, "5k", 5 * 1024),
        (declaration.parse_integer, "5 KB", 5 * 1024),
        (declaration.parse_integer, "64MiB", 64 * 1024**2),
        (declaration.parse_integer, "2 gib", 2 * 1024**3),
        (declaration.parse_seconds, "15", 15_000),
        (declaration.parse_seconds, "0", 0),
        (declaration.parse_seconds, " 1.5 ", 1_500),
        (declaration.parse_seconds, "0.0015", 2),
        (declaration.parse_seconds, "1e3", 1_000_000),
        (declaration.parse_switch, "true", True),
        (declaration.parse_switch, " ON ", True),
        (declaration.parse_switch, "yes", True),
        (declaration.parse_switch, "1", True),
        (declaration.parse_switch, "False", False),
        (declaration.parse_switch, "off", False),
        (declaration.parse_switch, "no", False),
        (declaration.parse_switch, "0", False),
        (declaration.parse_list, "a", ("a",)),
        (declaration.parse_list, " a , b c ,, d, ", ("a", "b c", "d")),
        (declaration.parse_url, " http://mimir:9009/push ", "http://mimir:9009/push"),
        (declaration.parse_url, "https://[::1]:443/x?a=b", "https://[::1]:443/x?a=b"),
        (declaration.parse_json_object, '{"a": [1]}', {"a": [1]}),
        (declaration.parse_choice("json", "human"), " JSON ", "json"),
        (declaration.parse_text, " a $b \r\n", "a $b"),
    ],
)
def test_valid_text_is_parsed(parse: Parse, text: str, value: Any) -> None:
    parsed = parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("parse", "text", "predicate"),
    [
        (declaration.parse_integer, "many", "is not a whole number"),
        (declaration.parse_integer, "1.5", "is not a whole number"),
        (declaration.parse_integer, "1.5M", "is not a whole number"),
        (declaration.parse_integer, "5 T", "is not a whole number"),
        (declaration.parse_integer, "5 MBit", "is not a whole number"),
        (declaration.parse_integer, "1_000", "is not a whole number"),
        (declaration.parse_seconds, "15s", "is not a number of seconds"),
        (declaration.parse_seconds, "nan", "is not a number of seconds"),
        (declaration.parse_seconds, "inf", "is not a number of seconds"),
        (declaration.parse_seconds, "1e10", "is not a number of seconds"),
        (declaration.parse_switch, "maybe", "is neither true nor false"),
        (declaration.parse_switch, "2", "is neither true nor false"),
        (declaration.parse_url, "mimir:9009", "is not an http or https URL"),
        (declaration.parse_url, "ftp://mimir/push", "is not an http or https URL"),
        (declaration.parse_url, "http://mimir/pu\nsh", "is not an http or https URL"),
        (declaration.parse_url, "http://mim ir/push", "is not an http or https URL"),
        (declaration.parse_url, "http:///push", "is not an http or https URL"),
        (declaration.parse_url, "http://mimir:port/push", "is not a URL (Port could not be"),
        (declaration.parse_url, "http://mimir:99999/push", "is not a URL (Port out of range"),
        (declaration.parse_url, "http://[::1/push", "is not a URL (Invalid IPv6"),
        (declaration.parse_url, "http://me:secret@mimir/", "must not hold credentials"),
        (declaration.parse_store_url, "redis+cluster://a:1", "names a cluster or Sentinel"),
        (declaration.parse_store_url, "redis-sentinel://a/0/main", "names a cluster or Sentinel"),
        (declaration.parse_store_url, "redis://a:1,b:2/0", "names several hosts"),
        (declaration.parse_store_url, "sqlite:///shared.db", "is not none, or a redis, rediss or"),
        (declaration.parse_json_object, "{", "is not JSON ("),
        (declaration.parse_json_object, "[1]", "is not a JSON object"),
        (declaration.parse_json_object, "[" * 100_000, "is not JSON (nested too deeply)"),
        (declaration.parse_choice("json", "human"), "xml", "is not one of json, human"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_invalid_text_raises_a_predicate(parse: Parse, text: str, predicate: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value).startswith(predicate)
    assert "secret" not in str(caught.value)


@dataclass(frozen=True, slots=True)
class Example:
    """A configuration with one setting of each kind."""

    size: int = setting("SIZE", 5, "", parse=declaration.parse_integer, unit="bytes", minimum=2)
    wait: int = setting("WAIT", 9, "", parse=declaration.parse_seconds, unit="s", minimum=1500)
    names: tuple[str, ...] = setting("OPENQOE_NAMES", (), "", parse=declaration.parse_list)
    key: str | None = setting("KEY", None, "", parse=declaration.parse_text, secret=True)
    plain: int = 0


def test_declared_settings_are_in_field_order() -> None:
    declared = declaration.declared_settings(Example)
    assert [(name, one.env) for name, one in declared.items()] == [
        ("size", "SIZE"),
        ("wait", "WAIT"),
        ("names", "OPENQOE_NAMES"),
        ("key", "KEY"),
    ]
    assert (declared["size"].minimum, declared["size"].unit) == (2, "bytes")


def test_blank_and_foreign_variables_are_ignored() -> None:
    environment = {"SIZE": "", "WAIT": " \t", "OPENQOE_NAMES": "a,b", "PATH": "/bin"}
    assert declaration.parse_environment(Example, environment) == ({"names": ("a", "b")}, ())
    assert Example() == Example(5, 9, (), None, 0)


def test_all_faults_are_returned_at_once() -> None:
    assert declaration.parse_environment(
        Example, {"SIZE": "big", "WAIT": "2", "OPENQOE_NAMES": ","}
    ) == ({"wait": 2_000}, ("SIZE is not a whole number", "OPENQOE_NAMES holds no value"))
    _, faults = declaration.parse_environment(Example, {"SIZE": "big", "WAIT": "long"})
    assert faults == ("SIZE is not a whole number", "WAIT is not a number of seconds")


@pytest.mark.parametrize(
    ("example", "faults"),
    [
        (Example(2, 1500), ()),
        (Example(1, 1500), ("SIZE must be at least 2 bytes",)),
        (Example(2, 1499), ("WAIT must be at least 1.5 s",)),
        (Example(-1, 0), ("SIZE must be at least 2 bytes", "WAIT must be at least 1.5 s")),
    ],
)
def test_number_below_minimum_is_a_fault(example: Example, faults: tuple[str, ...]) -> None:
    assert declaration.find_out_of_bounds(example) == faults


def test_unknown_variable_with_our_prefix_is_found() -> None:
    environment = {"OPENQOE_NAME": "", "OPENQOE_NAMES": "", "OPENQOE_A": "1", "OTHER": "1"}
    assert declaration.find_unknown_variables(Example, environment) == ("OPENQOE_A", "OPENQOE_NAME")


def test_secret_is_not_in_repr() -> None:
    assert "hush" not in repr(Example(key="hush"))
