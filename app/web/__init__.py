"""What every door shares: request ids, security headers, problems, health and metrics."""
