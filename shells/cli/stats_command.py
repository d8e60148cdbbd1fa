"""``openqoe stats``: the state of a running worker."""

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click

from ..service.clock import now_ms
from .command_options import worker_options
from .terminal_output import (
    EXIT_FAILED,
    Colour,
    Painted,
    clear_screen,
    is_terminal,
    say,
    say_json,
)
from .worker_connection import WorkerError, fetch_json

STATES: Mapping[str, Colour] = {"ok": "green", "failing": "red"}
"""Colours of the states of destinations; others are yellow."""


@click.command()
@worker_options("The worker.", reads=True)
@click.option("--dimension", help="Show the values admitted for this dimension instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the worker's answer as JSON.")
@click.option(
    "--watch",
    type=click.FloatRange(0.2),
    metavar="SECONDS",
    help="Repeat every so many seconds, until Ctrl-C.",
)
def stats(
    url: str, api_key: str, dimension: str | None, as_json: bool, watch: float | None
) -> None:
    """Show the state of a running worker: views, series, deliveries, cardinality.

    Exits with 1 if the worker does not answer.

    \b
    Examples:
      openqoe stats
      openqoe stats --watch 2
      openqoe stats --dimension video_id
      openqoe stats --url https://qoe.example.com --api-key K --json
    """
    query = {} if dimension is None else {"dimension": dimension}
    with suppress(KeyboardInterrupt):
        while True:
            try:
                answer = fetch_json(url, "/stats", query, api_key)
            except WorkerError as error:
                say(f"openqoe: {error}", err=True)
                sys.exit(EXIT_FAILED)
            if watch is not None and is_terminal():
                clear_screen()
            if as_json:
                say_json(answer)
            elif dimension is not None:
                _show_dimension(answer)
            else:
                _show(answer)
            if watch is None:
                return
            time.sleep(watch)
            if not is_terminal() and not as_json:
                say("")


def _show(answer: Mapping[str, Any]) -> None:
    now = now_ms()
    say(f"worker {answer.get('worker_version')}, instance {answer.get('instance')}")
    series = _mapping(answer.get("series"))
    overflowed = series.get("overflowed", 0)
    more = Painted(f", {_number(overflowed)} overflowed", "red") if overflowed else ""
    say(f"{_number(answer.get('views'))} views, {_number(series.get('live'))} series", more)
    if shared := answer.get("shared_store"):
        store = _mapping(shared)
        words = f" ({store['failure']})" if store.get("failure") else ""
        say(f"shared store: {store.get('state')}{words}")
    interval = _mapping(answer.get("flush_interval_ms"))
    configured, current = interval.get("configured"), interval.get("current")
    if configured and current and current > configured:
        text = f"flush interval: {current / 1000:g} s, stretched from {configured / 1000:g} s"
        say(Painted(text, "yellow"))
    say("")
    head = f"{'destination':<24} {'state':<10} {'waiting':>9} {'bytes':>12} {'oldest':>8}"
    say(f"{head}  last success")
    for queue in map(_mapping, answer.get("destinations") or ()):
        state = str(queue.get("state"))
        age = queue.get("oldest_age")
        oldest = "-" if age is None else f"{age / 1000:.0f} s"
        success = queue.get("last_success")
        since = "never" if success is None else f"{max(0, now - success) / 1000:.0f} s ago"
        if queue.get("is_behind"):
            state = "behind" if state == "ok" else state
        say(
            f"{queue.get('destination')!s:<24} ",
            Painted(f"{state:<10}", STATES.get(state, "yellow")),
            f" {_number(queue.get('payloads')):>9} {_number(queue.get('bytes')):>12} {oldest:>8}"
            f"  {since}",
        )
        if queue.get("last_error") and state != "ok":
            say("  ", Painted(f"last error: {queue['last_error']}", "yellow"))
        for failing in map(_mapping, _mapping(queue.get("tenants")).get("failing") or ()):
            tenant = failing.get("tenant") or "default"
            say("  ", Painted(f"tenant {tenant}: {failing.get('last_error')}", "yellow"))
    say("")
    say(f"{'dimension':<20} {'values':>9} {'limit':>9}  action")
    limits = _mapping(answer.get("cardinality_limits"))
    for name, count in _mapping(answer.get("cardinality")).items():
        limit = _mapping(limits.get(name))
        most = limit.get("max_cardinality")
        is_full = most is not None and isinstance(count, int) and count >= most
        text = f"{name:<20} {_number(count):>9} {_number(most):>9}  {limit.get('action', '')}"
        say(Painted(f"{text}  full", "red") if is_full else text)


def _show_dimension(answer: Mapping[str, Any]) -> None:
    values = answer.get("values") or ()
    say(f"{answer.get('dimension')}: {_number(answer.get('cardinality'))} values")
    for value in values:
        say(f"  {value}")
    if len(values) < (answer.get("cardinality") or 0):
        say("  ...")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
