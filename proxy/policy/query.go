package policy

import "strings"

// parameter is one name and value that a rule asks for, decoded.
type parameter struct{ name, value string }

// meet compares with a query that isPlainQuery holds of. A repeated name is
// Unclear: servers differ in which of its values they take.
func (p parameter) meet(query string) Answer {
	answer := No
	found := false
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if pair == "" || !equalDecoded(name, p.name, true) {
			continue
		}
		if found {
			return Unclear
		}
		found = true
		if equalDecoded(value, p.value, true) {
			answer = Yes
		}
	}
	return answer
}

// isPlainQuery reports whether all parsers cut the query at the same places:
// some take ";" for "&", and what follows an invalid escape is anyone's guess.
func isPlainQuery(query string) bool {
	return strings.IndexByte(query, ';') < 0 && validEscapes(query)
}
