"""The versions of the routes that a replay's events would run by: read once for each slice of the work."""

from dataclasses import dataclass, field

from keyturn.core.replay_plan import PlannedKey, Version, fingerprint_of
from keyturn.core.workflow_shape import WorkflowShape, fingerprint
from keyturn.shell.platform import Platform


@dataclass(slots=True)
class RouteVersions:
    """Looks routes up with their workflows' definitions, each once."""

    platform: Platform
    _known: dict[str, Version] = field(default_factory=dict)

    def of_type(self, event_type: str) -> Version | None:
        """Return the version of the route that takes an event type; None when none does, or its workflow is gone."""
        route = self.platform.routes.for_type(event_type)
        if route is None:
            return None
        if route.name not in self._known:
            definition = self.platform.workflows.definition(route.workflow, route.kind)
            if not definition:
                return None
            self._known[route.name] = Version(route, WorkflowShape.parse(definition), fingerprint(route, definition))
        return self._known[route.name]

    def are_as_planned(self, planned: PlannedKey) -> bool:
        """Whether a key's events would still run by the routes and workflows that they were planned for."""
        return fingerprint_of(planned.types, self.of_type) == planned.routes
