package main

import (
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	tool := `{"name":"a","description":"Adds two numbers.","inputSchema":{"type":"object"}}`
	for name, tt := range map[string]struct {
		channel, in string
		out         []string // how lines begin
		code        int
	}{
		"honest":      {"result", `{"id":"1","text":"It rains in Oslo."}` + "\n\n" + `{"id":2,"text":""}`, []string{`{"id":"1","score":0.`, `{"id":2,"score":0.`}, exitDone},
		"prompt":      {"prompt", `{"id":"1","text":"What is the capital of Norway?"}` + "\n", []string{`{"id":"1","score":0.`}, exitDone},
		"arguments":   {"arguments", `{"id":"1","text":"notes"}`, []string{`{"id":"1","score":0.`}, exitDone},
		"bad lines":   {"result", "{\n[]\n{\"id\":\"x\"}\n{\"id\":\"y\",\"text\":\"fine\"}\n", []string{`{"id":null,"error":"the line is not JSON`, `{"id":null,"error":"the line is not an object`, `{"id":"x","error":"the line has no text`, `{"id":"y","score":0.`}, exitRefused},
		"definition":  {"definition", `{"id":"1","tool":` + tool + `}`, []string{`{"id":"1","score":0.`}, exitDone},
		"unchanged":   {"definition", `{"id":"1","tool":` + tool + `,"previous":` + tool + `}`, []string{`{"id":"1","score":0.`}, exitDone},
		"changed":     {"definition", `{"id":"1","tool":` + tool + `,"previous":` + strings.Replace(tool, "two", "2", 1) + `}`, []string{`{"id":"1","score":0.`}, exitRefused},
		"no tool":     {"definition", `{"id":"1","text":"x"}`, []string{`{"id":"1","error":"the line has no tool`}, exitRefused},
		"two names":   {"definition", `{"id":"1","tool":{"name":"a","name":"b"}}`, []string{`{"id":null,"error":"the line is not JSON`}, exitRefused},
		"nothing":     {"result", "", nil, exitDone},
		"no channel":  {"", "", nil, exitWrongUse},
		"not of them": {"results", "", nil, exitWrongUse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.in, false)
			if code := w.run(t, "inspect", "--channel", tt.channel); code != tt.code {
				t.Errorf("exit %d, want %d: %s%s", code, tt.code, w.out.String(), w.err.String())
			}
			lines := strings.Split(strings.TrimSuffix(w.out.String(), "\n"), "\n")
			if w.out.Len() == 0 {
				lines = nil
			}
			if len(lines) != len(tt.out) {
				t.Fatalf("printed %q", lines)
			}
			for i, l := range lines {
				if !strings.HasPrefix(l, tt.out[i]) {
					t.Errorf("line %d is %s, want %s…", i, l, tt.out[i])
				}
			}
			if name == "changed" && !(strings.Contains(lines[0], `"effect":"hold"`) && strings.Contains(lines[0], `"reason":"definition-changed"`)) {
				t.Errorf("printed %s", lines[0])
			}
		})
	}
}
