"""``${VAR}`` and ``${VAR:-default}`` in values. Substituted after parsing: a value is never interpreted as YAML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.yamlconf.problems import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<bad>\$\{)"
)


def expand(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with its variables substituted; ``$${`` stands for a literal ``${``.

    As in a shell, the default after ``:-`` also applies to a variable that is set but empty.
    Raises ``Invalid`` for an unset variable and for a ``${`` in none of the three forms.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["bad"]:
            raise Invalid("has a ${ that is neither ${NAME} nor ${NAME:-default}; write $${ for a literal ${")
        name, default = match["name"], match["default"]
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise Invalid(
                f"needs the environment variable {name}, which is not set: set it or write ${{{name}:-default}}"
            )
        return value

    return _REFERENCE.sub(value_of, text)
