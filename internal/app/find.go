package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/all"
	"github.com/munjigi/munjigi/internal/guard/personal"
	"github.com/munjigi/munjigi/internal/guard/secrets"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/redact"
)

// HashPurpose is the purpose of the key of digests that stand in the place of
// what a guard found.
const HashPurpose keys.Purpose = "found-hash"

// findSettings are the settings of the guards that find something in texts.
// Without a ring there is no key for digests, and one word stands for them.
func findSettings(cfg *config.Config, ring keys.Ring, into *all.Settings) error {
	put := func(context.Context, guard.Subject, redact.Action, string, []byte) (string, error) {
		return "[hashed]", nil
	}
	if ring != nil {
		_, key, err := ring.Subkey(HashPurpose)
		if err != nil {
			return err
		}
		put = func(_ context.Context, s guard.Subject, _ redact.Action, typ string, value []byte) (string, error) {
			return hashed(key, s, typ, value), nil
		}
	}
	into.Secrets.Put, into.Personal.Put = put, put
	for _, g := range cfg.Guards {
		switch g.Name {
		case secrets.Name:
			into.Secrets.Rules = append(findRules(g.InsecureAllow), findRules(g.Rules)...)
		case personal.Name:
			into.Personal.Rules = findRules(g.Rules)
		}
	}
	return nil
}

// hashed is what stands in the place of a value: the same for the same value of
// one principal, and nothing that can be guessed and tried without the key. It
// is in letters only, so that it is taken for no number.
func hashed(key [32]byte, s guard.Subject, typ string, value []byte) string {
	m := hmac.New(sha256.New, key[:])
	for _, part := range [][]byte{[]byte(s.Principal.Key()), []byte(typ), value} {
		m.Write([]byte{byte(len(part) >> 24), byte(len(part) >> 16), byte(len(part) >> 8), byte(len(part))})
		m.Write(part)
	}
	const letters = "abcdefghijklmnop"
	out := []byte("[" + typ + ":")
	for _, b := range m.Sum(nil)[:8] {
		out = append(out, letters[b>>4], letters[b&15])
	}
	return string(append(out, ']'))
}

func findRules(list []config.FindRule) []redact.Rule {
	out := make([]redact.Rule, 0, len(list))
	for _, r := range list {
		rule := redact.Rule{Types: r.Types, Servers: r.Servers, Tools: r.Tools}
		switch r.Direction {
		case config.DirectionArguments:
			rule.Direction = redact.ToServer
		case config.DirectionResults:
			rule.Direction = redact.ToClient
		}
		switch r.Do {
		case config.DoMask:
			rule.Action = redact.Mask
		case config.DoHash:
			rule.Action = redact.Hash
		case config.DoAnnotate, "": // of insecure_allow
			rule.Action = redact.Annotate
		}
		out = append(out, rule)
	}
	return out
}
