"""Panels that several dashboards of views share, over the scope each of them looks at."""

from boards import promql
from boards.panels import Column, Limits, Panel, bars, graph, number, rows
from boards.promql import RANGE, Scope
from boards.variables import TITLES

STARTUP = Limits(3, 5)
REBUFFERING = Limits(0.005, 0.01)
ERRORS = Limits(0.02, 0.05)
COMPLETION = Limits(0.6, 0.4)

VIDEO_LINK = "/d/openqoe-vod?${__url_time_range}&var-video_id=${__value.text}"
"""Where a video's id leads."""


def matchers(*fixed: str, without: str = "") -> str:
    """Matchers of all variables of views."""
    chosen = (f'{name}=~"${name}"' for name in TITLES if name != without)
    return ",".join((*fixed, *chosen))


def concurrent(scope: Scope) -> Panel:
    return number(
        "Concurrent views",
        "Views that play and had an event in the last 30 s. In a fleet one worker tells it for "
        "all, so the sum is right.",
        scope.sum("openqoe_concurrent_views_current"),
        decimals=0,
        alert="OpenQoETrafficGone",
    )


def started(scope: Scope) -> Panel:
    return number(
        "Views started",
        "Play attempts that began, once a view (CTA-2066: a view is one playback of one video).",
        scope.increase("openqoe_views_started_total"),
        decimals=0,
    )


def startup_number(scope: Scope, q: float, title: str) -> Panel:
    return number(
        title,
        "Video startup time (CTA-2066): from the request to play until the player began. Exact to "
        "the histogram's bucket. Which two points in time it lies between depends on the player: "
        "the label `source` tells.",
        scope.quantile(q, "openqoe_video_startup_seconds", over=RANGE),
        unit="s",
        limits=STARTUP,
        decimals=2,
        alert="OpenQoEStartupSlow",
    )


def rebuffering_number(scope: Scope) -> Panel:
    return number(
        "Rebuffering ratio",
        "Seconds that viewers waited for data in the middle of a video, for each second that was "
        "played (CTA-2066: start-up and seeks are no rebuffering). Some tools divide by played "
        "and waited time together, which gives slightly less.",
        promql.rebuffering_ratio(scope, over=RANGE),
        unit="percentunit",
        limits=REBUFFERING,
        decimals=2,
        alert="OpenQoERebuffering",
    )


def errors_number(scope: Scope) -> Panel:
    return number(
        "Errors for each view",
        "Errors that players reported, for each view started. Players also report errors that "
        "they get over: hls.js all of them, Shaka recoverable ones.",
        promql.errors_per_view(scope, over=RANGE),
        unit="percentunit",
        limits=ERRORS,
        decimals=1,
        alert="OpenQoEErrors",
    )


def completion_number(scope: Scope) -> Panel:
    return number(
        "Completion",
        "Mean share of the video that views reached which ended in this time. A view without an "
        "end counts with its highest quartile once it has been silent for 30 minutes.",
        scope.mean("openqoe_completion_rate", over=RANGE),
        unit="percentunit",
        limits=COMPLETION,
        decimals=1,
        alert="OpenQoECompletionDrop",
    )


def played_number(scope: Scope) -> Panel:
    return number(
        "Playing time",
        "Media time played by all views, each second once.",
        scope.increase("openqoe_playing_time_seconds"),
        unit="dtdurations",
        decimals=1,
    )


def concurrent_graph(scope: Scope, *, by: str = "", legend: str = "views") -> Panel:
    return graph(
        "Concurrent views" + (f" by {by}" if by else ""),
        "Views that play, at each moment.",
        [(scope.sum("openqoe_concurrent_views_current", by=by), legend)],
        stacked=bool(by),
    )


def starts_graph(scope: Scope) -> Panel:
    return graph(
        "Views started and completed, per minute",
        "Views that began, and that reached their end.",
        [
            (f"60 * {scope.rate('openqoe_views_started_total')}", "started"),
            (f"60 * {scope.rate('openqoe_views_completed_total')}", "completed"),
        ],
        alert="OpenQoETrafficGone",
    )


def startup_graph(scope: Scope) -> Panel:
    return graph(
        "Startup time",
        "Video startup time of the views that began then: the median, and what one view in twenty "
        "and one in a hundred exceed.",
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
        "Seconds waited in the middle of a video for each second played.",
        [(promql.rebuffering_ratio(scope, by=by), legend)],
        unit="percentunit",
        limits=None if by else REBUFFERING,
        alert="OpenQoESliceRebuffering" if by else "OpenQoERebuffering",
    )


def rebuffering_frequency_graph(scope: Scope) -> Panel:
    return graph(
        "Rebufferings per hour played",
        "How often a viewer is interrupted (CTA-2066: rebuffering frequency).",
        [(promql.rebuffering_frequency(scope), "rebufferings")],
        alert="OpenQoERebuffering",
    )


def errors_graph(scope: Scope) -> Panel:
    return graph(
        "Errors per minute, by family",
        "What players reported: network, decoder, source …",
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
        "Mean bit rate of the renditions that play (CTA-2066: average bit rate), over what "
        "players reported: at the start, at changes, every 10 s. Shaka and video.js do not tell "
        "it.",
        [(scope.mean("openqoe_bitrate_bps", by=by), legend)],
        unit="bps",
        alert="OpenQoEBitrateCollapse",
    )


def by_label(scope: Scope, label: str, title: str, *, link: str = "", width: int = 12) -> Panel:
    """The key numbers by one label."""
    return rows(
        f"By {title.lower()}",
        "Views started, startup time that one view in twenty exceeds, rebuffering ratio, errors "
        "for each view, playing time.",
        [(label, title)],
        _key_columns(scope, label),
        width=width,
        link=link,
        alert="OpenQoESliceRebuffering",
    )


def worst_videos(scope: Scope) -> list[Panel]:
    """Videos that are seen most, fail most, stall most."""
    videos = [("video_id", "Video")]
    start = scope.increase("openqoe_views_started_total", by="video_id")
    errors = scope.increase("openqoe_errors_total", by="video_id")
    stalled = scope.increase(
        "openqoe_rebuffer_duration_seconds_sum", promql.REBUFFERING, by="video_id"
    )
    return [
        rows(
            "Most errors",
            "The 15 videos with most errors. Ids are in buckets where there are many "
            "(docs/governance.md).",
            videos,
            [Column("Errors", f"topk(15, {errors} > 0)", decimals=0)],
            width=8,
            link=VIDEO_LINK,
            alert="OpenQoEErrors",
        ),
        rows(
            "Most time stalled",
            "The 15 videos at which viewers waited longest in all.",
            videos,
            [Column("Stalled", f"topk(15, {stalled} > 0)", "dtdurations", decimals=1)],
            width=8,
            link=VIDEO_LINK,
            alert="OpenQoERebuffering",
        ),
        rows(
            "Most seen",
            "The 15 videos with most views.",
            videos,
            [Column("Views", f"topk(15, {start} > 0)", decimals=0)],
            width=8,
            link=VIDEO_LINK,
        ),
    ]


def funnel(scope: Scope) -> Panel:
    """How far views get."""
    quartiles = [
        (scope.increase("openqoe_quartile_reached_total", f'quartile="{q}"'), f"{q} %")
        for q in (25, 50, 75, 100)
    ]
    return bars(
        "Completion funnel",
        "Views that started, that reached each quartile of the video, and that played to the "
        "end. Each view counts once a bar; a seek ahead passes quartiles, too.",
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
