"""Notices of faults of ours: where an exception was raised, without the data that caused it."""

from ..effects import Notice


def fault_notice(event: str, error: Exception, *fields: tuple[str, str | int | float]) -> Notice:
    """Return a notice that names the type of an exception and the place where it was raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"
    return Notice("error", event, (*fields, ("error", type(error).__name__), ("at", place)))
