package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/keys/file"
)

// cmdSecrets keeps the values that a config names as sealed:NAME.
func cmdSecrets(_ context.Context, e *env, args []string) int {
	fs := flags(e, "secrets", "munjigi secrets set NAME < value | list | remove NAME", "Values for sealed:NAME in a config, encrypted in the data folder. The value is read from standard input, never from the command line.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, done := parse(e, fs, args); done {
		return code
	}
	dir, err := dataOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	sealed := filepath.Join(dir, "sealed")
	switch {
	case fs.Arg(0) == "list" && fs.NArg() == 1:
		names, err := sealedNames(sealed)
		if err != nil {
			return failed(e, err)
		}
		if *asJSON {
			return printJSON(e, names)
		}
		t := newTable("name", "in a config")
		for _, n := range names {
			t.row(n, "{ secret: sealed:"+n+" }")
		}
		t.print(e.stdout)
	case fs.Arg(0) == "remove" && fs.NArg() == 2:
		if _, err := secret.ParseRef("sealed:" + fs.Arg(1)); err != nil {
			return wrongUse(e, err)
		}
		if err := os.Remove(filepath.Join(sealed, fs.Arg(1))); err != nil {
			return failed(e, err)
		}
		fmt.Fprintf(e.stdout, "%s is removed\n", fs.Arg(1))
	case fs.Arg(0) == "set" && fs.NArg() == 2:
		if _, err := secret.ParseRef("sealed:" + fs.Arg(1)); err != nil {
			return wrongUse(e, err)
		}
		if err := seal(e, dir, sealed, fs.Arg(1)); err != nil {
			return failed(e, err)
		}
		fmt.Fprintf(e.stdout, "sealed; name it in a config as { secret: sealed:%s }\n", fs.Arg(1))
	default:
		return wrongUse(e, errors.New("say: munjigi secrets set NAME, munjigi secrets list, or munjigi secrets remove NAME"))
	}
	return exitDone
}

// seal reads a value and writes it encrypted, whole or not at all.
func seal(e *env, data, sealed, name string) error {
	if e.isTerminal(e.stdin) {
		fmt.Fprintln(e.stderr, "type the value, then end the input (Ctrl-D); it is shown as you type")
	}
	b, err := io.ReadAll(io.LimitReader(e.stdin, secret.MostBytes+1))
	if err != nil {
		return err
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if value == "" || len(value) > secret.MostBytes {
		return fmt.Errorf("a value has 1 to %d bytes", secret.MostBytes)
	}
	if err := os.MkdirAll(sealed, 0o700); err != nil {
		return err
	}
	ring, err := file.Open(file.Options{Dir: filepath.Join(data, "keys"), Credentials: e.getenv("CREDENTIALS_DIRECTORY")})
	if err != nil {
		return err
	}
	out, err := ring.Seal(app.SealedPurpose, []byte(value), []byte(name))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(sealed, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err = f.Write(out); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(sealed, name))
}

func sealedNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return []string{}, nil
	}
	names := []string{}
	for _, x := range entries {
		if !strings.HasPrefix(x.Name(), ".") {
			names = append(names, x.Name())
		}
	}
	return names, err
}
