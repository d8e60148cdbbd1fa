"""The privacy rules of a worker, by its settings."""

from ..config.worker_config import Config
from ..events.cmcd_target import is_wrapped
from ..events.event_types import Event
from ..events.slicing import join_events
from .cmcd_keys import CmcdKeys
from .event_fields import EventFields
from .url_queries import strip_cmcd_queries, strip_url_queries


class PrivacyRules:
    """Applies the rules to batches before anything is stored.

    Args:
        config: The settings.
        secret: The secret of the service, for hashes where OPENQOE_HASH_KEY is not set.
    """

    def __init__(self, config: Config, secret: bytes) -> None:
        key = secret if config.hash_key is None else config.hash_key.encode()
        self._strips_queries = config.strip_query
        self.fields = EventFields(config.drop_fields, config.hash_fields, key)
        self._cmcd_keys = CmcdKeys(config.drop_fields, config.hash_fields, self.fields.hash)

    def strip(self, body: bytes) -> bytes:
        """Return a body without the queries of URLs, and one of CMCD with the rules for fields
        applied: its keys can be rewritten before they are decoded.

        Raises:
            NotCmcdError: The target of a CMCD body is damaged.
        """
        if is_wrapped(body):
            body = self._cmcd_keys.apply(body)
            if not self._strips_queries:
                return body
            target, end_of_line, records = body.partition(b"\n")
            return target + end_of_line + strip_cmcd_queries(records)
        return strip_url_queries(body) if self._strips_queries else body

    def rewrite(self, body: bytes, events: tuple[tuple[Event, bytes], ...]) -> bytes | None:
        """Return an SDK body of these events with the rules for fields applied; None if none
        applies.

        Args:
            body: The body that the events are of, invalid ones included.
            events: The events to keep.
        """
        if not self.fields.concern(body):
            return None
        lines = [self.fields.apply(line, event.org_id) for event, line in events]
        # Even if no event has changed: an invalid one beside them may hold what is to be removed.
        return join_events(lines)
