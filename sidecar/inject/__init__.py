"""The sidecar's place in a pod: one generator of the container, whatever puts it there."""
