"""Types of CMCD: the keys of CTA-5004-B with their types, and a record of them.

``KEYS`` is the table. A value of another type than its key's is ignored, not the record. The
table holds the keys of both versions and of both modes, because the fields of CDN logs have the
same names.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from .cmcd_tokenizer import Item, Value
from .event_types import Event

MAX_TEXT: Final = 128
"""Maximum characters of a string. CTA-5004-B allows 128 for some keys and 64 for others."""

MAX_URL: Final = 1024
"""Maximum characters of a URL."""

MAX_ITEMS: Final = 16
"""Maximum items of a list that are kept; there are nine object types."""

VERSION: Final = 2
"""The latest version; records of a later one are ignored."""

EVENTS: Final = frozenset(
    {
        *("ps", "t", "rr", "e", "bc", "pr", "c", "h", "b", "m", "um", "pe", "pc"),
        *("abs", "abe", "as", "ae", "sk", "ce"),
    }
)
"""The events of CTA-5004-B."""

RESPONSE: Final = "rr"
"""The event of a response to a media request. Its time is that of the request."""

ByType = dict[str, float]
"""Numbers by object type (``v`` video, ``a`` audio, ``av`` both …); ``""`` where none is named."""


class CmcdRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The keys of one record that the playback model reads, with the names of CTA-5004-B.

    Attributes:
        e: Event.
        ts: Time of the event by the client's clock, ms since the epoch.
        sn: Sequence number.
        sta: State of the player.
        pr: Playback rate.
        pt: Position in ms; of a live stream, ms since the epoch.
        pb, br, ab: Encoded bit rate shown, requested or selected, aggregate; kbit/s.
        bl: Buffer length, ms.
        mtp: Measured throughput, kbit/s.
        msd: Media start delay, ms.
        ec: Error codes.
        bg: Whether the player is hidden.
        nr: Whether it plays without rendering.
        ltc: Live latency, ms.
        dfa: Frames dropped since the session's start.
        bsa, bsda: Starvations since the session's start, and their ms.
        st, sf: Stream type, streaming format.
        ot: Object type of a request.
        rc: Status code of its response; 0 for none.
        ttfb, ttlb: ms from the request to the first and the last byte of its response.
        cdn, h, url: The CDN, the host, and the URL without query of a request.
        d: Duration of the object, ms.
    """

    e: str
    ts: int
    sn: int | None = None
    sta: str | None = None
    pr: float | None = None
    pt: int | None = None
    pb: ByType | None = None
    br: ByType | None = None
    ab: ByType | None = None
    bl: ByType | None = None
    mtp: ByType | None = None
    msd: int | None = None
    ec: tuple[str, ...] | None = None
    bg: bool | None = None
    nr: bool | None = None
    ltc: int | None = None
    dfa: int | None = None
    bsa: ByType | None = None
    bsda: ByType | None = None
    st: str | None = None
    sf: str | None = None
    ot: str | None = None
    rc: int | None = None
    ttfb: int | None = None
    ttlb: int | None = None
    cdn: str | None = None
    h: str | None = None
    url: str | None = None


class CmcdEvent(Event, frozen=True, gc=False, kw_only=True):
    """An event that a CMCD record reports; its ``event_type`` is ``cmcd_`` and the record's."""

    record: CmcdRecord


def _integer(value: Value) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _number(value: Value) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def _flag(value: Value) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Value) -> str | None:
    """Return a string or a token; a number becomes one, since content ids are often numbers."""
    if isinstance(value, bool | tuple):
        return None
    text = value if isinstance(value, str) else repr(value)
    return text[:MAX_TEXT]


def _numbers(value: Value) -> ByType | None:
    """Return numbers by object type. Version 1 has a number instead of a list."""
    if not isinstance(value, tuple):
        number = _number(value)
        return None if number is None else {"": number}
    numbers: ByType = {}
    for item, parameters in value[:MAX_ITEMS]:
        number = _number(item)
        if number is None:
            return None
        numbers[_object_type(parameters)] = number
    return numbers


def _texts(value: Value) -> tuple[str, ...] | None:
    """Return a list of strings; a single one is a list, too (dash.js sends ``ec=27``)."""
    items = value if isinstance(value, tuple) else (Item(value, {}),)
    texts = tuple(text for item in items[:MAX_ITEMS] if (text := _text(item.value)) is not None)
    return texts if len(texts) == min(len(items), MAX_ITEMS) else None


def _url(value: Value) -> str | None:
    """Return a URL without query and fragment, which hold the tokens of signed URLs."""
    if not isinstance(value, str):
        return None
    return value.partition("?")[0].partition("#")[0][:MAX_URL]


def _object_type(parameters: Mapping[str, Any]) -> str:
    for name, value in parameters.items():
        if value is True:
            return name[:8]
    return ""


Reader = Callable[[Value], object]

KEYS: Final[dict[str, Reader]] = {
    **dict.fromkeys(("ab", "bl", "br", "bsa", "bsd", "bsda", "lab", "lb", "mtp"), _numbers),
    **dict.fromkeys(("pb", "tab", "tb", "tbl", "tpb"), _numbers),
    **dict.fromkeys(("bg", "bs", "nr", "su"), _flag),
    **dict.fromkeys(("d", "df", "dfa", "dl", "ltc", "msd", "pt", "rc", "rtp", "sn"), _integer),
    **dict.fromkeys(("ts", "ttfb", "ttfbb", "ttlb", "v"), _integer),
    **dict.fromkeys(("cdn", "cen", "cid", "cmsdd", "cmsds", "cs", "e", "h", "nrr"), _text),
    **dict.fromkeys(("ot", "sf", "sid", "smrt", "st", "sta"), _text),
    **dict.fromkeys(("ec", "nor"), _texts),
    "pr": _number,
    "url": _url,
}
"""Every key of CTA-5004 and CTA-5004-B, and what reads its value."""

_RECORD_FIELDS: Final = frozenset(CmcdRecord.__struct_fields__)

MAX_KEY: Final = 64
"""Maximum characters of an unknown key that is kept."""

MAX_CUSTOM: Final = 32
"""Maximum unknown and custom keys of a record that are kept for its log line."""


def read_keys(members: Mapping[str, Value]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return typed values by key, and the keys whose values were ignored or cut.

    Unknown and custom keys are kept as they are; those beyond ``MAX_CUSTOM`` are left out.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    unknown = 0
    for key, value in members.items():
        read = KEYS.get(key)
        if read is None:
            unknown += 1
            if unknown <= MAX_CUSTOM and len(key) <= MAX_KEY:
                values[key] = _as_json(value)
            continue
        typed = read(value)
        if typed is not None:
            values[key] = typed
        if typed is None or (isinstance(value, str) and len(value) > MAX_TEXT and key != "url"):
            wrong.append(key)
    return values, tuple(wrong)


def _as_json(value: Value) -> object:
    """Return the value of an unknown key for its log line."""
    if isinstance(value, tuple):
        return [_as_json(item.value) for item in value[:MAX_ITEMS]]
    return value[:MAX_TEXT] if isinstance(value, str) else value


def make_record(values: Mapping[str, Any]) -> CmcdRecord:
    """Return the record of typed values; they must have ``e`` and ``ts``."""
    fields = {key: value for key, value in values.items() if key in _RECORD_FIELDS}
    if "dfa" not in fields and "df" in values:  # dash.js 5.2 sends the name of a draft
        fields["dfa"] = values["df"]
    return CmcdRecord(**fields)


def logged_record(values: Mapping[str, Any]) -> CmcdRecord:
    """Return the record of the values of a log line; they must have ``e`` and ``ts``."""
    typed = {
        key: read(_as_value(value))
        for key, value in values.items()
        if (read := KEYS.get(key)) is not None
    }
    return make_record({key: value for key, value in typed.items() if value is not None})


def _as_value(value: Any) -> Value:
    """Return the tokenized form of a logged value."""
    if isinstance(value, dict):
        return tuple(Item(n, {name: True} if name else {}) for name, n in value.items())
    if isinstance(value, list):
        return tuple(Item(text, {}) for text in value)
    return cast(Value, value)


def log_value(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return typed values for a log line: a list without object types is its number."""
    return {
        key: value[""] if isinstance(value, dict) and value.keys() == {""} else value
        for key, value in values.items()
    }
