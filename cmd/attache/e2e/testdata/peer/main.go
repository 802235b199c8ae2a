// Peer is what TestCompose runs in containers beside Attaché: the app that calls, and the API that is
// called. It is built static, for an image with nothing else in it.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	for len(args) < 3 {
		args = append(args, "")
	}
	var err error
	switch args[0] {
	case "upstream": // CERT KEY
		err = upstream(args[1], args[2])
	case "loop": // URL
		loop(args[1])
	case "get": // METHOD URL: through HTTPS_PROXY
		err = get(http.DefaultTransport, args[1], args[2])
	case "direct": // METHOD URL: around it
		err = get(&http.Transport{DialContext: http.DefaultTransport.(*http.Transport).DialContext}, args[1], args[2])
	case "stream": // URL
		err = stream(args[1])
	case "write": // FILE
		err = os.WriteFile(args[1], []byte("x"), 0o600)
	case "read": // FILE
		_, err = os.ReadFile(args[1])
	default:
		err = fmt.Errorf("unknown command %q", args[0])
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// upstream answers with the credential's fingerprint; /stream sends events until SIGUSR1, then "end".
func upstream(cert, key string) error {
	finish := make(chan os.Signal, 1)
	signal.Notify(finish, syscall.SIGUSR1)
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprint(w, "data: event\n\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-finish:
				fmt.Fprint(w, "data: end\n\n")
				return
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		fmt.Fprint(w, hex.EncodeToString(sum[:]))
	})
	return http.ListenAndServeTLS(":8443", cert, key, nil)
}

// loop calls again and again on connections of its own, and prints how each call went. The roots that
// it trusts are those that it read first.
func loop(url string) {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableKeepAlives = true
	for {
		if err := get(tr, http.MethodGet, url); err != nil {
			fmt.Println("error:", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func get(tr http.RoundTripper, method, url string) error {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	fmt.Println(res.StatusCode, strings.TrimSpace(string(body)))
	return nil
}

// stream prints the lines of an answer as they come; it fails if the last one is not the upstream's.
func stream(url string) error {
	res, err := http.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	last := ""
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if lines.Text() != "" {
			last = lines.Text()
			fmt.Println(last)
		}
	}
	if last != "data: end" {
		return fmt.Errorf("status %d, cut short after %q", res.StatusCode, last)
	}
	return nil
}
