"""Who may do what on a virtual OctoPrint: keys, rights, and the sessions of the push socket.

A session lives as long as the server process it was made in: after a restart every one of them is stale. Nothing here
may print a key.
"""

import secrets
from dataclasses import dataclass, field

READING = frozenset({"STATUS", "WEBCAM", "FILES_LIST", "FILES_DOWNLOAD", "GCODE_VIEWER", "TIMELAPSE_LIST", "SETTINGS_READ"})
EVERYTHING = READING | {
    "ADMIN",
    "CONNECTION",
    "SYSTEM",
    "FILES_UPLOAD",
    "FILES_DELETE",
    "FILES_SELECT",
    "PRINT",
    "CONTROL",
    "MONITOR_TERMINAL",
    "SLICE",
    "SETTINGS",
}


@dataclass(frozen=True, slots=True)
class User:
    name: str
    key: str = field(repr=False)
    rights: frozenset[str]
    groups: tuple[str, ...]

    def passive_login(self, session: str) -> dict[str, object]:
        """The answer to a passive login."""
        admin = "ADMIN" in self.rights
        return {
            "name": self.name,
            "session": session,
            "active": True,
            "admin": admin,
            "user": True,
            "apikey": self.key,
            "groups": list(self.groups),
            "roles": ["user", "admin"] if admin else ["user"],
            "permissions": [],
            "needs": {"group": list(self.groups), "role": sorted(right.lower() for right in self.rights)},
            "settings": {},
            "_is_external_client": False,
            "_login_mechanism": "apikey",
        }


class People:
    """An operator's key that may do everything and a viewer's that may only look."""

    def __init__(self, api_key: str, viewer_key: str) -> None:
        self._users = {
            api_key: User("farmd", api_key, EVERYTHING, ("users", "admins")),
            viewer_key: User("viewer", viewer_key, READING, ("readonly",)),
        }
        self._sessions: dict[str, User] = {}

    def by_key(self, key: str) -> User | None:
        return self._users.get(key)

    def open_session(self, user: User) -> str:
        session = secrets.token_hex(32)
        self._sessions[session] = user
        return session

    def by_session(self, name: str, session: str) -> User | None:
        user = self._sessions.get(session)
        return user if user is not None and user.name == name else None

    def forget_sessions(self) -> None:
        self._sessions.clear()
