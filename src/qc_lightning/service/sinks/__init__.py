"""Receivers of verdicts: files, HTTP, MQTT, a PLC."""
