"""Drops and hashes what CMCD records and their targets hold of the members of events.

A record has other names than an event. ``KEYS`` and ``TARGET_FIELDS`` say which key, and which
field of a target, stands for a member; any key has the path ``cmcd.<key>``, as in its log line.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from ..events.cmcd_target import unwrap, wrap
from ..events.cmcd_tokenizer import parse_dictionary, rewrite_dictionary

KEYS: Final[Mapping[str, str]] = {"session_id": "sid", "view_id": "sid", "video.id": "cid"}
"""Paths of members, and the keys that stand for them."""

VIEWER_KEY: Final = "-viewer_id"
"""End of the custom key that stands for ``viewer_id``."""

TARGET_FIELDS: Final[Mapping[str, str]] = {
    **{name: name for name in ("player_id", "env", "app_name", "app_version")},
    "player.name": "player_name",
    "device.category": "device_category",
    "os.family": "os_family",
    "browser.family": "browser_family",
}
"""Paths of members, and the fields of a target that stand for them."""

REQUIRED_KEYS: Final = frozenset({"e", "ts", "v", "sid"})
"""Keys without which a record is of no use. The session may be hashed."""

REQUIRED_FIELDS: Final = frozenset({"player_id"})
"""Fields that may be hashed, not dropped."""


class CmcdKeys:
    """Rules for CMCD bodies.

    Args:
        drop: Paths of members to remove. A path covers those below it.
        hash: Paths of members to replace by a hash.
        hash_value: Returns the hash of a value of an organisation.
    """

    def __init__(
        self,
        drop: Iterable[str],
        hash: Iterable[str],
        hash_value: Callable[[str, str], str],
    ) -> None:
        paths = {**dict.fromkeys(drop, False), **dict.fromkeys(hash, True)}
        self._hash = hash_value
        self._viewer = paths.get("viewer_id")
        keys: dict[str, bool] = {}
        fields: dict[str, bool] = {}
        for path, is_hashed in paths.items():
            if path.startswith("cmcd."):
                keys[path.removeprefix("cmcd.")] = is_hashed
            keys |= dict.fromkeys(_covered(KEYS, path), is_hashed)
            fields |= dict.fromkeys(_covered(TARGET_FIELDS, path), is_hashed)
        self._keys = {
            key: is_hashed
            for key, is_hashed in keys.items()
            if key not in REQUIRED_KEYS or (is_hashed and key == "sid")
        }
        self._fields = {
            field: is_hashed
            for field, is_hashed in fields.items()
            if is_hashed or field not in REQUIRED_FIELDS
        }

    def apply(self, body: bytes) -> bytes:
        """Return a wrapped body with the rules applied.

        Members of records that cannot be read are removed with them: they may hold anything.

        Raises:
            NotCmcdError: The target is damaged.
        """
        if not (self._keys or self._fields or self._viewer is not None):
            return body
        target, content = unwrap(body)
        org = target.org_id
        changes = {
            name: self._hash(value, org) if is_hashed else None
            for name, is_hashed in self._fields.items()
            if (value := getattr(target, name)) is not None
        }

        def rewrite(key: str, member: str) -> str | None:
            rule = self._viewer if key.endswith(VIEWER_KEY) else self._keys.get(key)
            rule = self._keys.get(key) if rule is None else rule
            if rule is None:
                return member
            return f'{key}="{self._hash(_text(key, member), org)}"' if rule else None

        lines = [
            rewrite_dictionary(line.decode("utf-8", "surrogateescape"), rewrite).encode(
                "utf-8", "surrogateescape"
            )
            for line in content.split(b"\n")
        ]
        return wrap(msgspec.structs.replace(target, **changes), b"\n".join(lines))


def _covered(names: Mapping[str, str], path: str) -> list[str]:
    return [name for known, name in names.items() if f"{known}.".startswith(f"{path}.")]


def _text(key: str, member: str) -> str:
    value = parse_dictionary(member)[0].get(key)
    return value if isinstance(value, str) else member.partition("=")[2]
