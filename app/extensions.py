"""Made unbound here, joined to the app in ``create_app``."""

from __future__ import annotations

from flask_login import LoginManager
from flask_socketio import SocketIO
from flask_wtf import CSRFProtect

from app.events import Dispatcher
from app.lifecycle import Lifecycle
from app.models.base import db
from app.models.engine import Ownership
from app.transactions import Writer

login_manager = LoginManager()
csrf = CSRFProtect()
socketio = SocketIO()
writer = Writer()
dispatcher = Dispatcher()
lifecycle = Lifecycle()
ownership = Ownership()

__all__ = [
    "csrf",
    "db",
    "dispatcher",
    "lifecycle",
    "login_manager",
    "ownership",
    "socketio",
    "writer",
]
