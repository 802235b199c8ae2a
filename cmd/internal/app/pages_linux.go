package app

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dropPages takes out of memory the pages of the binary that are mapped by now, most of which only starting
// needed: three quarters of what an idle proxy would hold. What is in use comes back from the page cache with its next use.
func dropPages(log *slog.Logger) {
	exe, err := os.Readlink("/proc/self/exe")
	if err == nil {
		var smaps *os.File
		if smaps, err = os.Open("/proc/self/smaps"); err == nil {
			defer smaps.Close()
			for _, m := range cleanMappings(smaps, exe) {
				if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
					err = errno
				}
			}
		}
	}
	if err != nil {
		log.Debug("pages that only starting needed stay in memory", "error", err)
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// cleanMappings reads /proc/PID/smaps (proc_pid_smaps(5)) and returns the mappings of file that can only be read and of which every
// page is as in the file. Of a binary that was relocated, some are not, though they cannot be written to any more: dropped, they
// would come back without their relocations.
func cleanMappings(smaps io.Reader, file string) []mapping {
	var all []mapping
	var at mapping
	ours := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"): // 55d0-55e0 r-xp 00002000 fe:01 247026 /attache
			at, ours = mapping{}, len(f) == 6 && f[5] == file && strings.HasPrefix(f[1], "r-")
			from, to, _ := strings.Cut(f[0], "-")
			a, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
			b, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
			if ours = ours && err1 == nil && err2 == nil && a < b; ours {
				at = mapping{uintptr(a), uintptr(b)}
			}
		case ours && len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0":
			all = append(all, at)
		}
	}
	return all
}
