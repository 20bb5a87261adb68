{{- define "dify-exporter.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "dify-exporter.fullname" -}}
{{- $name := include "dify-exporter.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dify-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dify-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dify-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dify-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dify-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "dify-exporter.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "dify-exporter.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* Mount path of the Secret. */ -}}
{{- define "dify-exporter.secrets" -}}
/run/secrets/dify-exporter
{{- end -}}

{{- /* Name of the Secret to mount; empty if every server has its own key. */ -}}
{{- define "dify-exporter.secretName" -}}
{{- if .Values.existingSecret.name -}}
{{- .Values.existingSecret.name -}}
{{- else if .Values.apiKey -}}
{{- include "dify-exporter.fullname" . -}}
{{- else if not (or .Values.server.api_key .Values.server.api_key_file) -}}
{{- required "Set apiKey, or existingSecret.name to a Secret that contains the knowledge API key of Dify." .Values.apiKey -}}
{{- end -}}
{{- end -}}

{{- /* Path of the web config file; empty without one. */ -}}
{{- define "dify-exporter.webConfig" -}}
{{- if .Values.webConfig.existingSecret -}}
{{- printf "/etc/dify-exporter-web/%s" .Values.webConfig.key -}}
{{- end -}}
{{- end -}}

{{- /* Handler of a probe; the argument is a list of the root context and the path. With a web config file, only requests
from inside the container are accepted without password and certificate. */ -}}
{{- define "dify-exporter.probe" -}}
{{- $root := index . 0 -}}
{{- $path := index . 1 -}}
{{- if $root.Values.webConfig.existingSecret -}}
exec:
  command: [python, -m, exporter.healthcheck, --port={{ $root.Values.service.port }}, --path={{ $path }}]
{{- else -}}
httpGet: {path: {{ $path }}, port: metrics}
{{- end -}}
{{- end -}}

{{- define "dify-exporter.telemetryPath" -}}
{{- dig "web" "telemetry_path" "/metrics" .Values.config -}}
{{- end -}}

{{- /* The exporter's configuration. */ -}}
{{- define "dify-exporter.config" -}}
{{- $server := .Values.server -}}
{{- if not (or $server.api_key $server.api_key_file) -}}
{{- $key := ternary .Values.existingSecret.key "api-key" (not (empty .Values.existingSecret.name)) -}}
{{- $server = merge (dict "api_key_file" (printf "%s/%s" (include "dify-exporter.secrets" .) $key)) $server -}}
{{- end -}}
{{- $state := dict "path" (ternary "/data/state.db" "" .Values.persistence.enabled) -}}
{{- $web := merge (dict "listen_address" (printf ":%d" (int .Values.service.port))) (.Values.config.web | default dict) -}}
{{- $servers := dict "servers" (prepend .Values.moreServers $server) -}}
{{- toYaml (merge $servers (dict "state" $state "web" $web) .Values.config) -}}
{{- end -}}
