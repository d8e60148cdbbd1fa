"""The truth as text: the figures that a dashboard or Prometheus must show."""

from collections.abc import Iterator

from .truth import Truth, quantile

STARTUP = "openqoe_video_startup_seconds"
WATCHED = "openqoe_watch_time_seconds"
OUTCOMES = "openqoe_view_outcomes_total"


def lines(truth: Truth) -> Iterator[str]:
    """Lines of text, each with the metric that must show its figure.

    Quantiles are estimated from the buckets, as ``histogram_quantile()`` does.
    """
    by_type = truth.by("openqoe_events_total", "event_type")
    yield _line("events", f"{sum(by_type.values()):,.0f}", "openqoe_events_total")
    yield from _wrapped([f"{name} {value:,.0f}" for (name,), value in by_type.items()])
    started = truth.total("openqoe_views_started_total")
    completed = truth.total("openqoe_views_completed_total")
    yield _line("views started", f"{started:,.0f}", "openqoe_views_started_total")
    yield _line("views completed", f"{completed:,.0f}", "openqoe_views_completed_total")
    reached = truth.by("openqoe_quartile_reached_total", "quartile")
    shares = "  ".join(f"{q}% {reached.get((q,), 0):,.0f}" for q in ("25", "50", "75", "100"))
    yield _line("quartiles", shares, "openqoe_quartile_reached_total")
    played = truth.total("openqoe_playing_time_seconds")
    yield _line("playing", f"{played:,.1f} s", "openqoe_playing_time_seconds")
    watched = truth.total(WATCHED)
    yield _line("watched", f"{watched:,.1f} s", WATCHED)
    startup = truth.histogram(STARTUP)
    values = [(q, quantile(STARTUP, startup, q)) for q in (0.5, 0.95, 0.99)]
    text = "  ".join(f"p{q * 100:.0f} {v:.2f} s" for q, v in values if v is not None)
    count = f"{sum(startup.counts):,} views  " if text else "none"
    yield _line("startup", count + text, STARTUP)
    for (cause,), stalls in truth.by("openqoe_rebuffer_events_total", "cause").items():
        over = truth.histogram("openqoe_rebuffer_duration_seconds", cause=cause)
        text = f"{stalls:,.0f}, of which {sum(over.counts):,} ended, after {over.total:,.1f} s"
        yield _line(f"stalls ({cause})", text, "openqoe_rebuffer_events_total")
    outcomes = truth.by(OUTCOMES, "outcome")
    yield _line("views ended", f"{sum(outcomes.values()):,.0f} so far", OUTCOMES)
    yield from _wrapped([f"{name} {value:,.0f}" for (name,), value in outcomes.items()])
    switches = truth.by("openqoe_quality_changes_total", "change_direction")
    text = "  ".join(f"{name} {value:,.0f}" for (name,), value in switches.items()) or "none"
    yield _line("quality changes", text, "openqoe_quality_changes_total")
    for label, metric in (
        ("seeks", "openqoe_seeks_total"),
        ("pauses", "openqoe_pause_events_total"),
        ("dropped frames", "openqoe_dropped_frames_total"),
    ):
        yield _line(label, f"{truth.total(metric):,.0f}", metric)
    errors = truth.by("openqoe_errors_total", "error_family", "error_code")
    yield _line("errors", f"{sum(errors.values()):,.0f}", "openqoe_errors_total")
    yield from _wrapped([f"{family}/{code} {n:,.0f}" for (family, code), n in errors.items()])


def _line(label: str, text: str, metric: str) -> str:
    return f"  {label:<18} {text:<50} {metric}"


def _wrapped(parts: list[str], width: int = 4) -> Iterator[str]:
    for start in range(0, len(parts), width):
        yield f"  {'':<18}   " + ", ".join(parts[start : start + width])
