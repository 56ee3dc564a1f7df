"""The service on the line: photos over HTTP, verdicts back, one model in memory."""
