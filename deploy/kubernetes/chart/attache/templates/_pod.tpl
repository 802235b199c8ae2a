{{/*
What a pod needs to have Attaché as its sidecar. In a chart that depends on this one:

  metadata:
    labels: {{- include "attache.podLabels" .Subcharts.attache | nindent 4 }}
  spec:
    initContainers: {{- include "attache.sidecar" .Subcharts.attache | nindent 4 }}   first in the list
    containers:
      - env: {{- include "attache.env" .Subcharts.attache | nindent 8 }}
        volumeMounts: {{- include "attache.volumeMounts" .Subcharts.attache | nindent 8 }}
    volumes: {{- include "attache.volumes" .Subcharts.attache | nindent 4 }}
*/}}

{{/* The sidecar: started before every other container of the pod, stopped after them. */}}
{{- define "attache.sidecar" -}}
- name: attache
  restartPolicy: Always
{{- include "attache.container" . | nindent 2 }}
{{- end -}}

{{- define "attache.container" -}}
image: {{ include "attache.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/attache]
env:
  - {name: ATTACHE_VAR_ns, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: ATTACHE_VAR_sa, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: attache-health, containerPort: 15090}
{{- if eq .Values.mode "gateway" }}
  - {name: proxy, containerPort: 15443}
{{- end }}
startupProbe:
  httpGet: {path: /startupz, port: attache-health}
  periodSeconds: 1
  failureThreshold: {{ .Values.startupSeconds }}
readinessProbe:
  httpGet: {path: /readyz, port: attache-health}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /livez, port: attache-health}
  periodSeconds: 10
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: # Pod Security "restricted", whatever the pod's own says
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: attache-config, mountPath: /etc/attache, readOnly: true}
{{- if eq .Values.mode "gateway" }}
  - {name: attache-ca, mountPath: /run/secrets/attache-ca, readOnly: true}
{{- else if not .Values.gateway.name }}
  - {name: attache-trust, mountPath: /run/attache/trust}
  - {name: attache-ca, mountPath: /run/attache/ca}
{{- end }}
{{- range $name, $_ := .Values.secrets }}
  - {name: attache-secret-{{ $name }}, mountPath: /run/secrets/{{ $name }}, readOnly: true}
{{- end }}
{{- if .Values.spiffe.enabled }}
  - {name: attache-spiffe, mountPath: /spiffe-workload-api, readOnly: true}
{{- end }}
{{- if .Values.trustBundles }}
  - {name: attache-roots, mountPath: /etc/attache-roots, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Directories, never subPath: only these follow a rotation. What keeps keys is memory and dies with the pod. */}}
{{- define "attache.volumes" -}}
- name: attache-config
  projected:
    sources:
      - configMap: {name: {{ include "attache.fullname" . }}}
{{- range .Values.configMaps }}
      - configMap: {name: {{ . }}}
{{- end }}
{{- if eq .Values.mode "gateway" }}
- {name: attache-ca, secret: {secretName: {{ required "caSecret: the CA that all apps behind the gateway trust" .Values.caSecret }}}}
{{- else if not .Values.gateway.name }}
- {name: attache-trust, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
- {name: attache-ca, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
{{- else if .Values.gateway.trustBundle }}
- name: attache-trust
  projected:
    sources:
      - clusterTrustBundle: {{- merge (dict "path" "ca.pem") .Values.gateway.trustBundle | toYaml | nindent 10 }}
      - clusterTrustBundle: {{- merge (dict "path" "bundle.pem") .Values.gateway.trustBundle | toYaml | nindent 10 }}
{{- else }}
{{- $name := required "gateway.trustConfigMap, or gateway.trustBundle: the CA that the gateway signs with" .Values.gateway.trustConfigMap }}
- name: attache-trust
  projected:
    sources:
      - configMap: {name: {{ $name }}, items: [{key: bundle.pem, path: bundle.pem}, {key: bundle.pem, path: ca.pem}]}
      - configMap: {name: {{ $name }}, items: [{key: truststore.p12, path: truststore.p12}], optional: true}
{{- end }}
{{- range $name, $secret := .Values.secrets }}
- {name: attache-secret-{{ $name }}, secret: {secretName: {{ $secret }}}}
{{- end }}
{{- if .Values.spiffe.enabled }}
- {name: attache-spiffe, csi: {driver: {{ .Values.spiffe.driver }}, readOnly: true}}
{{- end }}
{{- with .Values.trustBundles }}
- name: attache-roots
  projected:
    sources:
{{- range . }}
      - clusterTrustBundle: {{- toYaml . | nindent 10 }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* For each container of the app. */}}
{{- define "attache.volumeMounts" -}}
- {name: attache-trust, mountPath: /run/attache/trust, readOnly: true}
{{- end -}}
