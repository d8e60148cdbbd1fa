"""Faults of a data directory; their texts are for operators."""


class StorageError(Exception):
    """The data directory or a file in it cannot be used."""


class NewerFormatError(StorageError):
    """A file was written by a newer version of the worker."""
