package config

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The scalar types of the grammar. Each reads itself from text, and tells the
// schema and the documentation what it looks like.

// scalarType is what the schema and the documentation ask of a scalar type.
type scalarType interface {
	look() (name, pattern string)
}

const none = "none"

// duration is a time with a unit, greater than zero.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v <= 0 {
		return errors.New(`must be a time with its unit, like "30s" or "5m"`)
	}
	*d = duration(v)
	return nil
}

func (duration) look() (string, string) { return "time", `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$` }

// openDuration is a duration or none, which is -1.
type openDuration time.Duration

func (d *openDuration) UnmarshalText(text []byte) error {
	if string(text) == none {
		*d = -1
		return nil
	}
	if (*duration)(d).UnmarshalText(text) != nil {
		return errors.New(`must be a time with its unit, like "30s" or "5m", or none`)
	}
	return nil
}

func (openDuration) look() (string, string) {
	return "time or none", `^(none|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
}

// size is a number of bytes, greater than zero.
type size int64

var errSize = errors.New(`must be a size with its unit, like "64KiB", "10MiB" or "1GiB"`)

func (s *size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "KMGTiB")
	shift, ok := map[string]int{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[string(text[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return errSize
	}
	*s = size(n << shift)
	return nil
}

func (size) look() (string, string) { return "size", `^[0-9]+(B|KiB|MiB|GiB|TiB)?$` }

// openSize is a size or none, which is -1.
type openSize int64

func (s *openSize) UnmarshalText(text []byte) error {
	if string(text) == none {
		*s = -1
		return nil
	}
	if (*size)(s).UnmarshalText(text) != nil {
		return errors.New(errSize.Error() + ", or none")
	}
	return nil
}

func (openSize) look() (string, string) { return "size or none", `^(none|[0-9]+(B|KiB|MiB|GiB|TiB)?)$` }

// count is a number greater than zero.
type count int

func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || n <= 0 {
		return errors.New("must be a whole number greater than 0")
	}
	*c = count(n)
	return nil
}

func (count) look() (string, string) { return "number", "" }

// instant is a moment, with or without seconds.
type instant time.Time

func (i *instant) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			*i = instant(t)
			return nil
		}
	}
	return errors.New(`must be a moment with its zone, like "2027-03-02T10:00Z"`)
}

func (instant) look() (string, string) {
	return "moment", `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})$`
}

// expectation is what the content of a secret must be.
type expectation struct{ kind, pattern string }

func (e *expectation) UnmarshalText(text []byte) error {
	switch s := string(text); {
	case s == "pem", s == "jwt", s == "json":
		e.kind = s
		return nil
	case strings.HasPrefix(s, "regex(") && strings.HasSuffix(s, ")"):
		e.kind, e.pattern = "regex", s[len("regex("):len(s)-1]
		if _, err := regexp.Compile(e.pattern); err != nil {
			return errors.New("holds no valid regular expression (RE2)")
		}
		return nil
	}
	return errors.New("must be pem, jwt, json or regex(…)")
}

func (expectation) look() (string, string) {
	return "pem, jwt, json or regex(…)", `^(pem|jwt|json|regex\(.*\))$`
}
