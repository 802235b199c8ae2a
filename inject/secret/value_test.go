package secret_test

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

const canary = `cAnArY/+=%&<"\4711`

func value() secret.Value {
	return secret.New("pay", 3, time.Unix(1700000000, 0), []byte(canary))
}

// holder is what a careless struct looks like: the Value unexported, where fmt
// calls no method of it.
type holder struct {
	hidden  secret.Value
	deeper  []secret.Value
	byName  map[string]secret.Value
	pointer *secret.Value
	Shown   secret.Value
}

func holding(v secret.Value) holder {
	return holder{v, []secret.Value{v}, map[string]secret.Value{"v": v}, &v, v}
}

// leaks looks for the canary in the spellings that printers and encoders use.
func leaks(out string) bool {
	for _, form := range []string{canary, fmt.Sprintf("%q", canary), fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary),
		fmt.Sprintf("%d", []byte(canary)), "cAnArY", "4711"} {
		if strings.Contains(out, strings.Trim(form, `"[]`)) {
			return true
		}
	}
	return false
}

func TestNoVerbShowsBytes(t *testing.T) {
	v := value()
	set := secret.NewSet(map[string]secret.Entry{"pay": {Current: v, Previous: v}})
	for _, arg := range []any{v, &v, holding(v), new(holding(v)), []any{v}, set, errors.Join(fmt.Errorf("wrapped: %v", v))} {
		for verb := rune('!'); verb <= '~'; verb++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "40", ".3"} {
				if out := fmt.Sprintf("%"+flags+string(verb), arg); leaks(out) {
					t.Fatalf("%%%s%c of a %T shows the secret: %s", flags, verb, arg, out)
				}
			}
		}
	}
	if got := fmt.Sprintf("%v %s %d %+v %#v %x", v, v, v, v, v, v); got != strings.TrimSpace(strings.Repeat("<pay g3> ", 6)) {
		t.Errorf("printed as %s", got)
	}
	if got := fmt.Sprint(secret.Value{}); got != "<no secret>" {
		t.Errorf("the zero Value printed as %s", got)
	}
}

func TestNoEncoderShowsBytes(t *testing.T) {
	v := value()
	var _ encoding.TextMarshaler = v
	for name, encode := range map[string]func(any) ([]byte, error){
		"json": json.Marshal,
		"xml":  xml.Marshal,
		"gob": func(a any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(a)
			return b.Bytes(), err
		},
	} {
		for _, arg := range []any{v, &v, struct{ V secret.Value }{v}, holding(v), map[string]secret.Value{"k": v}} {
			out, err := encode(arg)
			if leaks(string(out)) || err != nil && leaks(err.Error()) {
				t.Errorf("%s of a %T shows the secret: %s %v", name, arg, out, err)
			}
		}
	}
	if out, err := json.Marshal(v); err != nil || string(out) != `"\u003cpay g3\u003e"` {
		t.Errorf("json: %s %v", out, err)
	}
}

func TestNoLoggerShowsBytes(t *testing.T) {
	v := value()
	var b bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("m", "v", v, "p", &v, "held", holding(v), slog.Group("g", "v", v), "s", []secret.Value{v})
	}
	if leaks(b.String()) {
		t.Errorf("a log shows the secret: %s", b.String())
	}
	if !strings.Contains(b.String(), "<pay g3>") {
		t.Errorf("a log does not name the secret: %s", b.String())
	}
}

// TestNoPanicShowsBytes panics in a child process, because the runtime prints
// the panic's value by rules of its own.
func TestNoPanicShowsBytes(t *testing.T) {
	if how := os.Getenv("SECRET_TEST_PANIC"); how != "" {
		v := value()
		switch how {
		case "value":
			panic(v)
		case "pointer":
			panic(&v)
		case "holder":
			panic(holding(v))
		case "error":
			panic(fmt.Errorf("with %v", v))
		}
	}
	for _, how := range []string{"value", "pointer", "holder", "error"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoPanicShowsBytes$")
		cmd.Env = append(os.Environ(), "SECRET_TEST_PANIC="+how, "GOTRACEBACK=all")
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("panic")) {
			t.Fatalf("%s: the child did not panic: %s", how, out)
		}
		if leaks(string(out)) {
			t.Errorf("%s: the panic shows the secret: %s", how, out)
		}
	}
}

// TestReflectionReachesNoBytes walks everything that reflection can read,
// unexported fields included, as dumpers and differs do.
func TestReflectionReachesNoBytes(t *testing.T) {
	v := value()
	set := secret.NewSet(map[string]secret.Entry{"pay": {Current: v, Previous: v}})
	if !reaches(reflect.ValueOf(struct{ s *string }{new(canary)}), 0) {
		t.Fatal("the walk would not find a string it should find")
	}
	for _, arg := range []any{v, holding(v), set} {
		if reaches(reflect.ValueOf(arg), 0) {
			t.Errorf("reflection reaches the secret in a %T", arg)
		}
	}
}

func reaches(v reflect.Value, depth int) bool {
	if depth > 20 {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		return leaks(v.String())
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && reaches(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if reaches(v.Field(i), depth+1) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			return leaks(string(v.Bytes()))
		}
		for i := range v.Len() {
			if reaches(v.Index(i), depth+1) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if reaches(it.Key(), depth+1) || reaches(it.Value(), depth+1) {
				return true
			}
		}
	}
	return false
}

func TestValueKeepsItsOwnCopy(t *testing.T) {
	text := []byte(canary)
	v := secret.New("pay", 1, time.Time{}, text)
	clear(text)
	if v.Reveal() != canary {
		t.Error("changing the caller's bytes changed the Value")
	}
}

func TestSameIsOneVersion(t *testing.T) {
	v, w := value(), value()
	if c := v; !v.Same(c) {
		t.Error("a copy is another version")
	}
	if v.Same(w) {
		t.Error("two versions of equal content are the same")
	}
	if !(secret.Value{}).IsZero() || v.IsZero() {
		t.Error("IsZero")
	}
	if n := testing.AllocsPerRun(100, func() { _ = v.Reveal() }); n != 0 {
		t.Errorf("Reveal allocates %v times", n)
	}
}
