"""Asks a running worker for a page of JSON: ``openqoe stats``."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

MAX_ANSWER = 32 << 20
"""Bytes of an answer that are read."""


class AskingError(Exception):
    """No usable answer came; the text says why."""


def ask(url: str, path: str, query: Mapping[str, str], key: str) -> dict[str, Any]:
    """GET a page.

    Args:
        url: The worker.
        path: Of the page, from the root on.
        query: Fields of the query.
        key: The API key; "" for none.

    Raises:
        AskingError: The worker does not answer, or with something else than asked for.
    """
    return asyncio.run(_ask(url, path, query, key))


async def _ask(url: str, path: str, query: Mapping[str, str], key: str) -> dict[str, Any]:
    address = urlsplit(url)
    page = f"{address.scheme}://{address.netloc}{address.path.rstrip('/')}{path}"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(page, params=dict(query), headers=headers, allow_redirects=False) as got,
        ):
            content = await got.content.read(MAX_ANSWER)
            while piece := await got.content.read(MAX_ANSWER):
                content += piece
                if len(content) > MAX_ANSWER:
                    raise AskingError(f"{page} answers with more than {MAX_ANSWER} bytes")
            status = got.status
    except TimeoutError:
        raise AskingError(f"{page} does not answer within {TIMEOUT:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise AskingError(f"cannot reach {page}: {error}") from None
    try:
        answer = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise AskingError(f"{page} answers {status} and no JSON: is it a worker?") from None
    if status != 200:
        raise AskingError(f"{page} answers {status} {answer.get('message', '')}".rstrip())
    return answer
