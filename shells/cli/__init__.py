"""The ``openqoe`` command.

    entry_point             where a process starts
    command_group           the list of commands
    <name>_command          one command: options, output
    command_options         options that several commands share
    terminal_output         lines, colours, exit codes

The work of the commands, without click:

    batch_sender            sends batches over several connections: the base of the next two
    recording_sender        replay; recording_reader reads the file
    simulation_sender       simulate, demo
    worker_connection       HTTP requests to a running worker: stats and the senders
    host_checks             check: directories, limits, the shared store
    destination_checks      check: a request to each destination
"""
