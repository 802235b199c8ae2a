package watcher

import (
	"bytes"
	"encoding/pem"
	"errors"

	"github.com/attache-proxy/attache/watcher/source"
)

// emptyError is apart because writers empty a file before they fill it.
type emptyError struct{}

func (emptyError) Error() string { return "empty" }

// content makes the usable secret of what a source gave: the field, if one is
// named, without one trailing newline. Its errors hold no byte of raw.
func content(raw []byte, field string) ([]byte, error) {
	if len(raw) > source.MaxSize {
		return nil, errors.New("over 64 KiB")
	}
	if err := checkMark(raw); err != nil {
		return nil, err
	}
	text := raw
	if field != "" {
		if len(bytes.TrimSpace(raw)) == 0 {
			return nil, emptyError{}
		}
		var err error
		if text, err = member(raw, field); err != nil {
			return nil, err
		}
	}
	text = trimNewline(text)
	if len(text) == 0 {
		return nil, emptyError{}
	}
	return text, checkBytes(text)
}

// trimNewline removes one newline at the end, as editors and echo write it.
func trimNewline(text []byte) []byte {
	text, found := bytes.CutSuffix(text, []byte("\n"))
	if found {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	return text
}

// checkMark refuses the byte order marks that some editors write.
func checkMark(raw []byte) error {
	switch {
	case bytes.HasPrefix(raw, []byte("\xef\xbb\xbf")):
		return errors.New("begins with a UTF-8 byte order mark; save it without one")
	case bytes.HasPrefix(raw, []byte("\xff\xfe")), bytes.HasPrefix(raw, []byte("\xfe\xff")):
		return errors.New("is UTF-16; save it as UTF-8 without a byte order mark")
	}
	return nil
}

// checkBytes refuses control bytes. PEM may hold line breaks and tabs: it is
// used as a key pair, never written into a request as it stands.
func checkBytes(text []byte) error {
	lines := false
	for _, c := range text {
		switch {
		case c == '\n' || c == '\r' || c == '\t':
			lines = true
		case c == 0:
			return errors.New("holds a NUL byte")
		case c < ' ' || c == 0x7f:
			return errors.New("holds a control byte")
		}
	}
	if lines {
		if block, _ := pem.Decode(text); block == nil {
			return errors.New("holds a line break or tab before its end")
		}
	}
	return nil
}
