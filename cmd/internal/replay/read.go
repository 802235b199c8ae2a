package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// maxLine is more than any event takes; longer lines are none.
const maxLine = 64 << 10

// cutText is where the log cuts what clients choose (docs/audit.md): longer is not known.
const cutText = 256

// event is what of a line is looked at.
type event struct {
	Type     string    `json:"type"`
	Time     time.Time `json:"time"`
	Decision string    `json:"decision"`
	Reason   string    `json:"reason"`
	Rule     string    `json:"rule"`
	Caller   struct {
		Name string `json:"name"`
	} `json:"caller"`
	Method  string  `json:"method"`
	Address string  `json:"server.address"`
	Port    uint16  `json:"server.port"`
	Path    *string `json:"url.path"`
}

// lines calls visit for every line that is an event, and counts those that are not.
func lines(in io.Reader, visit func(event)) (broken int, err error) {
	r := bufio.NewReaderSize(in, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			broken++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
		case len(bytes.TrimSpace(line)) > 0:
			var e event
			if json.Unmarshal(line, &e) != nil || e.Type == "" {
				broken++
			} else {
				visit(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return broken, nil
		}
		if err != nil {
			return broken, err
		}
	}
}
