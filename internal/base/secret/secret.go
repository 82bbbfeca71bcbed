// Package secret holds values that must not be seen, and finds them by reference.
//
// The threat: a token that reaches a log line, an error, a JSON page or a debugger's dump because somebody printed the
// struct that holds it; a config file with the token in the clear; and a secret file that another user replaced.
//
// Guaranteed: a Value shows a placeholder under every verb of fmt, in slog, JSON, YAML, XML, gob and text, also inside
// a struct, a map or an unexported field; only Reveal gives it. A reference that cannot be parsed is never echoed,
// because it may be the secret itself, pasted in its place. A file that others may write, or that is none, is refused.
//
// Not guaranteed: a value is not wiped from memory, and whoever called Reveal can do what they want.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// Placeholder is what a Value shows.
const Placeholder = "[secret]"

// Value is a secret text. The zero Value holds nothing and shows the placeholder too. Values cannot be compared with
// ==; use Equal.
type Value struct {
	// A function, because fmt and other reflecting printers walk into strings, slices and pointers, not into functions.
	reveal func() string
}

// New hides s.
func New(s string) Value { return Value{func() string { return s }} }

// Reveal returns the secret. Call it where the secret is used, and keep the result nowhere.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.Reveal() == "" }

// Equal compares in a time that depends on lengths only. A Value that holds nothing equals none, not even another.
func (v Value) Equal(w Value) bool {
	a, b := sha256.Sum256([]byte(v.Reveal())), sha256.Sum256([]byte(w.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && !v.IsZero()
}

// Format shows the placeholder for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Placeholder)) }

// String shows the placeholder.
func (v Value) String() string { return Placeholder }

// GoString shows the placeholder.
func (v Value) GoString() string { return Placeholder }

// LogValue shows the placeholder.
func (v Value) LogValue() slog.Value { return slog.StringValue(Placeholder) }

// MarshalText shows the placeholder, in JSON, XML, YAML and wherever else text is asked for.
func (v Value) MarshalText() ([]byte, error) { return []byte(Placeholder), nil }

// MarshalYAML shows the placeholder.
func (v Value) MarshalYAML() (any, error) { return Placeholder, nil }

// MarshalBinary shows the placeholder.
func (v Value) MarshalBinary() ([]byte, error) { return []byte(Placeholder), nil }

// UnmarshalText refuses: a secret is not written in the clear where a config or a message is read.
func (v *Value) UnmarshalText([]byte) error {
	return errors.New("a secret may not stand here in the clear: write a reference, env:NAME, file:PATH or sealed:NAME")
}
