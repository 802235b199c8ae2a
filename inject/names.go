package inject

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// SameHeader reports whether two header names mean the same to some server:
// case does not count, and "_" is as "-", because CGI and its heirs cannot
// tell them apart.
func SameHeader(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldHeader(a[i]) != foldHeader(b[i]) {
			return false
		}
	}
	return true
}

func foldHeader(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	case c == '_':
		return '-'
	}
	return c
}

// QueryError says that a query cannot be taken apart without doubt, so that
// nobody can say which parameters it holds. The request is at fault: 400.
type QueryError struct {
	Problem string
}

func (e *QueryError) Error() string { return "query: " + e.Problem }

// StripQuery returns rawQuery without the parameters whose decoded names are
// among names. All else keeps its order and bytes. A query that servers take
// apart in different ways (an invalid escape, a semicolon) is a *[QueryError].
func StripQuery(rawQuery string, names []string) (string, error) {
	found := false
	for part := range strings.SplitSeq(rawQuery, "&") {
		name, err := parameterName(part)
		if err != nil {
			return "", err
		}
		found = found || slices.Contains(names, name)
	}
	if !found {
		return rawQuery, nil
	}
	var b strings.Builder
	b.Grow(len(rawQuery))
	first := true
	for part := range strings.SplitSeq(rawQuery, "&") {
		if name, _ := parameterName(part); part != "" && slices.Contains(names, name) {
			continue
		}
		if !first {
			b.WriteByte('&')
		}
		first = false
		b.WriteString(part)
	}
	return b.String(), nil
}

// parameterName decodes the name of one "name=value" and refuses what
// url.ParseQuery refuses.
func parameterName(part string) (string, error) {
	if strings.Contains(part, ";") {
		return "", &QueryError{"a semicolon, which some servers take for a separator"}
	}
	name, value, _ := strings.Cut(part, "=")
	if strings.Contains(value, "%") {
		if _, err := url.QueryUnescape(value); err != nil {
			return "", &QueryError{"an invalid escape in a value"}
		}
	}
	name, err := url.QueryUnescape(name)
	if err != nil {
		return "", &QueryError{"an invalid escape in a name"}
	}
	return name, nil
}

// StripCookies removes the cookies of the given names from h. The others keep
// their order and bytes. It replaces slices of h and changes none in place.
func StripCookies(h http.Header, names []string) {
	lines := h["Cookie"]
	var kept []string
	changed := false
	for _, line := range lines {
		stripped, did := stripCookieLine(line, names)
		changed = changed || did
		if !did || stripped != "" {
			kept = append(kept, stripped)
		}
	}
	switch {
	case !changed:
	case len(kept) == 0:
		delete(h, "Cookie")
	default:
		h["Cookie"] = kept
	}
}

func stripCookieLine(line string, names []string) (string, bool) {
	var kept []string
	changed := false
	for pair := range strings.SplitSeq(line, ";") {
		// Servers ignore space around the name, some of them any control byte,
		// and some take a pair without "=" for a name, others for a value.
		name, _, _ := strings.Cut(pair, "=")
		name = strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
		if slices.Contains(names, name) {
			changed = true
			continue
		}
		kept = append(kept, pair)
	}
	if !changed {
		return line, false
	}
	return strings.Trim(strings.Join(kept, ";"), " \t"), true
}
