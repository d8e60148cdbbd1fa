"""The slots of a data directory: who owns which, and how views move when their number changes."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from openqoe.core import Config
from openqoe.core.cluster.partition import owner_of
from openqoe.shells.cli.slot_delivery import deliver_slots
from openqoe.shells.net.peer_socket import FILE as SOCKET
from openqoe.shells.service import logs, orphan_recovery, repartition, slot_choice
from openqoe.shells.service.bootstrap import open_runtime, open_slot
from openqoe.shells.service.clock import now_ms
from openqoe.shells.service.slot_choice import claim_slot
from openqoe.shells.storage import Slot, Slots, StorageError
from openqoe.shells.storage.partition_file import FILE, read_slot_count, write_slot_count
from openqoe.shells.wsgi_shell.service import Service
from tests.support.event_builders import post
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import player_event
from tests.support.services import wait_until


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_choice, "PATIENCE", 0.0)


@pytest.fixture
def prometheus() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble() as double:
        yield double


def make_config(directory: Path, workers: int, **settings: str) -> Config:
    return Config.from_environment(
        {
            "OPENQOE_DATA_DIR": str(directory),
            "OPENQOE_WORKERS": str(workers),
            "OPENQOE_EMBEDDED": "off",
            "OPENQOE_INSTANCE": "w",
            "OPENQOE_LOG_FORMAT": "json",
            "PROMETHEUS_URL": "http://127.0.0.1:1/write",
            **settings,
        }
    )


def claim(directory: Path, workers: int) -> Slot:
    config = make_config(directory, workers)
    return claim_slot(config, logs.configure(config))


# The file


def test_number_of_slots_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_slot_count(tmp_path) is None
    for count in (1, 12):
        write_slot_count(tmp_path, count)
        assert read_slot_count(tmp_path) == count


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slots":0}', '{"slots":"4"}', "\xff"])
def test_file_that_cannot_be_read_is_an_error_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    with pytest.raises(StorageError, match=FILE):
        read_slot_count(tmp_path)


# The choice


def test_processes_take_the_slots_that_own_views_first(tmp_path: Path) -> None:
    slots = [claim(tmp_path, 2) for _ in range(3)]
    assert [slot.number for slot in slots] == [0, 1, 2]
    assert read_slot_count(tmp_path) == 2
    slots[1].release()
    slots.append(claim(tmp_path, 2))
    assert slots[-1].number == 1


def test_number_of_slots_stays_while_a_process_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claim(tmp_path, 1)
    monkeypatch.setattr(slot_choice, "PATIENCE", 0.25)
    claim(tmp_path, 3).release()
    assert read_slot_count(tmp_path) == 1
    text = "number of workers changes when all of them have stopped"
    assert capsys.readouterr().err.count(text) == 1
    first.release()
    claim(tmp_path, 3).release()
    assert read_slot_count(tmp_path) == 3


def test_socket_that_cannot_be_created_is_an_error_with_its_path(
    tmp_path: Path, prometheus: RemoteWriteDouble
) -> None:
    path = tmp_path / "slot-0" / SOCKET
    path.mkdir(parents=True)
    with Host(tmp_path, 0, prometheus) as host, pytest.raises(StorageError, match=str(path)):
        host.start()


# Services of one data directory


class Host:
    """Services with a slot each, in this process."""

    def __init__(self, directory: Path, workers: int, prometheus: RemoteWriteDouble) -> None:
        url = prometheus.write_url
        self._config = make_config(directory, workers, PROMETHEUS_URL=url)
        self._log = logs.configure(self._config)
        self.services: list[Service] = []

    def start(self) -> Service:
        service = Service(open_runtime(self._config, "w", self._log), self._log)
        service.start()
        self.services.append(service)
        return service

    def __enter__(self) -> "Host":
        for _ in range(self._config.workers):
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            if not service.closed:
                service.close(10)

    def post(self, number: int, view: str, second: int) -> None:
        at = second * 1000
        event = player_event(second, "heartbeat", second, view=view, playing_time=at)
        event["event_time"] = now_ms()
        assert self.services[number].answer(post(event, now=now_ms())).status == 202


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1)])
def test_views_move_to_their_owners_when_the_number_changes(
    tmp_path: Path, prometheus: RemoteWriteDouble, before: int, after: int
) -> None:
    views = [f"view-{number}" for number in range(12)]
    for workers in (before, after):
        with Host(tmp_path, workers, prometheus) as host:
            for number, view in enumerate(views):
                host.post(number % workers, view, 5)
    assert read_slot_count(tmp_path) == after
    with Host(tmp_path, after, prometheus):
        pass  # delivers what waited for a service that was closed before
    # A slot that is no more keeps the payload of what was forwarded to it while views moved.
    config = make_config(tmp_path, after, PROMETHEUS_URL=prometheus.write_url)
    assert not deliver_slots(config, logs.configure(config), 10)
    assert prometheus.total("openqoe_views_loaded_total") == len(views)
    assert prometheus.total("openqoe_events_total") == 2 * len(views)


@pytest.mark.parametrize(("after", "is_removed"), [(1, False), (2, True)])
def test_batches_for_a_slot_that_never_ran_move_with_the_views(
    tmp_path: Path,
    prometheus: RemoteWriteDouble,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    *,
    is_removed: bool,
) -> None:
    monkeypatch.setattr(repartition, "TIMEOUT", 1.0)
    views = [f"view-{number}" for number in range(12)]
    config = make_config(tmp_path, 3, PROMETHEUS_URL=prometheus.write_url)
    alone = Service(open_runtime(config, "w", logs.configure(config)), logs.configure(config))
    alone.start()
    for view in views:
        event = player_event(5, "heartbeat", 5, view=view, playing_time=5_000)
        event["event_time"] = now_ms()
        assert alone.answer(post(event, now=now_ms())).status == 202
    alone.close(1)
    if is_removed:
        for number in (1, 2):
            rmtree(tmp_path / f"slot-{number}")
    with Host(tmp_path, after, prometheus):
        pass
    assert not deliver_slots(config, logs.configure(config), 10)
    assert prometheus.total("openqoe_events_total") == len(views)


def test_slot_that_cannot_be_opened_is_an_error_and_all_others_are_delivered(
    tmp_path: Path, prometheus: RemoteWriteDouble
) -> None:
    config = make_config(tmp_path, 1)  # its destination is away
    log = logs.configure(config)
    for number in (0, 1):
        slot = Slots(tmp_path).claim_orphan(number, create=True)
        assert slot is not None
        service = Service(open_slot(config, slot, log), log)
        service.start()
        event = player_event(5, "heartbeat", 5, view=f"view-{number}", playing_time=5_000)
        event["event_time"] = now_ms()
        assert service.answer(post(event, now=now_ms())).status == 202
        service.close(1)
    database = tmp_path / "slot-0" / "worker.db"
    database.unlink()
    database.mkdir()
    config = make_config(tmp_path, 1, PROMETHEUS_URL=prometheus.write_url)
    with pytest.raises(StorageError, match=r"slot 0 cannot be opened"):
        deliver_slots(config, log, 10)
    assert prometheus.total("openqoe_events_total") == 1


def test_batches_that_wait_for_a_slot_are_counted_before_a_store_is_used(
    tmp_path: Path, prometheus: RemoteWriteDouble
) -> None:
    views = [f"view-{number}" for number in range(12)]
    url = {"PROMETHEUS_URL": prometheus.write_url}
    with Host(tmp_path, 2, prometheus) as host:
        host.services[1].close(10)
        for view in views:
            host.post(0, view, 5)
        config = make_config(tmp_path, 2, OPENQOE_KV_URL="redis://127.0.0.1:1/0", **url)
        with pytest.raises(StorageError, match="OPENQOE_KV_URL"):
            claim_slot(config, logs.configure(config))
    with pytest.raises(StorageError, match=r"slot 0 cannot be opened"):
        deliver_slots(config, logs.configure(config), 10)  # leaves all slots as they are
    claim_slot(config, logs.configure(config)).release()
    assert read_slot_count(tmp_path) is None
    without = make_config(tmp_path, 2, **url)
    assert not deliver_slots(without, logs.configure(without), 10)
    assert prometheus.total("openqoe_events_total") == len(views)


def test_number_stays_if_the_views_cannot_be_moved(
    tmp_path: Path, prometheus: RemoteWriteDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Host(tmp_path, 1, prometheus) as host:
        host.post(0, "view", 5)

    def fail(*_: object) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(repartition, "move_to_slots", fail)
    with pytest.raises(StorageError, match="disk full"):
        claim(tmp_path, 2)
    assert read_slot_count(tmp_path) == 1
    claim(tmp_path, 1).release()


def test_slot_without_an_owner_is_adopted(
    tmp_path: Path, prometheus: RemoteWriteDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan_recovery, "SCAN_INTERVAL", 0.05)
    views = [f"view-{number}" for number in range(8)]
    foreign = [view for view in views if owner_of(view, 2) == 1]
    with Host(tmp_path, 2, prometheus) as host:
        for view in views:
            host.post(0, view, 5)
        wait_until(lambda: host.services[0].worker.is_at_rest, 5, "the batches to be forwarded")
        host.services[1].close(10)
        for view in foreign:
            host.post(0, view, 15)
        assert not host.services[0].worker.is_at_rest
        host.services[0].watch()
        wait_until(lambda: host.services[0].worker.is_at_rest, 10, "the slot to be adopted")
        spare = host.start()
        assert spare.worker.partition is not None
        assert spare.worker.partition.own == 2
        host.services[2].close(10)
    assert prometheus.total("openqoe_views_loaded_total") == len(views)
    assert prometheus.total("openqoe_events_total") == len(views) + len(foreign)
    counted = prometheus.total("openqoe_events_total", instance="w-1")
    assert counted == 2 * len(foreign)
