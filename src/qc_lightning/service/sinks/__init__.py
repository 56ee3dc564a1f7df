"""Where verdicts go beside the log: files, HTTP, MQTT, a PLC."""
