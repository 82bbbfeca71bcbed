package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		lines  []string
		want   counts
		wrong  bool
		prints []string
	}{
		{
			"all well",
			[]string{`{"Action":"start","Package":"p"}`, `{"Action":"pass","Package":"p","Test":"A"}`, `{"Action":"pass","Package":"p","Test":"A/b"}`, `{"Action":"pass","Package":"p","Elapsed":1.5}`},
			counts{passed: 2}, false, []string{"ok   p 1.5s"},
		},
		{
			"a test fails and shows what it wrote",
			[]string{`{"Action":"start","Package":"p"}`, `{"Action":"output","Package":"p","Test":"A","Output":"why\n"}`, `{"Action":"fail","Package":"p","Test":"A"}`, `{"Action":"fail","Package":"p"}`},
			counts{failed: 2}, false, []string{"FAIL p A\nwhy"},
		},
		{
			"a skip shows its reason",
			[]string{`{"Action":"start","Package":"p"}`, `{"Action":"output","Package":"p","Test":"A","Output":"no such system\n"}`, `{"Action":"skip","Package":"p","Test":"A"}`, `{"Action":"pass","Package":"p","Test":"B"}`, `{"Action":"pass","Package":"p"}`},
			counts{passed: 1, skipped: 1}, false, []string{"skip p A\nno such system"},
		},
		{
			"a build fails",
			[]string{`{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}`, `{"ImportPath":"p","Action":"build-fail"}`, `{"Action":"start","Package":"p"}`, `{"Action":"fail","Package":"p"}`},
			counts{failed: 1}, false, []string{"undefined: x", "does not build"},
		},
		{
			"cut off",
			[]string{`{"Action":"start","Package":"p"}`, `{"Action":"pass","Package":"p","Test":"A"}`},
			counts{passed: 1, failed: 1}, false, []string{"began and did not end"},
		},
		{"nothing", nil, counts{}, true, nil},
		{"packages without tests", []string{`{"Action":"start","Package":"p"}`, `{"Action":"skip","Package":"p"}`}, counts{}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			got, err := count(strings.NewReader(strings.Join(c.lines, "\n")), &out)
			if got != c.want || (err != nil) != c.wrong {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			for _, s := range c.prints {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%q is not in\n%s", s, out.String())
				}
			}
		})
	}
}
