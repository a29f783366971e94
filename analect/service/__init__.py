"""The façade and its parts."""

from analect.service.facade import ERASABLE, AnalysisService, Health
from analect.service.upkeep import VerifyReport

__all__ = ["ERASABLE", "AnalysisService", "Health", "VerifyReport"]
