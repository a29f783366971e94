"""Older names for content applications: users, sessions, stories, and what happens in them.

Users, sessions and stories are documents: they come back as they were saved, personal data
included, to the program that may open the store. Events and calls are records, without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from analect.compat.documents import Body, Repository
from analect.compat.integration import get_analysis_service
from analect.compat.plain import mapping, number, plain, text
from analect.model.errors import AnalectError, InvalidInput

__all__ = [
    "ContentRepository",
    "DataLayer",
    "EventRepository",
    "SessionRepository",
    "StoryRepository",
    "UserRepository",
    "cleanup_expired_sessions",
    "get_active_sessions",
    "get_health_status",
    "get_session",
    "get_story",
    "get_user",
    "get_user_stories",
    "init_data_layer",
    "save_batch",
    "save_session",
    "save_story",
    "save_user",
    "track_api_call",
    "track_event",
    "update_status",
]

_ENDED = ("inactive", "ended", "closed", "expired", "logged_out")
_USER_NAMES = ("user_id", "id", "username", "email")
_EVENT_NAMES = ("event_type", "event_name", "event", "type", "name")
_OWNERS = ("user_id", "owner_id", "author_id", "owner")
_FAILED_FROM = 400
"""The first HTTP status that says that a call failed."""


class UserRepository(Repository):
    """Users; each owns what is theirs, and erasing a user takes all of it along."""

    def __init__(self, _data_layer: Any = None) -> None:
        super().__init__("user", _USER_NAMES, _USER_NAMES)


class SessionRepository(Repository):
    """Sessions; one whose ``expires_at`` has passed is not there any more."""

    def __init__(self, _data_layer: Any = None) -> None:
        super().__init__("session", ("session_id", "id"), _OWNERS, default_status="active")

    def get_active_sessions(self, user_id: Any = None, limit: int | None = None) -> list[Body]:
        """Sessions that have neither expired nor ended, newest first."""
        active = [body for body in self.list(user_id) if _is_active(body)]
        return active[:limit]

    def cleanup_expired_sessions(self) -> int:
        """Forget for good what has expired (the store does it every minute, too); how many
        documents, of whatever kind.
        """
        return get_analysis_service().expire_documents()  # type: ignore[no-any-return]


class StoryRepository(Repository):
    """Stories of users."""

    def __init__(self, _data_layer: Any = None) -> None:
        super().__init__("story", ("story_id", "id"), _OWNERS)

    def get_user_stories(
        self, user_id: Any, status: str | None = None, limit: int | None = None
    ) -> list[Body]:
        """A user's stories, of one status if it is said, newest first."""
        return [] if text(user_id) is None else self.list(user_id, status, limit)


class ContentRepository(Repository):
    """Anything else that has an id."""

    def __init__(self, _data_layer: Any = None) -> None:
        super().__init__("content", ("content_id", "id"), _OWNERS)


class EventRepository:
    """What happens: each event a record, without personal data."""

    def __init__(self, _data_layer: Any = None) -> None:
        """Takes what the older programs hand their repositories."""

    def track_event(
        self,
        event_type: Any,
        user_id: Any = None,
        properties: Any = None,
        session_id: Any = None,
        **more: Any,
    ) -> str:
        """Store an event; returns its id once it is durable.

        Args:
            event_type: its name, or a dict with all of it (``event_type``, ``user_id``, ...).
            user_id: whose doing it was.
            properties: what else is to say.
            session_id: in which session.
            more: further fields of a record; unknown ones become attributes.

        Raises:
            InvalidInput: a field is wrong; ``field`` names it.
            TransientError: the store could not take it; try again.
        """
        given = {"user_id": user_id, "properties": properties, "session_id": session_id, **more}
        said = {name: value for name, value in given.items() if value is not None}
        return get_analysis_service().store(event_fields(event_type, said), kind="event")

    def track_api_call(
        self,
        endpoint: Any,
        method: str | None = None,
        status_code: int | None = None,
        duration_ms: float | None = None,
        user_id: Any = None,
        **more: Any,
    ) -> str:
        """Store a call of an API (the program's own or another's); returns its id once it is
        durable. It succeeded unless the status or an ``error`` says otherwise.

        Raises:
            InvalidInput: a field is wrong; ``field`` names it.
            TransientError: the store could not take it; try again.
        """
        code = number(status_code)
        facts = {"method": method, "status_code": status_code}
        said = {
            "name": endpoint,
            "duration_ms": duration_ms,
            "user_id": user_id,
            "status": None if status_code is None else str(status_code),
            "success": not more.get("error") and (code is None or code < _FAILED_FROM),
            **more,
            "dimensions": {**facts, **(mapping(more.get("dimensions")) or {})},
        }
        return get_analysis_service().store(said, kind="api_call")

    def save_batch(self, events: Any) -> list[str]:
        """Store events (dicts or objects, as :meth:`track_event` takes them) in one commit.

        Raises:
            InvalidInput: one is wrong and was left out; the others are stored.
            TransientError: the store could take none; try again.
        """
        said = [event_fields(event, {}) for event in events]
        return get_analysis_service().store_many(said, kind="event")


@dataclass(frozen=True, slots=True)
class DataLayer:
    """The repositories of a content application."""

    users: UserRepository = field(default_factory=UserRepository)
    sessions: SessionRepository = field(default_factory=SessionRepository)
    stories: StoryRepository = field(default_factory=StoryRepository)
    content: ContentRepository = field(default_factory=ContentRepository)
    events: EventRepository = field(default_factory=EventRepository)

    def get_health_status(self) -> dict[str, Any]:
        """``status`` (``healthy`` or ``unhealthy``), ``healthy``, and the ``reasons`` why not."""
        try:
            health = get_analysis_service().health()
        except AnalectError as error:
            return {"status": "unhealthy", "healthy": False, "reasons": [str(error)]}
        return {
            "status": "healthy" if health.ready else "unhealthy",
            "healthy": health.ready,
            "reasons": list(health.reasons),
        }


_layer = DataLayer()
_by_kind: dict[str, Repository | EventRepository] = {
    "user": _layer.users,
    "session": _layer.sessions,
    "story": _layer.stories,
    "content": _layer.content,
    "event": _layer.events,
}
_PLURALS = {"users": "user", "sessions": "session", "stories": "story", "events": "event"}


def init_data_layer(_config: Any = None, **_more: Any) -> DataLayer:
    """Open the store (and, the first time, make it), and give its repositories. May be called
    again. Where the store is, the environment says; what else is passed is not used.

    Raises:
        AnalectError: it cannot be opened; the message says why.
    """
    get_analysis_service().health()
    return _layer


save_user = _layer.users.save
get_user = _layer.users.get
save_session = _layer.sessions.save
get_session = _layer.sessions.get
get_active_sessions = _layer.sessions.get_active_sessions
cleanup_expired_sessions = _layer.sessions.cleanup_expired_sessions
save_story = _layer.stories.save
get_story = _layer.stories.get
get_user_stories = _layer.stories.get_user_stories
update_status = _layer.stories.update_status
track_event = _layer.events.track_event
track_api_call = _layer.events.track_api_call
get_health_status = _layer.get_health_status


def save_batch(things: Any, kind: str = "story") -> list[str]:
    """Save many at once: ``user``, ``session``, ``story``, ``content`` or ``event``; their ids.

    Raises:
        InvalidInput: there is no such kind, or one of the things is wrong.
    """
    if isinstance(things, str):  # some programs name the kind first
        things, kind = kind, things
    repository = _by_kind.get(_PLURALS.get(kind, kind))
    if repository is None:
        raise InvalidInput(f"kind must be one of {', '.join(_by_kind)}", field="kind")
    return repository.save_batch(things)


def _is_active(body: Body) -> bool:
    status = str(body.get("status") or "active").lower()
    return status not in _ENDED and body.get("is_active") is not False and not body.get("ended_at")


def event_fields(event: Any, said: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that an event's are."""
    given = mapping(event)
    whole = {"event_type": event, **said} if given is None else {**given, **said}
    named = next((whole[name] for name in _EVENT_NAMES if whole.get(name)), None)
    properties = plain(whole.pop("properties", None) or whole.pop("data", None))
    extra = properties if isinstance(properties, dict) else {"properties": properties}
    left = {name: value for name, value in whole.items() if name not in _EVENT_NAMES}
    attributes = {**extra, **(mapping(left.pop("attributes", None)) or {})}
    return {
        **left,
        "name": named,
        "attributes": {k: v for k, v in attributes.items() if v is not None},
    }
