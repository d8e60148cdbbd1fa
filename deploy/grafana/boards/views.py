"""Panels of several dashboards of views, each over the scope of its dashboard."""

from boards import promql
from boards.panels import Column, Limits, Panel, bars, graph, number, rows
from boards.promql import RANGE, Scope
from boards.variables import TITLES

STARTUP = Limits(3, 5)
REBUFFERING = Limits(0.005, 0.01)
EXITS = Limits(0.05, 0.1)
FAILURES = Limits(0.02, 0.05)
ERRORS = Limits(0.02, 0.05)
COMPLETION = Limits(0.6, 0.4)

LATE = (
    " A view that falls silent ends after 30 minutes (`OPENQOE_VIEW_TIMEOUT`), or after a minute "
    "if its page was hidden before the start."
)

VIDEO_LINK = "/d/openqoe-vod?${__url_time_range}&var-video_id=${__value.text}"
"""The link of a video id."""


def matchers(*fixed: str, without: str = "") -> str:
    """Matchers of all variables of views."""
    chosen = (f'{name}=~"${name}"' for name in TITLES if name != without)
    return ",".join((*fixed, *chosen))


def concurrent(scope: Scope) -> Panel:
    return number(
        "Concurrent views",
        "Playing views with an event in the last 30 s. With a shared store one worker reports for "
        "all, so the sum is correct.",
        scope.sum("openqoe_concurrent_views_current"),
        decimals=0,
        alert="OpenQoETrafficGone",
    )


def started(scope: Scope) -> Panel:
    return number(
        "Views started",
        "Play requests of viewers or autoplay, one per view (CTA-2066: a view is one playback of "
        "one video).",
        scope.increase("openqoe_views_started_total"),
        decimals=0,
    )


def startup_number(scope: Scope, q: float, title: str) -> Panel:
    return number(
        title,
        "Video startup time (CTA-2066): from the play request to the first frame, exact to the "
        "histogram bucket. Views without a frame have none. The label `source` says how it was "
        "measured.",
        scope.quantile(q, "openqoe_video_startup_seconds", over=RANGE),
        unit="s",
        limits=STARTUP,
        decimals=2,
        alert="OpenQoEStartupSlow",
    )


def rebuffering_number(scope: Scope) -> Panel:
    return number(
        "Rebuffer percentage",
        "Time rebuffering of the time watched, which is playing and rebuffering (CTA-2066: "
        "start-up and seeks are no rebuffering).",
        promql.rebuffer_percentage(scope, over=RANGE),
        unit="percentunit",
        limits=REBUFFERING,
        decimals=2,
        alert="OpenQoERebuffering",
    )


def exits_number(scope: Scope) -> Panel:
    return _outcome_number(
        scope,
        "exit_before_start",
        "Exits before start",
        "Ended attempts that were left without a first frame and without a fatal error (CTA-2066, "
        "Mux: EBVS), of all but bounces, which last less than a second.",
        limits=EXITS,
        alert="OpenQoEExitsBeforeStart",
    )


def start_failures_number(scope: Scope) -> Panel:
    return _outcome_number(
        scope,
        "start_failure",
        "Start failures",
        "Ended attempts with a fatal error before the first frame (CTA-2066, Mux: VSF), of all but "
        "bounces.",
        limits=FAILURES,
        alert="OpenQoEStartFailures",
    )


def playback_failures_number(scope: Scope) -> Panel:
    return _outcome_number(
        scope,
        "playback_failure",
        "Playback failures",
        "Ended views that showed a frame and ended with an error (Mux, Conviva: VPF), of all that "
        "showed a frame.",
        limits=FAILURES,
        alert="OpenQoEPlaybackFailures",
    )


def _outcome_number(
    scope: Scope, outcome: str, title: str, text: str, *, limits: Limits, alert: str
) -> Panel:
    return number(
        title,
        text + LATE,
        promql.outcome_ratio(scope, outcome),
        unit="percentunit",
        limits=limits,
        decimals=1,
        alert=alert,
    )


def score_number(scope: Scope) -> Panel:
    return number(
        "View score",
        "Mean score of the ended views, from 0 to 100: our combination of the parts that Mux "
        "publishes (success x mean of start-up, smoothness and quality). A summary, not for "
        "alerts.",
        scope.mean("openqoe_view_score", 'part="all"', over=RANGE),
        limits=Limits(80, 60),
        decimals=0,
    )


def outcomes_graph(scope: Scope) -> Panel:
    return graph(
        "How views end",
        "Fractions of the ended views by outcome." + LATE,
        [(scope.rate("openqoe_view_outcomes_total", by="outcome"), "{{outcome}}")],
        share=True,
        alert="OpenQoEPlaybackFailures",
    )


def scores_graph(scope: Scope) -> Panel:
    return graph(
        "View score, by part",
        "Mean score of the ended views by part. A view without a known picture size has no "
        "`quality`.",
        [(scope.mean("openqoe_view_score", by="part"), "{{part}}")],
        most=100,
    )


def errors_number(scope: Scope) -> Panel:
    return number(
        "Errors for each view",
        "Reported errors per started view. Players also report errors from which they recover: "
        "hls.js all of them, Shaka those marked recoverable.",
        promql.errors_per_view(scope, over=RANGE),
        unit="percentunit",
        limits=ERRORS,
        decimals=1,
        alert="OpenQoEErrors",
    )


def completion_number(scope: Scope) -> Panel:
    return number(
        "Completion",
        "Mean fraction of the video that ended views reached: furthest position by duration, of "
        "every view that showed a frame. A view without an end event counts after 30 minutes "
        "without events.",
        scope.mean("openqoe_completion_rate", over=RANGE),
        unit="percentunit",
        limits=COMPLETION,
        decimals=1,
        alert="OpenQoECompletionDrop",
    )


def watched_number(scope: Scope) -> Panel:
    return number(
        "Watch time",
        "Time watched by the clock: playing and rebuffering, without start-up, seeks and pauses.",
        scope.increase("openqoe_watch_time_seconds"),
        unit="dtdurations",
        decimals=1,
    )


def concurrent_graph(scope: Scope, *, by: str = "", legend: str = "views") -> Panel:
    return graph(
        "Concurrent views" + (f" by {by}" if by else ""),
        "Playing views at each point in time.",
        [(scope.sum("openqoe_concurrent_views_current", by=by), legend)],
        stacked=bool(by),
    )


def starts_graph(scope: Scope) -> Panel:
    return graph(
        "Views started and completed, per minute",
        "Started views, and views that reached the end.",
        [
            (f"60 * {scope.rate('openqoe_views_started_total')}", "started"),
            (f"60 * {scope.rate('openqoe_views_completed_total')}", "completed"),
        ],
        alert="OpenQoETrafficGone",
    )


def startup_graph(scope: Scope) -> Panel:
    return graph(
        "Startup time",
        "From the play request to the first frame: median, 95th and 99th percentile, by the "
        "source of the measurement.",
        [
            (
                scope.quantile(q, "openqoe_video_startup_seconds", by="source"),
                legend + ", {{source}}",
            )
            for q, legend in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
        ],
        unit="s",
        limits=STARTUP,
        alert="OpenQoEStartupSlow",
    )


def rebuffering_graph(scope: Scope, *, by: str = "", legend: str = "ratio") -> Panel:
    return graph(
        "Rebuffer percentage" + (f" by {by}" if by else ""),
        "Time rebuffering of the time watched.",
        [(promql.rebuffer_percentage(scope, by=by), legend)],
        unit="percentunit",
        limits=None if by else REBUFFERING,
        alert="OpenQoESliceRebuffering" if by else "OpenQoERebuffering",
    )


def rebuffering_frequency_graph(scope: Scope) -> Panel:
    return graph(
        "Rebufferings per hour watched",
        "Interruptions of playback per hour watched (CTA-2066: rebuffering frequency).",
        [(promql.rebuffering_frequency(scope), "rebufferings")],
        alert="OpenQoERebuffering",
    )


def errors_graph(scope: Scope) -> Panel:
    return graph(
        "Errors per minute, by family",
        "Reported errors: network, decoder, source …",
        [
            (
                f"60 * {scope.rate('openqoe_errors_total', by='error_family')}",
                "{{error_family}}",
            )
        ],
        stacked=True,
        alert="OpenQoEErrors",
    )


def bitrate_graph(scope: Scope, *, by: str = "", legend: str = "mean") -> Panel:
    return graph(
        "Bit rate" + (f" by {by}" if by else ""),
        "Bit rate weighted by the time for which each rendition was played (CTA-2066: average bit "
        "rate). Shaka and video.js do not report it.",
        [(promql.weighted_bitrate(scope, by=by), legend)],
        unit="bps",
        alert="OpenQoEBitrateCollapse",
    )


def by_label(scope: Scope, label: str, title: str, *, link: str = "", width: int = 12) -> Panel:
    """A table of the key metrics by one label."""
    return rows(
        f"By {title.lower()}",
        "Started views, 95th percentile of the startup time, rebuffer percentage, exits before "
        "start and failures of the ended attempts, errors per view, watch time.",
        [(label, title)],
        _key_columns(scope, label),
        width=width,
        link=link,
        alert="OpenQoESliceRebuffering",
    )


def worst_videos(scope: Scope) -> list[Panel]:
    """Tables of the videos with most errors, most time stalled, most views."""
    videos = [("video_id", "Video")]
    start = scope.increase("openqoe_views_started_total", by="video_id")
    errors = scope.increase("openqoe_errors_total", by="video_id")
    stalled = scope.increase(
        "openqoe_rebuffer_duration_seconds_sum", promql.REBUFFERING, by="video_id"
    )
    return [
        rows(
            "Most errors",
            "The 15 videos with most errors. Ids are grouped in buckets if there are many "
            "(docs/governance.md).",
            videos,
            [Column("Errors", f"topk(15, {errors} > 0)", decimals=0)],
            width=8,
            link=VIDEO_LINK,
            alert="OpenQoEErrors",
        ),
        rows(
            "Most time stalled",
            "The 15 videos with the longest total stall time.",
            videos,
            [Column("Stalled", f"topk(15, {stalled} > 0)", "dtdurations", decimals=1)],
            width=8,
            link=VIDEO_LINK,
            alert="OpenQoERebuffering",
        ),
        rows(
            "Most views",
            "The 15 videos with the most views.",
            videos,
            [Column("Views", f"topk(15, {start} > 0)", decimals=0)],
            width=8,
            link=VIDEO_LINK,
        ),
    ]


def funnel(scope: Scope) -> Panel:
    """The completion funnel."""
    quartiles = [
        (scope.increase("openqoe_quartile_reached_total", f'quartile="{q}"'), f"{q} %")
        for q in (25, 50, 75, 100)
    ]
    return bars(
        "Completion funnel",
        "Views that started, reached each quartile of the video, and played to the end. Each view "
        "counts once per bar; a seek forward passes quartiles, too.",
        [
            (scope.increase("openqoe_views_started_total"), "started"),
            *quartiles,
            (scope.increase("openqoe_views_completed_total"), "completed"),
        ],
        alert="OpenQoECompletionDrop",
    )


def _key_columns(scope: Scope, label: str) -> list[Column]:
    return [
        Column("Views", scope.increase("openqoe_views_started_total", by=label), decimals=0),
        Column(
            "Startup 95 %",
            scope.quantile(0.95, "openqoe_video_startup_seconds", by=label, over=RANGE),
            "s",
            STARTUP,
            2,
        ),
        Column(
            "Rebuffering",
            promql.rebuffer_percentage(scope, by=label, over=RANGE),
            "percentunit",
            REBUFFERING,
            2,
        ),
        Column(
            "Exits",
            promql.outcome_ratio(scope, "exit_before_start", by=label),
            "percentunit",
            EXITS,
            1,
        ),
        Column(
            "Failures",
            promql.ratio(
                scope.rate(
                    "openqoe_view_outcomes_total",
                    'outcome=~"start_failure|playback_failure"',
                    by=label,
                    over=RANGE,
                ),
                scope.rate("openqoe_view_outcomes_total", promql.ATTEMPTS, by=label, over=RANGE),
            ),
            "percentunit",
            FAILURES,
            1,
        ),
        Column(
            "Errors/view",
            promql.errors_per_view(scope, by=label, over=RANGE),
            "percentunit",
            ERRORS,
            1,
        ),
        Column(
            "Watch time",
            scope.increase("openqoe_watch_time_seconds", by=label),
            "dtdurations",
            decimals=1,
        ),
    ]
