"""Panels of several dashboards of views, each over the scope of its dashboard."""

from boards import promql
from boards.panels import Column, Limits, Panel, bars, graph, number, rows
from boards.promql import RANGE, Scope
from boards.variables import TITLES

STARTUP = Limits(3, 5)
REBUFFERING = Limits(0.005, 0.01)
ERRORS = Limits(0.02, 0.05)
COMPLETION = Limits(0.6, 0.4)

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
        "Play attempts, one per view (CTA-2066: a view is one playback of one video).",
        scope.increase("openqoe_views_started_total"),
        decimals=0,
    )


def startup_number(scope: Scope, q: float, title: str) -> Panel:
    return number(
        title,
        "Video startup time (CTA-2066): from the play request to the start of playback, exact to "
        "the histogram bucket. The exact start and end points depend on the player; see the label "
        "`source`.",
        scope.quantile(q, "openqoe_video_startup_seconds", over=RANGE),
        unit="s",
        limits=STARTUP,
        decimals=2,
        alert="OpenQoEStartupSlow",
    )


def rebuffering_number(scope: Scope) -> Panel:
    return number(
        "Rebuffering ratio",
        "Seconds stalled in the middle of a video per second played (CTA-2066: start-up and seeks "
        "are no rebuffering). Some tools divide by the sum of played and stalled time, which gives "
        "slightly less.",
        promql.rebuffering_ratio(scope, over=RANGE),
        unit="percentunit",
        limits=REBUFFERING,
        decimals=2,
        alert="OpenQoERebuffering",
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
        "Mean fraction of the video that ended views reached. A view without an end event counts "
        "with its highest quartile after 30 minutes without events.",
        scope.mean("openqoe_completion_rate", over=RANGE),
        unit="percentunit",
        limits=COMPLETION,
        decimals=1,
        alert="OpenQoECompletionDrop",
    )


def played_number(scope: Scope) -> Panel:
    return number(
        "Playing time",
        "Media time played by all views.",
        scope.increase("openqoe_playing_time_seconds"),
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
        "Video startup time of the started views: median, 95th and 99th percentile.",
        [
            (scope.quantile(q, "openqoe_video_startup_seconds"), legend)
            for q, legend in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
        ],
        unit="s",
        limits=STARTUP,
        alert="OpenQoEStartupSlow",
    )


def rebuffering_graph(scope: Scope, *, by: str = "", legend: str = "ratio") -> Panel:
    return graph(
        "Rebuffering ratio" + (f" by {by}" if by else ""),
        "Seconds stalled in the middle of a video per second played.",
        [(promql.rebuffering_ratio(scope, by=by), legend)],
        unit="percentunit",
        limits=None if by else REBUFFERING,
        alert="OpenQoESliceRebuffering" if by else "OpenQoERebuffering",
    )


def rebuffering_frequency_graph(scope: Scope) -> Panel:
    return graph(
        "Rebufferings per hour played",
        "Interruptions of playback per hour played (CTA-2066: rebuffering frequency).",
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
        "Mean bit rate of the playing renditions (CTA-2066: average bit rate), as reported by "
        "players at the start, at changes and every 10 s. Shaka and video.js do not report it.",
        [(scope.mean("openqoe_bitrate_bps", by=by), legend)],
        unit="bps",
        alert="OpenQoEBitrateCollapse",
    )


def by_label(scope: Scope, label: str, title: str, *, link: str = "", width: int = 12) -> Panel:
    """A table of the key metrics by one label."""
    return rows(
        f"By {title.lower()}",
        "Started views, 95th percentile of the startup time, rebuffering ratio, errors per view, "
        "playing time.",
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
            promql.rebuffering_ratio(scope, by=label, over=RANGE),
            "percentunit",
            REBUFFERING,
            2,
        ),
        Column(
            "Errors/view",
            promql.errors_per_view(scope, by=label, over=RANGE),
            "percentunit",
            ERRORS,
            1,
        ),
        Column(
            "Playing time",
            scope.increase("openqoe_playing_time_seconds", by=label),
            "dtdurations",
            decimals=1,
        ),
    ]
