package proxy

import "net/http"

// traceID is the trace-id of a valid traceparent header (W3C Trace Context,
// §3.2), else empty.
func traceID(h http.Header) string {
	v := h["Traceparent"]
	if len(v) != 1 || len(v[0]) < 55 {
		return ""
	}
	s := v[0]
	if s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return ""
	}
	id, zero := s[3:35], true
	for i := range len(id) {
		if hexDigit(id[i]) < 0 || id[i] >= 'A' && id[i] <= 'F' {
			return ""
		}
		zero = zero && id[i] == '0'
	}
	if zero {
		return ""
	}
	return id
}
