"""Rebuilds an index in small steps, and says how far it is: to be killed on the way.

Run as ``python -m tests.integration.rebuilding_victim INDEX``, with the settings in the environment.
"""

import sys

from analect.index import progress
from analect.service import AnalysisService, upkeep
from analect.settings import Settings


def main(index):
    progress.NOTED_SECONDS = 0.0
    upkeep.BATCH = 20
    with AnalysisService.open(Settings()) as service:

        def say(done, total):
            sys.stdout.write(f"{done} {total}\n")
            sys.stdout.flush()

        service.rebuild(index, say)


if __name__ == "__main__":
    main(sys.argv[1])
