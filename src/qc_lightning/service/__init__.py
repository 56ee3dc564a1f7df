"""The service on the line: photos in over HTTP, from a folder or a camera, verdicts out."""
