"""Where photos come from: folders, manifests, object storage, packages."""
