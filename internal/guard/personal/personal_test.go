package personal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/guardtest"
	"github.com/munjigi/munjigi/internal/guard/personal"
	"github.com/munjigi/munjigi/internal/redact"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	guardtest.Run(t, func(t *testing.T, config string) guard.Guard {
		verb, types, _ := strings.Cut(config, " ")
		set := personal.Settings{}
		switch verb {
		case "":
		case "block", "mask":
			r := redact.Rule{Types: strings.Fields(types), Action: redact.Block}
			if verb == "mask" {
				r.Action = redact.Mask
			}
			set.Rules = []redact.Rule{r}
		default:
			t.Fatalf("no such rule: %s", config)
		}
		return personal.New(set)
	})
}

// Other formats than those of the labelled texts, each with what is around it.
func TestForms(t *testing.T) {
	t.Parallel()
	d := personal.NewDetector()
	for _, tt := range []struct{ text, typ, want string }{
		{"전화 010-1234-5678 입니다", personal.Phone, "010-1234-5678"},
		{"연락처: 02-345-6789", personal.Phone, "02-345-6789"},
		{"Tel. (030) 901820-11", personal.Phone, "(030) 901820-11"},
		{"Tél : 01 42 68 53 00", personal.Phone, "01 42 68 53 00"},
		{"+82-10-1234-5678", personal.Phone, "+82-10-1234-5678"},
		{"ring +1 (415) 555-2671 ext. 12.", personal.Phone, "+1 (415) 555-2671 ext. 12"},
		{"WhatsApp 5511987654321", personal.Phone, "5511987654321"},
		{"1-800-555-0199", personal.Phone, "1-800-555-0199"},
		{"카드 5555 5555 5555 4444", personal.Card, "5555 5555 5555 4444"},
		{"amex 3782-822463-10005", personal.Card, "3782-822463-10005"},
		{"pay to FR14 2004 1010 0505 0001 3M02 606.", personal.IBAN, "FR14 2004 1010 0505 0001 3M02 606"},
		{"주민번호 9001011234568", personal.RRN, "9001011234568"},
		{"SSN 629152988", personal.SSN, "629152988"},
		{"from [fe80::1ff:fe23:4567:890a]:80", personal.IP, "fe80::1ff:fe23:4567:890a"},
		{"192.168.10.77:8080", personal.IP, "192.168.10.77"},
		{"<mailto:o'hara@mail.example.ie>", personal.Email, "o'hara@mail.example.ie"},
		{"이메일은hanna@post.example.kr로", personal.Email, "hanna@post.example.kr"},
		{"사업자등록번호 220-81-62517", "kr-business-number", "220-81-62517"},
		{"passport no: M12345678", personal.Passport, "M12345678"},
	} {
		hits := d.Detect([]byte(tt.text))
		if len(hits) != 1 || hits[0].Type != tt.typ || tt.text[hits[0].From:hits[0].To] != tt.want {
			t.Errorf("%q: %v, want %s %q", tt.text, hits, tt.typ, tt.want)
		}
	}
}

// Honest text of the kinds that carry many numbers has nothing in it.
func TestNothing(t *testing.T) {
	t.Parallel()
	d := personal.NewDetector()
	for _, text := range []string{
		"2026-11-22T15:41:07.123456Z INFO 1763826067123 pid=12345 took 120.55 ms",
		"error at 0x7ffee4b2c9d8 (line 1024, column 88) size 1048576 bytes",
		"rows 100 200 300 400 500 600 700 800", "pi 3.14159 2.71828 1.41421", "x = a[10] + b(20) - 30 * (40 + 50)",
		"$1,234,567.89 in 2024-2025; ratio 16:9; 10:20:30", "ISBN 978-3-16-148410-0, DOI 10.1000/182, RFC 9068",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "@media (max-width: 600px)", "user@host", "a@b",
		"127.0.0.1 0.0.0.0 255.255.255.0 ::1", "commit 1234567 8901234", "UUID 12345678-1234-1234-1234-123456789012",
	} {
		if hits := d.Detect([]byte(text)); len(hits) > 0 {
			t.Errorf("%q: %s %q", text, hits[0].Type, text[hits[0].From:hits[0].To])
		}
	}
}

func TestZeroDenies(t *testing.T) {
	t.Parallel()
	var g personal.Guard
	if v, err := g.Checks().Result(t.Context(), guard.Subject{Raw: []byte(`{}`)}); err == nil || v.Effect.Passes() {
		t.Error("the zero guard lets pass")
	}
}

// FuzzGuard holds that an address is found however it is written and whatever
// stands around it, that masking leaves valid JSON without it and changes
// nothing when it is done again.
func FuzzGuard(f *testing.F) {
	f.Add("mail ", " now", uint8(0))
	f.Add("+1 (415) 555-2671 x", "\n4539 9841 7691 4486 ::1", uint8(1))
	f.Add("日本\u200b12 34 5678 tel", "123-45-6789", uint8(2))
	s, err := guard.Build([]guard.Guard{personal.New(personal.Settings{Rules: []redact.Rule{{Action: redact.Mask}}})}, nil)
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
		address := "please write to hanna.berg@post.example.se today"
		written := []string{address, base64.StdEncoding.EncodeToString([]byte(address)), hex.EncodeToString([]byte(address))}[how%3]
		raw := []byte(`{"content":[{"type":"text","text":`)
		raw = strictjson.AppendString(raw, before+" "+written+" "+after)
		raw = append(raw, `}],"structuredContent":{"a":`...)
		raw = strictjson.AppendString(raw, after+" "+written+" "+before)
		raw = append(raw, "}}"...)
		d, out := s.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: raw})
		if d.Effect != call.Redact {
			t.Fatalf("%v of %q", d, raw)
		}
		if err := strictjson.Validate(out, strictjson.Default()); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if bytes.Contains(out, []byte(written)) {
			t.Fatalf("it is still there: %s", out)
		}
	})
}
