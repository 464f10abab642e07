"""Which route takes a request, by its method and how many parts its path has, in place of one try after the other.

It stands before an application's routes and knows the same ones, in the same order. What it does not find (no such
path, another method, a slash too many) it leaves to them, so that their answers stay what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

_APP = "cec.signposted"


class Signposts(BaseRoute):
    """To the routes that are there at the first request; those that come later are found without it."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = routes
        self._posts: dict[tuple[str, int], list[Any]] | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """FULL for a request that a route takes, NONE for any other."""
        if scope["type"] != "http":
            return Match.NONE, {}
        if self._posts is None:
            self._posts = self._raised()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        for regex, route in self._posts.get((scope["method"], path.count("/")), ()):
            if regex.match(path):
                match, child = route.matches(scope)
                if match == Match.FULL:
                    return match, {**child, "route": route.original_route, _APP: route.app}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the route answer."""
        await scope[_APP](scope, receive, send)

    def _raised(self) -> dict[tuple[str, int], list[Any]]:
        posts: dict[tuple[str, int], list[Any]] = {}
        for route in iter_route_contexts([route for route in self._routes if route is not self]):
            # From the first one on that matches in ways of its own, the order is left to the router.
            if not isinstance(route.original_route, Route) or ":path}" in str(route.path):
                break
            for method in route.methods or ():
                posts.setdefault((method, str(route.path).count("/")), []).append((route.path_regex, route))
        return posts
