"""The RQ queues: one a processor, on a Redis or Valkey server that may lose everything.

A job carries its name and the numbers of outbox entries, nothing else; what RQ keeps of a failure
is a code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from analect.model.errors import ConfigurationError, EngineUnavailable
from analect.settings import Settings
from analect.store.handover import Bundle

JOB = "analect_processors.worker.handle"
"""What a job calls."""
_NO_LIMIT = -1
_KEEP_FAILURES_SECONDS = 86_400
_PATIENCE_SECONDS = 5.0


@contextmanager
def translating(connection: Redis) -> Iterator[None]:
    """Turn the driver's exceptions into Analect's.

    Raises:
        EngineUnavailable: the queue's server does not answer, or refuses.
    """
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise EngineUnavailable(
            f"the queue at {_place(connection)} refused the user or password: mend queue.url "
            "(ANALECT_QUEUE__URL)"
        ) from error
    except RedisError as error:
        raise EngineUnavailable(
            f"the queue at {_place(connection)} does not answer ({type(error).__name__})"
        ) from error


def _place(connection: Redis) -> str:
    said = connection.connection_pool.connection_kwargs
    return str(said.get("path") or f"{said.get('host')}:{said.get('port')}")


def connect(settings: Settings) -> Redis:
    """A client of the queue's server; nothing is asked of it yet.

    Raises:
        ConfigurationError: the settings name no queue, or its address is wrong.
    """
    if settings.queue_url is None:
        raise ConfigurationError(
            "there is no queue: set queue.url (ANALECT_QUEUE__URL) and, for a Postgres, "
            "database_url (ANALECT_DATABASE_URL); without them `analect serve` processes by itself",
            field="queue.url",
        )
    authority = settings.queue.ca_file
    extra = {} if authority is None else {"ssl_ca_certs": str(authority)}
    try:
        return Redis.from_url(
            settings.queue_url,
            socket_connect_timeout=_PATIENCE_SECONDS,
            socket_timeout=_PATIENCE_SECONDS,
            health_check_interval=30,
            **extra,
        )
    except ValueError as error:
        raise ConfigurationError(
            "queue.url (ANALECT_QUEUE__URL) must look like redis://host:6379/0 or "
            "rediss://host:6379/0",
            field="queue.url",
        ) from error


class JobQueues:
    """The queues of one store."""

    def __init__(self, connection: Redis, prefix: str, *, lease: float = 300.0) -> None:
        """``lease``: seconds after which a job that was begun and not ended is stuck."""
        self._connection = connection
        self._prefix = prefix
        self._lease = timedelta(seconds=lease)

    def queue(self, processor: str) -> Queue:
        """The queue of one processor."""
        name = f"{self._prefix}-{processor}"
        return Queue(name, connection=self._connection, serializer=JSONSerializer)

    def ping(self) -> None:
        """Find out whether the server answers.

        Raises:
            EngineUnavailable: it does not.
        """
        with translating(self._connection):
            self._connection.ping()

    def waiting(self, processor: str) -> int:
        """Jobs that no worker has begun."""
        with translating(self._connection):
            return int(self.queue(processor).count)

    def enqueue(self, processor: str, bundles: Sequence[Bundle]) -> None:
        """A job for each of these bundles, behind those that are there; an urgent one before."""
        jobs = [
            Queue.prepare_data(
                JOB,
                args=[bundle.job, list(bundle.seqs)],
                timeout=_NO_LIMIT,
                result_ttl=0,
                failure_ttl=_KEEP_FAILURES_SECONDS,
                description=f"{len(bundle.seqs)} entries",
                job_id=self._job_id(processor, bundle.job),
                at_front=bundle.urgent,
            )
            for bundle in bundles
        ]
        with translating(self._connection):
            self.queue(processor).enqueue_many(jobs)

    def missing(self, processor: str, jobs: Sequence[str]) -> list[str]:
        """Those of these jobs that are not there any more, or have failed."""
        if not jobs:
            return []
        with (
            translating(self._connection),
            self._connection.pipeline(transaction=False) as pipeline,
        ):
            for job in jobs:
                pipeline.hget(Job.key_for(self._job_id(processor, job)), "status")
            states = pipeline.execute()
        return [
            job
            for job, state in zip(jobs, states, strict=True)
            if state not in {b"queued", b"started"}
        ]

    def counts(self, processor: str) -> dict[str, int]:
        """Jobs by state, ``queued``, ``started``, ``failed`` and ``stuck`` (those started so long
        ago that their claims are over), and ``workers``.
        """
        queue = self.queue(processor)
        with translating(self._connection):
            started = queue.started_job_registry.get_job_ids(cleanup=False)
            return {
                "queued": int(queue.count),
                "started": len(started),
                "failed": int(queue.failed_job_registry.get_job_count(cleanup=False)),
                "stuck": self._stuck(started),
                "workers": len(SimpleWorker.all(queue=queue)),
            }

    def busy(self, processor: str) -> list[str]:
        """Hosts, which are pods where there are pods, of the workers that have a job at hand.

        Raises:
            EngineUnavailable: the queue's server does not answer.
        """
        with translating(self._connection):
            found = SimpleWorker.all(queue=self.queue(processor))
        return sorted(
            {one.hostname for one in found if one.hostname and one.get_state() == WorkerStatus.BUSY}
        )

    def _stuck(self, ids: Sequence[str]) -> int:
        # RQ writes its times in UTC.
        since = datetime.now(UTC) - self._lease
        jobs = Job.fetch_many(ids, connection=self._connection, serializer=JSONSerializer)
        return sum(
            job is not None and job.started_at is not None and _utc(job.started_at) < since
            for job in jobs
        )

    def _job_id(self, processor: str, job: str) -> str:
        return f"{self._prefix}-{processor}-{job}"


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
