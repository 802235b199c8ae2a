{{/* What the app's containers have in common: nothing here knows a key. */}}
{{- define "shop.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
env: {{- include "attache.env" .Subcharts.attache | nindent 2 }}
resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
volumeMounts: {{- include "attache.volumeMounts" .Subcharts.attache | nindent 2 }}
{{- end -}}

{{- define "shop.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
{{- end -}}
