package secret

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The schemes of references.
const (
	SchemeEnv    = "env"
	SchemeFile   = "file"
	SchemeSealed = "sealed"
)

// MostBytes is the greatest size of a secret that is read from a file.
const MostBytes = 64 << 10

// Ref says where a secret is. It is no secret itself. The zero Ref resolves to an error.
type Ref struct{ scheme, name string }

// ParseRef reads env:NAME, file:PATH or sealed:NAME. A NAME of the environment is [A-Za-z_][A-Za-z0-9_]*, of a sealed
// secret [a-z0-9][a-z0-9_-]{0,63}. The error never shows s.
func ParseRef(s string) (Ref, error) {
	scheme, name, ok := strings.Cut(s, ":")
	if ok {
		switch {
		case scheme == SchemeEnv && isEnvName(name),
			scheme == SchemeFile && name != "" && !strings.ContainsRune(name, 0),
			scheme == SchemeSealed && isSealedName(name):
			return Ref{scheme, name}, nil
		}
	}
	return Ref{}, errors.New("not a reference to a secret: write env:NAME, file:PATH or sealed:NAME, and never the secret itself")
}

// Scheme returns env, file or sealed.
func (r Ref) Scheme() string { return r.scheme }

// Name returns what follows the scheme.
func (r Ref) Name() string { return r.name }

// String returns the reference as ParseRef reads it.
func (r Ref) String() string { return r.scheme + ":" + r.name }

// MarshalText returns what String returns.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what ParseRef reads.
func (r *Ref) UnmarshalText(b []byte) error {
	got, err := ParseRef(string(b))
	if err != nil {
		return err
	}
	*r = got
	return nil
}

func isEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

func isSealedName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && (c == '_' || c == '-')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// Resolver finds the secret that a reference names. Its errors say what to do and show no secret.
type Resolver interface {
	Resolve(ctx context.Context, r Ref) (Value, error)
}

// Schemes resolves each reference by the resolver of its scheme, and none of a scheme that is not there.
type Schemes map[string]Resolver

// Resolve implements Resolver. A secret that is empty is an error, whoever resolved it.
func (s Schemes) Resolve(ctx context.Context, r Ref) (Value, error) {
	by := s[r.scheme]
	if by == nil {
		return Value{}, fmt.Errorf("no secrets are found by %q here: use env:NAME, file:PATH or sealed:NAME", r.scheme)
	}
	v, err := by.Resolve(ctx, r)
	if err != nil {
		return Value{}, err
	}
	if v.IsZero() {
		return Value{}, fmt.Errorf("the secret %v is empty: put its value there", r)
	}
	return v, nil
}

// Env resolves env:NAME by a look-up such as os.LookupEnv. Only the variable that is named is looked at.
type Env func(name string) (string, bool)

// Resolve implements Resolver.
func (e Env) Resolve(_ context.Context, r Ref) (Value, error) {
	if r.scheme != SchemeEnv || e == nil {
		return Value{}, fmt.Errorf("%v is not a variable of the environment: write env:NAME", r)
	}
	s, ok := e(r.name)
	if !ok || s == "" {
		return Value{}, fmt.Errorf("the environment variable %s is not set: set it where munjigi is started", r.name)
	}
	return New(s), nil
}

// Files resolves file:PATH. One line break at the end of the file is not part of the secret.
type Files struct {
	Dir string // of the config file; relative paths begin here
}

// Resolve implements Resolver.
func (f Files) Resolve(_ context.Context, r Ref) (Value, error) {
	if r.scheme != SchemeFile {
		return Value{}, fmt.Errorf("%v is not a file: write file:PATH", r)
	}
	path := r.name
	if !filepath.IsAbs(path) {
		if f.Dir == "" {
			return Value{}, fmt.Errorf("%v is relative and there is no config file that it could be relative to: write an absolute path", r)
		}
		path = filepath.Join(f.Dir, path)
	}
	b, err := ReadFile(path, MostBytes, OthersWrite)
	if err != nil {
		return Value{}, err
	}
	s := string(b)
	if cut, ok := strings.CutSuffix(s, "\n"); ok {
		s = strings.TrimSuffix(cut, "\r")
	}
	if s == "" {
		return Value{}, fmt.Errorf("%s is empty: put the secret into it", path)
	}
	return New(s), nil
}

// Sealed resolves sealed:NAME from the file of that name.
type Sealed struct {
	Dir  string                                           // <data>/sealed
	Open func(name string, sealed []byte) ([]byte, error) // opens what was sealed under that name
}

// Resolve implements Resolver.
func (s Sealed) Resolve(_ context.Context, r Ref) (Value, error) {
	if r.scheme != SchemeSealed || !isSealedName(r.name) || s.Dir == "" || s.Open == nil {
		return Value{}, fmt.Errorf("%v is not a sealed secret of this data folder: write sealed:NAME", r)
	}
	b, err := ReadFile(filepath.Join(s.Dir, r.name), 2*MostBytes, OthersWrite)
	if err != nil {
		return Value{}, err
	}
	plain, err := s.Open(r.name, b)
	if err != nil {
		return Value{}, fmt.Errorf("the sealed secret %s does not open: seal it again with this data folder's key: %w", r.name, err)
	}
	if len(plain) == 0 {
		return Value{}, fmt.Errorf("the sealed secret %s is empty: seal it again", r.name)
	}
	return New(string(plain)), nil
}
