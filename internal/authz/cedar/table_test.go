package cedar

import (
	"strings"
	"testing"
)

func TestTableFaults(t *testing.T) {
	t.Parallel()
	const people = "people: { a: { issuer: https://i, subject: a }, nobody: { subject: b } }\n"
	for text, want := range map[string]string{
		"":                   "empty",
		people + "cases: []": "no cases",
		people + "cases: [ { who: z, want: allow, method: tools/call } ]":                                                     `nobody is called "z"`,
		people + "cases: [ { who: a, want: yes, method: tools/call } ]":                                                       "want is allow, deny, scope, step-up or approval",
		people + "cases: [ { who: nobody, want: deny, method: tools/call } ]":                                                 "needs an issuer",
		people + "cases: [ { who: a, want: deny, method: tools/cal } ]":                                                       "no action for the method",
		people + "cases: [ { who: a, want: deny, method: tools/call, arguments: [1] } ]":                                      "has to be a mapping",
		people + "cases: [ { who: a, want: deny, method: tools/call, arguments: { n: .inf } } ]":                              "line 2",
		people + "cases: [ { who: a, want: deny, method: tools/call, arguments: { n: 1, \"n\": 2 } } ]":                       "line 2",
		people + "cases: [ { who: a, want: deny, method: tools/call, argument: {} } ]":                                        `no key "argument"`,
		"people: { a: { issuer: https://i, subject: a, group: [x] } }\ncases: [ { who: a, want: deny, method: tools/call } ]": "group",
		people + "cases: [ { who: a, want: deny, method: tools/call } ]\n---\nx: y":                                           "one YAML document",
	} {
		if _, err := ReadTable([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %q", text, err, want)
		}
	}
}

// FuzzTable holds that a table is read or refused, and that what is read can be
// played.
func FuzzTable(f *testing.F) {
	f.Add("people: { a: { issuer: i, subject: a } }\ncases: [ { who: a, method: tools/call, server: s, name: n, arguments: { a: [1, null, x] }, want: deny } ]")
	f.Add("people: { a: &x { issuer: i, subject: a, claims: { a: *x } } }")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<12 {
			return
		}
		table, err := ReadTable([]byte(text))
		if err != nil {
			return
		}
		var none Decider
		for _, o := range none.Play(t.Context(), table) {
			if o.Got.Allowed {
				t.Errorf("no policy, and %+v is allowed", o)
			}
		}
	})
}
