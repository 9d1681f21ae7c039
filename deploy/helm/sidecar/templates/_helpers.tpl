{{/* Names the chart's objects: RELEASE-sidecar, or RELEASE where it says sidecar already, or fullnameOverride. */}}
{{- define "sidecar.fullname" -}}
{{- $name := contains "sidecar" .Release.Name | ternary .Release.Name (printf "%s-sidecar" (trunc 55 .Release.Name)) -}}
{{- default $name .Values.fullnameOverride -}}
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

{{/* "true" where the chart installs the policy: told so, or by default where it is no other chart's dependency. */}}
{{- define "sidecar.injects" -}}
{{- if or (eq .Values.injection.policy "enabled") (and (eq .Values.injection.policy "auto") .Chart.IsRoot) -}}true{{- end -}}
{{- end }}

{{/* "true" where rights are cluster-wide: told so, or since the policy injects into any namespace that is labelled. */}}
{{- define "sidecar.clusterWide" -}}
{{- if or .Values.rbac.clusterWide (and (include "sidecar.injects" .) (not .Values.rbac.namespaces)) -}}true{{- end -}}
{{- end }}

{{/* The subjects of the binding. */}}
{{- define "sidecar.subjects" -}}
{{- $subjects := list -}}
{{- $everybody := and (include "sidecar.injects" .) (not .Values.rbac.subjectNamespaces) | empty | not -}}
{{- range .Values.rbac.serviceAccounts -}}
{{- $subjects = append $subjects (dict "kind" "ServiceAccount" "name" .name "namespace" (default $.Release.Namespace .namespace)) -}}
{{- else -}}
{{- range $everybody | ternary (list "") (default (list .Release.Namespace) .Values.rbac.subjectNamespaces) -}}
{{- $group := . | empty | ternary "system:serviceaccounts" (printf "system:serviceaccounts:%s" .) -}}
{{- $subjects = append $subjects (dict "apiGroup" "rbac.authorization.k8s.io" "kind" "Group" "name" $group) -}}
{{- end -}}
{{- end -}}
{{- toYaml $subjects -}}
{{- end }}
