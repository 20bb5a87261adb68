"""Writes docs/web-security.md from the table of keys: ``python -m exporter.web.docs`` in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporter.config.schema import ListOf, Section, default_of
from exporter.web.connections import MOST_CONNECTIONS, Patience
from exporter.web.passwords import MOST_OF_A_CLIENT, MOST_REMEMBERED, MOST_WAITING
from exporter.web.security_keys import HTTP, ROOT, TLS
from exporter.web.security_values import LEAST_COST, MOST_COST

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "web-security.md"

_PATIENCE = Patience()

_INTRODUCTION = """\
<!-- Written by python -m exporter.web.docs; change exporter/web/security_keys.py or that file instead. -->
# TLS, passwords and who may do what

`dify-exporter run --web.config.file web.yml` (or `DIFY_EXPORTER_WEB_CONFIG_FILE`) serves all pages over TLS, to users
with a password, with headers of your choice. The file has the format of Prometheus' exporter-toolkit, so that one
file can serve all exporters. Without it the pages are served to everyone over plain HTTP, as exporters do.

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

A hash is made with `htpasswd -nBC 10 '' | tr -d ':\\n'`. `dify-exporter check --offline --web.config.file web.yml`
examines the file, alone or beside `--config.file`; one that is wrong is refused at the start with file, line and
remedy. Variables (`${NAME}`) are put in as in [the other file](configuration.md); relative paths start at the folder of
the file.

## While it runs

The file, the certificate, its key and the authority are looked at every second and taken over once they have rested
for a second, without a restart; open connections live on. What is broken, or half of a new pair, changes nothing:
what was before stays in force, the log says what is wrong, once, and until it is mended
`dify_exporter_web_config_last_reload_successful` is 0. TLS itself comes or goes only with a restart.
"""

_REST = f"""\
## Passwords

- Every page asks, `/-/healthy` and `/-/ready` too, unless the machine itself asks these two ([below](#health-checks)).
- A password that was right is remembered (as a keyed digest, {MOST_REMEMBERED} at most, until the users change): a
  scrape costs no bcrypt. One that is verified runs alone, beside the scrapes. {MOST_WAITING} may wait,
  {MOST_OF_A_CLIENT} of one address; beyond that the answer is 429 at once. Whoever guesses can therefore delay the
  first scrape after a restart from the same address, and nothing else.
- A name that nobody has takes as long as one that somebody has, provided that all hashes have one cost. It may be
  {LEAST_COST} to {MOST_COST}; 10 is some 60 ms.

## Health checks

`python -m exporter.healthcheck` is the health check of the container image, and the chart's probe once the chart is
given a web config file. It asks `/-/healthy` on loopback, over TLS where the port speaks it, and needs neither password
nor certificate:

- With TLS it sees the answer. The certificate is not verified: nothing secret is sent.
- With users it sees the answer as well: clients on the machine itself that send no password are told how the exporter
  is, and nothing else. Behind a password nobody would see that the polling loop stands still.
- With `RequireAndVerifyClientCert` it sees that connections are taken and TLS is set up, and is content. When the
  polling loop stands still, only the alert [DifyPollsLate](alerts.md#difypollslate) tells.

Exit code 0 stands for 200, for 401 and for TLS that wants a certificate; 1, with one line that says why, for 503, for
all else, and for no answer within 4 s. `--port` is 9439 and `--path` is `/-/healthy` unless told otherwise. Probes from
elsewhere (`httpGet` in Kubernetes is one) need `scheme: HTTPS` with TLS, the header `Authorization` with users, and
cannot have a certificate.

## Who may reload

`POST /-/reload` reads the configuration anew: 200 when that went well, with the sections whose change waits
for a restart, 500 with what is wrong otherwise. It is for clients on the machine itself and for those that have proved
who they are, with a password or a verified certificate; others get 403. A request that a proxy passes on (`Forwarded`,
`X-Forwarded-For`, `X-Real-IP`) is not from the machine, and one from a web page (`Origin`) is always refused.

## Slow clients

| a client that | is cut |
|---|---|
| does not end TLS and the head of its request | {_PATIENCE.head:g} s after connecting or its first byte |
| sends nothing between two requests | after {_PATIENCE.idle} s |
| takes nothing of its answer | after {_PATIENCE.stall:g} s |
| takes longer for an answer than | {_PATIENCE.answer:g} s |

There are {MOST_CONNECTIONS} connections at most, and no more than half of the file descriptors that the process may
have. Beyond that the one is cut that has waited for its client the longest, of the address that has most of these.
Requests that are none are answered 400 and not logged.
"""


def render() -> str:
    """The page."""
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
