"""Erasure of a viewer: the forms of an id, and the requests to Loki's delete API.

Source: Loki's documentation, "Log entry deletion". A request is accepted with 204 and carried out
later by the compactor, if retention and deletion are enabled there.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from typing import Final
from urllib.parse import urlencode

from ..access.tenants import tenant_of_org
from ..config.destinations import Destination
from ..config.worker_config import Config
from ..effects import ErasureStep, HttpResult, LokiPush, NetworkFailure
from .event_fields import EventFields

PUSH_PATH: Final = "/loki/api/v1/push"
DELETE_PATH: Final = "/loki/api/v1/delete"


def viewer_forms(fields: EventFields, org_id: str, viewer_id: str) -> tuple[str, ...]:
    """Return the ids under which a viewer may be stored: as sent, and hashed if that is set."""
    if fields.is_hashed("viewer_id"):
        return viewer_id, fields.hash(viewer_id, org_id)
    return (viewer_id,)


def loki_deletions(
    config: Config,
    mapped: Mapping[str, str],
    org_id: str,
    org_labels: Collection[str | None],
    forms: tuple[str, ...],
    now: int,
) -> Iterator[LokiPush | ErasureStep]:
    """Yield the requests that ask Loki to delete a viewer's entries, without ids.

    An organisation with a tenant may have entries in the default tenant as well: of the time before
    it had one, or above the limit of tenants.

    Args:
        config: The settings.
        mapped: Tenants by organisation, of the keys file.
        org_id: The viewer's organisation.
        org_labels: The labels that its streams may have (``governance.dimension``); None for none.
        forms: The ids under which the viewer may be stored.
        now: Current time, ms since the epoch.

    Yields:
        Requests, or for a destination that is not Loki's push endpoint the step that says so.
    """
    tenant = tenant_of_org(config, mapped, org_id)
    for destination in config.logs_destinations:
        if destination.is_embedded:
            continue
        tenants = [destination]
        if tenant and destination.has_tenants:
            tenants.append(destination.for_tenant(tenant))
        for one in tenants:
            for label, form in product(org_labels, forms):
                url = _delete_url(config, one, org_id, label, form, now)
                if url is not None:
                    yield LokiPush(0, one.name, url, one.headers, b"")
        if not destination.url.endswith(PUSH_PATH):
            text = "its URL is not Loki's push endpoint; delete the entries there yourself"
            yield ErasureStep(destination.name, False, text)


def _delete_url(
    config: Config,
    destination: Destination,
    org_id: str,
    label: str | None,
    viewer_id: str,
    now: int,
) -> str | None:
    """Return the URL to POST to; None if the destination's URL is not Loki's push endpoint."""
    if not destination.url.endswith(PUSH_PATH):
        return None
    has_label = label is not None and "org_id" in config.log_labels
    query = f"{{org_id={_quoted(label or '')}}}" if has_label else '{event_type=~".+"}'
    if label != org_id:  # other organisations may have the label, too
        query += _line_filter("org_id", org_id)
    elif not has_label:
        in_metadata = f" | org_id={_quoted(org_id)}"
        is_there = config.loki_structured_metadata
        query += in_metadata if is_there else _line_filter("org_id", org_id)
    if config.loki_structured_metadata:
        query += f" | viewer_id={_quoted(viewer_id)}"
    else:
        query += _line_filter("viewer_id", viewer_id)
    asked = urlencode({"query": query, "start": 0, "end": now // 1000})
    return f"{destination.url.removesuffix(PUSH_PATH)}{DELETE_PATH}?{asked}"


def _line_filter(name: str, value: str) -> str:
    """Return the filter for lines with a member: lines are as received, perhaps with blanks."""
    return " |~ " + _quoted(rf'"{name}"\s*:\s*{re.escape(_quoted(value))}')


def _quoted(text: str) -> str:
    """Return a string of LogQL, and of JSON: Go reads no surrogates as escapes."""
    return json.dumps(text, ensure_ascii=False)


def loki_step(destination: str, result: HttpResult | NetworkFailure) -> ErasureStep:
    """Return the step that a request to Loki's delete API was."""
    if isinstance(result, NetworkFailure):
        return ErasureStep(destination, False, f"not reached: {result.reason}")
    if 200 <= result.status < 300:
        text = "deletion requested; Loki's compactor carries it out within its own interval"
        return ErasureStep(destination, True, text)
    answer = result.body[:200].decode("utf-8", "replace").strip()
    text = f"deletion refused with {result.status}: {answer}; is it enabled in the compactor?"
    return ErasureStep(destination, False, text)


def metrics_step(config: Config) -> ErasureStep:
    """Return what metrics hold of a viewer."""
    if "viewer_id" in config.extra_labels:
        text = "the label viewer_id (OPENQOE_EXTRA_LABELS) holds a hash of the id, and stays"
        return ErasureStep("metrics", False, text)
    return ErasureStep("metrics", True, "hold no viewers")
