"""The service around a worker that all shells share: bootstrap, effects, recovery, supervisor.

``bootstrap`` opens a worker with its storage, ``base_service`` runs its effects,
``orphan_recovery`` delivers slots of dead processes, ``supervisor`` runs several processes.
"""
