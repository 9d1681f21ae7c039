{{/*
The policy's expressions (CEL). They decide as sidecar/inject/patch.py and annotations.py do; a test on a real API server
compares the pods that come of both. What is the same for all pods comes from the templates of _container.tpl.
*/}}

{{/* Plain data as a CEL literal: map values are dyn, since a literal has one type. */}}
{{- define "sidecar.cel" -}}
{{- if kindIs "map" . -}}
{ {{- range $at, $key := keys . | sortAlpha }}{{ if $at }}, {{ end }}{{ toJson $key }}: dyn({{ include "sidecar.cel" (get $ $key) }}){{ end -}} }
{{- else if kindIs "slice" . -}}
[ {{- range $at, $item := . }}{{ if $at }}, {{ end }}dyn({{ include "sidecar.cel" $item }}){{ end -}} ]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* The configuration that injected pods start with, as JSON. */}}
{{- define "sidecar.defaultConfig" -}}
{{- include "sidecar.config" . | fromYaml | toJson -}}
{{- end }}

{{/* The container without what depends on the pod: no inbound port, and no pairs in SIDECAR_INBOUND. */}}
{{- define "sidecar.bareContainer" -}}
{{- $values := deepCopy .Values -}}
{{- $_ := set $values.inbound "enabled" false -}}
{{- include "sidecar.container" (dict "Values" $values "Chart" .Chart "Release" .Release) | fromYamlArray | first | toJson -}}
{{- end }}

{{/* Twelve digits that change when what is injected does, whatever the pod. */}}
{{- define "sidecar.hash" -}}
{{- $parts := list (include "sidecar.bareContainer" . | fromJson) (include "sidecar.env" . | fromYamlArray) (include "sidecar.config" . | fromYaml) (dict "sleep" (dict "seconds" .Values.inbound.preStopSleep)) -}}
{{- toJson $parts | sha256sum | trunc 12 -}}
{{- end }}

{{/* Variables, in the order in which they use each other. */}}
{{- define "sidecar.policyVariables" -}}
- name: annotations  # of this sidecar, with their keys shortened; sorted, since a map has no order
  expression: >-
    object.metadata.?annotations.orValue({}).map(k, k).filter(k, k.startsWith('config.sidecar-proxy.io/')).sort()
- name: wrong
  expression: >-
    variables.annotations.filter(k, dyn(object.metadata.annotations[k]) == dyn('') && k != 'config.sidecar-proxy.io/port-names' ||
      !(k.substring(24) in [{{ range $at, $key := keys (include "sidecar.forms" . | fromYaml) | sortAlpha }}{{ if $at }}, {{ end }}'{{ $key }}'{{ end }}])
      {{- range $key, $form := include "sidecar.forms" . | fromYaml }} ||
      k.substring(24) == '{{ $key }}' && !object.metadata.annotations[k].matches({{ toJson $form }})
      {{- end }})
{{- range $key, $form := include "sidecar.forms" . | fromYaml }}
- name: {{ camelcase $key | untitle }}
  expression: >-
    'config.sidecar-proxy.io/{{ $key }}' in variables.wrong ? '' :
    object.metadata.?annotations[?'config.sidecar-proxy.io/{{ $key }}'].orValue('')
{{- end }}
- name: patterns
  expression: >-
    'config.sidecar-proxy.io/port-names' in variables.annotations && !('config.sidecar-proxy.io/port-names' in variables.wrong)
    ? variables.portNames.split(',') : {{ .Values.inbound.enabled | ternary (toJson .Values.inbound.portNames) "['']" }}
- name: skipped
  expression: variables.skipInboundPorts.split(',')
# The ports whose names match, with their places: {c: container, p: port in it, …}. Strings, since a map has one value type.
- name: matching
  expression: >-
    object.spec.containers.transformList(i, c, has(c.ports) ? c.ports.transformList(j, p,
      {{ if not .Values.inbound.enabled }}false && {{ end -}}
      has(p.name) && (!has(p.protocol) || p.protocol == 'TCP') && !(string(p.containerPort) in variables.skipped) &&
        variables.patterns.exists(n, n.endsWith('*') ? p.name.startsWith(n.substring(0, n.size() - 1)) : p.name == n),
      {'c': string(i), 'p': string(j), 'container': string(c.name), 'name': string(p.name), 'port': string(p.containerPort)}) : []).flatten()
# Each name once, of the first container that has it.
- name: first
  expression: >-
    variables.matching.transformList(i, x, variables.matching.slice(0, i).all(y, y.name != x.name), x)
- name: taken
  expression: "variables.first.size() > 8 ? variables.first.slice(0, 8) : variables.first"
- name: named
  expression: variables.matching.filter(x, variables.taken.exists(y, y.name == x.name))
# The containers that wait before they stop: served through the sidecar, without a hook and with the time for one.
- name: sleeping
  expression: >-
    object.spec.containers.transformList(i, c, {{ .Values.inbound.preStopSleep }} > 0 && {{ .Values.inbound.preStopSleep }} < object.spec.?terminationGracePeriodSeconds.orValue(30) &&
      variables.named.exists(x, x.c == string(i)) && !(has(c.lifecycle) && has(c.lifecycle.preStop)), {'c': string(i), 'name': string(c.name)})
- name: system
  expression: >-
    object.spec.?os.?name.orValue(object.spec.?nodeSelector[?'kubernetes.io/os'].orValue(''))
- name: obstacle
  expression: >-
    object.spec.?hostNetwork.orValue(false) ? "hostNetwork: its ports would be the node's" :
    variables.system == 'windows' ? 'Windows: the sidecar runs on Linux' :
    object.spec.containers.exists(c, c.name == 'sidecar') ? 'a container of its own is named sidecar' :
    object.spec.?volumes.orValue([]).exists(v, v.name in [
      {{- range $at, $volume := include "sidecar.volumes" . | fromYamlArray }}{{ if $at }}, {{ end }}{{ toJson $volume.name }}{{ end }}]) ? "a volume of its own has the name of one of the sidecar's" :
    object.spec.containers.exists(c, has(c.ports) && c.ports.exists(p, p.containerPort in
      [{{ .Values.ports.outbound }}, {{ .Values.ports.admin }}, {{ .Values.ports.probe }}] ||
      p.containerPort >= {{ .Values.ports.inbound }} && p.containerPort < {{ add .Values.ports.inbound 8 }})) ? "a container port of its own is one of the sidecar's" : ''
- name: status
  expression: >-
    variables.obstacle != '' ? {{ printf "{\"version\":\"%s\",\"skipped\":\"" .Chart.AppVersion | toJson }} + variables.obstacle + '"}' :
    {{ printf "{\"version\":\"%s\",\"hash\":\"%s\",\"ports\":[" .Chart.AppVersion (include "sidecar.hash" .) | toJson }} +
    variables.named.map(x, '"' + x.container + ':' + x.port + '=' + x.name + '"').join(',') + '],"preStop":[' + variables.sleeping.map(x, '"' + x.name + '"').join(',') + ']}'
{{- end }}

{{/* What each annotation looks like (RE2). */}}
{{- define "sidecar.forms" -}}
{{- $quantity := `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$` }}
{{- $names := `^([a-z0-9-]+\*?|\*)(,([a-z0-9-]+\*?|\*))*$|^$` }}
{{- dict "cpu-request" $quantity "cpu-limit" $quantity "memory-request" $quantity "memory-limit" $quantity "port-names" $names "skip-inbound-ports" `^[0-9]+(,[0-9]+)*$` "no-proxy" `^[^,\s]+(,[^,\s]+)*$` "config-map" `^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$` | toYaml }}
{{- end }}

{{/* The one mutation: an empty list added by one would be gone in the next. Each line gives a list of operations. */}}
{{- define "sidecar.policyMutation" -}}
{{- $env := include "sidecar.env" . | fromYamlArray -}}
{{- $container := include "sidecar.bareContainer" . | fromJson -}}
{{- $inboundAt := 0 -}}
{{- range $at, $variable := $container.env -}}{{- if eq $variable.name "SIDECAR_INBOUND" -}}{{- $inboundAt = $at -}}{{- end -}}{{- end -}}
{{- $config := dict "name" "SIDECAR_CONFIG" "value" (include "sidecar.defaultConfig" .) -}}
(has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}]) +
[JSONPatch{op: 'add', path: '/metadata/annotations/sidecar-proxy.io~1status', value: variables.status}] +
(variables.obstacle != '' ? [] :
(variables.wrong.size() == 0 ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations/sidecar-proxy.io~1warning', value: 'ignored: ' + variables.wrong.join(', ')}]) +
(has(object.spec.initContainers) ? [] : [JSONPatch{op: 'add', path: '/spec/initContainers', value: []}]) +
(has(object.spec.volumes) ? [] : [JSONPatch{op: 'add', path: '/spec/volumes', value: []}]) +
[
{{- range $at, $volume := include "sidecar.volumes" . | fromYamlArray }}
{{- if $at }},{{ end }}
{{- if eq $at 0 }}
  JSONPatch{op: 'add', path: '/spec/volumes/-', value: {'name': dyn({{ toJson $volume.name }}), 'configMap': dyn({
    'name': dyn(variables.configMap != '' ? variables.configMap : {{ toJson $volume.configMap.name }}), 'optional': dyn(true)})}}
{{- else }}
  JSONPatch{op: 'add', path: '/spec/volumes/-', value: {{ include "sidecar.cel" $volume }}}
{{- end }}
{{- end }}
] +
variables.named.map(x, JSONPatch{op: 'remove', path: '/spec/containers/' + x.c + '/ports/' + x.p + '/name'}) +
{{- range $field := list "containers" "initContainers" }}
object.spec.?{{ $field }}.orValue([]).transformList(i, c, has(c.env) ? [] :
  [JSONPatch{op: 'add', path: '/spec/{{ $field }}/' + string(i) + '/env', value: []}]).flatten() +
{{- range $variable := $env }}
object.spec.?{{ $field }}.orValue([]).transformList(i, c, has(c.env) && c.env.exists(e, e.name in [{{ upper $variable.name | toJson }}, {{ lower $variable.name | toJson }}]) ? [] :
  [JSONPatch{op: 'add', path: '/spec/{{ $field }}/' + string(i) + '/env/-', value: {'name': dyn({{ toJson $variable.name }}), 'value': dyn({{ toJson $variable.value }}
  {{- if eq (upper $variable.name) "NO_PROXY" }} + (variables.noProxy != '' ? ',' + variables.noProxy : ''){{ end }})}}]).flatten() +
{{- end }}
{{- end }}
{{- range $handler := list "startupProbe" "livenessProbe" "readinessProbe" "lifecycle.postStart" "lifecycle.preStop" }}
{{- range $action := list "httpGet" "tcpSocket" }}
{{- $path := printf "%s.%s" $handler $action }}
object.spec.containers.transformList(i, c, {{ if contains "." $handler }}has(c.lifecycle) && {{ end }}has(c.{{ $handler }}) && has(c.{{ $path }}) && type(c.{{ $path }}.port) == string
  ? variables.named.filter(x, x.c == string(i) && x.name == string(c.{{ $path }}.port)).map(x,
      JSONPatch{op: 'replace', path: '/spec/containers/' + string(i) + '/{{ $path | replace "." "/" }}/port', value: int(x.port)}) : []).flatten() +
{{- end }}
{{- end }}
variables.sleeping.filter(x, !has(object.spec.containers[int(x.c)].lifecycle)).map(x, JSONPatch{op: 'add', path: '/spec/containers/' + x.c + '/lifecycle', value: {}}) +
variables.sleeping.map(x, JSONPatch{op: 'add', path: '/spec/containers/' + x.c + '/lifecycle/preStop', value: {'sleep': dyn({'seconds': dyn({{ .Values.inbound.preStopSleep }})})}}) +
[
  JSONPatch{op: 'add', path: '/spec/initContainers/0', value: {{ include "sidecar.cel" $container }}},
  JSONPatch{op: 'add', path: '/spec/initContainers/0/env/{{ add1 $inboundAt }}', value: {{ include "sidecar.cel" $config }}},
  JSONPatch{op: 'replace', path: '/spec/initContainers/0/env/{{ $inboundAt }}/value', value:
    variables.taken.transformList(k, x, string({{ .Values.ports.inbound }} + k) + ':' + x.port).join(',')}
] +
variables.taken.transformList(k, x, JSONPatch{op: 'add', path: '/spec/initContainers/0/ports/' + string(k), value: {
  'name': dyn(x.name), 'containerPort': dyn({{ .Values.ports.inbound }} + k), 'protocol': dyn('TCP')}}) +
{{- range $kind := list "requests" "limits" }}
{{- if not (hasKey $.Values.resources $kind) }}
(variables.cpu{{ $kind | trimSuffix "s" | title }} + variables.memory{{ $kind | trimSuffix "s" | title }} == '' ? [] : [JSONPatch{op: 'add', path: '/spec/initContainers/0/resources/{{ $kind }}', value: {}}]) +
{{- end }}
{{- range $resource := list "cpu" "memory" }}
{{- $said := printf "variables.%s%s" $resource ($kind | trimSuffix "s" | title) }}
({{ $said }} == '' ? [] : [JSONPatch{op: 'add', path: '/spec/initContainers/0/resources/{{ $kind }}/{{ $resource }}', value: {{ $said }}}]) +
{{- end }}
{{- end }}
[])
{{- end }}
