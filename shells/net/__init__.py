"""Sockets, listeners and HTTP clients, shared by the shells. No rule about QoE or HTTP status."""
