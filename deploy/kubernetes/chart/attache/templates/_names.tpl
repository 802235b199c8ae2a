{{/* Names and labels of what this chart makes. */}}

{{- define "attache.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "attache.labels" -}}
app.kubernetes.io/name: attache
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{/* The label by which the NetworkPolicy and the PodMonitor find the pods that have this sidecar. */}}
{{- define "attache.podLabels" -}}
attache-proxy.github.io/egress: {{ include "attache.fullname" . }}
{{- end -}}

{{- define "attache.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The SPIFFE ID of a gateway, as SPIRE's controller gives them out: by namespace and service account. */}}
{{- define "attache.gatewayID" -}}
spiffe://{{ required "spiffe.trustDomain: a gateway is known by its SPIFFE ID" .top.Values.spiffe.trustDomain }}/ns/{{ .namespace }}/sa/{{ .name }}
{{- end -}}
