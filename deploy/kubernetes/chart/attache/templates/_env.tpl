{{/*
The environment for each container of the app: what "attache env --format k8s" prints for this
configuration. files/env.yaml is that for no hosts but loopback ones called directly.
*/}}
{{- define "attache.env" -}}
{{- $direct := include "attache.noProxy" . | fromJsonArray -}}
{{- $java := list -}}
{{- range $direct -}}
{{- if regexMatch "^[0-9.]+/(8|16|24)$" . -}}
{{- $parts := splitList "/" . -}}
{{- $octets := slice (first $parts | splitList ".") 0 (div (last $parts | atoi) 8 | int) -}}
{{- $java = append $java (printf "%s.*" (join "." $octets)) -}}
{{- else if hasPrefix "." . -}}
{{- $java = append $java (printf "*%s" .) -}}
{{- else if contains ":" . -}}
{{- $java = append $java (printf "[%s]" .) -}}
{{- else if not (contains "/" .) -}}
{{- $java = append $java . -}}
{{- end -}}
{{- end -}}
{{- $placeholders := dict -}}
{{- range .Values.config -}}
{{- range get (fromYaml .) "rules" | default list -}}
{{- $placeholders = merge $placeholders (get . "client_env" | default dict) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $placeholders -}}
{{ printf "- {name: %s, value: %s}\n" $name (toJson $value) }}
{{- end -}}
{{- .Files.Get "files/env.yaml" | trim
	| replace "localhost,127.0.0.1,::1" (concat (list "localhost" "127.0.0.1" "::1") $direct | join ",")
	| replace "localhost|127.*|[::1]" (concat (list "localhost" "127.*" "[::1]") $java | join "|") -}}
{{- end -}}

{{/* What the app calls without Attaché. Clients of the Kubernetes API use these variables too. */}}
{{- define "attache.noProxy" -}}
{{- concat (list ".svc" ".cluster.local" "$(KUBERNETES_SERVICE_HOST)") .Values.noProxy | toJson -}}
{{- end -}}
