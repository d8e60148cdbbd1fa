"""The service around a worker, shared by all shells: bootstrap, effects, recovery, supervisor.

``bootstrap`` opens a worker with its storage, ``base_service`` runs its effects,
``orphan_recovery`` delivers slots of ended processes, ``supervisor`` runs several processes.
"""
