"""Erasure of a viewer: the forms of an id, and the request to Loki's delete API.

Source: Loki's documentation, "Log entry deletion". A request is accepted with 204 and carried out
later by the compactor, if retention and deletion are enabled there.
"""

import json
from typing import Final
from urllib.parse import urlencode

from ..config.destinations import Destination
from ..config.worker_config import Config
from .event_fields import EventFields

PUSH_PATH: Final = "/loki/api/v1/push"
DELETE_PATH: Final = "/loki/api/v1/delete"


def viewer_forms(fields: EventFields, org_id: str, viewer_id: str) -> list[str]:
    """Return the ids under which a viewer may be stored: as sent, and hashed if that is set."""
    forms = [viewer_id]
    if fields.is_hashed("viewer_id"):
        forms.append(fields.hash(viewer_id, org_id))
    return forms


def loki_delete_url(
    config: Config, destination: Destination, org_id: str, viewer_id: str, now: int
) -> str | None:
    """Return the URL to which a POST asks Loki to delete a viewer's entries.

    Args:
        config: The settings.
        destination: The destination of logs.
        org_id: The viewer's organisation.
        viewer_id: The id as it is stored.
        now: Current time, ms since the epoch.

    Returns:
        The URL; None if the destination's URL is not Loki's push endpoint.
    """
    if not destination.url.endswith(PUSH_PATH):
        return None
    org, viewer = json.dumps(org_id), json.dumps(viewer_id)
    query = f"{{org_id={org}}}" if "org_id" in config.log_labels else '{event_type=~".+"}'
    if config.loki_structured_metadata:
        terms = [f" | viewer_id={viewer}"]
        more = f" | org_id={org}"
    else:
        terms = [" |= " + json.dumps('"viewer_id":' + viewer)]
        more = " |= " + json.dumps('"org_id":' + org)
    if "org_id" not in config.log_labels:
        terms.insert(0, more)
    query += "".join(terms)
    asked = urlencode({"query": query, "start": 0, "end": now // 1000})
    return f"{destination.url.removesuffix(PUSH_PATH)}{DELETE_PATH}?{asked}"
