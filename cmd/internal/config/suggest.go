package config

import (
	"fmt"
	"strings"
)

// Nearest returns the candidate that a writer of word most likely meant, or "".
func Nearest(word string, candidates []string) string {
	if len(word) < 3 || len(word) > maxSuggest {
		return ""
	}
	best, bestDistance := "", len(word)/3+1 // a third of the letters may be wrong
	for _, c := range candidates {
		d := distance(word, c)
		if prefixOf(word, c) {
			d = 1 // "algolia" for "algolia-key"
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

func prefixOf(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return len(a) >= 3 && strings.HasPrefix(b, a)
}

// didYouMean is a hint, or "" where nothing is near.
func didYouMean(word string, candidates []string) string {
	if c := Nearest(word, candidates); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	return ""
}

// perhaps is a hint for names that the writer chose.
func perhaps(word string, candidates []string) string {
	if c := Nearest(word, candidates); c != "" {
		return fmt.Sprintf("perhaps %q?", c)
	}
	return ""
}

// maxSuggest bounds the work for a key that is a novel.
const maxSuggest = 64

// distance counts the letters to insert, delete, change or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > maxSuggest || len(b) > maxSuggest {
		return maxSuggest
	}
	var before, above, row [maxSuggest + 1]int
	for j := range len(b) + 1 {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
