"""The local cloud: engine, deployment and stand-ins for the outside services."""
