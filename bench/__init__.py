"""The benchmark: this proxy and its peers side by side in one interleaved run. `make bench`, `make bench QUICK=1`.

`systems` says how each one is started, `load` sends the requests, `receiver` counts the spans, `measure` and `special`
take the figures, `statistics` makes ratios of them, `report` and `chart` what people read.
"""
