#!/bin/sh
# Installs or updates dify-exporter as a service; existing files in /etc/dify-exporter are kept.
#
#   sudo ./install.sh KEY-FILE [PACKAGE]
#
# KEY-FILE: a file with the knowledge API key; the installed file, /etc/dify-exporter/dify-api-key, is left unchanged.
# PACKAGE: the wheel or checkout that pip installs; default: the checkout that contains this folder.
# PYTHON selects an interpreter other than python3; the service must be able to read it, so not below /home or /root.
# If DESTDIR is set, everything is installed below that folder and no service is changed.
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
    echo "install.sh: $key is missing or empty" >&2
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
