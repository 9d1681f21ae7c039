{{/* The configuration file: what the ports and routes of the values say, and config.extra. */}}
{{- define "sidecar.config" -}}
{{- $extra := .Values.config.extra -}}
listeners:
  - name: outbound
    address: 127.0.0.1:{{ .Values.ports.outbound }}
    mode: forward
    {{- with .Values.outbound.routes }}
    routes:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- if .Values.inbound.enabled }}
  - name: inbound
    address: 0.0.0.0:{{ .Values.ports.inbound }}
    routes:
      {{- if .Values.inbound.routes }}
      {{- toYaml .Values.inbound.routes | nindent 6 }}
      {{- else }}
      - name: app
        rules:
          - backendRefs: [{name: app}]
      {{- end }}
  {{- end }}
  {{- with $extra.listeners }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .Values.inbound.enabled $extra.clusters }}
clusters:
  {{- if .Values.inbound.enabled }}
  - name: app
    static:
      endpoints: ["127.0.0.1:{{ .Values.inbound.appPort }}"]
  {{- end }}
  {{- with $extra.clusters }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
admin:
  address: 127.0.0.1:{{ .Values.ports.admin }}
  probe_address: 0.0.0.0:{{ .Values.ports.probe }}
{{- with omit $extra "listeners" "clusters" }}
{{ toYaml . }}
{{- end }}
{{- end }}
