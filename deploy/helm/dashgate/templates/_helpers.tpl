{{- define "dashgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "dashgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "dashgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dashgate.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dashgate.selector" -}}
app.kubernetes.io/name: {{ include "dashgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dashgate.labels" -}}
{{ include "dashgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "dashgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dashgate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "dashgate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
A duration such as 250ms, 30s, 10m or 24h in whole seconds, rounded up: a pod must not be killed early.
*/}}
{{- define "dashgate.seconds" -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^[0-9]+(ms|s|m|h)$" $text) -}}
{{- fail (printf "%q is no duration: write 250ms, 30s, 10m or 24h" $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- if hasSuffix "ms" $text -}}{{ div (add $number 999) 1000 }}
{{- else if hasSuffix "s" $text -}}{{ $number }}
{{- else if hasSuffix "m" $text -}}{{ mul $number 60 }}
{{- else -}}{{ mul $number 3600 }}
{{- end -}}
{{- end -}}

{{/*
A value as TOML. JSON's texts, numbers and lists are TOML's as well; a table goes into one line.
Helm's own toToml writes whole numbers as fractions, which the gateway refuses.
*/}}
{{- define "dashgate.toml" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (include "dashgate.toml" $value)) -}}
{{- end -}}
{ {{- join ", " $pairs -}} }
{{- else -}}
{{- toRawJson . -}}
{{- end -}}
{{- end -}}

{{/*
The variable with the URL of the store. From the Secret, so that it is in no manifest.
*/}}
{{- define "dashgate.storeUrl" -}}
- name: DASHGATE_STORE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.urlEntry }}
{{- end -}}
