"""What the tests stand on: doubles of the receivers, a real Prometheus, and recorded traffic with
its ground truth.

`wire` decodes and encodes remote-write and Loki bodies with descriptors of its own, so it checks
the worker's encoders instead of repeating them.
`loki` and `receiver` are HTTP servers that enforce the receivers' rules, on top of `http_double`
(server, recording, scripted faults).
`prometheus` runs the real program; `services` says when a test that needs one is skipped.
`captures` loads the recordings in `tests/captures`. `events` builds events and requests by hand; it
alone imports `openqoe`.
"""
