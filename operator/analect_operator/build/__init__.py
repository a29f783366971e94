"""From a spec to manifests: pure functions, in the forms that the API server gives back."""
