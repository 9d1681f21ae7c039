{{/*
What an app chart includes. Each takes the context of this chart as a dependency, `.Subcharts.sidecar`:

  initContainers:
    {{- include "sidecar.container" .Subcharts.sidecar | nindent 8 }}
  containers:
    - name: app
      env:
        {{- include "sidecar.env" .Subcharts.sidecar | nindent 12 }}
  volumes:
    {{- include "sidecar.volumes" .Subcharts.sidecar | nindent 8 }}

They say the same as sidecar/inject/container.py; a test compares them.
*/}}

{{/* A list with one item: the native sidecar. Put it first, so that other init containers can use it. */}}
{{- define "sidecar.container" -}}
- name: sidecar
  image: {{ include "sidecar.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: [run, --config, /etc/sidecar/sidecar.yaml]
  env:
    {{- range list
      (list "POD_NAME" "metadata.name")
      (list "POD_NAMESPACE" "metadata.namespace")
      (list "POD_UID" "metadata.uid")
      (list "POD_IP" "status.podIP")
      (list "NODE_NAME" "spec.nodeName")
      (list "APP_NAME" "metadata.labels['app.kubernetes.io/name']")
      (list "POD_ZONE" "metadata.labels['topology.kubernetes.io/zone']") }}
    - name: {{ first . }}
      valueFrom:
        fieldRef:
          apiVersion: v1
          fieldPath: {{ last . }}
    {{- end }}
    - name: CONTAINER_NAME
      value: sidecar
    - name: SIDECAR_INBOUND
      value: {{ if .Values.inbound.enabled }}{{ printf "%v:%v" .Values.ports.inbound .Values.inbound.appPort | quote }}{{ else }}""{{ end }}
    {{- range $name, $value := .Values.otel }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- if .Values.inbound.enabled }}
    - name: {{ .Values.inbound.portName }}
      containerPort: {{ .Values.ports.inbound }}
      protocol: TCP
    {{- end }}
    - name: sidecar-out
      containerPort: {{ .Values.ports.outbound }}
      protocol: TCP
    - name: sidecar-admin
      containerPort: {{ .Values.ports.admin }}
      protocol: TCP
    - name: sidecar-probe
      containerPort: {{ .Values.ports.probe }}
      protocol: TCP
  startupProbe:
    httpGet:
      path: /readyz
      port: {{ .Values.ports.probe }}
    timeoutSeconds: 2
    periodSeconds: 1
    failureThreshold: {{ .Values.startup.failureThreshold }}
  readinessProbe:
    httpGet:
      path: /readyz
      port: {{ .Values.ports.probe }}
    timeoutSeconds: 2
    periodSeconds: 5
    failureThreshold: 2
  livenessProbe:
    httpGet:
      path: /livez
      port: {{ .Values.ports.probe }}
    timeoutSeconds: 2
    periodSeconds: 10
    failureThreshold: 3
  # Called when the pod's end begins, before the app's end: inbound answers say `Connection: close` from then on.
  lifecycle:
    preStop:
      exec:
        command: [sidecar, leave, --admin, "127.0.0.1:{{ .Values.ports.admin }}"]
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
    readOnlyRootFilesystem: true
    runAsGroup: 65532
    runAsNonRoot: true
    runAsUser: 65532
    seccompProfile:
      type: RuntimeDefault
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - name: sidecar-config
      mountPath: /etc/sidecar
      readOnly: true
    - name: sidecar-token
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* A list: the pod's volumes for the container. */}}
{{- define "sidecar.volumes" -}}
- name: sidecar-config
  configMap:
    name: {{ include "sidecar.configMapName" . }}
- name: sidecar-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                apiVersion: v1
                fieldPath: metadata.namespace
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A list: the environment that points an app container at the sidecar. */}}
{{- define "sidecar.env" -}}
{{- $proxy := printf "http://127.0.0.1:%v" .Values.ports.outbound -}}
{{- $direct := join "," (concat (list "localhost" "127.0.0.1" "::1" "kubernetes.default.svc") .Values.noProxy) -}}
- name: HTTP_PROXY
  value: {{ $proxy }}
- name: http_proxy
  value: {{ $proxy }}
{{- if .Values.outbound.https }}
- name: HTTPS_PROXY
  value: {{ $proxy }}
- name: https_proxy
  value: {{ $proxy }}
{{- end }}
- name: NO_PROXY
  value: {{ $direct | quote }}
- name: no_proxy
  value: {{ $direct | quote }}
{{- end }}
