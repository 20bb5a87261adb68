#!/bin/sh
# Installs dify-exporter as a service, or another version of it; what is already in /etc/dify-exporter stays.
#
#   sudo ./install.sh KEY-FILE [PACKAGE]
#
# KEY-FILE: a file with the knowledge API key; the installed one, /etc/dify-exporter/dify-api-key, stays as it is.
# PACKAGE: what pip is to install, a wheel or a checkout; without it the checkout that this folder is part of.
# PYTHON names an interpreter other than python3; the service must be able to read it, so none below /home or /root.
# With DESTDIR set, everything goes below that folder and no service is touched.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n 's/^#   //p' "$0" >&2
    exit 2
fi
key=$1
package=${2:-$here/../..}
destination=${DESTDIR:-}
folder=$destination/etc/dify-exporter
environment=$destination/opt/dify-exporter

if ! [ -s "$key" ]; then
    echo "install.sh: $key is not a file with a key" >&2
    exit 1
fi

"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$package"

install -d -m 755 "$folder" "$destination/etc/systemd/system"
[ "$key" -ef "$folder/dify-api-key" ] || install -m 600 "$key" "$folder/dify-api-key"
for file in config.yaml environment; do
    [ -e "$folder/$file" ] || install -m 644 "$here/$file" "$folder/$file"
done
install -m 644 "$here/dify-exporter.service" "$destination/etc/systemd/system/dify-exporter.service"

if [ -z "$destination" ]; then
    systemctl daemon-reload
    systemctl enable dify-exporter.service
    systemctl restart dify-exporter.service
    systemctl --no-pager --lines=10 status dify-exporter.service
fi
