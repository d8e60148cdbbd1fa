"""Records of SVTA's CMCD library, which is in hls.js, dash.js and Shaka, read by it and by us."""

import json
import random
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.events.cmcd_record import CmcdEvent
from openqoe.core.events.cmcd_target import CmcdTarget, wrap
from openqoe.core.events.cmcd_tokenizer import Value, parse_dictionary
from openqoe.core.events.decoder import BatchDecoder
from openqoe.simulator import Simulation
from tests.support.event_builders import NOW
from tests.support.services import require, require_folder

LIBRARY = Path(__file__).parents[2] / "build" / "cml-cmcd"
RECORDS = 400

STATES = ("d", "s", "p", "r", "w", "k", "a", "e", "f", "q")
TEXTS = ("film", 'a "quoted" \\ name', "x,e=ps;y=(1 2)", " ", "0", "https://a.example/b?c=d,e")


def random_record(number: int, chance: random.Random) -> dict[str, Any]:
    """A record with the keys of its event and some of the others, in any order."""

    def by_type(most: int) -> list[Any]:
        types = chance.sample(["v", "a", "av", "tt"], chance.randrange(1, 4))
        return [[chance.randrange(most), one] for one in types]

    event = chance.choice(["ps", "t", "e", "bc", "pr", "b", "m", "um", "ce"])
    others: dict[str, Any] = {
        "cid": chance.choice(TEXTS),
        "br": by_type(20_000),
        "bl": chance.choice([[chance.randrange(60_000)], by_type(60_000)]),
        "mtp": [chance.randrange(100_000)],
        "pr": chance.choice([0.5, 1.25, 2]),
        "pt": chance.randrange(10**7),
        "nr": chance.choice([True, False]),
        "bg": chance.choice([True, False]),
        "bs": [[True, "v"]],
        "ltc": chance.uniform(0, 30_000),
        "dfa": chance.randrange(1_000),
        "msd": chance.uniform(0, 5_000),
        "ec": [chance.choice(TEXTS) for _ in range(chance.randrange(1, 4))],
        "sf": chance.choice(["d", "h"]),
        "st": chance.choice(["v", "l", "ll"]),
        "com.example-note": chance.choice([*TEXTS, 7, 1.5, True]),
    }
    kept = chance.sample(sorted(others), chance.randrange(len(others)))
    return {
        "e": event,
        "ts": NOW + number,
        "sn": number,
        "sid": chance.choice(["s-1", "s-2"]),
        "sta": chance.choice(STATES),
        **({"cen": "custom"} if event == "ce" else {}),
        **{key: others[key] for key in kept},
    }


def run_script(name: str, argument: object) -> Any:
    """Run a script of this folder in Node."""
    folder = require_folder(LIBRARY).absolute()
    run = subprocess.run(
        [require("node"), str(Path(__file__).with_name(name)), str(folder)],
        input=json.dumps(argument).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def records() -> list[tuple[str, dict[str, Any]]]:
    """Encoded records, and what the library reads in each."""
    chance = random.Random(5)
    asked = [random_record(number, chance) for number in range(RECORDS)]
    encoded = run_script("encode_records.mjs", asked)
    return [(text, decoded) for text, decoded in encoded]


def as_library(value: Value) -> object:
    """A value as the library shows it."""
    if not isinstance(value, tuple):
        return value
    return [
        {"value": item.value, "params": dict(item.parameters)} if item.parameters else item.value
        for item in value
    ]


def test_record_reads_as_the_library_reads_it(records: list[tuple[str, dict[str, Any]]]) -> None:
    assert len(records) == RECORDS
    for text, expected in records:
        members, skipped = parse_dictionary(text)
        assert skipped == 0, text
        assert {key: as_library(value) for key, value in members.items()} == expected


def test_body_of_records_has_an_event_for_each(records: list[tuple[str, dict[str, Any]]]) -> None:
    target = CmcdTarget("acme", "web", player_name="dashjs")
    body = "".join(f"{text}\n" for text, _ in records).encode()
    decoded = BatchDecoder(Config()).decode(wrap(target, body), NOW)
    assert not decoded.faults
    assert len(decoded.events) == RECORDS
    for (event, _), (text, expected) in zip(decoded.events, records, strict=True):
        assert isinstance(event, CmcdEvent)
        record = event.record
        assert (record.e, record.ts, record.sn, record.sta) == tuple(
            expected[key] for key in ("e", "ts", "sn", "sta")
        ), text
        assert record.ec == (tuple(map(str, expected["ec"])) if "ec" in expected else None)


def test_bodies_of_simulated_viewers_are_valid() -> None:
    simulation = Simulation(4, 3, NOW, (), cmcd_viewers=12)
    bodies = [
        batch.body.decode()
        for batch in takewhile(lambda one: one.at < NOW + 180_000, simulation.batches())
        if batch.path.startswith("/v1/cmcd")
    ]
    assert len(bodies) > 200
    # The library itself writes a line feed after the last record, which it calls an error.
    assert run_script("validate_bodies.mjs", [body.removesuffix("\n") for body in bodies]) == []
