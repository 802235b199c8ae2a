package main

import (
	"io"
	"log"
	"os"
	"testing"
)

// TestStandardLoggerIsSilent: net/http writes "Unsolicited response … starting with …", an
// upstream's bytes, to the default logger of package log.
func TestStandardLoggerIsSilent(t *testing.T) {
	was := log.Writer()
	defer log.SetOutput(was)
	log.SetOutput(os.Stderr)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if code := run([]string{"version"}, null, null, null); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	if log.Writer() != io.Discard {
		t.Error("what package log is told reaches an output")
	}
}
