"""Evidence of whose fault a failure is, from divisions and deliveries alone."""

from openqoe.core.delivery.fault_evidence import MAX_DIVISIONS, MAX_TOLERATED, FaultEvidence

FLUSH, OTHER = 1_000, 2_000


def test_delivered_part_is_evidence_for_its_flush_only() -> None:
    evidence = FaultEvidence(0)
    evidence.note_division(FLUSH)
    evidence.note_delivery(FLUSH)
    evidence.note_delivery(OTHER)
    assert evidence.has_accepted_part(FLUSH)
    assert not evidence.has_accepted_part(OTHER)


def test_later_division_needs_evidence_of_its_own() -> None:
    evidence = FaultEvidence(0)
    evidence.note_division(FLUSH)
    evidence.note_delivery(FLUSH)
    assert evidence.is_part_accepted
    evidence.note_division(FLUSH)
    assert not evidence.is_part_accepted


def test_payload_of_another_flush_is_a_part_until_something_is_delivered() -> None:
    evidence = FaultEvidence(0)
    evidence.note_division(FLUSH)
    assert evidence.is_part(OTHER)
    evidence.note_delivery(OTHER)
    assert evidence.is_part(FLUSH)
    assert not evidence.is_part(OTHER)


def test_divisions_without_a_delivery_are_limited() -> None:
    evidence = FaultEvidence(0)
    for flush in range(MAX_DIVISIONS):
        assert evidence.may_divide
        evidence.note_division(flush)
    assert not evidence.may_divide
    evidence.note_delivery(OTHER)
    assert evidence.may_divide


def count_tolerated(evidence: FaultEvidence) -> int:
    """The rejections in a row that may concern single payloads only."""
    count = 0
    while evidence.note_rejection():
        count += 1
    return count


def test_more_rejections_are_tolerated_of_a_destination_that_accepts_other_parts() -> None:
    evidence, tolerated = FaultEvidence(3), []
    for _ in range(9):
        tolerated.append(count_tolerated(evidence))
        evidence.note_division(FLUSH)
        evidence.note_delivery(FLUSH)
    assert tolerated == [2, 5, 11, 23, 47, 95, 191, 255, MAX_TOLERATED - 1]


def test_delivery_without_a_division_ends_the_tolerance() -> None:
    evidence = FaultEvidence(3)
    evidence.note_rejection()
    evidence.note_division(FLUSH)
    evidence.note_delivery(FLUSH)
    assert count_tolerated(evidence) == 5
    evidence.note_delivery(OTHER)
    assert count_tolerated(evidence) == 2
