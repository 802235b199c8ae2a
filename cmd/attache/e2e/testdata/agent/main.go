// Agent plays SPIRE's for containers: it serves the Workload API of one workload at
// DIR/spire-agent.sock, and writes the identity of another, of the same trust domain, to a file of PEM.
// It ends with its standard input.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: agent DIR ID OTHER-FILE OTHER-ID")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(dir, id, otherFile, otherID string) error {
	api, err := identitytest.New(identitytest.Options{Dir: dir}, id)
	if err != nil {
		return err
	}
	defer api.Close()
	// Any user of the containers may ask, as SPIRE's socket lets them.
	if err := os.Chmod(filepath.Join(dir, "agent.sock"), 0o777); err != nil {
		return err
	}
	if err := os.Symlink("agent.sock", filepath.Join(dir, "spire-agent.sock")); err != nil {
		return err
	}
	other := api.Issue(otherID, time.Hour)
	cert, key, err := other.Marshal()
	if err != nil {
		return err
	}
	roots, err := api.CA(other.ID.TrustDomain().Name()).Bundle().Marshal()
	if err != nil {
		return err
	}
	if err := os.WriteFile(otherFile, slices.Concat(cert, key, roots), 0o644); err != nil {
		return err
	}
	fmt.Println("serving")
	_, err = io.Copy(new(bytes.Buffer), os.Stdin)
	return err
}
