package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/guardtest"
	"github.com/munjigi/munjigi/internal/guard/secrets"
	"github.com/munjigi/munjigi/internal/redact"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	guardtest.Run(t, func(*testing.T, string) guard.Guard { return secrets.New(secrets.Settings{}) })
}

func result(t *testing.T, raw string) (call.Decision, string) {
	t.Helper()
	s, err := guard.Build([]guard.Guard{secrets.New(secrets.Settings{})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, b := s.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: []byte(raw)})
	return d, string(b)
}

const key = "AKIA" + "Q3EGRZ7WVN2LKXB5"

func TestMasks(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"content":[{"type":"text","text":"é key ` + key + `, and ` + key + `."}]}`: `{"content":[{"type":"text","text":"é key [redacted:aws-access-token], and [redacted:aws-access-token]."}]}`,
		`{"structuredContent":{"id":"` + key + `","n":1.50}}`:                        `{"structuredContent":{"id":"XXXX` + "X0XXXX0XXX0XXXX0" + `","n":1.50}}`,
		`{"content":[],"_meta":{"` + key + `":1,"x":{"` + key + `":[2]}}}`:           `{"content":[],"_meta":{"[redacted:aws-access-token:1]":1,"x":{"[redacted:aws-access-token:2]":[2]}}}`,
		`{"code":1,"message":"no ` + strings.Replace(key, "A", `\u0041`, 1) + `"}`:   `{"code":1,"message":"no [redacted:aws-access-token]"}`,
	} {
		d, got := result(t, raw)
		if d.Effect != call.Redact || got != want {
			t.Errorf("%s: %v\n got %s\nwant %s", raw, d.Effect, got, want)
		}
	}
}

// A finding says what and where, and never the value, be it in a name.
func TestFindingsHoldNoValue(t *testing.T) {
	t.Parallel()
	d, _ := result(t, `{"a":[{"`+key+`":"é `+key+`"}]}`)
	if len(d.Findings) != 2 {
		t.Fatalf("%v", d.Findings)
	}
	if f := d.Findings[1]; f.Path != "/a/0/*" || f.Span != [2]int{2, 22} || f.Reason != "secret-aws-access-token" || f.Guard != "secrets" {
		t.Errorf("%+v", f)
	}
	if strings.Contains(fmt.Sprintf("%+v", d), key) {
		t.Errorf("the value is on the record: %+v", d)
	}
}

func TestZeroDenies(t *testing.T) {
	t.Parallel()
	var g secrets.Guard
	if v, err := g.Checks().Result(t.Context(), guard.Subject{Raw: []byte(`{}`)}); err == nil || v.Effect.Passes() {
		t.Error("the zero guard lets pass")
	}
}

// A text of nothing but keywords, and one of nothing but near misses, costs a
// bounded number of expressions: it is refused or passes, and does not stall.
func TestDense(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"ghp_", "token = a1b2c3d4e5f6g7h8 ", "curl -H -u ", "kind: secret data: ", "ey", "-----BEGIN ", "https://a:b@", "sourcegraph ", "live_ lob ", "eyJhbGciOiJIUzI1NiJ9.ey"} {
		d, _ := result(t, `{"a":"`+strings.Repeat(unit, 60_000/len(unit))+`"}`)
		if !d.Effect.Passes() && d.Reason != secrets.ReasonTooDense {
			t.Errorf("%q: %v", unit, d)
		}
	}
}

// The rules that a config gives decide before the defaults.
func TestRules(t *testing.T) {
	t.Parallel()
	set := secrets.Settings{Rules: []redact.Rule{
		{Types: []string{"jwt"}, Servers: []string{"auth"}, Action: redact.Annotate},
		{Direction: redact.ToServer, Tools: []string{"put"}, Action: redact.Mask},
		{Direction: redact.ToClient, Servers: []string{"vault"}, Action: redact.Block},
	}}
	s, err := guard.Build([]guard.Guard{secrets.New(set)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		place  guard.Place
		target call.Target
		want   call.Effect
	}{
		{guard.Arguments, call.Target{Server: "x", Name: "put"}, call.Redact},
		{guard.Arguments, call.Target{Server: "x", Name: "get"}, call.Deny},
		{guard.Result, call.Target{Server: "x", Name: "put"}, call.Redact},
		{guard.Result, call.Target{Server: "vault", Name: "put"}, call.Deny},
		{guard.Stream, call.Target{Server: "auth"}, call.Redact},
	} {
		d, _ := s.Inspect(t.Context(), tt.place, call.InspectResult, guard.Subject{Target: tt.target, Raw: []byte(`{"arguments":{"a":"` + key + `"}}`)})
		if d.Effect != tt.want {
			t.Errorf("%v %v: %v, want %v", tt.place, tt.target, d.Effect, tt.want)
		}
	}
}

// FuzzGuard holds that a secret is found however it is written and whatever
// stands around it, that masking leaves valid JSON without it, and that masking
// what was masked changes nothing.
func FuzzGuard(f *testing.F) {
	f.Add("see ", " there", uint8(0))
	f.Add("key=\"", "\"\n", uint8(3))
	f.Add("\u200b日本 ", ".", uint8(1))
	s, err := guard.Build([]guard.Guard{secrets.New(secrets.Settings{})}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, before, after string, how uint8) {
		if len(before)+len(after) > 2000 {
			return
		}
		// A terminal's sequence takes the letter with it that it ends on.
		plain := func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}
		before, after = strings.Map(plain, strings.ToValidUTF8(before, "")), strings.Map(plain, strings.ToValidUTF8(after, ""))
		secret := "the key is " + key + " indeed"
		written := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
			hex.EncodeToString([]byte(secret)), percent(secret)}[how%5]
		raw := []byte(`{"content":[{"type":"text","text":`)
		raw = strictjson.AppendString(raw, before+" "+written+" "+after)
		raw = append(raw, "}]}"...)
		d, out := s.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: raw})
		if d.Effect == call.Deny && d.Reason == secrets.ReasonTooDense {
			return
		}
		if d.Effect != call.Redact {
			t.Fatalf("%v of %q", d, raw)
		}
		if err := strictjson.Validate(out, strictjson.Default()); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if bytes.Contains(out, []byte(written)) {
			t.Fatalf("it is still there: %s", out)
		}
		again, same := s.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: out})
		if again.Effect == call.Redact || !bytes.Equal(out, same) {
			t.Fatalf("masked again: %s, then %s", out, same)
		}
	})
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}
