"""Helpers of the tests.

Inputs: `event_builders` builds events and requests, `captures` loads the recordings of
`tests/captures` with their ground truth, `simulated_viewers` sends simulated traffic.
Receivers: `remote_write_double` and `loki_double` enforce the rules of the real receivers on top of
`http_double` (server, recording, scripted faults). `wire_codec` decodes their bodies with protobuf
descriptors of its own, so that it checks the worker's encoders instead of repeating them.
Programs: `worker_process` and `hosts` run the worker; `prometheus_server`, `redis_server` and
`network_namespace` run real services; `services` decides whether a test that needs one is skipped.
In one process: `rig` (one worker) and `fleet` (several) run under a simulated clock.
"""
