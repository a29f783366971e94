"""The names that older programs call, on the present store.

A family is a module: this package itself (the analysis service), :mod:`analect.compat.incidents`
and :mod:`analect.compat.content`. All of them work on one store a process, configured from the
environment.
"""

from analect.compat.integration import (
    AnalysisServiceIntegration,
    close_analysis_service,
    get_analysis_service,
    get_service_integration_config,
)

__all__ = [
    "AnalysisServiceIntegration",
    "close_analysis_service",
    "get_analysis_service",
    "get_service_integration_config",
]
