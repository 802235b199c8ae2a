package app

import (
	"bufio"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestCleanMappings(t *testing.T) {
	const smaps = `00400000-00c00000 r-xp 00000000 fe:01 12                         /attache
Size:               8192 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00c00000-01600000 r--p 00800000 fe:01 12                         /attache
Anonymous:             0 kB
01600000-01610000 r--p 01200000 fe:01 12                         /attache
Anonymous:            64 kB
01610000-01700000 rw-p 01210000 fe:01 12                         /attache
Anonymous:             0 kB
01700000-01710000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f00-7f10 r-xp 00000000 fe:01 13                         /lib/libc.so
Anonymous:             0 kB
zz-7f20 r-xp 00000000 fe:01 12                         /attache
Anonymous:             0 kB
7f30-7f40 r-xp 00000000 fe:01 12                         /attache (deleted)
Anonymous:             0 kB
`
	got := cleanMappings(strings.NewReader(smaps), "/attache")
	if want := []mapping{{0x400000, 0xc00000}, {0xc00000, 0x1600000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// TestDroppedPagesComeBack: the process works on, with less of its binary in memory.
func TestDroppedPagesComeBack(t *testing.T) {
	before := residentFile(t)
	dropPages(slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	after := residentFile(t)
	t.Logf("%d KiB of files in memory, then %d", before, after)
	if after >= before {
		t.Error("nothing was dropped")
	}
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one"})
	if status, body := get(t, r.client(), "https://example.com/"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// residentFile is how much of files this process has in memory, in KiB.
func residentFile(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Skip("no RssFile")
	return 0
}
