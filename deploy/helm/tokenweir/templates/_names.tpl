{{- define "tokenweir.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tokenweir.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tokenweir.labels" -}}
{{ include "tokenweir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tokenweir.shared" -}}
{{- if and .Values.database.secret .Values.redis.secret .Values.pepper.secret }}yes{{ end }}
{{- end }}

{{- define "tokenweir.check" -}}
{{- if and (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) (not (include "tokenweir.shared" .)) }}
{{- fail "several replicas need database.secret, redis.secret and pepper.secret: without them each would have tenants, keys and limits of its own" }}
{{- end }}
{{- if not .Values.claude.secret }}
{{- fail "claude.secret is needed: the Secret with the key for Claude" }}
{{- end }}
{{- end }}
