"""Writes docs/web-security.md from the table of keys: ``python -m exporter.web.docs`` in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporter.web.connections import MOST_CONNECTIONS, ClientTimeouts
from exporter.web.passwords import MOST_OF_A_CLIENT, MOST_REMEMBERED, MOST_WAITING
from exporter.web.web_config_keys import HTTP, ROOT, TLS
from exporter.web.web_config_values import LEAST_COST, MOST_COST
from exporter.yamlconf.schema import ListOf, Section, default_of

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "web-security.md"

_PATIENCE = ClientTimeouts()

_INTRODUCTION = """\
<!-- Written by python -m exporter.web.docs; change exporter/web/security_keys.py or that file instead. -->
# TLS, authentication and access

`dify-exporter run --web.config.file web.yml` (or `DIFY_EXPORTER_WEB_CONFIG_FILE`) serves all pages over TLS, to
authenticated users and with headers of your choice. The file has the format of Prometheus' exporter-toolkit, so that
one file can serve all exporters. Without the file, all pages are served to everyone over plain HTTP, as is usual for
exporters.

```yaml
# web.yml
tls_server_config:
  cert_file: server.crt
  key_file: server.key
basic_auth_users:
  prometheus: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
```

```yaml
# prometheus.yml
scrape_configs:
  - job_name: dify
    scheme: https
    basic_auth: {username: prometheus, password_file: /etc/prometheus/dify-password}
    tls_config: {ca_file: /etc/prometheus/ca.crt}
    static_configs:
      - targets: ["dify-exporter:9439"]
```

Create a hash with `htpasswd -nBC 10 '' | tr -d ':\\n'`. `dify-exporter check --offline --web.config.file web.yml`
validates the file, alone or together with `--config.file`. At the start, an invalid file is refused with file, line
and remedy. Variables (`${NAME}`) are substituted as in [the main configuration](configuration.md); relative paths start
at the folder of the file.

## Changes at run time

The exporter checks the file, the certificate, its key and the client authority every second. It loads a change once
the files have been stable for a second, without a restart; open connections stay open. An invalid file, or half of a
new pair of certificate and key, changes nothing: the previous settings stay in use, the problem is logged once, and
`dify_exporter_web_config_last_reload_successful` is 0 until the problem is fixed. Turning TLS on or off requires a
restart.
"""

_REST = f"""\
## Passwords

- Every page requires a password. The only exception is health checks from the machine itself
  ([below](#health-checks)).
- Correct passwords are cached as keyed digests, at most {MOST_REMEMBERED}, until the users change: a scrape costs no
  bcrypt. Passwords are verified one at a time, in parallel to scrapes. At most {MOST_WAITING} may wait, at most
  {MOST_OF_A_CLIENT} per address; beyond that the answer is an immediate 429. An attacker who guesses passwords can
  therefore delay only the first scrape after a restart, and only from the same address.
- Unknown user names take as long as known ones, provided that all hashes have the same cost. The cost may be
  {LEAST_COST} to {MOST_COST}; a cost of 10 takes about 60 ms.

## Health checks

`python -m exporter.healthcheck` is the health check of the container image, and the chart's probe if the chart has a
web config file. It requests `/-/healthy` on loopback, over TLS if the port uses TLS, without a password or client
certificate:

- With TLS, the health check reads the answer. It does not verify the certificate, because it sends no secrets.
- With users, the health check reads the answer too: health and readiness are available without a password to clients
  on the machine itself. If these pages required a password, a hung polling loop would go unnoticed.
- With `RequireAndVerifyClientCert`, the health check only confirms that the port accepts connections and uses TLS. A
  hung polling loop is then reported only by the alert [DifyPollsLate](alerts.md#difypollslate).

The exit code is 0 for status 200, status 401 and TLS that requires a client certificate. It is 1, with the reason on
one line, for status 503, for anything else, and for no answer within 4 s. Defaults: `--port` 9439, `--path`
`/-/healthy`. Probes from elsewhere, such as `httpGet` in Kubernetes, require `scheme: HTTPS` with TLS and the header
`Authorization` with users; they cannot present a client certificate.

## Who may reload

`POST /-/reload` reloads the configuration. The answer is 200 on success, with the changed sections that require a
restart, or 500 with the problems. Reloading is allowed for clients on the machine itself and for clients authenticated
by password or verified certificate; others get 403. Requests forwarded by a proxy (`Forwarded`, `X-Forwarded-For`,
`X-Real-IP`) do not count as local, and requests from web pages (`Origin`) are always refused.

## Slow clients

| a client that | is disconnected |
|---|---|
| does not complete the TLS handshake and the request head | {_PATIENCE.head:g} s after connecting or its first byte |
| sends nothing between two requests | after {_PATIENCE.idle} s |
| reads nothing of its answer | after {_PATIENCE.stall:g} s |
| does not finish reading an answer | after {_PATIENCE.answer:g} s |

The number of connections is limited to {MOST_CONNECTIONS} and to half of the process's file descriptor limit. Beyond
that, the exporter closes the connection that has waited longest for its client, from the address with the most such
connections. Malformed requests are answered with 400 and not logged.
"""


def render() -> str:
    """The text of docs/web-security.md."""
    sections = [("The file", ROOT), ("`tls_server_config`", TLS), ("`http_server_config`", HTTP)]
    return "\n".join([_INTRODUCTION, *(line for title, section in sections for line in _table(title, section)), _REST])


def _table(title: str, section: Section) -> list[str]:
    rows = [f"| `{key.name}` | {_default(section, key.name)} | {key.description} |" for key in section.keys]
    return [f"## {title}", "", "| key | default | meaning |", "|---|---|---|", *rows, ""]


def _default(section: Section, name: str) -> str:
    key = section.find(name)
    if key is None or isinstance(key.kind, Section):
        return ""
    if key.default or isinstance(key.kind, ListOf):
        return key.default or "none"
    if key.description.startswith("Refused"):
        return ""
    value = default_of(section.model, name)
    return "none" if value is None else f"`{key.kind.render(value)}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
