package source

import (
	"errors"
	"fmt"
	"io/fs"
)

// MaxSize is the most bytes a secret may have.
const MaxSize = 64 << 10

// kind fills in the parts of a Kind that depend on its type of options.
func kind[T any](k Kind, build func(T, Env) (Source, error)) Kind {
	k.Options = func() any { return new(T) }
	k.New = func(decode Decode, env Env) (Source, error) {
		var o T
		if err := decode(&o); err != nil {
			return nil, err
		}
		return build(o, env)
	}
	return k
}

// ReadError says why a source cannot be read and where it looked. It holds no
// byte of content.
type ReadError struct {
	Problem string // "not found"
	Where   string // "file /run/secrets/stripe"
	Err     error  // the system's reason, may be nil
}

func (e *ReadError) Error() string { return fmt.Sprintf("%s (%s)", e.Problem, e.Where) }
func (e *ReadError) Unwrap() error { return e.Err }

// readError puts the system's reason in plain words.
func readError(where string, err error) error {
	problem := "cannot be read"
	switch pathErr, ok := errors.AsType[*fs.PathError](err); {
	case errors.Is(err, fs.ErrNotExist):
		problem = "not found"
	case errors.Is(err, fs.ErrPermission):
		problem = "permission denied"
	case ok:
		problem = pathErr.Err.Error() // it holds the reason without the path
	}
	return &ReadError{Problem: problem, Where: where, Err: err}
}
