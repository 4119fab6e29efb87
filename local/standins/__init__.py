"""Stand-ins: real HTTP servers that speak the outside services' protocols."""
