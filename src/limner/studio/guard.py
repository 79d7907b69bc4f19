"""Who may ask the studio: pages of its own address only, so that no other site in the same browser
can make it work, or read what it has."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

LOOPBACK = ("127.0.0.1", "localhost")

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class OriginCheck:
    """Refuses requests that a page of another origin sent, "null" too, and those that would have
    the server fetch an address elsewhere."""

    def __init__(self, app: Application, hosts: Sequence[str]):
        self._app, self._hosts = app, set(hosts)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] in ("http", "websocket") and not self._is_own(scope):
            await PlainTextResponse("this page may not ask the studio", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        origins = [value for key, value in scope["headers"] if key == b"origin"]
        if "=http" in scope["path"].lower():  # gradio's /file=http://... is a proxy
            return False
        hosts = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        return all(self._is_own_origin(origin.decode("latin-1"), hosts) for origin in origins)

    def _is_own_origin(self, origin: str, hosts: Sequence[str]) -> bool:
        place = urlsplit(origin)
        if place.scheme not in ("http", "https") or place.netloc not in hosts:
            return False
        host, _, _ = place.netloc.rpartition(":") if place.port else (place.netloc, "", "")
        return host in self._hosts


def guards(hosts: Sequence[str]) -> list[Middleware]:
    """The middleware of an application that answers to these names and addresses alone."""
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(OriginCheck, hosts=hosts),
    ]
