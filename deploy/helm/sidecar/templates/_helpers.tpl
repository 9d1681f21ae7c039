{{/* Names the chart's objects: RELEASE-sidecar, or fullnameOverride. */}}
{{- define "sidecar.fullname" -}}
{{- default (printf "%s-sidecar" (trunc 55 .Release.Name)) .Values.fullnameOverride -}}
{{- end }}

{{- define "sidecar.labels" -}}
app.kubernetes.io/name: sidecar
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sidecar.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* The ConfigMap with the configuration. */}}
{{- define "sidecar.configMapName" -}}
{{- default (include "sidecar.fullname" .) .Values.config.existingConfigMap -}}
{{- end }}

{{/* "true" where the Endpoints API is read. */}}
{{- define "sidecar.endpoints" -}}
{{- $on := .Values.rbac.endpoints -}}
{{- range .Values.config.extra.clusters -}}
{{- if and .kubernetes (eq (default "" .kubernetes.api) "Endpoints") -}}{{- $on = true -}}{{- end -}}
{{- end -}}
{{- if $on -}}true{{- end -}}
{{- end }}

{{/* The rules of the Role or ClusterRole: what discovery calls, and nothing more. */}}
{{- define "sidecar.rules" -}}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [get]
{{- if include "sidecar.endpoints" . }}
- apiGroups: [""]
  resources: [endpoints]
  verbs: [get, list, watch]
{{- end }}
{{- end }}

{{/* The subjects of the binding. */}}
{{- define "sidecar.subjects" -}}
{{- $subjects := list -}}
{{- range .Values.rbac.serviceAccounts -}}
{{- $subjects = append $subjects (dict "kind" "ServiceAccount" "name" .name "namespace" (default $.Release.Namespace .namespace)) -}}
{{- else -}}
{{- range default (list .Release.Namespace) .Values.rbac.subjectNamespaces -}}
{{- $group := printf "system:serviceaccounts:%s" . -}}
{{- $subjects = append $subjects (dict "apiGroup" "rbac.authorization.k8s.io" "kind" "Group" "name" $group) -}}
{{- end -}}
{{- end -}}
{{- toYaml $subjects -}}
{{- end }}
