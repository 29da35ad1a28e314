"""The doors of the simulated Tradovate: HTTP, WebSockets, log-in, limits, faults, control."""
