"""The façade and its parts."""

from analect.service.facade import ERASABLE, AnalysisService
from analect.service.status import Health
from analect.service.upkeep import VerifyReport

__all__ = ["ERASABLE", "AnalysisService", "Health", "VerifyReport"]
