"""The operator: keeps the platform on Kubernetes as its custom resources say."""
