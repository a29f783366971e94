"""The Kubernetes operator: AnalysisStores and what belongs to them, kept as they are described."""
