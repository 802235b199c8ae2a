package policy

import (
	"slices"
	"testing"
)

func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second Spec
		shadowed      bool
	}{
		{"same", Spec{}, Spec{}, true},
		{"narrower in all", Spec{Methods: []string{"GET", "POST"}, Paths: []string{"/v1/**"}, Callers: []string{"pod", "ci"}, Query: map[string]string{"a": "1"}},
			Spec{Methods: []string{"HEAD", "GET"}, Paths: []string{"/v1/x/*", "/v1"}, Callers: []string{"pod"}, Query: map[string]string{"b": "2", "a": "1"}}, true},
		{"wider host", Spec{}, Spec{Hosts: []string{"api.test", "b.test"}}, false},
		{"host below", Spec{Hosts: []string{"**.test"}}, Spec{Hosts: []string{"*.api.test", "**.api.test", "a.b.test"}}, true},
		{"host itself", Spec{Hosts: []string{"**.api.test"}}, Spec{Hosts: []string{"api.test"}}, false},
		{"one label", Spec{Hosts: []string{"*.test"}}, Spec{Hosts: []string{"api.test", "*.test"}}, true},
		{"one label of two", Spec{Hosts: []string{"*.test"}}, Spec{Hosts: []string{"a.api.test"}}, false},
		{"one label of many", Spec{Hosts: []string{"*.test"}}, Spec{Hosts: []string{"**.test"}}, false},
		{"one label below many", Spec{Hosts: []string{"**.test"}}, Spec{Hosts: []string{"*.test"}}, true},
		{"port", Spec{}, Spec{Hosts: []string{"api.test:8443"}}, false},
		{"scheme", Spec{}, Spec{Hosts: []string{"http://api.test:443"}}, false},
		{"any method", Spec{Methods: []string{"GET"}}, Spec{}, false},
		{"HEAD", Spec{Methods: []string{"GET"}}, Spec{Methods: []string{"HEAD"}}, true},
		{"GET", Spec{Methods: []string{"HEAD"}}, Spec{Methods: []string{"GET"}}, false},
		{"any path", Spec{Paths: []string{"/v1"}}, Spec{}, false},
		{"every path", Spec{Paths: []string{"/**"}}, Spec{}, false}, // those that are ambiguous differ
		{"the rest", Spec{Paths: []string{"/v1/**"}}, Spec{Paths: []string{"/v1", "/v1/", "/v1/*/x", "/v1/x/**"}}, true},
		{"the rest is more", Spec{Paths: []string{"/v1/*"}}, Spec{Paths: []string{"/v1/**"}}, false},
		{"the rest is more than nothing", Spec{Paths: []string{"/v1"}}, Spec{Paths: []string{"/v1/**"}}, false},
		{"no segment", Spec{Paths: []string{"/v1/*"}}, Spec{Paths: []string{"/v1/"}}, false},
		{"any segment", Spec{Paths: []string{"/v1/x"}}, Spec{Paths: []string{"/v1/*"}}, false},
		{"any caller", Spec{Callers: []string{"pod"}}, Spec{}, false},
		{"other caller", Spec{Callers: []string{"pod"}}, Spec{Callers: []string{"pod", "ci"}}, false},
		{"other query", Spec{Query: map[string]string{"a": "1"}}, Spec{Query: map[string]string{"a": "2"}}, false},
		{"any query", Spec{Query: map[string]string{"a": "1"}}, Spec{}, false},
		{"deny first", Spec{Action: Deny}, Spec{}, true},
		{"deny behind", Spec{}, Spec{Action: Deny}, true},
		{"tunnel first: routes and absolute-form still get there", Spec{Action: Tunnel}, Spec{}, false},
		{"tunnel behind tunnel", Spec{Action: Tunnel}, Spec{Action: Tunnel}, true},
		{"tunnel behind some requests", Spec{Paths: []string{"/v1"}, Methods: []string{"GET"}}, Spec{Action: Tunnel}, true},
		{"tunnel behind a caller", Spec{Callers: []string{"pod"}}, Spec{Action: Tunnel}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, s := range []*Spec{&tt.first, &tt.second} {
				s.ID = string(rune('a' + i))
				if s.Hosts == nil {
					s.Hosts = []string{"api.test"}
				}
			}
			var want []Shadow
			if tt.shadowed {
				want = []Shadow{{Rule: 1, By: 0}}
			}
			if got := mustNew(t, tt.first, tt.second).Unreachable(); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}
