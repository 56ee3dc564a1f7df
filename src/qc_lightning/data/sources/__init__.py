"""Where photos come from: a module a source."""
